// longspan convert: other people's weights as safetensors, and BERT or RoBERTa made long.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/waiting.h"
#include "longspan/counted.h"
#include "longspan/folders.h"

namespace longspan::cli {
namespace {

struct ConvertCommand {
  std::string in, out;
  ConvertOptions options;
  bool json = false;
};

std::string Describe(const ConvertCommand& o, const ConvertReport& r) {
  std::string text = fmt::format("{}: {}, {:.1f} MB", o.out, Counted(r.tensors, "tensor"),
                                 static_cast<double>(r.bytes) * 1e-6);
  if (r.shards > 1) text += fmt::format(" in {} shards", r.shards);
  if (!r.copied.empty()) text += ", " + Counted(r.copied.size(), "other file");
  text += "\n";
  if (o.options.to.empty()) return text;
  return text + fmt::format(
                    "{} for {} tokens is now {} for {}, window {} on each side "
                    "(attention_window {})\n",
                    r.from, r.old_tokens, r.to, o.options.max_tokens, o.options.window,
                    2 * o.options.window);
}

std::string Json(const ConvertCommand& o, const ConvertReport& r) {
  nlohmann::ordered_json j;
  j["output"] = o.out;
  j["from"] = r.from;
  j["to"] = r.to;
  j["tensors"] = r.tensors;
  j["bytes"] = r.bytes;
  j["shards"] = r.shards;
  if (!o.options.to.empty()) {
    j["old_max_tokens"] = r.old_tokens;
    j["max_tokens"] = o.options.max_tokens;
    j["window"] = o.options.window;
  }
  j["copied"] = r.copied;
  j["warnings"] = r.warnings;
  return DumpJson(j);
}

int RunConvert(const ConvertCommand& o, int threads) {
  Context context(threads);
  Waiting waiting("converting " + o.in);
  const ConvertReport report = ConvertModel(context, o.in, o.out, o.options);
  waiting.End();
  for (const std::string& warning : report.warnings) TellWarning(warning);
  PrintResult(o.json ? Json(o, report) : Describe(o, report));
  return 0;
}

}  // namespace

void RegisterConvert(CLI::App* command, const Globals& globals, Action& action) {
  const auto o = std::make_shared<ConvertCommand>();
  command->add_option("IN", o->in, "Folder of a model, or one file of weights")->required();
  command->add_option("OUT", o->out, "Folder to write, which must not exist yet")->required();
  auto* to = command->add_option(
      "--to", o->options.to,
      fmt::format("Architecture to convert a BERT, RoBERTa or MiniLM to: {}", ConvertTargets()));
  command->add_option("--max-pos", o->options.max_tokens, "Longest text in tokens")
      ->capture_default_str()
      ->needs(to);
  command
      ->add_option("--window", o->options.window,
                   "Keys that a token sees on each side, half of attention_window")
      ->capture_default_str()
      ->needs(to);
  command
      ->add_option("--max-shard-size", o->options.most_bytes,
                   "Largest file of tensors: 5GB, 500MB, 1GiB")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(true))
      ->default_str("5GB");
  command->add_flag("--json", o->json, "Print one JSON document");
  command->footer(
      "Reads model.safetensors, its shards, pytorch_model.bin (zip or legacy; nothing in it is\n"
      "executed) and its shards. Tokenizer, pooling and other files are copied. The output is\n"
      "complete or absent; nothing is overwritten.\nExamples:\n"
      "  longspan convert old-model new-model\n"
      "  longspan convert old-model new-model --max-shard-size 500MB\n"
      "  longspan convert roberta-base long --to longformer --max-pos 4096 --window 256\n"
      "  longspan convert all-MiniLM-L6-v2 long-minilm --to longformer --max-pos 4096");
  command->callback([o, &globals, &action] {
    action = [o, &globals] { return RunConvert(*o, globals.threads); };
  });
}

}  // namespace longspan::cli
