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

// What a score is ranked by, larger first: a score that is no number stands last. Weights may make
// such scores where the caller allows it.
double RankOf(double score);

// The characters of a row's own part of a text: of a pair the second one's, over which windows
// move.
text::Span CharsOf(const text::Encoding& row);

}  // namespace longspan
