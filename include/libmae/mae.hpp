/*
 * libmae for C++11: the handles of mae.h as objects that destroy themselves,
 * and failures as exceptions.  Nothing else: options, shapes, ownership and
 * threads are as mae.h says, and x.get() is the handle for its C calls, whose
 * status mae::check() turns into an exception.
 *
 *   mae::Context context;
 *   mae::Model model("vit_base.safetensors");
 *   mae::Session session(context, model);
 *   std::vector<float> out(session.feature_size());
 *   mae::Image image("cat.jpg");
 *   session.features(image.get(), 1, out.data());
 */
#ifndef LIBMAE_MAE_HPP
#define LIBMAE_MAE_HPP

#include <libmae/mae.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mae {

/* A failed call: its status, and mae_last_error() as what(). */
class error : public std::runtime_error {
 public:
  /* status, and what() is text. */
  error(mae_status status, const std::string &text)
      : std::runtime_error(text), status_(status) {}
  /* What the call returned. */
  mae_status status() const noexcept { return status_; }

 private:
  mae_status status_;
};

/* Throws an error unless status is MAE_OK. */
inline void check(mae_status status) {
  if (status != MAE_OK) throw error(status, mae_last_error());
}

/* Owns a handle of the library; moves, does not copy. */
template <class T, void (*destroy)(T *)>
class Handle {
 public:
  /* For the calls of mae.h; NULL after a move. */
  T *get() const noexcept { return handle_.get(); }

 protected:
  Handle() = default;
  explicit Handle(T *handle) : handle_(handle) {}
  void own(T *handle) { handle_.reset(handle); }

 private:
  struct Destroy {
    void operator()(T *handle) const noexcept { destroy(handle); }
  };
  std::unique_ptr<T, Destroy> handle_;
};

/* ------------------------------------- options, filled with defaults --- */

inline mae_config config(const char *preset = nullptr) {
  mae_config c;
  check(mae_config_init(&c, sizeof c, preset));
  return c;
}
inline mae_context_options context_options() {
  mae_context_options o;
  mae_context_options_init(&o, sizeof o);
  return o;
}
inline mae_load_options load_options() {
  mae_load_options o;
  mae_load_options_init(&o, sizeof o);
  return o;
}
inline mae_session_options session_options() {
  mae_session_options o;
  mae_session_options_init(&o, sizeof o);
  return o;
}
inline mae_trainer_options trainer_options() {
  mae_trainer_options o;
  mae_trainer_options_init(&o, sizeof o);
  return o;
}
/* A recipe's, for such a model. */
inline mae_trainer_options trainer_options(mae_recipe recipe,
                                           const mae_config &config,
                                           int64_t *epochs = nullptr,
                                           int64_t *warmup_epochs = nullptr) {
  mae_trainer_options o;
  check(mae_trainer_options_recipe(&o, sizeof o, recipe, &config, epochs,
                                   warmup_epochs));
  return o;
}
inline mae_loader_options loader_options() {
  mae_loader_options o;
  mae_loader_options_init(&o, sizeof o);
  return o;
}
/* With a recipe's augmentation. */
inline mae_loader_options loader_options(mae_recipe recipe) {
  mae_loader_options o;
  check(mae_loader_options_recipe(&o, sizeof o, recipe));
  return o;
}
inline mae_fit_options fit_options() {
  mae_fit_options o;
  mae_fit_options_init(&o, sizeof o);
  return o;
}
inline mae_probe_options probe_options() {
  mae_probe_options o;
  mae_probe_options_init(&o, sizeof o);
  return o;
}

/* ------------------------------------------------------------ handles --- */

class Context : public Handle<mae_context, mae_context_destroy> {
 public:
  explicit Context(const mae_context_options &options = context_options()) {
    mae_context *made;
    check(mae_context_create(&options, &made));
    own(made);
  }
  int threads() const { return mae_context_threads(get()); }
  bool native(mae_precision precision) const {
    return mae_context_precision_is_native(get(), precision) != 0;
  }
  /* All entries; none without the option profile. */
  std::vector<mae_profile_entry> profile() const {
    std::vector<mae_profile_entry> entries;
    mae_profile_entry e = mae_profile_entry();
    e.struct_size = sizeof e;
    for (int32_t i = 0; i < mae_context_profile_size(get()); i++) {
      check(mae_context_profile(get(), i, &e));
      entries.push_back(e);
    }
    return entries;
  }
  void reset_profile() { mae_context_profile_reset(get()); }
};

/* What mae_model_import found. */
class LoadReport : public Handle<mae_load_report, mae_load_report_destroy> {
 public:
  LoadReport() = default;
  /* Takes what mae_model_import made. */
  explicit LoadReport(mae_load_report *owned) : Handle(owned) {}
  int count(mae_load_finding finding) const {
    return mae_load_report_count(get(), finding);
  }
  std::string item(mae_load_finding finding, int i) const {
    const char *text = mae_load_report_item(get(), finding, i);
    return text ? text : "";
  }
  mae_layout layout() const { return mae_load_report_layout(get()); }
  std::string format() const { return mae_load_report_format(get()); }
};

class Model : public Handle<mae_model, mae_model_destroy> {
 public:
  Model(const mae_config &config, uint64_t seed) {
    mae_model *made;
    check(mae_model_create(&config, seed, &made));
    own(made);
  }
  /* Any weights file; report, when given, is set even if this throws for
   * tensors that are missing or misshapen. */
  explicit Model(const std::string &path,
                 const mae_load_options &options = load_options(),
                 LoadReport *report = nullptr) {
    mae_model *made;
    mae_load_report *found = nullptr;
    mae_status status = mae_model_import(path.c_str(), &options, &made,
                                         report ? &found : nullptr);
    if (report) *report = LoadReport(found);
    check(status);
    own(made);
  }
  mae_config config() const {
    mae_config c = mae::config();
    check(mae_model_config(get(), &c));
    return c;
  }
  void resize(int height, int width) {
    check(mae_model_resize(get(), height, width));
  }
  void save(const std::string &path) const {
    check(mae_model_save(get(), path.c_str()));
  }
  void export_to(const std::string &path, mae_layout layout,
                 mae_dtype dtype = MAE_DTYPE_F32) const {
    check(mae_model_export(get(), layout, dtype, path.c_str()));
  }
  /* mae_model_classifier */
  Model classifier(int num_classes, bool global_pool, uint64_t seed) const {
    mae_model *made;
    check(mae_model_classifier(get(), num_classes, global_pool, seed, &made));
    return Model(made);
  }
  /* One for each class; empty: none. */
  std::vector<std::string> class_names() const {
    std::vector<std::string> names;
    for (int i = 0; const char *name = mae_model_class_name(get(), i); i++)
      names.push_back(name);
    return names;
  }
  void set_class_names(const std::vector<std::string> &names) {
    if (!names.empty()) require(names.size(), config().num_classes);
    std::vector<const char *> texts;
    for (const std::string &name : names) texts.push_back(name.c_str());
    check(mae_model_set_class_names(get(), names.empty() ? nullptr
                                                         : texts.data()));
  }
  /* False, and nothing written, when the model does not say. */
  bool normalization(std::vector<float> *mean,
                     std::vector<float> *deviation) const {
    const std::size_t chans = static_cast<std::size_t>(config().in_chans);
    std::vector<float> m(chans), s(chans);
    mae_status status = mae_model_normalization(get(), m.data(), s.data());
    if (status == MAE_ERROR_NOT_FOUND) return false;
    check(status);
    mean->swap(m);
    deviation->swap(s);
    return true;
  }
  void set_normalization(const std::vector<float> &mean,
                         const std::vector<float> &deviation) {
    require(mean.size(), config().in_chans);
    require(deviation.size(), config().in_chans);
    check(mae_model_set_normalization(get(), mean.data(), deviation.data()));
  }

 private:
  explicit Model(mae_model *owned) : Handle(owned) {}
  static void require(std::size_t size, int32_t wanted) {
    if (size != static_cast<std::size_t>(wanted))
      throw error(MAE_ERROR_INVALID_ARGUMENT,
                  "a list of another length than the model's");
  }
};

/* A decoded image file. */
class Image {
 public:
  explicit Image(const std::string &path) : image_() {
    check(mae_image_load(path.c_str(), &image_));
  }
  Image(const void *data, size_t size) : image_() {
    check(mae_image_decode(data, size, &image_));
  }
  /* Takes over what one of the library's calls filled in. */
  explicit Image(const mae_image &owned) noexcept : image_(owned) {}
  /* Takes what other has. */
  Image(Image &&other) noexcept : image_(other.image_) {
    other.image_ = mae_image();
  }
  /* Swaps. */
  Image &operator=(Image &&other) noexcept {
    std::swap(image_, other.image_);
    return *this;
  }
  ~Image() { mae_image_free(&image_); }
  /* The pixels, owned by this object. */
  const mae_image *get() const noexcept { return &image_; }

 private:
  mae_image image_;
};

/* The context and the model must outlive it. */
class Session : public Handle<mae_session, mae_session_destroy> {
 public:
  Session(const Context &context, const Model &model,
          const mae_session_options &options = session_options()) {
    mae_session *made;
    check(mae_session_create(context.get(), model.get(), &options, &made));
    own(made);
  }
  int64_t feature_size() const { return mae_session_feature_size(get()); }
  void features(const float *images, int64_t n, void *out,
                const float *noise = nullptr) {
    check(mae_session_features(get(), images, n, noise, out));
  }
  void features(const mae_image *images, int64_t n, void *out) {
    check(mae_features_u8(get(), images, n, out));
  }
  void preprocess(const mae_image *image, float *out) {
    check(mae_session_preprocess(get(), image, out));
  }
  void reconstruct(const float *images, int64_t n, float *out,
                   float *mask = nullptr, const float *noise = nullptr) {
    check(mae_session_reconstruct(get(), images, n, noise, out, mask));
  }
};

class Dataset : public Handle<mae_dataset, mae_dataset_destroy> {
 public:
  explicit Dataset(const std::string &path) {
    mae_dataset *made;
    check(mae_dataset_open(path.c_str(), &made));
    own(made);
  }
  Dataset(int64_t count, mae_fetch fetch, void *arg) {
    mae_dataset *made;
    check(mae_dataset_from_callback(count, fetch, arg, &made));
    own(made);
  }
  /* mae_dataset_open_labelled; with class_names, in their numbering. */
  static Dataset labelled(const std::string &path,
                          const std::vector<std::string> &class_names =
                              std::vector<std::string>()) {
    std::vector<const char *> names;
    for (const std::string &name : class_names) names.push_back(name.c_str());
    mae_dataset *made;
    check(mae_dataset_open_labelled(path.c_str(),
                                    names.empty() ? nullptr : names.data(),
                                    static_cast<int32_t>(names.size()),
                                    &made));
    return Dataset(made);
  }
  void set_labels(const std::vector<int32_t> &labels, int num_classes) {
    if (static_cast<int64_t>(labels.size()) != size())
      throw error(MAE_ERROR_INVALID_ARGUMENT, "a label for each image");
    check(mae_dataset_set_labels(get(), labels.data(), num_classes, nullptr));
  }
  int num_classes() const { return mae_dataset_num_classes(get()); }
  std::string class_name(int c) const {
    const char *name = mae_dataset_class_name(get(), c);
    return name ? name : "";
  }
  int label(int64_t i) const { return mae_dataset_label(get(), i); }
  Image image(int64_t i) const {
    mae_image decoded = mae_image();
    check(mae_dataset_load_image(get(), i, &decoded));
    return Image(decoded);
  }
  int64_t size() const { return mae_dataset_size(get()); }
  std::string name(int64_t i) const { return mae_dataset_name(get(), i); }

 private:
  explicit Dataset(mae_dataset *owned) { own(owned); }
};

/* The dataset must outlive it. */
class Loader : public Handle<mae_loader, mae_loader_destroy> {
 public:
  explicit Loader(const Dataset &dataset,
                  const mae_loader_options &options = loader_options()) {
    mae_loader *made;
    check(mae_loader_create(dataset.get(), &options, &made));
    own(made);
  }
  int64_t epoch_batches() const { return mae_loader_epoch_batches(get()); }
  void seek(uint64_t image) { check(mae_loader_seek(get(), image)); }
  const float *next() {
    const float *images;
    check(mae_loader_next(get(), &images));
    return images;
  }
  /* Of the batch that next() lent last; null without labels. */
  const int32_t *labels() const { return mae_loader_labels(get()); }
  int64_t skipped() const { return mae_loader_skipped(get()); }
};

/* The context and the model must outlive it. */
class Trainer : public Handle<mae_trainer, mae_trainer_destroy> {
 public:
  Trainer(const Context &context, Model &model,
          const mae_trainer_options &options = trainer_options()) {
    mae_trainer *made;
    check(mae_trainer_create(context.get(), model.get(), &options, &made));
    own(made);
  }
  mae_step_result step(const float *images, const float *noise = nullptr) {
    mae_step_result result = mae_step_result();
    result.struct_size = sizeof result;
    check(mae_trainer_step(get(), images, noise, &result));
    return result;
  }
  /* Of a classifier. */
  mae_step_result step_labels(const float *images, const int32_t *labels) {
    return step_classifier(images, labels, nullptr);
  }
  /* The same, of rows of probabilities. */
  mae_step_result step_targets(const float *images, const float *targets) {
    return step_classifier(images, nullptr, targets);
  }
  /* Lent by the trainer; null without ema_decay. */
  const mae_model *ema_model() const { return mae_trainer_ema_model(get()); }
  /* What its arg points to must outlive the trainer. */
  void set_communicator(const mae_communicator *communicator) {
    check(mae_trainer_set_communicator(get(), communicator));
  }
  void fit(Loader &loader, const mae_fit_options &options = fit_options()) {
    check(mae_trainer_fit(get(), loader.get(), &options));
  }
  int64_t steps() const { return mae_trainer_steps(get()); }
  void save(const std::string &path) const {
    check(mae_trainer_save(get(), path.c_str()));
  }
  void resume(const std::string &path) {
    check(mae_trainer_resume(get(), path.c_str()));
  }
  /* Returns what was passed over as damaged, or "". */
  std::string resume_latest(const std::string &folder) {
    char note[1024] = "";
    check(mae_trainer_resume_latest(get(), folder.c_str(), note, sizeof note));
    return note;
  }

 private:
  mae_step_result step_classifier(const float *images, const int32_t *labels,
                                  const float *targets) {
    mae_step_result result = mae_step_result();
    result.struct_size = sizeof result;
    check(mae_trainer_step_labels(get(), images, labels, targets, &result));
    return result;
  }
};

/* How well a classifier does on the images added so far. */
class Evaluation : public Handle<mae_evaluation, mae_evaluation_destroy> {
 public:
  explicit Evaluation(int num_classes) {
    mae_evaluation *made;
    check(mae_evaluation_create(num_classes, &made));
    own(made);
  }
  void add(const float *logits, const int32_t *labels, int64_t n) {
    check(mae_evaluation_add(get(), logits, labels, n));
  }
  int64_t count() const { return mae_evaluation_count(get()); }
  double top1() const { return mae_evaluation_top1(get()); }
  double top5() const { return mae_evaluation_top5(get()); }
  double loss() const { return mae_evaluation_loss(get()); }
  int64_t confusion(int truth, int predicted) const {
    return mae_evaluation_confusion(get(), truth, predicted);
  }
};

/* Features of a frozen encoder into a linear head, or by their neighbours. */
inline void linear_probe(const Context &context, const float *features,
                         const int32_t *labels, int64_t n, int64_t width,
                         int num_classes, float *weight, float *bias,
                         const mae_probe_options &options = probe_options()) {
  check(mae_linear_probe(context.get(), features, labels, n, width,
                         num_classes, &options, weight, bias));
}
inline void knn_classify(const Context &context, const float *train,
                         const int32_t *labels, int64_t n, int64_t width,
                         int num_classes, const float *queries, int64_t m,
                         float *out, int k = 20, double temperature = 0.07) {
  check(mae_knn_classify(context.get(), train, labels, n, width, num_classes,
                         queries, m, k, temperature, out));
}

} /* namespace mae */

#endif
