#include <algorithm>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/folders.h"
#include "model/parity_case.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

constexpr double kMaxAbs = 1e-4;
constexpr double kOutputL2 = 2e-5, kGradientL2 = 1e-4;
constexpr double kSmallGradient = 1e-4;  // of the case's largest norm
constexpr double kAnyL2 = -1.0;          // no limit

// Norm of the finite values.
double Norm(std::span<const float> values) {
  double sum = 0.0;
  for (const float v : values) {
    if (std::isfinite(v)) sum += static_cast<double>(v) * static_cast<double>(v);
  }
  return std::sqrt(sum);
}

// NaN anywhere in `actual` makes both measures NaN, and no comparison with NaN holds.
TensorParity Measure(std::string name, std::span<const float> actual,
                     std::span<const float> expected, double rel_l2_limit) {
  TensorParity result{std::move(name)};
  result.values = static_cast<idx_t>(expected.size());
  double squares = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const bool recorded = std::isfinite(expected[i]);
    if (!recorded) ++result.skipped;
    // x - x is NaN where x is not finite, else 0.
    const double reference = static_cast<double>(recorded ? expected[i] : actual[i]);
    const double difference = static_cast<double>(actual[i]) - reference;
    squares += difference * difference;
    if (std::isnan(difference)) result.max_abs = difference;
    if (!std::isnan(result.max_abs)) {
      result.max_abs = std::max(result.max_abs, std::abs(difference));
    }
    if (recorded) largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  const double norm = Norm(expected);
  result.rel_l2 = norm > 0.0 ? std::sqrt(squares) / norm : std::sqrt(squares);
  result.ok = result.max_abs <= kMaxAbs * std::max(1.0, largest) &&
              (rel_l2_limit < 0.0 || result.rel_l2 <= rel_l2_limit);
  return result;
}

std::span<const float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), static_cast<std::size_t>(tensor.size())};
}

}  // namespace

bool ParityCase::WantsTraining() const {
  const auto& tensors = source_.tensors();
  return Wants("train_loss") || std::any_of(tensors.begin(), tensors.end(), [](const auto& tensor) {
           return tensor.first.rfind("grad.", 0) == 0;
         });
}

std::vector<std::int32_t> ParityCase::Integers(const std::string& name,
                                               const std::vector<idx_t>& shape,
                                               bool optional) const {
  if (optional && !Has(name)) return {};
  Check(source_.Info(name).shape == shape, ErrorCode::kFormat, "{}: {} has shape {}, need {}",
        source_.source(), name, ShapeText(source_.Info(name).shape), ShapeText(shape));
  const Tensor tensor = source_.ReadFloat(name);  // exact: far below 2^24
  std::vector<std::int32_t> values;
  for (const float v : Values(tensor)) {
    Check(std::abs(v) <= 0x1p24f, ErrorCode::kFormat, "{}: {} holds {}, out of range",
          source_.source(), name, v);
    values.push_back(static_cast<std::int32_t>(v));
  }
  return values;
}

bool ParityCase::LabelsAreNumbers(ProblemType problem, idx_t labels) const {
  const DType dtype = source_.Info("input.labels").dtype;
  const bool integers = dtype != DType::kF32 && dtype != DType::kF64;
  return ProblemOf(problem, labels, integers) != ProblemType::kSingleLabel;
}

Tensor ParityCase::LabelValues(idx_t count) const {
  const io::TensorInfo& info = source_.Info("input.labels");
  Check(info.size == count, ErrorCode::kFormat, "{}: input.labels has shape {}, need {} values",
        source_.source(), ShapeText(info.shape), count);
  return source_.ReadFloat("input.labels");
}

namespace {

// The parameter that grad.NAME belongs to; tied ones have several names.
std::string ParameterOf(const ParameterTable& table, const std::string& gradient) {
  const std::string name = gradient.substr(5);
  return table.contains(name) ? name : std::string(TiedTo(name).value_or(name));
}

}  // namespace

void ParityCase::CheckKnown(const ParameterTable& table,
                            const std::function<bool(const std::string&)>& known) const {
  for (const auto& [name, info] : source_.tensors()) {
    const bool gradient = name.rfind("grad.", 0) == 0 && table.contains(ParameterOf(table, name));
    Check(gradient || known(name), ErrorCode::kFormat,
          "{}: '{}' cannot be compared with this model", source_.source(), io::Escape(name));
  }
}

Tensor ParityCase::Expected(const std::string& name) const {
  return source_.ReadFloat(name, io::NonFinite::kAllow);
}

void ParityCase::Compare(const std::string& name, std::string shown, std::span<const float> actual,
                         double limit) {
  const Tensor expected = Expected(name);
  Check(static_cast<std::size_t>(expected.size()) == actual.size(), ErrorCode::kFormat,
        "{}: {} has shape {}, the model gives {} numbers", source_.source(), name,
        ShapeText(expected.shape()), actual.size());
  report_.tensors.push_back(Measure(std::move(shown), actual, Values(expected), limit));
}

void ParityCase::CompareOutput(const std::string& name, std::span<const float> actual) {
  Compare("expected." + name, name, actual, kOutputL2);
}

void ParityCase::CompareOutput(const std::string& name, const Tensor& actual) {
  CompareOutput(name, Values(actual));
}

void ParityCase::CompareOutput(const std::string& name, double actual) {
  const auto value = static_cast<float>(actual);
  CompareOutput(name, {&value, 1});
}

void ParityCase::CompareGradients(ParameterTable& table) {
  std::vector<std::string> names;
  double largest = 0.0;
  for (const auto& [name, info] : source_.tensors()) {
    if (name.rfind("grad.", 0) != 0) continue;
    names.push_back(name);
    largest = std::max(largest, Norm(Values(Expected(name))));
  }
  for (const std::string& name : names) {
    const View<float, 1> gradient = table.vector_gradient(ParameterOf(table, name));
    const bool small = Norm(Values(Expected(name))) < kSmallGradient * largest;
    Compare(name, name, {gradient.data, static_cast<std::size_t>(gradient.size())},
            small ? kAnyL2 : kGradientL2);
  }
}

ParityReport ParityCase::Finish() {
  const bool any = std::any_of(report_.tensors.begin(), report_.tensors.end(),
                               [](const TensorParity& t) { return t.skipped < t.values; });
  Check(any, ErrorCode::kFormat, "{}: no expected.* or grad.* tensor to compare", source_.source());
  report_.ok = std::all_of(report_.tensors.begin(), report_.tensors.end(),
                           [](const TensorParity& t) { return t.ok; });
  return std::move(report_);
}

}  // namespace longspan
