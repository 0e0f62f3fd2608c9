#include "tasks/activations.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr TorchActivation kActivations[] = {
    {"Identity", [](double x) { return x; }},
    {"Tanh", [](double x) { return std::tanh(x); }},
    {"ReLU", [](double x) { return std::max(x, 0.0); }},
    {"GELU", [](double x) { return 0.5 * x * (1.0 + std::erf(x * std::sqrt(0.5))); }},
    {"Sigmoid", [](double x) { return 1.0 / (1.0 + std::exp(-x)); }},
    {"SiLU", [](double x) { return x / (1.0 + std::exp(-x)); }},
    {"LeakyReLU", [](double x) { return x < 0.0 ? 0.01 * x : x; }},
    {"ELU", [](double x) { return x < 0.0 ? std::expm1(x) : x; }},
};

}  // namespace

const TorchActivation& ActivationOf(const std::string& name, std::string_view field,
                                    std::string_view source) {
  std::vector<std::string_view> known;
  for (const TorchActivation& one : kActivations) {
    if (name.starts_with("torch.nn.") && name.substr(name.rfind('.') + 1) == one.name) return one;
    known.push_back(one.name);
  }
  Fail(ErrorCode::kFormat, "{}: {} '{}' is unknown; known are torch.nn's {}", source, field,
       io::Escape(name), fmt::join(known, ", "));
}

}  // namespace longspan
