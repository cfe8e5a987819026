// Every class of libmae/mae.hpp, from an installed copy.
#include <cmath>
#include <cstdio>
#include <libmae/mae.hpp>
#include <string>
#include <utility>
#include <vector>

static int failed(const char *what) {
  std::printf("wrapper: %s\n", what);
  return 1;
}

static mae_config small() {
  mae_config c = mae::config();
  c.image_height = c.image_width = 16;
  c.patch_size = 4;
  c.depth = c.decoder_depth = 1;
  c.embed_dim = c.decoder_embed_dim = 32;
  c.num_heads = c.decoder_num_heads = 2;
  return c;
}

// The status of what a call throws; MAE_OK when it throws nothing.
template <class Call>
static mae_status thrown(Call call) {
  try {
    call();
  } catch (const mae::error &e) {
    return *e.what() ? e.status() : MAE_OK;
  }
  return MAE_OK;
}

static int train(mae::Model &model) {
  mae_context_options profiled = mae::context_options();
  profiled.profile = 1;
  mae::Context context(profiled);
  mae_trainer_options options = mae::trainer_options();
  options.batch_size = 2;
  mae::Trainer trainer(context, model, options);
  trainer.set_communicator(nullptr);
  std::vector<float> images(2 * 3 * 16 * 16);
  mae::check(mae_random_normal(1, 0, 0, images.size(), images.data()));
  mae_step_result result = trainer.step(images.data());
  if (!(result.loss > 0) || !result.updated) return failed("no step");
  trainer.save("trained.safetensors");
  trainer.step(images.data());
  trainer.resume("trained.safetensors");
  int64_t updates = 0;
  for (const mae_profile_entry &e : context.profile())
    if (e.op == std::string("adamw")) updates += e.calls;
  if (updates != 2) return failed("no profile");
  context.reset_profile();
  if (!context.profile().empty()) return failed("profile not reset");
  return trainer.steps() == 1 ? 0 : failed("not resumed");
}

static int finetune(const mae::Context &context) {
  mae_config c = small();
  c.decoder_depth = c.decoder_embed_dim = c.decoder_num_heads = 0;
  c.num_classes = 3;
  mae::Model classifier(c, 1);
  int64_t epochs, warmup;
  mae_trainer_options o =
      mae::trainer_options(MAE_RECIPE_FINETUNE, c, &epochs, &warmup);
  if (epochs != 100 || warmup != 5 || o.layer_decay != 0.65)
    return failed("recipe");
  o.batch_size = 2;
  o.ema_decay = 0.5;
  mae::Trainer trainer(context, classifier, o);
  std::vector<float> images(2 * 3 * 16 * 16), targets(2 * 3, 1.0f / 3);
  mae::check(mae_random_normal(1, 0, 0, images.size(), images.data()));
  const int32_t labels[] = {2, 0}, wrong[] = {3, 0};
  if (!(trainer.step_labels(images.data(), labels).loss > 0))
    return failed("no step of labels");
  if (trainer.step_targets(images.data(), targets.data()).step != 2)
    return failed("no step of targets");
  if (thrown([&] { trainer.step_labels(images.data(), wrong); }) !=
      MAE_ERROR_INVALID_ARGUMENT)
    return failed("a wrong label");
  return mae_model_num_tensors(trainer.ema_model()) ? 0 : failed("ema_model");
}

static int files(const mae::Model &model) {
  mae::LoadReport report;
  model.save("saved.safetensors");
  model.export_to("exported", MAE_LAYOUT_HUGGING_FACE, MAE_DTYPE_F16);
  mae::Model other("exported", mae::load_options(), &report);
  if (report.layout() != MAE_LAYOUT_HUGGING_FACE ||
      report.format() != "safetensors" || report.count(MAE_LOAD_MISSING) ||
      report.item(MAE_LOAD_MISSING, 0) != "")
    return failed("report");
  other.resize(8, 32);
  mae_config c = other.config();
  return c.image_height == 8 && c.image_width == 32 ? 0 : failed("resize");
}

static int features(mae::Context &context, const mae::Model &model) {
  mae::Session first(context, model), session = std::move(first);
  std::vector<unsigned char> pixels(20 * 30 * 3, 99);
  mae_image image = mae_image();
  image.data = pixels.data();
  image.width = 20;
  image.height = 30;
  image.channels = 3;
  std::vector<float> input(3 * 16 * 16), made(input.size()), mask(16);
  std::vector<float> a(static_cast<std::size_t>(session.feature_size())), b(a);
  session.preprocess(&image, input.data());
  session.features(input.data(), 1, a.data());
  session.features(&image, 1, b.data());
  session.reconstruct(input.data(), 1, made.data(), mask.data());
  double sum = 0, removed = 0;
  for (std::size_t i = 0; i < a.size(); i++) {
    if (a[i] != b[i]) return failed("features of bytes");
    sum += std::fabs(a[i]);
  }
  for (float m : mask) removed += m;
  return sum > 0 && removed == 12 ? 0 : failed("features");
}

static int notes(const mae::Context &context, const mae::Model &encoder) {
  mae::Model model = encoder.classifier(2, true, 1);
  std::vector<float> mean(3, 0.5f), std(3, 0.25f), m, s;
  if (!model.class_names().empty() || model.normalization(&m, &s))
    return failed("notes from nowhere");
  model.set_class_names({"cat", "dog"});
  model.set_normalization(mean, std);
  model.save("notes.safetensors");
  mae::Model other("notes.safetensors");
  if (other.class_names() != std::vector<std::string>{"cat", "dog"} ||
      !other.normalization(&m, &s) || m != mean || s != std)
    return failed("notes");
  mae_session_options o = mae::session_options();
  o.features = MAE_FEATURES_LOGITS;
  if (mae::Session(context, other, o).feature_size() != 2)
    return failed("logits");
  if (thrown([&] { other.set_class_names({"cat"}); }) !=
          MAE_ERROR_INVALID_ARGUMENT ||
      thrown([&] { other.set_normalization(mean, {}); }) !=
          MAE_ERROR_INVALID_ARGUMENT ||
      thrown([&] { encoder.classifier(0, true, 1); }) !=
          MAE_ERROR_INVALID_ARGUMENT)
    return failed("notes refused");
  other.set_class_names({});
  return other.class_names().empty() ? 0 : failed("no notes");
}

static mae_status draw(void *, int64_t i, float *out) {
  return mae_random_normal(7, 0, static_cast<uint64_t>(i) * 768, 768, out);
}

static int fit(const mae::Context &context, mae::Model &model) {
  mae::Dataset images(10, draw, nullptr);
  mae_loader_options o = mae::loader_options();
  o.batch_size = 2;
  o.image_height = o.image_width = 16;
  mae::Loader loader(images, o);
  if (images.size() != 10 || images.name(0) != "" ||
      loader.epoch_batches() != 5)
    return failed("dataset");
  const float first = loader.next()[0];
  loader.next();
  loader.seek(0);
  if (loader.next()[0] != first || loader.skipped() != 0)
    return failed("loader");
  mae_trainer_options t = mae::trainer_options();
  t.batch_size = 2;
  mae::Trainer trainer(context, model, t), again(context, model, t);
  mae_fit_options f = mae::fit_options();
  f.epochs = 2;
  f.checkpoint_folder = "fit";
  trainer.fit(loader, f);
  if (trainer.steps() != 10) return failed("fit");
  if (again.resume_latest("fit") != "" || again.steps() != 10)
    return failed("resume_latest");
  return thrown([] { mae::Dataset none("missing"); }) == MAE_ERROR_NOT_FOUND
             ? 0
             : failed("dataset missing");
}

static int evaluate(const mae::Context &context) {
  const float x[] = {-2, -1, 1, 2};
  const int32_t labels[] = {0, 0, 1, 1};
  float weight[2], bias[2], logits[8];
  mae_probe_options options = mae::probe_options();
  options.epochs = 20;
  mae::linear_probe(context, x, labels, 4, 1, 2, weight, bias, options);
  mae::Evaluation probed(2), near(2);
  for (int i = 0; i < 8; i++)
    logits[i] = x[i / 2] * weight[i % 2] + bias[i % 2];
  probed.add(logits, labels, 4);
  mae::knn_classify(context, x, labels, 4, 1, 2, x, 4, logits, 1);
  near.add(logits, labels, 4);
  if (probed.count() != 4 || probed.top5() != 1 || !(probed.loss() > 0))
    return failed("probe");
  return near.top1() == 1 && near.confusion(1, 1) == 2 ? 0 : failed("k-NN");
}

static int labels() {
  mae::Dataset images(4, draw, nullptr);
  if (images.num_classes() != 0 || images.label(0) != -1)
    return failed("labels from nowhere");
  images.set_labels({0, 1, 2, 1}, 3);
  mae_loader_options o = mae::loader_options(MAE_RECIPE_FINETUNE);
  if (o.rand_augment_ops != 2) return failed("loader recipe");
  o.batch_size = 4;
  o.image_height = o.image_width = 16;
  mae::Loader loader(images, o);
  loader.next();
  int sum = 0;
  for (int i = 0; i < 4; i++) sum += loader.labels()[i];
  if (sum != 4 || images.num_classes() != 3 || images.class_name(0) != "")
    return failed("labels");
  if (thrown([&] { images.set_labels({0}, 3); }) !=
          MAE_ERROR_INVALID_ARGUMENT ||
      thrown([] { mae::Dataset::labelled("missing", {"a", "b"}); }) !=
          MAE_ERROR_NOT_FOUND ||
      thrown([&] { images.image(0); }) != MAE_ERROR_UNSUPPORTED)
    return failed("labels refused");
  return 0;
}

int main() try {
  mae_context_options options = mae::context_options();
  options.threads = 2;
  mae::Context context(options);
  if (context.threads() != 2) return failed("threads");
  if (!context.native(MAE_PRECISION_F32)) return failed("f32");
  if (context.native(MAE_PRECISION_BF16) !=
      (mae_context_precision_is_native(context.get(), MAE_PRECISION_BF16) == 1))
    return failed("bf16");
  mae::Model model(small(), 1);
  if (train(model) || files(model) || features(context, model) ||
      fit(context, model) || notes(context, model) || finetune(context) ||
      evaluate(context) || labels())
    return 1;
  mae_config bad = small();
  bad.patch_size = 5;
  if (thrown([&] { mae::Model refused(bad, 1); }) !=
          MAE_ERROR_INVALID_ARGUMENT ||
      thrown([] { mae::Model missing("missing.safetensors"); }) !=
          MAE_ERROR_NOT_FOUND ||
      thrown([] { mae::Image none("missing.png"); }) != MAE_ERROR_NOT_FOUND ||
      thrown([] { mae::Image none("text", 4); }) != MAE_ERROR_FORMAT)
    return failed("exceptions");
  return 0;
} catch (const std::exception &e) {
  return failed(e.what());
}
