// The arguments of one call of a layer of PostNormEncoder.
#pragma once

#include <cstddef>

#include "model/bf16_weights.h"
#include "model/last_rows.h"
#include "model/parameters.h"
#include "model/row_slab.h"
#include "model/step_dropout.h"

namespace longspan {

// Texts, of JoinedTexts: what attention asks of the batch. Observer: what is called to look at it.
template <class Texts, class Observer>
struct PostNormCall {
  const ParameterTable& parameters;
  const Bf16Weights* bf16;  // of the same parameters where products take bfloat16, else null
  const Texts& texts;
  StepDropout dropout;    // its key is the layer's own
  bool backward = false;  // a backward pass follows: the layer keeps what that needs
  const Observer* observer = nullptr;
  std::size_t layer = 0;
  RowGroup* group = nullptr;       // ranks that share the rows; null: this process has all tokens
  const LastRows* last = nullptr;  // the output's rows; null: all

  // The tokens whose streams this rank has, and their number.
  TokenSlab slab() const { return OwnTokens(group, texts.n()); }
  idx_t n() const { return slab().size(); }
};

}  // namespace longspan
