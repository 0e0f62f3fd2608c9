// witten_bell [--order 3] [--held-out 0.1] FILE
// Bits per byte of a Witten-Bell byte n-gram model on the end of a file, trained on its beginning.
#include "text/witten_bell.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "base/errors.h"
#include "io/file.h"

int main(int argc, char** argv) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;
  CLI::App app(
      "Bits per byte of a Witten-Bell byte n-gram model: the end of FILE, predicted from "
      "counts of its beginning.");
  std::string file;
  int order = 3;
  double held_out = 0.1;
  app.add_option("FILE", file, "any file")->required();
  app.add_option("--order", order, "longest context, in bytes")->capture_default_str();
  app.add_option("--held-out", held_out, "part of the file, from its end, that is predicted")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
    const std::string text = longspan::io::ReadWholeFile(file, kMostBytes);
    const longspan::text::Split split = longspan::text::SplitText(text, held_out);
    longspan::text::WittenBell model(order);
    model.Train(split.train);
    const std::string line = fmt::format(
        "bits per byte {:.4f} (order-{} Witten-Bell, trained on {} bytes, {} held out)\n",
        model.BitsPerByte(split.held_out), order, split.train.size(), split.held_out.size());
    return std::fputs(line.c_str(), stdout) >= 0 && std::fflush(stdout) == 0 ? 0 : 4;
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(longspan::ErrorCode::kUsage);
  } catch (const longspan::Error& error) {
    std::fputs(fmt::format("witten_bell: {}\n", error.what()).c_str(), stderr);
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fputs(fmt::format("witten_bell: {}\n", error.what()).c_str(), stderr);
    return static_cast<int>(longspan::ErrorCode::kLimit);
  }
}
