// The small model that learns a novel in minutes, and how many updates fit into some minutes.
#pragma once

#include <filesystem>
#include <string>

#include "longspan/train.h"

namespace longspan::cli {

// data/persuasion.txt beside the sources, or with an installed program (share/longspan/). kIo.
std::filesystem::path FindNovel();

// A narrow model for many small updates, and windows of few keys, so that a head soon finds the
// byte before (docs/record/results.md). The columns of the position grid are the places in a chunk.
// A config.json.
std::string DemoConfig();

// Learning rate, its warm-up and end, for that model: all but text, model, output and length.
TrainOptions DemoRecipe();

// Seconds of one update, measured on a few that are thrown away. Trains beside options.output.
double SecondsPerStep(Context& context, TrainOptions options);

// A round number of updates that fits into the time.
idx_t StepsFor(double minutes, double seconds_per_step);

// So many updates: a short run warms up for less, and every run is evaluated six times.
void SetLength(idx_t steps, TrainOptions* options);

}  // namespace longspan::cli
