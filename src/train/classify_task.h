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

// Tokenized texts and what their labels are as numbers.
struct ClassifyRows : EncodedRows {
  using EncodedRows::EncodedRows;
  std::vector<std::int32_t> labels;  // single label: (N)
  std::vector<float> values;         // others: (N, labels)
  idx_t cut = 0;                     // rows that lost tokens
  std::string fingerprint;
  std::vector<std::string> names;  // the field "id" of each row as JSON text; empty: none

  // How many rows have each of the target's labels; none for numbers.
  std::vector<idx_t> Counts(const ClassifyTarget& target) const;
};

struct ClassifyLimits {
  idx_t tokens = 512;     // the longest row
  bool truncate = false;  // longer ones; else they are an error
  bool pairs = false;     // every row is a pair; else those whose second text is not empty
};

// kLimit for a row that is too long and may not be cut, with the number of such rows; kFormat for a
// label that the target does not have, and for texts without a token.
ClassifyRows TokenizeRows(Context& context, const text::Tokenizer& tokenizer,
                          const LabelledTexts& texts, const ClassifyTarget& target,
                          const TextModelInfo& info, const ClassifyLimits& limits);

// How well the model tells the rows, in batches of about 8192 tokens. Leaves the
// predictions themselves out: `logits` gets (N, labels) for PredictionsOf, where it is given.
ClassifierEval EvaluateRows(Context& context, TextModel& model, const ClassifyTarget& target,
                            const GlobalPolicy& global, const ClassifyRows& rows,
                            const EvalHooks& hooks = {}, std::vector<float>* logits = nullptr);

// The measures of an evaluation that a training reports beside the loss, by name in alphabetical
// order, and their names. Of kInferred: all that one of several classes and any of several have.
std::vector<TrainMetric> MetricsOf(const ClassifierEval& e);
std::vector<std::string> MetricNames(ProblemType problem);

// Row by row what logits (N, labels) say: the most likely class, or of sets each label whose
// probability is above a half.
std::vector<Prediction> PredictionsOf(const ClassifyTarget& target, const ClassifyRows& rows,
                                      std::span<const float> logits);

class ClassifyTask : public RowTask {
 public:
  ClassifyTask(const TrainOptions& options, const ClassifyOptions& task,
               const text::Tokenizer& tokenizer, const TextModelInfo& info, ClassifyTarget target,
               ClassifyRows train, ClassifyRows held_out);

  std::string DataFingerprint() const override;
  nlohmann::json DecidingOptions() const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  HeldOutTexts held_out_texts() const override;

 protected:
  double epochs() const { return task_.epochs; }
  idx_t Counted(idx_t row) const override;
  double Weight(idx_t row) const override;
  Batch Gather(std::span<const idx_t> rows) const override;
  const std::string& Where(idx_t row) const override { return train_.where(row); }
  bool CountsHits() const override { return target_.problem != ProblemType::kRegression; }
  const ClassifyRows& held_out() const { return held_out_; }

 private:
  const ClassifyOptions task_;
  const ClassifyTarget target_;
  const ClassifyRows train_, held_out_;
  const std::vector<float> weights_;  // of the classes; empty: 1 each
};

}  // namespace longspan
