// The training loop: draw, loss and gradients, clip, update; evaluate and save on the way.
#pragma once

#include "longspan/train.h"
#include "train/train_task.h"

namespace longspan {

// kUsage naming the option that is out of its range.
void CheckTrainOptions(const TrainOptions& options);

// The options with compute.memory no larger than the context's limit.
TrainOptions WithinLimitOf(const Context& context, TrainOptions options);

// Trains `task`, writes metrics.jsonl, checkpoints and the kept model into options.output. The
// same options give the same bits for any number of threads, and after any interruption that is
// resumed. Errors as TrainLanguageModel's.
TrainResult RunTraining(Context& context, const TrainOptions& options, TrainTask& task,
                        const TrainHooks& hooks);

}  // namespace longspan
