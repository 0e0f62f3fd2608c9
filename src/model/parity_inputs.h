// The inputs of an encoder's recorded case, as its model takes them; and comparisons that all
// encoders have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/batch.h"
#include "model/parity_case.h"
#include "model/text_model_info.h"

namespace longspan {

struct ParityInputs {
  BatchView batch;
  std::vector<std::int32_t> ids, types, labels, starts, ends;
  std::vector<std::uint8_t> roles;
  Tensor values, cotangent;
};

// Masks become roles; where the model has global tokens and the case gives none, heads choose
// theirs. kFormat for shapes that do not fit each other or the model.
std::unique_ptr<ParityInputs> ReadParityInputs(const ParityCase& recorded,
                                               const TextModelInfo& model);

// Whether `name` is an input of such a case, or an output that every encoder with this head has.
bool IsEncoderTensor(HeadKind head, std::size_t layers, const std::string& name);

// Compares logits (B*T, 2), or of other heads in their shapes, with what the case expects of them.
void CompareLogits(ParityCase& recorded, const Tensor& logits);
bool WantsLogits(const ParityCase& recorded);

// The case's cotangent, (B*T, C). kFormat if there is none.
View<const float, 2> CotangentOf(const ParityCase& recorded, const ParityInputs& inputs,
                                 idx_t width);

}  // namespace longspan
