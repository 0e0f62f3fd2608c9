// longspan generate: a model goes on with a text.

#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "io/file.h"
#include "model/generation.h"
#include "model/model_files.h"
#include "text/bytes_tokenizer.h"
#include "train/evaluate.h"

namespace longspan::cli {
namespace {

constexpr std::uint64_t kMostPromptBytes = std::uint64_t{1} << 30;

struct GenerateCommand {
  std::string model, prompt, file;
  GenerateOptions options;
  LoadOptions load;
  bool json = false, no_stream = false, no_lm_bias = false;
};

std::string PromptOf(const GenerateCommand& c) {
  if (c.file == "-") {
    return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  }
  return c.file.empty() ? c.prompt : io::ReadWholeFile(c.file, kMostPromptBytes);
}

int RunGenerate(GenerateCommand c, int threads) {
  Context context(threads);
  const std::string prompt = PromptOf(c);
  Check(!prompt.empty(), ErrorCode::kUsage,
        "generate: the prompt is empty; give -p TEXT or --file FILE");
  if (c.no_lm_bias) c.load.lm_bias = false;
  Reformer model = LoadReformer(c.model, c.load);
  CheckByteLanguageModel(model.config(), 1);
  const auto ids = text::BytesTokenizer::Encode(prompt);
  const idx_t seen = c.options.context > 0 ? c.options.context : model.config().longest();
  if (static_cast<idx_t>(ids.size()) > seen) {
    std::fprintf(stderr,
                 "longspan: the prompt has %zu bytes, the model goes on from the last %lld\n",
                 ids.size(), static_cast<long long>(seen));
  }
  c.options.banned = {text::BytesTokenizer::kPad};
  for (idx_t id = text::BytesTokenizer::kVocabulary; id < model.config().vocab_size; ++id) {
    c.options.banned.push_back(static_cast<std::int32_t>(id));  // no byte
  }
  CheckSampling(c.options.sampling);
  const bool stream = !c.json && !c.no_stream;
  if (stream) PrintResult(prompt);
  std::string written;
  Generate(context, model, ids, c.options, [&](std::int32_t id) {
    const std::string byte = text::BytesTokenizer::Decode({&id, 1});
    written += byte;
    if (stream) PrintResult(byte);
    return true;
  });
  if (c.json) {
    nlohmann::ordered_json j;
    j["prompt"] = prompt;
    j["text"] = written;
    j["tokens"] = written.size();
    j["seed"] = c.options.sampling.seed;
    // A model of bytes may stop inside a character.
    PrintResult(j.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else {
    PrintResult(stream ? "\n" : prompt + written + "\n");
  }
  return 0;
}

}  // namespace

void RegisterGenerate(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("generate", "go on with a text");
  const auto c = std::make_shared<GenerateCommand>();
  SamplingOptions& s = c->options.sampling;
  command->add_option("-m,--model", c->model, "model directory")->required();
  auto* prompt = command->add_option("-p,--prompt", c->prompt, "text to go on from");
  command->add_option("-f,--file", c->file, "file with the prompt, - for stdin")->excludes(prompt);
  command->add_option("-n,--tokens", c->options.tokens, "bytes to write")->capture_default_str();
  command->add_option("--temperature,--temp", s.temperature, "0: always the most likely byte")
      ->capture_default_str();
  command->add_option("--top-k", s.top_k, "only the k most likely, 0: all")->capture_default_str();
  command->add_option("--top-p", s.top_p, "only the most likely that together reach p")
      ->capture_default_str();
  command->add_option("--seed", s.seed, "of the draws")->capture_default_str();
  command->add_option("--context", c->options.context, "bytes looked back on, 0: all positions")
      ->capture_default_str();
  command
      ->add_option("--num-hashes", c->load.num_hashes,
                   "rounds of LSH layers, instead of the config's")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--no-lm-bias", c->no_lm_bias,
                    "leave lm_head.bias out, as transformers 5 does");
  command->add_flag("--no-stream", c->no_stream, "print at the end, not byte by byte");
  command->add_flag("--json", c->json, "one JSON document");
  command->footer(
      "Examples:\n  longspan generate -m run -p 'She had been' --tokens 400 --temp 0.7\n"
      "  longspan generate -m run -f chapter.txt --top-p 0.95 --seed 7 --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunGenerate(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
