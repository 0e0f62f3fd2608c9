// The folder of a run: what in it is the run's own, and what may therefore be cleared.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longspan/train.h"
#include "train/train_task.h"

namespace longspan {

// What is to be removed from options.output before a new run starts in it; empty unless
// options.checkpoints.overwrite. Reads only.
//
// A run's own are its checkpoints, metrics.jsonl, best.json and the model files that its record
// (.longspan-run.json) lists, each as the run wrote it. kUsage when anything else lies there; when
// anything lies there and options.checkpoints.overwrite is not set; and when the model to start
// from, its tokenizer or a text lies there, or is a link to something there, however its path is
// spelt.
std::vector<std::filesystem::path> ToBeCleared(const TrainOptions& options, const TrainTask& task);

// Removes them. kIo.
void Clear(const std::vector<std::filesystem::path>& paths);

// kFormat when a run was here whose checkpoints are all gone: it cannot be resumed, and starting
// again would lose what is left of it.
void CheckNothingToResume(const std::filesystem::path& output);

// Notes that a run begins in `output` and has written no model yet.
void BeginRecord(const std::filesystem::path& output);
// Writes the task's model into `output` and records which files it left there.
void SaveRecorded(const std::filesystem::path& output, TrainTask& task);

}  // namespace longspan
