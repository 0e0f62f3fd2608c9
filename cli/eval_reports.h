// What longspan eval says of masked language models, classifiers, embedders and rerankers.
#pragma once

#include <string>

#include "longspan/evaluate.h"

namespace longspan::cli {

// What was measured, as JSON or as text. A classifier's report has a matrix of which class was
// taken for which.
std::string EmbedderReport(const EmbedderEval& e, bool json);
std::string RerankerReport(const RerankerEval& e, bool json);
std::string MaskedLmReport(const MaskedLmEval& e, bool json);
std::string ClassifierReport(const ClassifierEval& e, const Predictions& all, bool json);

}  // namespace longspan::cli
