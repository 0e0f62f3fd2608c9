// What `longspan eval` does for each head, in one table: a new one is a file with its function, its
// name below and one line of the table in cmd_eval.cc.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/data_options.h"
#include "cli/pair_options.h"
#include "cli/ranks.h"
#include "cli/token_class_options.h"
#include "cli/training.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/context.h"
#include "longspan/evaluate.h"

namespace longspan::cli {

// The command line.
struct EvalCommand {
  EvalOptions options;
  MaskedLmOptions mlm;
  TokenClassFields fields;
  PairOptions pairs;
  std::vector<std::string> list_columns;  // of queries with texts
  std::string model, data, predictions, global = "auto", attention, documents = "file",
                                        task = "auto";
  std::string overflow;         // empty: what suits the head
  idx_t longest_answer = 30;    // tokens
  std::optional<idx_t> stride;  // that neighbouring windows of a text share; none: by the task
  std::uint64_t seed = 1;
  bool no_lm_bias = false, json = false;
  const CLI::App* command = nullptr;  // whose options these are
};

// Each measures a model with its head, together with the other ranks of mpirun. Rank 0 writes what
// was asked for with --predictions, and prints what is returned.
using JudgeHead = std::string(Context& context, const EvalCommand& c);
JudgeHead JudgeAnswers, JudgeChoices, JudgeClassifier, JudgeEmbedder, JudgeLanguageModel,
    JudgeMaskedLm, JudgeReranker, JudgeTokenClassifier;

// Fills what all evaluations of a HeadEvalOptions share.
template <class Options>
Options HeadEvalOptionsOf(const EvalCommand& c) {
  Options o;
  o.model = c.model;
  o.file = c.data;
  o.tokens = c.options.tokens;
  o.reformer = c.options.reformer;
  o.data = c.options.data;
  o.task.global = GlobalRule::Parse(c.global);
  return o;
}

// What evaluate() returns: told of by rank 0 while it runs, and of its notes at the end. `counted`:
// what the evaluation counts.
template <class Evaluate>
auto Evaluated(Context& context, const Evaluate& evaluate, std::string_view counted = "rows") {
  EvalProgress progress("evaluated", counted, Speaks() ? ProgressMode::kAuto : ProgressMode::kNone);
  progress.Watch(context);
  auto result = evaluate();
  progress.Finish();
  if (Speaks()) TellNotes(result.notes);
  return result;
}

}  // namespace longspan::cli
