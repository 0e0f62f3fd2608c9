// Training and evaluating classifiers on files of labelled texts: from options to a task.

#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "longspan/tokenizer.h"
#include "tasks/task_model.h"
#include "train/class_weights.h"
#include "train/classify_task.h"
#include "train/row_training.h"
#include "train/selection.h"
#include "train/task_options.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// Rows of so many tokens.
ClassifyLimits ClassifyLimitsOf(idx_t tokens, const ClassifyOptions& task) {
  Check(task.overflow != text::Overflow::kTruncateFirst, ErrorCode::kUsage,
        "overflow: a classifier reads texts whole, in windows or cut; use window, truncate or "
        "error");
  return {.tokens = tokens, .overflow = task.overflow, .stride = task.stride};
}

void TellAboutLongTexts(const TrainHooks& hooks, const char* part, const ClassifyRows& rows,
                        idx_t tokens) {
  const std::string note = NoteOfLongTexts(rows, tokens);
  if (!note.empty()) TellNote(hooks, fmt::format("{}: {}", part, note));
}

// The beginning of a text, for people who read what was predicted of it.
std::string BeginningOf(std::string_view text) {
  constexpr std::size_t kCharacters = 300;
  const std::string valid = text::ReplaceInvalid(text.substr(0, 4 * kCharacters));
  std::size_t end = 0;
  for (std::size_t count = 0; end < valid.size(); ++end) {
    const bool begins = (static_cast<unsigned char>(valid[end]) & 0xC0) != 0x80;
    if (begins && count++ == kCharacters) break;
  }
  return valid.substr(0, end);
}

void AddTexts(const LabelledTexts& texts, std::vector<Prediction>* predictions) {
  for (std::size_t n = 0; n < predictions->size(); ++n) {
    const LabelledText row = texts.rows[n];
    (*predictions)[n].text = BeginningOf(row.text);
    (*predictions)[n].text_pair = BeginningOf(row.pair);
  }
}

}  // namespace

TrainResult TrainClassifier(Context& context, const TrainOptions& given,
                            const ClassifyOptions& task, const TrainHooks& hooks) {
  CheckTaskOptions(given, "classify", MetricNames(task.problem));
  auto [info, options] = PrepareRowTraining(context, given, task.epochs);
  CheckClassLoss(task, task.problem);
  const bool by_text = task.window_loss == WindowLoss::kMean;
  Check(!by_text || task.overflow == text::Overflow::kWindow, ErrorCode::kUsage,
        "window-loss: mean is of texts in several windows; add --overflow window, or leave it out");
  const ClassifyLimits limits = ClassifyLimitsOf(options.tokens, task);
  const ProblemType problem = task.problem;
  std::vector<std::string> notes;
  const data::ScratchPlace place{options.output};
  LabelledTexts train =
      ReadLabelledTexts(options.data.train, options.data.read, problem, &notes, place);
  const ClassifyTarget target = ChooseTarget(train, problem, info, train.one_hot);
  CheckSelection(options, "classify --problem " + ProblemName(target.problem),
                 MetricNames(target.problem));
  CheckClassLoss(task, target.problem);
  LabelledTexts held_out = TakeHeldOut(
      options,
      [&, &options = options](const std::vector<std::filesystem::path>& files) {
        return ReadLabelledTexts(files, options.data.read, target.problem, &notes, place);
      },
      &train);
  const auto width = static_cast<idx_t>(target.labels.size());
  Check(held_out.one_hot == 0 || held_out.one_hot == width, ErrorCode::kFormat,
        "{}: labels are {} zeros and ones, the training has {} labels", held_out.source,
        held_out.one_hot, width);
  const auto tokenizer = OpenModelTokenizer(options.model);
  ClassifyRows rows = TokenizeRows(context, *tokenizer, train, target, info, limits);
  ClassifyRows held = TokenizeRows(context, *tokenizer, held_out, target, info, limits);
  if (target.problem == ProblemType::kSingleLabel) {
    CheckClassesLeft(train.source, rows.Counts(target), held.Counts(target));
  }
  train = {};  // what is learnt stands in the rows
  held_out = {};
  for (const std::string& note : notes) TellNote(hooks, note);
  TellAboutLongTexts(hooks, "train", rows, options.tokens);
  TellAboutLongTexts(hooks, "held out", held, options.tokens);
  if (target.problem != ProblemType::kRegression) {
    TellAboutClasses(hooks, "row", target.labels, rows.Counts(target), held.Counts(target));
  }
  SetUpdates(task.epochs, by_text ? rows.texts() : rows.size(), &options);
  ClassifyTask run(options, task, *tokenizer, info, target, std::move(rows), std::move(held));
  return RunTraining(context, options, run, hooks);
}

ClassifierEval EvaluateClassifier(Context& context, const ClassifierEvalOptions& o,
                                  Predictions* predictions) {
  std::vector<std::string> notes;
  if (o.task.overflow == text::Overflow::kWindow) {
    CheckStrideFits(o.model, {.tokens = o.tokens, .stride = o.task.stride});
  }
  const auto model = LoadToEvaluate(o.model, o.reformer, HeadKind::kSequence, &notes);
  const TextModelInfo& info = model->info();
  const idx_t tokens = TokensOfRows(o.tokens, info);
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
  const ClassifyLimits limits =
      ClassifyLimitsOf(RowTokensFor(o.tokens, *tokenizer, tokens), o.task);
  const ClassifyRows rows = TokenizeRows(context, *tokenizer, texts, target, info, limits);
  const std::string note = NoteOfLongTexts(rows, limits.tokens);
  if (!note.empty()) notes.push_back(fmt::format("{}: {}", texts.source, note));
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &notes);
  ClassifierScores said;
  ClassifierEval result =
      EvaluateRows(context, *model, target, global, rows,
                   AgreedHooks(context, model->parameters(), rows.fingerprint), &said);
  result.tokens = limits.tokens;
  if (predictions != nullptr) {
    predictions->rows = PredictionsOf(target, rows, said.scores);
    AddTexts(texts, &predictions->rows);
    predictions->labels = std::move(target.labels);
  }
  result.notes = std::move(notes);
  return result;
}

}  // namespace longspan
