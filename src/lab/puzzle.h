// Puzzles that need attention over a distance, made from counter-based random numbers.
//
//   duplication  0 w 0 w, with w of T/2 - 1 symbols: the second w is predicted (Kitaev, Kaiser,
//                Levskaya 2020, section 5, Table 2). Chance: 1 / symbols.
//   recall       Pairs "key value" are scattered over the first quarter of fillers. The last
//                tokens are the same pairs in another order. The values there are
//                predicted from the keys before them.
//                Chance: 1 / values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "families/reformer/reformer.h"
#include "longspan/train.h"
#include "train/train_task.h"

namespace longspan {

enum class PuzzleKind { kDuplication, kRecall };
// "duplication", "recall"; kUsage for others.
PuzzleKind ParsePuzzle(std::string_view name);
const char* PuzzleName(PuzzleKind kind);

struct PuzzleOptions {
  PuzzleKind kind = PuzzleKind::kDuplication;
  idx_t symbols = 128;    // duplication; recall: number of keys, and of values
  idx_t pairs = 8;        // of recall
  idx_t short_steps = 0;  // first updates on rows of 64 tokens, then longer rows
};

// Ids of a puzzle's vocabulary: 0 is the separator or the filler's first.
idx_t PuzzleVocabulary(const PuzzleOptions& puzzle);

// Makes row `number` of T tokens: ids, and targets (the next token if it must be predicted, else
// kIgnoreLabel). A pure function of its arguments. CheckPuzzle checks T.
void MakePuzzleRow(const PuzzleOptions& puzzle, std::uint64_t key, idx_t number, idx_t tokens,
                   std::int32_t* ids, std::int32_t* targets);

// Throws kUsage for a puzzle that does not fit rows of `tokens` tokens, or fields out of range.
void CheckPuzzle(const PuzzleOptions& puzzle, idx_t tokens);

// Tokens of a training row in update `step` (from 1): 64 in the first short_steps, then four
// times as many after each 100 updates, up to `tokens`. If short_steps is 0, rows always have
// `tokens`.
idx_t PuzzleRowTokens(const PuzzleOptions& puzzle, idx_t tokens, idx_t step);

class PuzzleTask final : public TrainTask {
 public:
  PuzzleTask(const TrainOptions& options, const PuzzleOptions& puzzle, std::size_t keep);

  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  ParameterTable& parameters() override { return model_->parameters(); }
  std::string DataFingerprint() const override;
  nlohmann::json DecidingOptions() const override;
  StepSize Draw(idx_t step) override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  std::vector<std::string> RowsOf(idx_t micro) const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  std::string ConfigText() override;
  void Save(const std::filesystem::path& directory) override;

 private:
  // The drawn update keeps its number of tokens, so shorter rows mean more rows.
  idx_t RowTokens() const;
  idx_t Rows() const;
  PuzzleOptions Puzzle() const;

  const TrainOptions options_;
  const PuzzleOptions puzzle_;
  const std::size_t keep_;
  std::optional<Reformer> model_;
  idx_t step_ = 0;
  std::vector<std::int32_t> ids_, targets_;
};

// The model that learns a puzzle from nothing: one LSH layer that copies (the paper's model), or
// for recall a local layer below it, by which a token knows the one before it. 0: what suits.
struct PuzzleModel {
  idx_t num_hashes = 4, hidden = 256, heads = 4, layers = 0, chunk = 0, positions = 0;
};
// Writes it, for rows of `tokens` tokens, with random weights. kUsage for sizes that do not fit.
void WritePuzzleModel(const PuzzleModel& sizes, const PuzzleOptions& puzzle, idx_t tokens,
                      std::uint64_t seed, const std::filesystem::path& directory);
// Recall's local layer tells a token the one before it; full attention is put in place of hashing
// only.
ReformerAttention InPlaceOfHashing(const PuzzleOptions& puzzle, std::string_view attention);

// Trains a Reformer on rows of options.tokens tokens, each seen once; options.data is not used.
// Metric: accuracy. Files and errors as TrainLanguageModel.
TrainResult TrainPuzzle(Context& context, const TrainOptions& options, const PuzzleOptions& puzzle,
                        const TrainHooks& hooks = {});

struct PuzzleEvalOptions {
  std::filesystem::path model;
  PuzzleOptions puzzle;
  idx_t tokens = 0, rows = 100;
  std::uint64_t seed = 1;
  ReformerOptions reformer;
};
struct PuzzleScore {
  idx_t counted = 0, right = 0;  // predicted tokens
  double loss = 0.0;
  double share() const { return static_cast<double>(right) / static_cast<double>(counted); }
};
// Evaluates on rows that training with the same seed does not use. Tells the context's progress.
PuzzleScore EvaluatePuzzle(Context& context, const PuzzleEvalOptions& options);

}  // namespace longspan
