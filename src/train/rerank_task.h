// A model learns how relevant a text is to a query: a classifier of pairs with one label.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "longspan/evaluate.h"
#include "tasks/cross_encoder_folder.h"
#include "train/classify_task.h"

namespace longspan {

// The relevance above which a text counts as relevant.
inline constexpr double kRelevant = 0.5;

// Queries with texts, each pair with its relevance as the row's value.
struct JudgedTexts {
  LabelledTexts pairs;         // text: the query; pair: the text
  std::vector<idx_t> queries;  // of each pair: equal numbers are equal queries
};

// Reads rows of a query, a text and a label from 0 to 1, or of a query with texts that are relevant
// and texts that are not. The first row decides. Errors as ReadPairTexts; kFormat for a label that
// is not from 0 to 1. The texts lie at `place`.
JudgedTexts ReadJudgedTexts(const std::vector<std::filesystem::path>& files,
                            const DataOptions& data, const JudgedColumns& columns,
                            std::vector<std::string>* notes = nullptr,
                            const data::ScratchPlace& place = {});

// Tokenized pairs and which query each is of.
struct JudgedRows {
  ClassifyRows rows;           // values: (N) relevances
  std::vector<idx_t> queries;  // (N)
};
// The folder's prompt stands before each query, and texts are in lower case if it says so. Errors
// as TokenizeRows.
JudgedRows TokenizeJudged(Context& context, const text::Tokenizer& tokenizer, JudgedTexts texts,
                          const CrossEncoderFolder& folder, const TextModelInfo& info,
                          const ClassifyLimits& limits);

// What a classifier of one label makes of the pairs. `queries` (N): which query each is of.
RerankerEval EvaluateJudged(Context& context, TextModel& model, const GlobalPolicy& global,
                            const ClassifyRows& rows, std::span<const idx_t> queries,
                            const EvalHooks& hooks = {});

class RerankTask final : public ClassifyTask {
 public:
  RerankTask(const TrainOptions& options, const ClassifyOptions& task,
             const text::Tokenizer& tokenizer, const TextModelInfo& info, ClassifyTarget target,
             ClassifyRows train, JudgedRows held_out);

  nlohmann::json DecidingOptions() const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  HeldOutTexts held_out_texts() const override { return {}; }

 private:
  const std::vector<idx_t> queries_;  // of each held-out row
};

// The one label of such a classifier: the name that the folder's has, or LABEL_0.
ClassifyTarget RelevanceTarget(const TextModelInfo& info);

}  // namespace longspan
