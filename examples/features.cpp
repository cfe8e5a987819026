// The features of images, by any weights file libmae can read, in C++:
//
//   features_cpp WEIGHTS IMAGE...
//
// prints a line for each image: its path, then the mean of the patch tokens.
// Build:
//
//   c++ features.cpp $(pkg-config --cflags --libs libmae) -o features_cpp
#include <iostream>
#include <libmae/mae.hpp>
#include <vector>

static void print_features(mae::Session &session, const char *path) {
  std::vector<float> features(static_cast<size_t>(session.feature_size()));
  mae::Image image(path);
  session.features(image.get(), 1, features.data());
  std::cout << path;
  for (float value : features) std::cout << ' ' << value;
  std::cout << '\n';
}

int main(int argc, char **argv) {
  if (argc < 3) {
    std::cerr << "usage: features_cpp WEIGHTS IMAGE...\n";
    return 2;
  }
  try {
    mae::Context context;
    mae::Model model(argv[1]);
    mae_session_options options = mae::session_options();
    options.features = MAE_FEATURES_MEAN;
    mae::Session session(context, model, options);
    std::cout.precision(9);
    for (int i = 2; i < argc; i++) print_features(session, argv[i]);
  } catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return std::cout.flush() ? 0 : 1;
}
