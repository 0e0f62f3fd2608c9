// The fields of config.json for a head over labels: id2label, label2id, num_labels, problem_type.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/model_info.h"

namespace longspan {

// The problem that a batch poses under a head of `labels` logits, of which it gives `integers`
// (classes) or numbers.
ProblemType ProblemOf(ProblemType configured, idx_t labels, bool integers);

// The name of a label that has none: "LABEL_3".
std::string DefaultLabel(idx_t id);

struct LabelFields {
  std::vector<std::string> names;  // by their ids
  std::vector<std::string> notes;  // what is odd but can be read: one line each
  // False if the weights may have another number of classes: the config has no labels, ids have
  // gaps, or num_labels and the names disagree.
  bool certain = true;
  bool said = false;  // the config says how many there are, or their names
};

// The names in id2label, by their ids: an object whose keys are numbers as text ("0", "00"), or a
// list; values that are numbers are names as text. Without it label2id the other way round; without
// both LABEL_0, LABEL_1, ... as many as num_labels (2) says. An id without a name is LABEL_k, with
// a note; so are names that stand twice. kFormat names `source`, the field and what is wrong with
// it.
LabelFields ParseLabels(const nlohmann::json& object, std::string_view source);
// Makes as many names as the weights have classes. A missing one becomes LABEL_k, with a note.
// Names that are certain do not change.
void FitLabels(idx_t classes, std::string_view source, LabelFields* labels);

ProblemType ParseProblemType(const nlohmann::json& object, std::string_view source);
// A single class has no meaning, so such a head's score is a number, as without a problem_type. A
// note says so.
void CheckProblem(std::string_view source, ProblemType* problem, LabelFields* labels);

// Writes id2label, label2id and, unless it is inferred, problem_type.
void WriteLabels(const std::vector<std::string>& labels, ProblemType problem,
                 nlohmann::json* object);

}  // namespace longspan
