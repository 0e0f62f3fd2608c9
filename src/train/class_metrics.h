// Measures of predicted classes and numbers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "longspan/evaluate.h"

namespace longspan {

// Precision, recall and F1 of each class. truth and predicted: (N, K), 1 where the row has the
// label; names: K.
std::vector<ClassScore> ScoreClasses(const std::vector<std::string>& names,
                                     std::span<const std::uint8_t> truth,
                                     std::span<const std::uint8_t> predicted);

// The mean of F1 over the classes that occur or are predicted; 0 when there is none.
double MacroF1(const std::vector<ClassScore>& classes);

// Pearson's correlation; NaN when one side is constant.
double Pearson(std::span<const float> a, std::span<const float> b);

}  // namespace longspan
