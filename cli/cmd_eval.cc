// longspan eval: what a model is worth on data that it has not seen.

#include <algorithm>
#include <iterator>
#include <memory>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/option_checks.h"
#include "cli/pair_options.h"
#include "cli/predictions_file.h"
#include "cli/ranks.h"
#include "cli/shared_texts.h"
#include "cli/train_options.h"
#include "cli/visual/output.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

// What is measured; EvalOptionRow::of is a set of them.
enum EvalKind : unsigned {
  kLm = 1,
  kMlm = 2,
  kClasses = 4,
  kTags = 8,
  kAnswers = 16,
  kChoices = 32,
  kVectors = 64,
  kRelevance = 128,
};

struct HeadEval {
  const char* task;  // that --task names; others are what `auto` takes for their head
  HeadKind head;
  EvalKind kind;
  JudgeHead* judge;
};

constexpr HeadEval kHeadEvals[] = {
    {"auto", HeadKind::kCausalLm, kLm, JudgeLanguageModel},
    {"auto", HeadKind::kMaskedLm, kMlm, JudgeMaskedLm},
    {"auto", HeadKind::kSequence, kClasses, JudgeClassifier},
    {"auto", HeadKind::kToken, kTags, JudgeTokenClassifier},
    {"auto", HeadKind::kQuestion, kAnswers, JudgeAnswers},
    {"auto", HeadKind::kChoice, kChoices, JudgeChoices},
    {"embed", HeadKind::kNone, kVectors, JudgeEmbedder},
    {"rerank", HeadKind::kSequence, kRelevance, JudgeReranker},
};

// An option that not every evaluation heeds: whose it is, and how a message says that.
struct EvalOptionRow {
  const char* name;
  unsigned of;
  const char* users;
};

constexpr EvalOptionRow kEvalOptions[] = {
    {"--held-out", kLm | kMlm, "language models and masked ones"},
    {"--step", kLm, "language models"},
    {"--stride", kClasses | kTags | kAnswers,
     "tasks over whole texts (of language models --step is how far a window advances)"},
    {"--no-lm-bias", kLm | kMlm, "language models"},
    {"--strict", kLm, "language models of bytes"},
    {"--documents", kMlm, "masked language models"},
    {"--packed", kMlm, "masked language models"},
    {"--mask-share", kMlm, "masked language models"},
    {"--seed", kMlm, "masked language models"},
    {"--text-column", ~(kVectors | kRelevance), "texts without columns of their own"},
    {"--text-pair-column", kClasses, "classifiers"},
    {"--label-column", kClasses | kChoices, "classifiers and multiple choice"},
    {"--token-column", kTags, "classes of words"},
    {"--tag-column", kTags, "classes of words"},
    {"--span-field", kTags, "classes of words"},
    {"--label-names", kTags, "classes of words"},
    {"--columns", kVectors | kRelevance, "embedders and rerankers"},
    {"--scored-columns", kVectors, "embedders"},
    {"--list-columns", kRelevance, "rerankers"},
    {"--overflow", ~(kLm | kMlm), "tasks over whole texts"},
    {"--max-answer", kAnswers, "answers to questions"},
    {"--global", ~kLm, "models with global tokens"},
    {"--predictions", kClasses | kTags | kAnswers | kChoices,
     "models that say something of each text"},
};

// An option that has no effect must not be ignored in silence.
void CheckOptions(const EvalCommand& c, EvalKind kind, const ModelInfo& info) {
  for (const EvalOptionRow& row : kEvalOptions) {
    Check(
        (row.of & kind) != 0 || c.command->get_option(row.name)->count() == 0, ErrorCode::kUsage,
        "eval: {} is for {}, not for {}", row.name, row.users,
        c.task == "auto" ? fmt::format("a {}", info.class_name) : fmt::format("--task {}", c.task));
  }
}

// What needs no model, before anything of it is read.
void CheckAlone(const EvalCommand& c) {
  GlobalRule::Parse(c.global);
  if (!c.overflow.empty()) text::ParseOverflow(c.overflow, text::kRowOverflows);
  ParseDocuments(c.documents);
  if (!c.predictions.empty()) PredictionsFile::CheckPlace(c.predictions, c.data, c.model);
}

int RunEval(EvalCommand c, const Globals& globals) {
  CheckAlone(c);
  c.options.reformer.lm_bias = !c.no_lm_bias;
  c.options.reformer.attention = ParseAttention(c.attention);
  Context context = RankContext(globals);
  const ModelInfo info = ReadModelInfo(c.model);
  const auto* eval = std::find_if(
      std::begin(kHeadEvals), std::end(kHeadEvals),
      [&](const HeadEval& e) { return c.task == "auto" ? e.head == info.head : e.task == c.task; });
  Check(eval != std::end(kHeadEvals), ErrorCode::kFormat,
        "{}: is a {}, without a head that could be measured; longspan train makes one",
        io::Escape(c.model), info.class_name);
  CheckOptions(c, eval->kind, info);
  NothingIsSaved();
  if (StartRanks().size() > 1) CheckSameFacts(StartRanks(), AnswerFacts(*c.command, c.model));
  const std::string report = eval->judge(context, c);
  if (Speaks()) PrintResult(report);
  return 0;
}

void AddLanguageModelOptions(CLI::App* command, EvalCommand* c) {
  EvalOptions& o = c->options;
  command
      ->add_option("--held-out", o.held_out,
                   "Share of the end that language models are measured on")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("FLOAT")
      ->capture_default_str();
  command->add_option("--step", o.stride, "Advance of a language model's windows; 0: half a window")
      ->check(AtLeast(0))
      ->capture_default_str();
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  command
      ->add_option("--num-hashes", o.reformer.num_hashes,
                   "Hash rounds of a Reformer's LSH layers (default: the config's)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--no-lm-bias", c->no_lm_bias,
                    "Leave out a Reformer's head bias, as transformers 5.0 to 5.23 do");
  command->add_flag("--strict", o.reformer.strict,
                    "Pad and refuse windows of a Reformer of bytes as transformers does");
  command
      ->add_option("--documents", c->documents,
                   "Where a document ends, for masked LMs: file, blank-line or line")
      ->capture_default_str();
  command->add_flag("--packed", c->mlm.packed, "Fill rows of masked LMs with whole documents");
  command
      ->add_option("--mask-share", c->mlm.mask_share, "Share of the tokens that masked LMs guess")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("FLOAT")
      ->capture_default_str();
  command->add_option("--seed", c->seed, "Seed of the masks of masked LMs")->capture_default_str();
}

}  // namespace

void RegisterEval(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<EvalCommand>();
  c->options.tokens = 0;
  c->command = command;
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of the model that is measured")->required();
  command
      ->add_option(
          "FILE", c->data,
          "Text, table, JSON or folder of them; with labels, answers or pairs where a model "
          "needs them")
      ->required();
  command
      ->add_option("--tokens", c->options.tokens,
                   "Longest row in tokens; 0 takes what the model's files say, else all positions "
                   "(512 of a Reformer language model)")
      ->check(AtLeast(0))
      ->capture_default_str();
  command->add_option("--task", c->task, "What is measured: embed, rerank, or the head's task")
      ->check(CLI::IsMember({"auto", "embed", "rerank"}))
      ->type_name("NAME")
      ->capture_default_str();
  BeginGroup(command, heading::kRows);
  AddLanguageModelOptions(command, c.get());
  AddReadOptions(command, &c->options.data);
  AddLabelOptions(command, &c->options.data);
  AddTokenClassFields(command, &c->fields);
  AddColumnsOfAnyRows(command, &c->pairs, &c->list_columns);
  BeginGroup(command, heading::kRows);
  command->add_option("--overflow", c->overflow,
                      "Longer texts: window, truncate or error (default: by the task)");
  command
      ->add_option("--stride", c->stride,
                   "Tokens that windows share (default: 0; questions: 128, or half)")
      ->check(AtLeast(0));
  command->add_option("--max-answer", c->longest_answer, "Longest answer to a question in tokens")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  AddGlobalOption(command, "what the head needs", &c->global);
  BeginGroup(command, heading::kOutput);
  command
      ->add_option("--predictions", c->predictions,
                   "Write what each text has and gets (.jsonl, .csv, .tsv)")
      ->type_name("FILE");
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Examples:\n  longspan eval -m run book.txt --held-out 0.1 --tokens 256\n"
      "  longspan eval -m run book.txt --held-out 0.1 --attention full\n"
      "  longspan eval -m adapted other.txt --tokens 512\n"
      "  longspan eval -m judge test.csv --json\n"
      "  longspan eval -m judge test.csv --predictions judged.csv\n"
      "  longspan eval -m searcher pairs.jsonl\n"
      "  longspan eval -m reranker judged.jsonl --task rerank");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEval(*c, globals); }; });
}

}  // namespace longspan::cli
