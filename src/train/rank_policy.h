// How a step of a training runs: what an update of several micro-batches, or several ranks, needs.
#pragma once

#include "longspan/train.h"
#include "model/step_needs.h"
#include "model/text_model.h"

namespace longspan {

// The step of a training with these options (OptionsFor), of micro-batches of `rows` rows of a
// model with this head.
StepPolicy PolicyOf(const TrainOptions& options, idx_t rows, HeadKind head);

// `policy` has its ranks, those that share rows and its optimizer; it gets the bytes of sums and
// whether gradients leave the memory early, for updates of `micros` micro-batches of `rows` rows.
// What `model` does not train is frozen already.
void AddRankNeeds(idx_t micros, idx_t rows, const TextModel& model, StepPolicy* policy);

}  // namespace longspan
