// Puzzles that only attention over a distance solves, made up from counter-based random numbers.
//
//   duplication  0 w 0 w, w of T/2 - 1 symbols: the second w is to be foreseen (Kitaev, Kaiser,
//                Levskaya 2020, section 5, Table 2). Chance: 1 / symbols.
//   recall       pairs "key value" scattered over the first quarter of fillers, the same pairs
//   again
//                in another order as the last tokens: the values there are to be foreseen from the
//                keys before them. Chance: 1 / values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/reformer.h"
#include "train/train_task.h"

namespace longspan {

enum class PuzzleKind { kDuplication, kRecall };

// "duplication", "recall"; kUsage for others.
PuzzleKind ParsePuzzle(const std::string& name);

// Ids of a puzzle's vocabulary: 0 is the separator or the filler's first.
idx_t PuzzleVocabulary(const PuzzleOptions& puzzle);

// Row `number` of T tokens: ids, and targets (what the position behind is, where it is to be
// foreseen, else kIgnoreLabel). A function of its arguments. T is checked by CheckPuzzle.
void MakePuzzleRow(const PuzzleOptions& puzzle, std::uint64_t key, idx_t number, idx_t tokens,
                   std::int32_t* ids, std::int32_t* targets);

// kUsage on a puzzle that rows of `tokens` tokens have no room for, or fields out of range.
void CheckPuzzle(const PuzzleOptions& puzzle, idx_t tokens);

// Tokens of a training row in update `step` (from 1): 64 in the first short_steps, then four times
// as many for each 100 updates until there are `tokens`; `tokens` throughout where short_steps is
// 0.
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
  // Of the update that was drawn: its tokens stay the same, so that short rows are more.
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

}  // namespace longspan
