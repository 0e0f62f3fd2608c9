// From logits to what people read: probabilities and the best few.
#pragma once

#include <span>
#include <vector>

#include "longspan/tasks.h"

namespace longspan {

// kNumeric, in words about `what`, when a value is NaN or infinite: weights may be finite and
// overflow in the computation, and no such number is an answer.
void CheckFinite(std::span<const float> values, const char* what);

// exp(logit) / sum of exp, in double. Empty for no logits.
std::vector<double> Softmax(std::span<const float> logits);
// log of the sum of exp, in double; -infinity for none.
double LogSumExp(std::span<const float> logits);
// 1 / (1 + exp(-logit)), each.
std::vector<double> Sigmoid(std::span<const float> logits);

// How the scores of a classifier of this problem with so many labels are to be read.
ScoreKind ScoresOf(ProblemType problem, idx_t labels);
// The scores of a row from its logits (labels).
std::vector<double> ScoresOfLogits(ScoreKind kind, std::span<const float> logits);

// Which share of a text each of its rows is, by their tokens: 1 for a text in one row.
std::vector<double> SharesOfWindows(std::span<const idx_t> tokens);
// The scores of a text: the mean over its windows, weighted by their shares; of one window its own
// scores. `windows`: of each window its scores (labels). This is the one rule for what a classifier
// says of a text that is longer than a row.
std::vector<double> MeanOfWindows(std::span<const std::vector<double>> windows,
                                  std::span<const double> shares);

// What a score is ranked by, larger first: a score that is no number stands last. Weights may make
// such scores where the caller allows it.
double RankOf(double score);

// The characters of a row's own part of a text: of a pair the second one's, over which windows
// move.
text::Span CharsOf(const text::Encoding& row);

}  // namespace longspan
