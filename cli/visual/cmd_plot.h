// longspan plot: the curves of training runs.
#pragma once

#include <CLI/App.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/visual/chart.h"
#include "cli/visual/command.h"
#include "longspan/run_log.h"

namespace longspan::cli {

struct PlotOptions {
  std::vector<std::string> runs;  // directories or metrics.jsonl files
  std::string output;             // .svg or .png; empty: the terminal
  std::string metric;             // empty: bits_per_byte where a run has it, else loss
  std::string title;              // empty: the runs' names
  std::string x_label;            // of what stands as "step"; empty: step
  bool group = false;             // mean and range of runs whose names differ by digits alone
  bool log_x = false, log_y = false;
  double smoothing = 0;  // [0, 1)
  bool json = false;     // the values instead of a picture, on stdout
};

// The chart of `metric` in these runs: a line for the training records, a marked line for the
// evaluations. Throws kUsage, with the metrics there are, when no run has this one.
Chart MakePlot(const std::vector<RunLog>& runs, const PlotOptions& options);

// Reads, draws, writes. Throws Error: kUsage, kFormat, kIo.
int RunPlot(const PlotOptions& options);

void RegisterPlot(CLI::App* command, const Globals& globals, Action& action);

}  // namespace longspan::cli
