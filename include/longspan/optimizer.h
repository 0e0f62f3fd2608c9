// How weights are updated from gradients.
#pragma once

#include <string>
#include <string_view>

#pragma GCC visibility push(default)
namespace longspan {

// AdamW (Loshchilov, Hutter 2019), Adafactor (Shazeer, Stern 2018) as torch.optim.Adafactor has it,
// stochastic gradient descent as torch.optim.SGD has it.
enum class OptimizerKind { kAdamW, kAdafactor, kSgd };
OptimizerKind ParseOptimizer(std::string_view name);  // "adamw", "adafactor", "sgd", else kUsage
const char* OptimizerName(OptimizerKind kind);        // the same names
std::string OptimizerChoices();                       // "adamw, adafactor or sgd"
// For options that were given: kUsage if `option` is one that another optimizer has and this one
// has not. "beta1", "beta2", "epsilon", "beta2-decay", "update-clip", "momentum" and "nesterov"
// are some optimizer's own; all others belong to each.
void CheckOptimizerHas(OptimizerKind kind, std::string_view option);

// An optimizer, with the gradient clipped to a norm.
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;        // which one
  double learning_rate = 1e-3;                       // the largest, after the warm-up
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8;  // of AdamW
  // Of matrices; biases, norms and tables have none. AdamW and Adafactor shrink weights by
  // learning rate times this; SGD adds this share of the weights to the gradient.
  double weight_decay = 0.1;
  double clip = 1.0;  // largest gradient norm; 0: no clipping
  // Of Adafactor. The share of an update's squared gradient in the second moments is
  // step^beta2_decay, -1e3 to 0; updates are scaled down to a root mean square of update_clip, 1 or
  // more.
  double beta2_decay = -0.8, update_clip = 1.0;
  // Of SGD: the share of the last step that the next one keeps, 0 to below 1 (0: there is no
  // state); and Nesterov's form of it, which needs a momentum.
  double momentum = 0.9;
  bool nesterov = false;
};

}  // namespace longspan
#pragma GCC visibility pop
