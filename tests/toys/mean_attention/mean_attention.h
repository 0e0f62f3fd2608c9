// A toy mechanism that shows what a mechanism needs: each query takes the mean of the values that
// it may see, as if all scores were equal. Queries and keys have no influence and no gradient.
#pragma once

#include "longspan/attention.h"

namespace longspan::toys {

struct MeanSpec {
  bool causal = false;         // a query sees no key after its own position
  ProbabilityDropout dropout;  // must be off: the weights are no probabilities to drop
};

// saved.out (B, H, T, D): the mean of the visible values; saved.lse: the logarithm of their number.
// A query that sees nothing gets 0 and -inf. Cost: one addition for each element of v. Throws
// kUsage on shapes that differ.
void MeanForward(Context& context, const MeanSpec& spec, const Qkv& qkv, const KeyMask& mask,
                 const AttentionSaved& saved);

// dv += the gradient for d loss / d out = dout (B, H, T, D). dq and dk get nothing.
void MeanBackward(Context& context, const MeanSpec& spec, const Qkv& qkv, const KeyMask& mask,
                  const AttentionSaved& saved, const View<const float, 4>& dout,
                  const DQkv& gradients);

}  // namespace longspan::toys
