// Options that every `longspan train` has.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "longspan/train.h"

namespace longspan::cli {

struct TrainCommand {
  TrainOptions options;
  std::vector<std::string> train;
  std::string model, eval, output, schedule, optimizer, progress = "auto", dtype = "f32", memory;
  std::string max_time;  // empty: none
  std::string lengths;   // of rows that get longer; empty: all have the same
  std::string gradient_streams = "f32", on_save_error = "continue", attention;
  // Of the texts, as options name them.
  std::string documents, problem = "auto", overflow = "error", global = "auto";
  std::string metric = "loss";
  double dropout = -1.0;    // negative: the config's
  double head_rate = -1.0;  // negative: that of all
  bool other_kept = false;  // --keep-last, or --keep-best: not the model of the defaults
  bool json = false;
  std::string config;           // file of options; main has put them among the words
  CLI::App* command = nullptr;  // whose options these are

  explicit TrainCommand(const TrainOptions& defaults);
  // The options as the command line gave them. kUsage.
  TrainOptions Options(Context& context) const;
};

void AddDataOptions(CLI::App* command, const char* train_text, TrainCommand* c);
// --resume, --extend, --overwrite and --on-save-error.
void AddRunOptions(CLI::App* command, TrainCommand* c);
void AddOptimiserOptions(CLI::App* command, TrainCommand* c);
// --lengths, of language models.
void AddLengthsOption(CLI::App* command, TrainCommand* c);
void AddRhythmOptions(CLI::App* command, TrainCommand* c);
// --metric, --patience and --keep-last (or --keep-best where the defaults keep the last model).
void AddSelectionOptions(CLI::App* command, TrainCommand* c);

// --global; `automatic` says which tokens "auto" makes global.
void AddGlobalOption(CLI::App* command, const std::string& automatic, std::string* global);
// --dtype and --memory.
void AddPolicyOptions(CLI::App* command, const char* without_memory, TrainCommand* c);
// --global, --recompute, and those.
void AddLongformerOptions(CLI::App* command, const std::string& automatic, TrainCommand* c);
// What becomes of texts that are too long, of tasks that need a text in one row
// (text::kOneRowOverflows).
void AddOverflowOption(CLI::App* command, std::string* overflow);

// --overflow and --stride of texts that may be read in windows. `overflow` holds the default.
void AddWindowOptions(CLI::App* command, std::string* overflow, idx_t* stride);
// The same where the default of --stride depends on the row.
void AddWindowOptions(CLI::App* command, std::string* overflow, std::optional<idx_t>* stride);
// The one of text::kRowOverflows that has this name; nothing for an empty name. kUsage.
std::optional<text::Overflow> ParseOverflow(const std::string& name);

// --epochs; and --steps, which AddOptimiserOptions has added, as what may be given instead.
CLI::Option* AddEpochsOption(CLI::App* command, double* epochs);
CLI::Option* AddStepsInstead(CLI::App* command, CLI::Option* epochs);
// `of`: what has weights, for people ("tags").
void AddClassWeightsOption(CLI::App* command, const char* of, std::string* weights);

// What a run ended with, as JSON or as lines that end with `next`.
std::string TrainSummary(const TrainCommand& c, const TrainResult& result, const std::string& next);

// "loss 0.4213, accuracy 0.91, macro_f1 0.89"; of bytes "2.1034 bits per byte".
std::string MeasuresText(double loss, double bits_per_byte,
                         const std::vector<TrainMetric>& metrics);

}  // namespace longspan::cli
