// What a classifier makes of each text of an evaluation.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "longspan/train.h"

namespace longspan {

// Of one text. Labels are places in Predictions::labels.
struct Prediction {
  std::string input;             // the text's place: "reviews.csv:12", escaped
  std::string id;                // its field "id" as JSON: "17", "\"a7\""; empty: it has none
  std::vector<idx_t> gold;       // the label of the file, of sets any number; of numbers none
  std::vector<idx_t> predicted;  // the same of what the model says
  double gold_value = 0.0;       // of numbers: what the file says; scores[0] is what the model says
  // For each label: probabilities that sum to 1 (single), or a probability each (multi).
  std::vector<double> scores;
};

struct Predictions {
  std::vector<std::string> labels;  // the model's, in its order
  std::vector<Prediction> rows;     // in the file's order
};

// As EvaluateClassifier of longspan/train.h, with every prediction.
ClassifierEval EvaluateClassifier(Context& context, const ClassifierEvalOptions& options,
                                  const EvalHooks& hooks, Predictions* predictions);

// How many texts of one class got which class: classes by their places.
struct Confusion {
  idx_t gold = 0, predicted = 0, texts = 0;
};
// All pairs of classes that occur in predictions of one class each, the right ones among them: by
// `gold`, then by `predicted`.
std::vector<Confusion> CountConfusions(std::span<const Prediction> predictions);
// The pairs of different classes alone, those with the most texts first.
std::vector<Confusion> MostConfused(std::vector<Confusion> pairs);

// How many texts have the label at this place and get it.
idx_t CountHits(std::span<const Prediction> predictions, idx_t label);

}  // namespace longspan
