// longspan convert: other people's weights as safetensors, and BERT or RoBERTa made long.

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "io/escape.h"
#include "io/json.h"
#include "model/to_longformer.h"
#include "tasks/sentence_folder.h"

namespace longspan::cli {
namespace {

struct ConvertOptions {
  std::string in, out, to;
  ToLongformerOptions longformer;
  bool json = false;
};

std::string Describe(const ConvertOptions& o, const ConvertReport& r) {
  std::string text = fmt::format("{}: {} tensors, {:.1f} MB", o.out, r.tensors,
                                 static_cast<double>(r.bytes) * 1e-6);
  if (r.shards > 1) text += fmt::format(" in {} shards", r.shards);
  if (!r.copied.empty()) text += fmt::format(", {} other files", r.copied.size());
  text += "\n";
  if (o.to.empty()) return text;
  return text + fmt::format(
                    "{} for {} tokens is now {} for {}, window {} on each side "
                    "(attention_window {})\n",
                    r.from, r.old_tokens, r.to, o.longformer.max_tokens, o.longformer.window,
                    2 * o.longformer.window);
}

std::string Json(const ConvertOptions& o, const ConvertReport& r) {
  nlohmann::ordered_json j;
  j["output"] = o.out;
  j["from"] = r.from;
  j["to"] = r.to;
  j["tensors"] = r.tensors;
  j["bytes"] = r.bytes;
  j["shards"] = r.shards;
  if (!o.to.empty()) {
    j["old_max_tokens"] = r.old_tokens;
    j["max_tokens"] = o.longformer.max_tokens;
    j["window"] = o.longformer.window;
  }
  j["copied"] = r.copied;
  j["warnings"] = r.warnings;
  return io::DumpJson(j);
}

// As `embed` opens it.
void CheckEmbeds(const std::filesystem::path& folder, idx_t channels) {
  try {
    ReadSentenceFolder(folder, channels);
  } catch (const Error& error) {
    throw Error(error.code(), std::string("embed cannot use what was converted: ") + error.what());
  }
}

int RunConvert(const ConvertOptions& o) {
  Waiting waiting("converting " + o.in);
  const ConvertReport report = o.to.empty()
                                   ? RewriteModel(o.in, o.out, o.longformer.most_bytes, CheckEmbeds)
                                   : ToLongformer(o.in, o.out, o.longformer, CheckEmbeds);
  waiting.End();
  for (const std::string& warning : report.warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  PrintResult(o.json ? Json(o, report) : Describe(o, report));
  return 0;
}

}  // namespace

void RegisterConvert(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto o = std::make_shared<ConvertOptions>();
  command->add_option("IN", o->in, "Folder of a model, or one file of weights")->required();
  command->add_option("OUT", o->out, "Folder to write, which must not exist yet")->required();
  auto* to = command
                 ->add_option("--to", o->to,
                              "Architecture to convert a BERT, RoBERTa or MiniLM to: longformer")
                 ->check(CLI::IsMember({"longformer"}));
  command->add_option("--max-pos", o->longformer.max_tokens, "Longest text in tokens")
      ->capture_default_str()
      ->needs(to);
  command
      ->add_option("--window", o->longformer.window,
                   "Keys that a token sees on each side, half of attention_window")
      ->capture_default_str()
      ->needs(to);
  command
      ->add_option("--max-shard-size", o->longformer.most_bytes,
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
  command->callback([o, &action] { action = [o] { return RunConvert(*o); }; });
}

}  // namespace longspan::cli
