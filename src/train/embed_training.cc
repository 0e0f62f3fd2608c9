// Training and evaluating models that make vectors of texts: from options to a task.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "longspan/counted.h"
#include "train/embed_task.h"
#include "train/evaluate.h"
#include "train/row_training.h"
#include "train/schedule.h"
#include "train/selection.h"
#include "train/task_options.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// What a folder says of how its vectors are made, with the options' pooling.
SentenceFolder FolderFor(const std::filesystem::path& directory, const EmbedTrainingOptions& task,
                         const TextModelInfo& info) {
  SentenceFolder folder = ReadSentenceFolder(directory, info.width);
  if (task.pooling) folder.pooling.modes = {*task.pooling};
  VectorWidth(folder.pooling, folder.modules, info.width);
  return folder;
}

// Rows as long as the options say, else as the folder or the tokenizer does, else as the model has
// positions.
idx_t LongestRow(idx_t tokens, const SentenceFolder& folder, const text::Tokenizer& tokenizer,
                 const TextModelInfo& info) {
  if (tokens > 0) return TokensOfRows(tokens, info);
  idx_t longest = info.longest;
  if (tokenizer.longest()) longest = std::clamp<idx_t>(*tokenizer.longest(), 1, longest);
  if (folder.transformer.max_tokens) {
    longest = std::clamp<idx_t>(*folder.transformer.max_tokens, 1, info.longest);
  }
  return longest;
}

// The first of these prompts that the folder has, else its default one, else none.
std::string PromptOf(const Prompts& prompts, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto found = prompts.texts.find(name);
    if (found != prompts.texts.end()) return found->second;
  }
  return prompts.default_name ? PromptNamed(prompts, *prompts.default_name) : std::string();
}

VectorTextRules RulesFor(const EmbedTrainingOptions& task, const SentenceFolder& folder,
                         bool scored, idx_t tokens) {
  VectorTextRules rules;
  rules.tokens = tokens;
  rules.overflow = task.overflow;
  // The names that encode_query and encode_document of sentence-transformers look for. Neither text
  // of a scored pair is a query.
  rules.anchor_prompt = task.anchor_prompt.value_or(PromptOf(folder.prompts, {"query"}));
  rules.text_prompt = task.text_prompt.value_or(
      scored ? PromptOf(folder.prompts, {})
             : PromptOf(folder.prompts, {"document", "passage", "corpus"}));
  rules.lower_case = folder.transformer.lower_case;
  rules.pools_prompt = folder.pooling.include_prompt;
  return rules;
}

// kFormat for scores that no cosine can be.
void CheckScores(const EmbedPlan& plan, const PairTexts& texts) {
  if (plan.loss.loss != EmbedLoss::kCosine) return;
  for (const PairRow& row : texts.rows) {
    Check(std::abs(row.score) <= 1.0, ErrorCode::kFormat,
          "{}: score {} is no cosine, which is from -1 to 1; divide the scores, or learn their "
          "order with --loss cosent",
          row.where, row.score);
  }
}

void CheckTriplets(const EmbedPlan& plan, const PairTexts& texts) {
  if (plan.loss.loss != EmbedLoss::kTriplet) return;
  for (const PairRow& row : texts.rows) {
    Check(!row.negatives.empty(), ErrorCode::kFormat,
          "{}: has no negative, which --loss triplet needs; --columns names the columns",
          row.where);
  }
}

// kUsage for batches of one row that has nothing to be told apart from.
void CheckTellsApart(const EmbedPlan& plan, const EmbedRows& rows) {
  const bool compares =
      plan.loss.loss == EmbedLoss::kInBatch || plan.loss.loss == EmbedLoss::kCosent;
  Check(!compares || std::min(plan.group, rows.size()) > 1 || rows.negatives() > 0,
        ErrorCode::kUsage,
        "negatives-batch: one row has nothing to be told apart from; the loss {} needs two rows or "
        "more",
        EmbedLossName(plan.loss.loss));
}

void TellAboutTexts(const TrainHooks& hooks, const char* what, const EmbedRows& rows,
                    idx_t tokens) {
  TellAboutCuts(hooks, what, rows.cut, rows.texts.size(), tokens);
  if (rows.in_windows > 0) {
    TellNote(hooks, fmt::format("{}: {} of {} {} longer than {} and read in windows", what,
                                rows.in_windows, Counted(rows.texts.size(), "text"),
                                rows.in_windows == 1 ? "is" : "are", Counted(tokens, "token")));
  }
}

}  // namespace

TrainResult TrainEmbedder(Context& context, const TrainOptions& given,
                          const EmbedTrainingOptions& task, const TrainHooks& hooks) {
  CheckTaskOptions(given, "embed", EmbedMetricNames(std::nullopt, true));
  const TextModelInfo info = ReadTextModelInfo(given.model);
  SentenceFolder folder = FolderFor(given.model, task, info);
  const auto tokenizer = OpenModelTokenizer(given.model);
  TrainOptions options = OptionsFor(context, given);
  options.tokens = LongestRow(options.tokens, folder, *tokenizer, info);
  CheckTrainOptions(options);
  CheckEpochs(task.epochs);
  std::vector<std::string> notes;
  const auto read = [&](const std::vector<std::filesystem::path>& files) {
    return ReadPairTexts(files, options.data.read, task.columns, &notes,
                         data::ScratchPlace{options.output});
  };
  PairTexts train = read(options.data.train);
  PairTexts held_out = TakeHeldOut(options, read, &train);
  Check(held_out.scored == train.scored, ErrorCode::kFormat, "{}: has {}, the training data has {}",
        held_out.source, held_out.scored ? "scores" : "no scores",
        train.scored ? "scores" : "none");
  const bool triplets = std::any_of(held_out.rows.begin(), held_out.rows.end(),
                                    [](const PairRow& row) { return !row.negatives.empty(); });
  CheckSelection(options, "embed on such rows", EmbedMetricNames(train.scored, triplets));
  EmbedPlan plan = MakeEmbedPlan(task, folder, info, train.scored);
  for (const PairTexts* texts : {&train, &held_out}) {
    CheckScores(plan, *texts);
    CheckTriplets(plan, *texts);
  }
  const VectorTextRules rules = RulesFor(task, folder, train.scored, options.tokens);
  EmbedRows rows = TokenizePairs(context, *tokenizer, train, info, rules);
  CheckTellsApart(plan, rows);
  EmbedRows held = TokenizePairs(context, *tokenizer, held_out, info, rules);
  train = {};  // what is learnt stands in the rows
  held_out = {};
  for (const std::string& note : notes) TellNote(hooks, note);
  TellAboutTexts(hooks, "train", rows, options.tokens);
  TellAboutTexts(hooks, "held out", held, options.tokens);
  if (task.epochs > 0.0) {
    options.steps = UpdatesOf(task.epochs, rows.size(), 1, plan.group * options.accumulate);
  }
  ResolveWarmup(&options);
  EmbedTask run(options, task, std::move(folder), *tokenizer, info, std::move(plan),
                std::move(rows), std::move(held));
  return RunTraining(context, options, run, hooks);
}

EmbedderEval EvaluateEmbedder(Context& context, const EmbedderEvalOptions& o) {
  std::vector<std::string> notes;
  const auto model = LoadToEvaluate(o.model, o.reformer, std::nullopt, &notes);
  const TextModelInfo& info = model->info();
  const SentenceFolder folder = FolderFor(o.model, o.task, info);
  const auto tokenizer = OpenModelTokenizer(o.model);
  const PairTexts texts = ReadPairTexts({o.file}, o.data, o.task.columns, &notes);
  const EmbedPlan plan = MakeEmbedPlan(o.task, folder, info, texts.scored);
  const idx_t tokens = LongestRow(o.tokens, folder, *tokenizer, info);
  const EmbedRows rows = TokenizePairs(context, *tokenizer, texts, info,
                                       RulesFor(o.task, folder, texts.scored, tokens));
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &notes);
  EmbedderEval result =
      EvaluateVectors(context, *model, global, plan, rows,
                      AgreedHooks(context, model->parameters(), rows.fingerprint));
  result.tokens = tokens;
  result.notes = std::move(notes);
  return result;
}

}  // namespace longspan
