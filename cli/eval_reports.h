// What longspan eval says of masked language models and classifiers.
#pragma once

#include <string>

#include "longspan/train.h"

namespace longspan::cli {

// What was measured, as JSON or as text.
std::string MaskedLmReport(const MaskedLmEval& e, bool json);
std::string ClassifierReport(const ClassifierEval& e, bool json);

}  // namespace longspan::cli
