// torch.nn's activations, by the names that files of sentence-transformers have.
#pragma once

#include <string>
#include <string_view>

namespace longspan {

struct TorchActivation {
  std::string_view name;  // the last part of torch.nn.modules.activation.Tanh
  double (*value)(double);
};

// The activation of a name as Python spells it with its module. kFormat, naming `source` and
// `field`, lists those that are known.
const TorchActivation& ActivationOf(const std::string& name, std::string_view field,
                                    std::string_view source);

}  // namespace longspan
