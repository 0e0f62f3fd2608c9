// Targets for a step whose result nobody looks at: rehearsals and benchmarks.
#pragma once

#include <span>
#include <vector>

#include "model/batch.h"
#include "model/text_model_info.h"

namespace longspan {

class Targets {
 public:
  // Makes targets for the model's head: for B rows of T tokens, as many as training has. A masked
  // language model has labels on 15 % of its tokens. `room` (B*T) is zeroed memory for labels of
  // tokens. It is written only if the number of labels matters, so a rehearsal may give memory that
  // is not there yet.
  Targets(const TextModelInfo& model, idx_t rows, idx_t tokens, std::span<std::int32_t> room);

  // Sets the batch's targets. They point into this object and into `room`.
  void AddTo(BatchView* batch) const;

 private:
  std::span<const std::int32_t> token_labels_;
  std::vector<std::int32_t> row_labels_, places_;
  std::vector<float> values_;
};

// Roles (B*T) of tokens without padding, of which the first of each row is global for heads that
// read it. Empty for models without global tokens.
std::vector<std::uint8_t> RolesFor(const TextModelInfo& model, idx_t rows, idx_t tokens);

}  // namespace longspan
