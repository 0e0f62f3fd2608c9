// Classes of a text's words: names, places, parts of speech.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tasks/task_model.h"

namespace longspan {

// How tokens become words and spans; the names and meanings of Hugging Face's pipeline.
//   kNone     every token for itself
//   kSimple   neighbouring tokens of one class are one span
//   kFirst    words first: a word is what its first token is
//   kAverage  ... what its tokens are on average
//   kMax      ... what its surest token is
// Spans follow the tags B-X and I-X where the labels have them: B- begins a new one.
enum class Aggregation { kNone, kSimple, kFirst, kAverage, kMax };
Aggregation ParseAggregation(std::string_view name);  // kUsage lists the names

struct TokenClass {
  std::string label;        // without B- or I-, but with kNone
  double score = 0.0;       // the mean over its tokens or words
  text::Span chars, bytes;  // of the text
};

// The spans of each text, in its order; those of the class "O" are left out.
std::vector<std::vector<TokenClass>> ClassifyTokens(Context& context, TaskModel& model,
                                                    const TaskRows& rows, Aggregation aggregation);

}  // namespace longspan
