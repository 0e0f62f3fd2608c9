// Training and evaluating rerankers on queries with texts: from options to a task.

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "tasks/task_model.h"
#include "train/evaluate.h"
#include "train/rerank_task.h"
#include "train/row_training.h"
#include "train/task_options.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// Takes the queries apart, each with all its texts: those that are held out are the second part.
std::pair<JudgedTexts, JudgedTexts> SplitQueries(const JudgedTexts& all, double share,
                                                 std::uint64_t seed) {
  const idx_t queries = 1 + *std::max_element(all.queries.begin(), all.queries.end());
  const std::vector<bool> held = HeldOutRows(static_cast<std::size_t>(queries), share, seed);
  JudgedTexts parts[2];
  for (JudgedTexts& part : parts) {
    part.pairs.source = all.pairs.source;
    part.pairs.fingerprint = all.pairs.fingerprint;
    part.pairs.rows = all.pairs.rows.Empty();
  }
  for (std::size_t i = 0; i < all.queries.size(); ++i) {
    JudgedTexts& part = parts[held[static_cast<std::size_t>(all.queries[i])] ? 1 : 0];
    part.queries.push_back(all.queries[i]);
    part.pairs.rows.Share(all.pairs.rows, i);
  }
  return {std::move(parts[0]), std::move(parts[1])};
}

// Rows as long as the options say, else as the folder does, else as the model has positions; a
// reranker reads both texts in one row, so nothing is read in windows.
ClassifyLimits LimitsOf(idx_t tokens, text::Overflow overflow, const CrossEncoderFolder& folder,
                        const TextModelInfo& info) {
  Check(overflow == text::Overflow::kError || overflow == text::Overflow::kTruncate,
        ErrorCode::kUsage, "overflow: a reranker learns from whole rows; use error or truncate");
  if (tokens == 0 && folder.transformer.max_tokens) {
    tokens = std::clamp<idx_t>(*folder.transformer.max_tokens, 3, info.longest);
  }
  return {.tokens = TokensOfRows(tokens, info), .overflow = overflow, .pairs = true};
}

void TellAboutPairs(const TrainHooks& hooks, const char* what, const ClassifyRows& rows,
                    idx_t tokens) {
  if (rows.cut == 0) return;
  TellNote(hooks,
           fmt::format("{}: {} of {} {} cut to {}", what, rows.cut, Counted(rows.size(), "pair"),
                       rows.cut == 1 ? "is" : "are", Counted(tokens, "token")));
}

}  // namespace

TrainResult TrainReranker(Context& context, const TrainOptions& given,
                          const RerankTrainingOptions& task, const TrainHooks& hooks) {
  CheckTaskOptions(given, "rerank", {"accuracy", "average_precision", "mrr", "ndcg"});
  const TextModelInfo info = ReadTextModelInfo(given.model);
  const CrossEncoderFolder folder = ReadCrossEncoderFolder(given.model);
  const ClassifyLimits limits = LimitsOf(given.tokens, task.overflow, folder, info);
  TrainOptions options = OptionsFor(context, given);
  options.tokens = limits.tokens;
  CheckTrainOptions(options);
  CheckEpochs(task.epochs);
  std::vector<std::string> notes;
  const data::ScratchPlace place{options.output};
  JudgedTexts train =
      ReadJudgedTexts(options.data.train, options.data.read, task.columns, &notes, place);
  JudgedTexts held_out;
  if (options.data.eval.empty()) {
    std::tie(train, held_out) = SplitQueries(train, options.data.held_out, options.seed);
  } else {
    held_out = ReadJudgedTexts({options.data.eval}, options.data.read, task.columns, &notes, place);
  }
  CheckBothParts(train.queries.size(), held_out.queries.size());
  const auto tokenizer = OpenModelTokenizer(options.model);
  JudgedRows rows = TokenizeJudged(context, *tokenizer, std::move(train), folder, info, limits);
  JudgedRows held = TokenizeJudged(context, *tokenizer, std::move(held_out), folder, info, limits);
  for (const std::string& note : notes) TellNote(hooks, note);
  TellAboutPairs(hooks, "train", rows.rows, limits.tokens);
  TellAboutPairs(hooks, "held out", held.rows, limits.tokens);
  SetUpdates(task.epochs, rows.rows.size(), &options);
  ClassifyOptions classify;
  classify.global = task.global;
  classify.epochs = task.epochs;
  RerankTask run(options, classify, *tokenizer, info, RelevanceTarget(info), std::move(rows.rows),
                 std::move(held));
  return RunTraining(context, options, run, hooks);
}

RerankerEval EvaluateReranker(Context& context, const RerankerEvalOptions& o) {
  std::vector<std::string> notes;
  const auto model = LoadToEvaluate(o.model, o.reformer, HeadKind::kSequence, &notes);
  const TextModelInfo& info = model->info();
  Check(info.label_count() == 1, ErrorCode::kFormat, "{}: has {} labels; a reranker has one",
        io::Escape(o.model.string()), info.label_count());
  const CrossEncoderFolder folder = ReadCrossEncoderFolder(o.model);
  ClassifyLimits limits = LimitsOf(o.tokens, o.task.overflow, folder, info);
  JudgedTexts texts = ReadJudgedTexts({o.file}, o.data, o.task.columns, &notes);
  const auto tokenizer = OpenModelTokenizer(o.model);
  limits.tokens = RowTokensFor(o.tokens, *tokenizer, limits.tokens);
  const JudgedRows rows =
      TokenizeJudged(context, *tokenizer, std::move(texts), folder, info, limits);
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &notes);
  RerankerEval result =
      EvaluateJudged(context, *model, global, rows.rows, rows.queries,
                     AgreedHooks(context, model->parameters(), rows.rows.fingerprint));
  result.tokens = limits.tokens;
  result.notes = std::move(notes);
  return result;
}

}  // namespace longspan
