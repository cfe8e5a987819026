/* mae pretrain: images in, a model out. */
#include "tool/commands.h"
#include "tool/mpi.h"
#include "tool/run.h"
#include "tool/samples.h"
#include "tool/say.h"
#include "tool/settle.h"

#include <stdlib.h>

#include "base/memory.h"

static const char help[] =
    "Usage: mae pretrain --data PATH --out RUN [OPTION]...\n"
    "       mae pretrain --out RUN --resume [OPTION]...\n"
    "\n"
    "Pretrain a Masked Autoencoder on images without labels.  The folder RUN\n"
    "gets checkpoint-NNNNNNNN.safetensors, best.safetensors (least mean loss\n"
    "of an epoch) and at the end model.safetensors; metrics.jsonl, loss.png,\n"
    "reconstruction-EEEE.png after each epoch, report.html, which shows it "
    "all\n"
    "in any browser, and config.txt.\n";

static int prepare(run *r) {
  run_settings *s = &r->settings;
  int status = settle_pretraining(s, mpi_rank(), mpi_ranks());
  say_nothing(false); /* other failures may be those of one rank */
  if (status != TOOL_OK) return status;
  if (mae_dataset_open(s->data, &r->dataset) != MAE_OK ||
      mae_model_create(&s->config, s->trainer.seed, &r->model) != MAE_OK ||
      mae_model_set_normalization(r->model, s->mean.values, s->std.values) !=
          MAE_OK)
    return fail_library();
  return TOOL_OK;
}

static int begin(run *r) {
  samples *drawn = r->own = mae_calloc(1, sizeof *drawn);
  if (!drawn || samples_make(drawn, &r->settings, r->context, r->model,
                             r->dataset) != MAE_OK)
    return fail_library();
  run_tell(r, "%s, %.1f million parameters; %s", r->settings.model,
           (double)mae_model_parameter_count(r->model, 0) / 1e6,
           run_size_of(r).text);
  return TOOL_OK;
}

static void end_epoch(run *r, int64_t epoch) {
  run_path path = run_file(&r->folder, "reconstruction-%04lld.png",
                           (long long)epoch);
  run_warn_if_failed(r, samples_draw(r->own, path.text));
}

static int finish(run *r) {
  (void)r;
  return TOOL_OK;
}

static void destroy(run *r) {
  if (r->own) samples_free(r->own);
  free(r->own);
}

static const run_task task = {.kind = RUN_PRETRAIN,
                              .command = "pretrain",
                              .help = help,
                              .prepare = prepare,
                              .begin = begin,
                              .end_epoch = end_epoch,
                              .finish = finish,
                              .destroy = destroy};

int command_pretrain(int argc, char **argv) {
  return run_command(&task, argc, argv);
}
