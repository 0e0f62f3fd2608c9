// The training loop: draw, loss and gradients, clip, update; evaluate and save on the way.
#pragma once

#include "longspan/train.h"
#include "train/train_task.h"

namespace longspan {

// kUsage naming the option that is out of its range.
void CheckTrainOptions(const TrainOptions& options);

// The options as this context lets them be: compute.memory no larger than its limit, compute.sums,
// and as many micro-batches as TrainOptions::accumulate_for_ranks says.
TrainOptions OptionsFor(const Context& context, TrainOptions options);

// Trains `task`, writes metrics.jsonl, checkpoints and the kept model into options.output. The
// same options give the same bits for any number of threads and ranks, and after any interruption
// that is resumed. Errors as TrainLanguageModel's.
TrainResult RunTraining(Context& context, const TrainOptions& options, TrainTask& task,
                        const TrainHooks& hooks);

}  // namespace longspan
