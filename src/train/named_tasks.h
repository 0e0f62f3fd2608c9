// What the options by name of trainings and evaluations share.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/named_options.h"

namespace longspan {

// format, encoding, text_field, label_field, pair_field, label_separator, max_line_bytes, skip_bad.
void ReadFileOptions(NamedOptions& options, DataOptions& data);

// What a task reads and learns; a training reads `epochs` besides. All have global_tokens, and all
// but the first have overflow.
// mask_share, documents, packed.
void ReadTaskOptions(NamedOptions& options, MaskedLmOptions& task);
// problem, stride.
void ReadTaskOptions(NamedOptions& options, ClassifyOptions& task);
// word_field, tag_field, span_field, word_column, tag_column, label_names, stride.
void ReadTaskOptions(NamedOptions& options, TokenClassOptions& task);
// stride, max_answer_tokens.
void ReadTaskOptions(NamedOptions& options, AnswerTaskOptions& task);
void ReadTaskOptions(NamedOptions& options, ChoiceTaskOptions& task);
// loss, negatives_batch, scale, margin, distance, matryoshka, pooling, anchor_prompt, text_prompt,
// and the columns anchor_field, positive_field, negative_field, first_field, second_field,
// score_field.
void ReadTaskOptions(NamedOptions& options, EmbedTrainingOptions& task);
// The columns query_field, text_field, label_field, positive_field, negative_field.
void ReadTaskOptions(NamedOptions& options, RerankTrainingOptions& task);

// The row of a table that has the task. kUsage lists the tasks.
template <class Row, std::size_t kRows>
const Row& RowOfTask(const Row (&table)[kRows], const char* what, std::string_view task) {
  for (const Row& row : table) {
    if (task == row.task) return row;
  }
  Fail(ErrorCode::kUsage, "{}: task is '{}', need one of {}", what, io::Escape(task), NamedTasks());
}

}  // namespace longspan
