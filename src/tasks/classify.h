// What a whole text is about: its classes, its labels, or a number.
#pragma once

#include <string>
#include <vector>

#include "tasks/task_model.h"

namespace longspan {

// How scores are to be read.
enum class ScoreKind {
  kClasses,  // probabilities that sum to 1
  kLabels,   // a probability each: a set of labels
  kValues    // numbers as they are: regression
};
ScoreKind ScoresOf(const TextModelInfo& info);
std::string_view ScoreKindName(ScoreKind kind);  // "classes", "labels", "values"

// A row of a text, or one of its windows.
struct ClassifiedWindow {
  text::Span chars;            // its place in the text; of a pair in the second text
  idx_t tokens = 0;            // special ones included
  std::vector<double> scores;  // one for each of info().labels
};

struct ClassifiedText {
  std::vector<double> scores;             // one for each of info().labels
  std::vector<ClassifiedWindow> windows;  // in the order of the text
};

// Of a text in several windows: the mean over them, weighted by their tokens.
std::vector<ClassifiedText> Classify(Context& context, TaskModel& model, const TaskRows& rows);

}  // namespace longspan
