// longspan eval: what a model is worth on data that it has not seen.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/eval_reports.h"
#include "cli/predictions_file.h"
#include "cli/train_options.h"
#include "cli/training.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "longspan/files.h"
#include "longspan/train.h"

namespace longspan::cli {
namespace {

constexpr idx_t kReformerTokens = 512;

struct EvalCommand {
  EvalOptions options;
  MaskedLmOptions mlm;
  std::string model, data, predictions, global = "auto", attention, documents = "file";
  std::string overflow = "error";
  std::uint64_t seed = 1;
  bool no_lm_bias = false, json = false;
};

std::string JudgeLanguageModel(Context& context, const EvalCommand& c) {
  EvalOptions options = c.options;
  options.model = c.model;
  options.text = c.data;
  const idx_t tokens = options.tokens == 0 ? kReformerTokens : options.tokens;
  options.tokens = std::min(tokens, ReadModelInfo(c.model).longest);
  EvalProgress progress("evaluated");
  progress.Watch(context);
  const EvalResult r = EvaluateLanguageModel(context, options);
  progress.Finish();
  TellNotes(r.notes);
  if (!c.json) {
    return fmt::format(
        "bits per byte {:.4f} ({} bytes, {} tokens, loss {:.4f} nats a token, {:.1f} % of them "
        "foreseen, windows of {})\n",
        r.bits_per_byte, r.bytes, r.counted, r.loss, 100.0 * r.accuracy, options.tokens);
  }
  nlohmann::ordered_json j;
  j["bits_per_byte"] = r.bits_per_byte;
  j["loss"] = r.loss;
  j["accuracy"] = r.accuracy;
  j["bytes"] = r.bytes;
  j["predicted"] = r.counted;
  j["tokens"] = options.tokens;
  return DumpJson(j);
}

// What only language models of bytes know must not be ignored in silence.
void CheckByteOptions(const EvalCommand& c, const ModelInfo& info) {
  Check(!c.options.reformer.strict && c.options.stride == 0, ErrorCode::kUsage,
        "eval: --strict and --stride are for language models of bytes, not for a {}",
        info.class_name);
  Check(c.options.reformer.lm_bias || info.head == HeadKind::kMaskedLm, ErrorCode::kUsage,
        "eval: --no-lm-bias is for language models, not for a {}", info.class_name);
}

std::string JudgeMaskedLm(Context& context, const EvalCommand& c) {
  MaskedLmEvalOptions o;
  o.model = c.model;
  o.text = c.data;
  o.held_out = c.options.held_out;
  o.tokens = c.options.tokens;
  o.seed = c.seed;
  o.task = c.mlm;
  o.data = c.options.data;
  o.task.documents = ParseDocuments(c.documents);
  o.task.global = GlobalRule::Parse(c.global);
  o.reformer = c.options.reformer;
  EvalProgress progress("evaluated");
  progress.Watch(context);
  const MaskedLmEval result = EvaluateMaskedLm(context, o);
  progress.Finish();
  TellNotes(result.notes);
  return MaskedLmReport(result, c.json);
}

std::string JudgeClassifier(Context& context, const EvalCommand& c) {
  ClassifierEvalOptions o;
  o.model = c.model;
  o.file = c.data;
  o.tokens = c.options.tokens;
  o.task.overflow = OverflowOf(c.overflow);
  o.task.global = GlobalRule::Parse(c.global);
  o.reformer = c.options.reformer;
  o.data = c.options.data;
  std::optional<PredictionsFile> file;
  if (!c.predictions.empty()) file.emplace(c.predictions, c.data, c.model);
  EvalProgress progress("evaluated");
  progress.Watch(context);
  Predictions predictions;
  const ClassifierEval result = EvaluateClassifier(context, o, &predictions);
  progress.Finish();
  TellNotes(result.notes);
  if (file) file->Write(result, predictions);
  return ClassifierReport(result, predictions, c.json);
}

int RunEval(EvalCommand c, int threads) {
  c.options.reformer.lm_bias = !c.no_lm_bias;
  c.options.reformer.attention = ParseAttention(c.attention);
  Context context(threads);
  const ModelInfo info = ReadModelInfo(c.model);
  Check(!c.mlm.packed || info.head == HeadKind::kMaskedLm, ErrorCode::kUsage,
        "eval: --packed is for masked language models, not for a {}", info.class_name);
  Check(c.predictions.empty() || info.head == HeadKind::kSequence, ErrorCode::kUsage,
        "eval: --predictions is for classifiers of texts, not for a {}", info.class_name);
  if (info.head != HeadKind::kCausalLm) CheckByteOptions(c, info);
  switch (info.head) {
    case HeadKind::kCausalLm:
      PrintResult(JudgeLanguageModel(context, c));
      return 0;
    case HeadKind::kMaskedLm:
      PrintResult(JudgeMaskedLm(context, c));
      return 0;
    case HeadKind::kSequence:
      PrintResult(JudgeClassifier(context, c));
      return 0;
    default:
      Fail(ErrorCode::kFormat,
           "{}: is a {}; eval measures language models and classifiers of texts",
           io::Escape(c.model), info.class_name);
  }
}

void AddLanguageModelOptions(CLI::App* command, EvalCommand* c) {
  EvalOptions& o = c->options;
  command
      ->add_option("--held-out", o.held_out,
                   "Share of the text's end that is measured, for language models")
      ->capture_default_str();
  command
      ->add_option("--stride", o.stride,
                   "Tokens from window to window of a Reformer; 0 takes half a window")
      ->capture_default_str();
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  command
      ->add_option("--num-hashes", o.reformer.num_hashes,
                   "Hash rounds of a Reformer's LSH layers (default: the config's)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--no-lm-bias", c->no_lm_bias,
                    "Leave out the head's bias of a Reformer, as transformers 5.0 to 5.23 do");
  command->add_flag("--strict", o.reformer.strict,
                    "Pad and refuse windows of a Reformer of bytes as transformers does");
  command
      ->add_option("--documents", c->documents,
                   "Where a document ends, for masked LMs: file, blank-line or line")
      ->capture_default_str();
  command->add_flag("--packed", c->mlm.packed,
                    "Fill rows of masked LMs with whole documents that do not see each other");
  command
      ->add_option("--mask-share", c->mlm.mask_share, "Share of the tokens that masked LMs guess")
      ->capture_default_str();
  command->add_option("--seed", c->seed, "Seed of the masks of masked LMs")->capture_default_str();
}

}  // namespace

void RegisterEval(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<EvalCommand>();
  c->options.tokens = 0;
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of the model that is measured")->required();
  command
      ->add_option("FILE", c->data,
                   "Text, table, JSON or folder of them; with labels for classifiers")
      ->required();
  command
      ->add_option("--tokens", c->options.tokens,
                   "Longest row in tokens; 0 takes all positions of the model (512 of a Reformer)")
      ->capture_default_str();
  BeginGroup(command, heading::kRows);
  AddLanguageModelOptions(command, c.get());
  AddReadOptions(command, &c->options.data);
  AddLabelOptions(command, &c->options.data);
  BeginGroup(command, heading::kRows);
  AddOverflowOption(command, &c->overflow);
  AddGlobalOption(command, "as in training", &c->global);
  BeginGroup(command, heading::kOutput);
  command
      ->add_option("--predictions", c->predictions,
                   "Classifiers: write what each text has and gets (.jsonl, .csv)")
      ->type_name("FILE");
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Examples:\n  longspan eval -m run book.txt --held-out 0.1 --tokens 256\n"
      "  longspan eval -m run book.txt --held-out 0.1 --attention full\n"
      "  longspan eval -m adapted other.txt --tokens 512\n"
      "  longspan eval -m judge test.csv --json\n"
      "  longspan eval -m judge test.csv --predictions judged.csv");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEval(*c, globals.threads); }; });
}

}  // namespace longspan::cli
