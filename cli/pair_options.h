// Options about rows of texts that belong together, and losses over their vectors.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "longspan/train.h"

namespace longspan::cli {

// What the command line says of pairs, before it is put into EmbedTrainingOptions.
struct PairOptions {
  std::vector<std::string> columns, scored_columns;
  std::string loss = "auto", overflow = "window", distance = "euclidean";
};

// --columns and --scored-columns.
void AddColumnOptions(CLI::App* command, PairOptions* pairs);
// For a command that reads rows of both kinds: those and --list-columns, where --columns names
// those of pairs or of queries with texts.
void AddColumnsOfAnyRows(CLI::App* command, PairOptions* pairs,
                         std::vector<std::string>* list_columns);
// --columns, --scored-columns, --anchor-prompt, --text-prompt and --overflow.
void AddPairOptions(CLI::App* command, PairOptions* pairs, EmbedTrainingOptions* task);
// The same for queries with texts: --columns and --list-columns.
struct JudgedOptions {
  std::vector<std::string> columns, list_columns;
};
void AddJudgedColumns(CLI::App* command, JudgedOptions* judged);
void TakeJudgedColumns(const JudgedOptions& judged, JudgedColumns* columns);

// --loss, --negatives-batch and --matryoshka; --scale, --margin and --distance work, too, and
// kLossNotes names them.
inline constexpr const char* kLossNotes =
    "--scale X is the factor of cosines in the losses in-batch and cosent (20). The loss triplet "
    "has a\n"
    "--margin X (5, of cosines 0.5) and a --distance: euclidean or cosine.\n";
void AddVectorLossOptions(CLI::App* command, PairOptions* pairs, EmbedTrainingOptions* task);
// Fills `task` from them. kUsage.
void TakePairOptions(const PairOptions& pairs, EmbedTrainingOptions* task);

}  // namespace longspan::cli
