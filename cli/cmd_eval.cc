// longspan eval: held-out loss of a language model.

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "longspan/train.h"
#include "model/reformer_config.h"

namespace longspan::cli {
namespace {

struct EvalCommand {
  EvalOptions options;
  std::string model, text;
  bool json = false;
};

int RunEval(EvalCommand c, int threads) {
  Context context(threads);
  c.options.model = c.model;
  c.options.text = c.text;
  const idx_t tokens = std::min(c.options.tokens, LoadReformerConfig(c.model).longest());
  c.options.tokens = tokens;
  const EvalResult r = EvaluateLanguageModel(context, c.options);
  if (c.json) {
    nlohmann::ordered_json j;
    j["bits_per_byte"] = r.bits_per_byte;
    j["loss"] = r.loss;
    j["accuracy"] = r.accuracy;
    j["bytes"] = r.counted;
    j["tokens"] = tokens;
    PrintResult(j.dump(2) + "\n");
  } else {
    PrintResult(
        fmt::format("bits per byte {:.4f} ({} bytes, loss {:.4f} nats, {:.1f} % of the "
                    "bytes foreseen, windows of {})\n",
                    r.bits_per_byte, r.counted, r.loss, 100.0 * r.accuracy, tokens));
  }
  return 0;
}

}  // namespace

void RegisterEval(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("eval", "bits per byte of a language model on a text");
  const auto c = std::make_shared<EvalCommand>();
  command->add_option("-m,--model", c->model, "model directory")->required();
  command->add_option("text", c->text, "text file")->required();
  EvalOptions& o = c->options;
  command->add_option("--held-out", o.held_out, "only this share of the text's end")
      ->capture_default_str();
  command->add_option("--tokens", o.tokens, "window")->capture_default_str();
  command->add_option("--stride", o.stride, "the window's advance, 0: half of it")
      ->capture_default_str();
  command->add_option("--attention", o.attention, "full, local or lsh, instead of the config's");
  command->add_option("--num-hashes", o.num_hashes, "rounds of LSH layers, instead of the config's")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", c->json, "one JSON document");
  command->footer(
      "Examples:\n  longspan eval -m run book.txt --held-out 0.1 --tokens 1024\n"
      "  longspan eval -m run book.txt --num-hashes 4\n"
      "  longspan eval -m run book.txt --attention full");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEval(*c, globals.threads); }; });
}

}  // namespace longspan::cli
