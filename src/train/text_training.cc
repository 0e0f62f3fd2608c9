// Training and evaluating on files of texts: options to tasks.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/errors.h"
#include "base/rng.h"
#include "families/families.h"
#include "model/model_options.h"
#include "train/classify_task.h"
#include "train/mlm_task.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// Of the split into training and held-out rows, beside the order of the rows.
constexpr std::uint64_t kSplit = 0x73706c6974;

// Whether long texts are cut.
bool Truncates(text::Overflow overflow) {
  Check(overflow == text::Overflow::kError || overflow == text::Overflow::kTruncate,
        ErrorCode::kUsage, "overflow: a classifier learns from whole rows; use error or truncate");
  return overflow == text::Overflow::kTruncate;
}

// Takes the rows apart: those with `held` set go to the second.
std::pair<LabelledTexts, LabelledTexts> SplitRows(LabelledTexts all, double share,
                                                  std::uint64_t seed) {
  std::vector<idx_t> order(all.rows.size());
  std::iota(order.begin(), order.end(), 0);
  Shuffle(DeriveKey(seed, kSplit), order);
  const auto held = static_cast<std::size_t>(share * static_cast<double>(order.size()));
  std::vector<bool> is_held(order.size(), false);
  for (std::size_t i = 0; i < held; ++i) is_held[static_cast<std::size_t>(order[i])] = true;
  LabelledTexts train{all.source, {}, all.sets, all.one_hot, all.fingerprint};
  LabelledTexts rest = train;
  for (std::size_t i = 0; i < order.size(); ++i) {
    (is_held[i] ? rest : train).rows.push_back(std::move(all.rows[i]));
  }
  return {std::move(train), std::move(rest)};
}

void Tell(const TrainHooks& hooks, const std::string& note) {
  if (!hooks.on_event) return;
  TrainEvent event;
  event.kind = TrainEvent::Kind::kNote;
  event.text = note;
  hooks.on_event(event);
}

void TellAboutRows(const TrainHooks& hooks, const char* what, const ClassifyRows& rows,
                   idx_t tokens) {
  if (rows.cut == 0) return;
  Tell(hooks,
       fmt::format("{}: {} of {} texts are cut to {} tokens", what, rows.cut, rows.size(), tokens));
}

}  // namespace

// ---- masked language models ---------------------------------------------------------------------

TrainResult TrainMaskedLm(Context& context, const TrainOptions& given, const MaskedLmOptions& task,
                          const TrainHooks& hooks) {
  const TextModelInfo info = ReadTextModelInfo(given.model);
  TrainOptions options = WithinLimitOf(context, given);
  options.tokens = TokensOfRows(options.tokens, info);
  ResolveWarmup(&options);
  CheckTrainOptions(options);
  const auto tokenizer = OpenModelTokenizer(options.model);
  MaskedLmTask run(context, options, task, *tokenizer, info);
  return RunTraining(context, options, run, hooks);
}

MaskedLmEval EvaluateMaskedLm(Context& context, const MaskedLmEvalOptions& o) {
  Check(o.held_out > 0.0 && o.held_out <= 1.0, ErrorCode::kUsage,
        "eval: held-out fraction {} is not above 0 and at most 1", o.held_out);
  CheckMaskedLmOptions(o.task);
  LoadOptions load;
  load.family = OptionsOf(o.reformer);
  MaskedLmEval result;
  const auto model = LoadTextModel(o.model, load, &result.notes);
  const TextModelInfo& info = model->info();
  CheckHead(o.model, info, HeadKind::kMaskedLm);
  const auto tokenizer = OpenModelTokenizer(o.model);
  const MaskedRows form(*tokenizer, info, o.task.mask_share);
  result.tokens = TokensOfRows(o.tokens, info);
  const TokenStream stream =
      ReadMaskedText(context, *tokenizer, {o.text}, o.data, o.task, form, &result.notes);
  const auto size = static_cast<idx_t>(stream.ids().size());
  const auto content = MaskedText::Of(stream, size - LastPart(size, o.held_out), size,
                                      o.task.packed, form, result.tokens);
  Check(!content.ids.empty(), ErrorCode::kUsage, "eval: the text has no tokens");
  const GlobalPolicy global = ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()));
  const HeadLoss loss = MaskedLoss(context, *model, form, global, content, result.tokens,
                                   MaskKey(o.seed, kEvaluationStep), HooksOf(context));
  result.loss = loss.mean;
  result.perplexity = std::exp(loss.mean);
  result.accuracy = static_cast<double>(loss.correct) / static_cast<double>(loss.counted);
  result.counted = loss.counted;
  return result;
}

// ---- classifiers --------------------------------------------------------------------------------

TrainResult TrainClassifier(Context& context, const TrainOptions& given,
                            const ClassifyOptions& task, const TrainHooks& hooks) {
  const TextModelInfo info = ReadTextModelInfo(given.model);
  TrainOptions options = WithinLimitOf(context, given);
  options.tokens = TokensOfRows(options.tokens, info);
  CheckTrainOptions(options);
  Check(task.epochs >= 0.0 && task.epochs <= 1e6, ErrorCode::kUsage,
        "epochs: {} is not from 0 to 1e6", task.epochs);
  const ClassifyLimits limits{options.tokens, Truncates(task.overflow),
                              !options.data.read.pair_field.empty()};
  const ProblemType problem = task.problem;
  std::vector<std::string> notes;
  LabelledTexts train = ReadLabelledTexts(options.data.train, options.data.read, problem, &notes),
                held_out;
  const ClassifyTarget target = ChooseTarget(train, problem, info, train.one_hot);
  if (options.data.eval.empty()) {
    std::tie(train, held_out) = SplitRows(std::move(train), options.data.held_out, options.seed);
  } else {
    held_out = ReadLabelledTexts({options.data.eval}, options.data.read, target.problem, &notes);
    const auto width = static_cast<idx_t>(target.labels.size());
    Check(held_out.one_hot == 0 || held_out.one_hot == width, ErrorCode::kFormat,
          "{}: labels are {} zeros and ones, the training has {} labels", held_out.source,
          held_out.one_hot, width);
  }
  Check(!train.rows.empty() && !held_out.rows.empty(), ErrorCode::kUsage,
        "train: {} texts to train on and {} held out, need one of each; give --eval or change "
        "--held-out",
        train.rows.size(), held_out.rows.size());
  const auto tokenizer = OpenModelTokenizer(options.model);
  ClassifyRows rows = TokenizeRows(context, *tokenizer, train, target, info, limits);
  ClassifyRows held = TokenizeRows(context, *tokenizer, held_out, target, info, limits);
  for (const std::string& note : notes) Tell(hooks, note);
  TellAboutRows(hooks, "train", rows, options.tokens);
  TellAboutRows(hooks, "held out", held, options.tokens);
  if (task.epochs > 0.0) {
    const LengthBatches order(std::vector<idx_t>(static_cast<std::size_t>(rows.size()), 1),
                              options.batch, options.accumulate, 0);
    options.steps = std::max<idx_t>(
        1, std::llround(std::ceil(task.epochs * static_cast<double>(order.updates()))));
  }
  ResolveWarmup(&options);
  ClassifyTask run(options, task, *tokenizer, info, target, std::move(rows), std::move(held));
  return RunTraining(context, options, run, hooks);
}

ClassifierEval EvaluateClassifier(Context& context, const ClassifierEvalOptions& o,
                                  Predictions* predictions) {
  LoadOptions load;
  load.family = OptionsOf(o.reformer);
  std::vector<std::string> notes;
  const auto model = LoadTextModel(o.model, load, &notes);
  const TextModelInfo& info = model->info();
  CheckHead(o.model, info, HeadKind::kSequence);
  const ClassifyLimits limits{TokensOfRows(o.tokens, info), Truncates(o.task.overflow),
                              !o.data.pair_field.empty()};
  ClassifyTarget target{info.labels, info.problem};
  const bool inferred = info.problem == ProblemType::kInferred;
  if (inferred && info.label_count() == 1) target.problem = ProblemType::kRegression;
  const LabelledTexts texts = ReadLabelledTexts({o.file}, o.data, target.problem, &notes);
  if (target.problem == ProblemType::kInferred) {
    target.problem = texts.sets ? ProblemType::kMultiLabel : ProblemType::kSingleLabel;
  }
  Check(texts.one_hot == 0 || texts.one_hot == info.label_count(), ErrorCode::kFormat,
        "{}: labels are {} zeros and ones, the model has {} labels", texts.source, texts.one_hot,
        info.label_count());
  target.by_id = texts.one_hot > 0;
  const auto tokenizer = OpenModelTokenizer(o.model);
  const ClassifyRows rows = TokenizeRows(context, *tokenizer, texts, target, info, limits);
  const GlobalPolicy global = ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()));
  std::vector<float> logits;
  ClassifierEval result =
      EvaluateRows(context, *model, target, global, rows, HooksOf(context), &logits);
  result.tokens = limits.tokens;
  if (predictions != nullptr) {
    predictions->rows = PredictionsOf(target, rows, logits);
    predictions->labels = std::move(target.labels);
  }
  result.notes = std::move(notes);
  return result;
}

}  // namespace longspan
