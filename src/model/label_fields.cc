#include "model/label_fields.h"

#include <utility>

#include "base/errors.h"
#include "io/escape.h"
#include "io/json.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr idx_t kMostLabels = 1 << 20;
constexpr std::size_t kMostLabelBytes = 4096;

constexpr std::pair<ProblemType, std::string_view> kProblems[] = {
    {ProblemType::kRegression, "regression"},
    {ProblemType::kSingleLabel, "single_label_classification"},
    {ProblemType::kMultiLabel, "multi_label_classification"},
};

// id2label, whose keys are "0" to "n-1" in any order.
std::vector<std::string> NamedLabels(const json& object, std::string_view source) {
  std::vector<std::string> labels(object.size());
  Check(!labels.empty() && labels.size() <= kMostLabels, ErrorCode::kFormat,
        "{}: id2label has {} labels, need 1 to {}", source, labels.size(), kMostLabels);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string key = std::to_string(i);
    Check(object.contains(key), ErrorCode::kFormat,
          "{}: id2label has {} labels, but none for id {}", source, labels.size(), key);
    Check(object[key].is_string(), ErrorCode::kFormat, "{}: id2label {} is no text", source, key);
    labels[i] = object[key].get<std::string>();
    Check(labels[i].size() <= kMostLabelBytes, ErrorCode::kFormat,
          "{}: id2label {} has {} bytes, at most {} are allowed", source, key, labels[i].size(),
          kMostLabelBytes);
  }
  return labels;
}

}  // namespace

ProblemType ProblemOf(ProblemType configured, idx_t labels, bool integers) {
  if (configured != ProblemType::kInferred) return configured;
  if (labels == 1) return ProblemType::kRegression;
  return integers ? ProblemType::kSingleLabel : ProblemType::kMultiLabel;
}

std::vector<std::string> ParseLabels(const json& object, std::string_view source) {
  if (!io::IsNullOrAbsent(object, "id2label")) {
    Check(object["id2label"].is_object(), ErrorCode::kFormat, "{}: id2label is no object", source);
    return NamedLabels(object["id2label"], source);
  }
  const idx_t count = io::GetInt(object, "num_labels", 1, kMostLabels, 2, source);
  std::vector<std::string> labels;
  for (idx_t i = 0; i < count; ++i) labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}

ProblemType ParseProblemType(const json& object, std::string_view source) {
  const auto problem = io::GetOptionalString(object, "problem_type", source);
  if (!problem) return ProblemType::kInferred;
  for (const auto& [type, name] : kProblems) {
    if (name == *problem) return type;
  }
  Fail(ErrorCode::kFormat,
       "{}: problem_type '{}' is unknown; need regression, single_label_classification or "
       "multi_label_classification",
       source, io::Escape(*problem));
}

void WriteLabels(const std::vector<std::string>& labels, ProblemType problem, json* object) {
  json& o = *object;
  o["id2label"] = json::object();
  o["label2id"] = json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    o["id2label"][std::to_string(i)] = labels[i];
    o["label2id"][labels[i]] = i;
  }
  for (const auto& [type, name] : kProblems) {
    if (type == problem) o["problem_type"] = name;
  }
}

}  // namespace longspan
