// Options about texts and tasks that trainings and evaluations share.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "longspan/data.h"
#include "longspan/head_training.h"
#include "longspan/train.h"
#include "models_values.h"

namespace longspan::python {

// format, encoding, text_field, label_field, pair_field, label_separator, max_line_bytes, skip_bad.
void ReadData(Options& options, DataOptions& data);

// What a task reads and learns; a training reads `epochs` besides. All but the first have
// global_tokens, and all but the first two have overflow.
// mask_share, documents, packed.
void ReadTask(Options& options, MaskedLmOptions& task);
// problem.
void ReadTask(Options& options, ClassifyOptions& task);
// word_field, tag_field, span_field, word_column, tag_column, label_names, stride.
void ReadTask(Options& options, TokenClassOptions& task);
// stride, max_answer_tokens.
void ReadTask(Options& options, AnswerTaskOptions& task);
void ReadTask(Options& options, ChoiceTaskOptions& task);
// loss, negatives_batch, scale, margin, distance, matryoshka, pooling, anchor_prompt, text_prompt,
// and the columns anchor_field, positive_field, negative_field, first_field, second_field,
// score_field.
void ReadTask(Options& options, EmbedTrainingOptions& task);
// The columns query_field, text_field, label_field, positive_field, negative_field.
void ReadTask(Options& options, RerankTrainingOptions& task);

// evaluate() of models that say something of each word, answer or choose; (options, call).
nanobind::dict EvaluateTags(Options& options, const CallOptions& call);
nanobind::dict EvaluateAnswers(Options& options, const CallOptions& call);
nanobind::dict EvaluateChoices(Options& options, const CallOptions& call);
// The same of vectors, and of relevance.
nanobind::dict EvaluateVectors(Options& options, const CallOptions& call);
nanobind::dict EvaluateRelevance(Options& options, const CallOptions& call);

// What every evaluation over rows reads: model, data, tokens, the task's, a Reformer's, the files'.
template <class Eval>
void ReadEvaluation(Options& options, Eval& eval) {
  options.Read("model", eval.model);
  options.Read("data", eval.file);
  options.Read("tokens", eval.tokens);
  ReadTask(options, eval.task);
  ReadReformer(options, eval.reformer);
  ReadData(options, eval.data);
}

// What every evaluation returns; how many texts lost tokens, where rows are made of texts.
nanobind::dict EvaluationObject(const nanobind::dict& metrics, idx_t counted,
                                std::span<const std::string> notes,
                                std::optional<idx_t> cut = std::nullopt);
// [(name, precision, recall, f1, support, predicted)].
nanobind::list ClassObjects(std::span<const ClassScore> classes);

void BindEvaluation(nanobind::module_& module);  // evaluate

}  // namespace longspan::python
