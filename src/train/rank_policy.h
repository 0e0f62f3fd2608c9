// What a step needs because an update has several micro-batches, or several ranks.
#pragma once

#include "model/step_needs.h"
#include "model/text_model.h"

namespace longspan {

// `policy` has its ranks, those that share rows and its optimizer; it gets the bytes of sums and
// whether gradients leave the memory early, for updates of `micros` micro-batches of `rows` rows.
// What `model` does not train is frozen already.
void AddRankNeeds(idx_t micros, idx_t rows, const TextModel& model, StepPolicy* policy);

}  // namespace longspan
