// What a config.json says of a head over labels: id2label, num_labels, problem_type.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// What a sequence classifier's labels are; kInferred: one label is a number, integers are classes,
// anything else a set of labels.
enum class ProblemType { kInferred, kRegression, kSingleLabel, kMultiLabel };

// The problem that a batch poses under a head of `labels` logits, of which it gives `integers`
// (classes) or numbers.
ProblemType ProblemOf(ProblemType configured, idx_t labels, bool integers);

// The names in id2label, by their ids; without it LABEL_0, LABEL_1, ... as many as num_labels (2)
// says. kFormat names `source`, the field and what is wrong with it.
std::vector<std::string> ParseLabels(const nlohmann::json& object, std::string_view source);
ProblemType ParseProblemType(const nlohmann::json& object, std::string_view source);

// Writes id2label, label2id and, unless it is inferred, problem_type.
void WriteLabels(const std::vector<std::string>& labels, ProblemType problem,
                 nlohmann::json* object);

}  // namespace longspan
