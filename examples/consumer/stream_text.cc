// Continues a prompt and prints the text while it is written. Ctrl-C ends it, with what is there.
//   stream_text MODEL PROMPT [TOKENS]
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "longspan/context.h"
#include "longspan/error.h"
#include "longspan/generate.h"

namespace {

std::atomic<bool> cancelled = false;

void Stream(const std::string& folder, const std::string& prompt, longspan::idx_t tokens) {
  const longspan::Model model = longspan::Model::Load(folder);
  longspan::Context context;
  context.CancelWhen(&cancelled);
  longspan::GenerateOptions options;
  options.tokens = tokens;
  options.sampling.temperature = 0.7;
  options.stops = {"\n\n"};  // a paragraph
  const auto print = [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
    return true;  // false would end the text
  };
  const longspan::GeneratedText text = longspan::Generate(context, model, prompt, options, print);
  std::printf("\n");
  std::fprintf(stderr, "%zu tokens, ended by %s\n", text.tokens.size(),
               longspan::EndingName(text.ending));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr, "usage: stream_text MODEL PROMPT [TOKENS]\n");
    return 2;
  }
  std::signal(SIGINT, [](int) { cancelled = true; });
  try {
    Stream(argv[1], argv[2], argc == 4 ? std::atoll(argv[3]) : 200);
    return 0;
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "\nstream_text: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
