#include <array>
#include <string>
#include <utility>

#include "base/errors.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {
namespace {

// The first name of an activation is the one that is written; the others are Hugging Face's
// further spellings of the same function.
constexpr std::array<std::pair<std::string_view, Activation>, 22> kNames = {{
    {"relu", Activation::kRelu},
    {"relu2", Activation::kRelu2},
    {"gelu", Activation::kGelu},
    {"gelu_python", Activation::kGelu},
    {"gelu_new", Activation::kGeluNew},
    {"gelu_fast", Activation::kGeluNew},
    {"gelu_pytorch_tanh", Activation::kGeluNew},
    {"gelu_python_tanh", Activation::kGeluNew},
    {"gelu_accurate", Activation::kGeluNew},
    {"gelu_10", Activation::kGelu10},
    {"quick_gelu", Activation::kQuickGelu},
    {"laplace", Activation::kLaplace},
    {"leaky_relu", Activation::kLeakyRelu},
    {"mish", Activation::kMish},
    {"relu6", Activation::kRelu6},
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"tanh", Activation::kTanh},
    {"sigmoid", Activation::kSigmoid},
    {"linear", Activation::kIdentity},
    {"identity", Activation::kIdentity},
    {"none", Activation::kIdentity},
}};

// They learn parameters, for which a feed-forward block has no place.
constexpr std::string_view kLearned[] = {"prelu", "xielu"};

}  // namespace

Activation ParseActivation(std::string_view name) {
  for (const std::string_view learned : kLearned) {
    Check(name != learned, ErrorCode::kFormat,
          "activation '{}' has parameters of its own, which are not supported", name);
  }
  std::string known;
  for (const auto& [text, activation] : kNames) {
    if (text == name) return activation;
    known.append(known.empty() ? "" : ", ").append(text);
  }
  Fail(ErrorCode::kFormat, "activation '{}' is unknown; known are {}", name, known);
}

std::string_view ActivationName(Activation activation) {
  for (const auto& [text, known] : kNames) {
    if (known == activation) return text;
  }
  return "?";
}

}  // namespace longspan
