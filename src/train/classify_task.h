// A model learns to tell classes, sets of labels or numbers of texts.
#pragma once

#include "longspan/evaluate.h"
#include "longspan/tokenizer.h"
#include "train/encoded_rows.h"
#include "train/labelled_text.h"
#include "train/row_task.h"

namespace longspan {

// The targets: the head's labels (one for a number), and the kind of problem.
struct ClassifyTarget {
  std::vector<std::string> labels;
  ProblemType problem = ProblemType::kSingleLabel;
  bool by_id = false;  // rows call class k LABEL_k, whatever its name is
};

// The problem that "auto" means for these texts, and the labels: those of a classifier that knows
// all of the texts' labels already (FindLabel), else the texts' own. `one_hot`: the texts' labels
// are rows of that many zeros and ones (train/label_sets.h), named LABEL_k: they are the labels of
// a classifier that has as many, else LABEL_0 to LABEL_n-1. kFormat for fewer than two classes, and
// for new names that differ only by blanks around them or by case; kUsage for labels that look like
// numbers to be learned.
ClassifyTarget ChooseTarget(const LabelledTexts& texts, ProblemType problem,
                            const TextModelInfo& info, idx_t one_hot = 0);

// Tokenized texts, each one row or the windows over it, and what their labels are as numbers.
struct ClassifyRows : EncodedRows {
  using EncodedRows::EncodedRows;
  std::vector<std::int32_t> labels;  // single label: (texts)
  std::vector<float> values;         // others: (texts, labels)
  std::vector<idx_t> first{0};       // (texts + 1): where a text's rows begin
  idx_t cut = 0;                     // texts that lost tokens
  idx_t in_windows = 0;              // texts of several rows
  idx_t longest = 0;                 // tokens of the longest text, before anything is cut
  std::string fingerprint;
  std::vector<std::string> names;  // the field "id" of each text as JSON text; empty: none

  idx_t texts() const { return static_cast<idx_t>(first.size()) - 1; }
  idx_t text_of(idx_t row) const;
  // Which share of a text each of its rows is (tasks/scores.h).
  std::vector<double> SharesOf(idx_t text) const;
  // How many texts have each of the target's labels; none for numbers.
  std::vector<idx_t> Counts(const ClassifyTarget& target) const;
};

struct ClassifyLimits {
  idx_t tokens = 512;                                // the longest row
  text::Overflow overflow = text::Overflow::kError;  // of longer texts
  bool pairs = false;  // every text is a pair; else those whose second text is not empty
  idx_t stride = 0;    // tokens that neighbouring windows share
};

// Encodes texts as Classify does. kLimit for a text that is too long and may neither be cut nor be
// read in windows, with the number of such texts; kFormat for a label that the target does not
// have, and for texts without a token; kUsage for a stride that cannot be.
ClassifyRows TokenizeRows(Context& context, const text::Tokenizer& tokenizer,
                          const LabelledTexts& texts, const ClassifyTarget& target,
                          const TextModelInfo& info, const ClassifyLimits& limits);

// "3 of 40 texts are cut to 512 tokens; ...": which texts were longer than a row of so many tokens,
// and what became of them. Empty: none was.
std::string NoteOfLongTexts(const ClassifyRows& rows, idx_t tokens);

// What a model says of texts.
struct ClassifierScores {
  std::vector<float> logits;   // (rows, labels)
  std::vector<double> scores;  // (texts, labels): those of Classify
};

// How well the model tells the texts. Their rows run in batches of about 8192 tokens, and a text in
// several windows has the mean of their scores, as Classify gives it: its loss is that of the mean.
// Leaves the predictions themselves out: `said` gets what PredictionsOf needs, where it is given.
ClassifierEval EvaluateRows(Context& context, TextModel& model, const ClassifyTarget& target,
                            const GlobalPolicy& global, const ClassifyRows& rows,
                            const EvalHooks& hooks = {}, ClassifierScores* said = nullptr);

// The measures of an evaluation that a training reports beside the loss, by name in alphabetical
// order, and their names. Of kInferred: all that one of several classes and any of several have.
std::vector<TrainMetric> MetricsOf(const ClassifierEval& e);
std::vector<std::string> MetricNames(ProblemType problem);

// Text by text what scores (texts, labels) say: the most likely class, or of sets each label whose
// probability is above a half.
std::vector<Prediction> PredictionsOf(const ClassifyTarget& target, const ClassifyRows& rows,
                                      std::span<const double> scores);

// Each row of a training text is learned from by itself, with the label of its text; or each text
// from the mean of its windows' scores (ClassifyOptions::window_loss). That is an example: a row of
// RowTask.
class ClassifyTask : public RowTask {
 public:
  ClassifyTask(const TrainOptions& options, const ClassifyOptions& task,
               const text::Tokenizer& tokenizer, const TextModelInfo& info, ClassifyTarget target,
               ClassifyRows train, ClassifyRows held_out);

  std::string DataFingerprint() const override { return FingerprintOf(train_, held_out_); }
  nlohmann::json DecidingOptions() const override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale, const StepDropout& dropout) final;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  HeldOutTexts held_out_texts() const override;

 protected:
  double epochs() const { return task_.epochs; }
  idx_t Counted(idx_t example) const override;
  double Weight(idx_t example) const override;
  // Of examples of one row each.
  Batch Gather(std::span<const idx_t> examples) const override;
  const std::string& Where(idx_t example) const override { return train_.where(FirstRow(example)); }
  bool CountsHits() const override { return target_.problem != ProblemType::kRegression; }
  const ClassifyRows& held_out() const { return held_out_; }

 private:
  // Whether an example is a text with all its rows.
  bool by_text() const { return task_.window_loss == WindowLoss::kMean; }
  idx_t FirstRow(idx_t example) const;
  idx_t RowCount(idx_t example) const;
  // Adds what texts of several rows give to the gradients and to the loss.
  void AccumulateTexts(Context& context, std::span<const idx_t> texts, float scale,
                       const StepDropout& dropout, TaskLoss* loss);
  // Adds the loss of a text. `logits` begin with its own (rows, labels); dlogits gets their
  // gradients.
  void AddTextLoss(idx_t text, std::span<const float> logits, float* dlogits, TaskLoss* loss) const;

  const ClassifyOptions task_;
  const ClassifyTarget target_;
  const ClassifyRows train_, held_out_;
  const std::vector<std::int32_t> labels_;  // of each example; none: the text has values
  const std::vector<float> weights_;        // of the classes; empty: 1 each
};

}  // namespace longspan
