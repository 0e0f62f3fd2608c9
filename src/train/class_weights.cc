#include "train/class_weights.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/errors.h"
#include "base/parse_number.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr io::JsonLimits kWeightsLimits{std::size_t{1} << 20, 2};

void AddWeight(std::string_view name, double weight, ClassWeights* weights) {
  Check(std::isfinite(weight) && weight > 0.0 && weight <= 1e6, ErrorCode::kUsage,
        "class-weights: weight {} of '{}' is not above 0 and at most 1e6", weight,
        io::Escape(name));
  Check(weights->of.emplace(name, weight).second, ErrorCode::kUsage,
        "class-weights: '{}' is named twice", io::Escape(name));
}

// NAME=WEIGHT; the name may hold other signs of equality.
void AddAssignment(std::string_view text, ClassWeights* weights) {
  const std::size_t sign = text.rfind('=');
  const bool has_name = sign != text.npos && sign > 0;
  const auto weight = has_name ? ParseNumber<double>(text.substr(sign + 1)) : std::nullopt;
  Check(weight.has_value(), ErrorCode::kUsage,
        "class-weights: '{}' is no NAME=WEIGHT; use balanced, NAME=WEIGHT,NAME=WEIGHT or "
        "{{\"NAME\": WEIGHT}}",
        io::Escape(text));
  AddWeight(text.substr(0, sign), *weight, weights);
}

std::vector<float> Balanced(std::span<const idx_t> counts) {
  const auto classes = std::count_if(counts.begin(), counts.end(), [](idx_t n) { return n > 0; });
  const auto all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), idx_t{0}));
  std::vector<float> weights;
  for (const idx_t count : counts) {
    const double each = static_cast<double>(classes) * static_cast<double>(count);
    weights.push_back(count == 0 ? 1.0f : static_cast<float>(all / each));
  }
  return weights;
}

}  // namespace

ClassWeights ClassWeights::Parse(std::string_view text) {
  ClassWeights weights;
  weights.balanced = text == "balanced";
  if (text.empty() || weights.balanced) return weights;
  if (text.front() == '{') {
    nlohmann::json object;
    try {
      object = io::ParseJson(text, "class-weights", kWeightsLimits);
    } catch (const Error& error) {
      Fail(ErrorCode::kUsage, "{}", error.what());
    }
    for (const auto& [name, weight] : object.items()) {
      Check(weight.is_number(), ErrorCode::kUsage, "class-weights: '{}' has no number",
            io::Escape(name));
      AddWeight(name, weight.get<double>(), &weights);
    }
    return weights;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    AddAssignment(text.substr(begin, end - begin), &weights);
    begin = end + 1;
  }
  return weights;
}

void CheckClassLoss(const ClassifyOptions& task, ProblemType problem) {
  Check(task.label_smoothing >= 0.0 && task.label_smoothing < 1.0, ErrorCode::kUsage,
        "label-smoothing: {} is not from 0 to below 1", task.label_smoothing);
  if (problem == ProblemType::kSingleLabel || problem == ProblemType::kInferred) return;
  const bool weighted = task.weights.balanced || !task.weights.of.empty();
  Check(!weighted && task.label_smoothing == 0.0, ErrorCode::kUsage,
        "{}: is for one class of several, not for problem {}",
        weighted ? "class-weights" : "label-smoothing", ProblemName(problem));
}

std::vector<idx_t> CountsOf(std::span<const std::int32_t> classes, std::size_t labels) {
  std::vector<idx_t> counts(labels, 0);
  for (const std::int32_t label : classes) {
    if (label >= 0) ++counts[static_cast<std::size_t>(label)];
  }
  return counts;
}

std::vector<float> ResolveClassWeights(const ClassWeights& weights,
                                       const std::vector<std::string>& labels,
                                       std::span<const idx_t> counts) {
  if (weights.balanced) return Balanced(counts);
  if (weights.of.empty()) return {};
  std::vector<float> found(labels.size(), 1.0f);
  for (const auto& [name, weight] : weights.of) {
    const auto label = std::find(labels.begin(), labels.end(), name);
    constexpr std::size_t kShown = 10;
    std::string known;
    for (std::size_t k = 0; k < std::min(kShown, labels.size()); ++k) {
      known += (k == 0 ? "" : ", ") + io::Escape(labels[k]);
    }
    Check(label != labels.end(), ErrorCode::kUsage,
          "class-weights: '{}' is none of the {} labels: {}{}", io::Escape(name), labels.size(),
          known, labels.size() > kShown ? ", ..." : "");
    found[static_cast<std::size_t>(label - labels.begin())] = static_cast<float>(weight);
  }
  return found;
}

}  // namespace longspan
