// How the options of tasks and of files are read by their names.
#include "train/named_tasks.h"

#include <string>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {
namespace {

template <class Task>
void ReadGlobalRule(NamedOptions& options, Task& task) {
  options.ReadName("global_tokens", task.global,
                   [](const std::string& text) { return GlobalRule::Parse(text); });
}

// Of tasks over rows.
template <class Task>
void ReadRowOptions(NamedOptions& options, Task& task) {
  options.ReadName("overflow", task.overflow, ParseRowOverflow);
  ReadGlobalRule(options, task);
}

// Whether triplets are compared by cosines.
bool IsCosineDistance(const std::string& name) {
  if (name == "cosine" || name == "euclidean") return name == "cosine";
  Fail(ErrorCode::kUsage, "distance is '{}', need 'euclidean' or 'cosine'", io::Escape(name));
}

}  // namespace

void ReadFileOptions(NamedOptions& options, DataOptions& data) {
  options.ReadName("format", data.format,
                   [](const std::string& name) { return ParseDataFormat(name); });
  options.Read("encoding", data.encoding);
  options.Read("text_field", data.text_field);
  options.Read("label_field", data.label_field);
  options.Read("pair_field", data.pair_field);
  options.Read("label_separator", data.label_separator);
  options.Read("max_line_bytes", data.most_line_bytes);
  options.Read("skip_bad", data.skip_bad);
}

void ReadTaskOptions(NamedOptions& options, MaskedLmOptions& task) {
  options.Read("mask_share", task.mask_share);
  options.ReadName("documents", task.documents,
                   [](const std::string& name) { return ParseDocuments(name); });
  options.Read("packed", task.packed);
  ReadGlobalRule(options, task);
}

void ReadTaskOptions(NamedOptions& options, ClassifyOptions& task) {
  options.ReadName("problem", task.problem,
                   [](const std::string& name) { return ParseProblem(name); });
  options.Read("stride", task.stride);
  ReadRowOptions(options, task);
}

void ReadTaskOptions(NamedOptions& options, TokenClassOptions& task) {
  options.Read("word_field", task.word_field);
  options.Read("tag_field", task.tag_field);
  options.Read("span_field", task.span_field);
  options.Read("word_column", task.word_column);
  options.Read("tag_column", task.tag_column);
  options.Read("label_names", task.label_names);
  options.Read("stride", task.stride);
  ReadRowOptions(options, task);
}

void ReadTaskOptions(NamedOptions& options, AnswerTaskOptions& task) {
  options.Read("stride", task.stride);
  options.Read("max_answer_tokens", task.longest);
  ReadRowOptions(options, task);
}

void ReadTaskOptions(NamedOptions& options, ChoiceTaskOptions& task) {
  ReadRowOptions(options, task);
}

void ReadTaskOptions(NamedOptions& options, EmbedTrainingOptions& task) {
  options.ReadName("loss", task.loss, [](const std::string& name) { return ParseEmbedLoss(name); });
  options.Read("negatives_batch", task.negatives_batch);
  options.Read("scale", task.scale);
  options.Read("margin", task.margin);
  options.ReadName("distance", task.cosine_distance, IsCosineDistance);
  options.Read("matryoshka", task.matryoshka);
  options.ReadName("pooling", task.pooling,
                   [](const std::string& name) { return ParsePooling(name); });
  options.Read("anchor_prompt", task.anchor_prompt);
  options.Read("text_prompt", task.text_prompt);
  options.Read("anchor_field", task.columns.anchor);
  options.Read("positive_field", task.columns.positive);
  options.Read("negative_field", task.columns.negative);
  options.Read("first_field", task.columns.first);
  options.Read("second_field", task.columns.second);
  options.Read("score_field", task.columns.score);
  ReadRowOptions(options, task);
}

void ReadTaskOptions(NamedOptions& options, RerankTrainingOptions& task) {
  options.Read("query_field", task.columns.query);
  options.Read("text_field", task.columns.text);
  options.Read("label_field", task.columns.label);
  options.Read("positive_field", task.columns.positive);
  options.Read("negative_field", task.columns.negatives);
  ReadRowOptions(options, task);
}

}  // namespace longspan
