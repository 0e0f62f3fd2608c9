// What longspan eval says of masked language models and classifiers.
#pragma once

#include <string>

#include "longspan/evaluate.h"

namespace longspan::cli {

// What was measured, as JSON or as text. A classifier's report has a matrix of which class was
// taken for which.
std::string MaskedLmReport(const MaskedLmEval& e, bool json);
std::string ClassifierReport(const ClassifierEval& e, const Predictions& all, bool json);

}  // namespace longspan::cli
