#include "lab/puzzle.h"

#include <algorithm>
#include <numeric>

#include "base/errors.h"
#include "base/rng.h"
#include "families/families.h"
#include "families/reformer/reformer_files.h"
#include "longspan/files.h"
#include "train/evaluate.h"
#include "train/kept_activations.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// Streams of rows: training and scores never share one.
enum class RowStream : std::uint64_t { kTrain = 1, kHeldOut = 2, kScore = 3 };

// Vocabulary of recall: fillers, then keys, then values.
constexpr idx_t kFillers = 16;
constexpr idx_t kEvaluated = 64;  // rows of an evaluation on the way
constexpr idx_t kBatchTokens = 16384;

std::uint64_t RowsKey(std::uint64_t seed, RowStream rows) {
  return DeriveKey(KeyOf(seed, RunKey::kData), static_cast<std::uint64_t>(rows));
}

void MakeDuplication(const PuzzleOptions& puzzle, Rng& rng, idx_t tokens, std::int32_t* ids,
                     std::int32_t* targets) {
  const idx_t half = tokens / 2;
  ids[0] = 0;
  for (idx_t t = 1; t < half; ++t) {
    ids[t] = static_cast<std::int32_t>(1 + rng.Below(puzzle.symbols - 1));
  }
  std::copy_n(ids, half, ids + half);
  std::fill_n(targets, tokens, kIgnoreLabel);
  std::copy_n(ids + half + 1, half - 1, targets + half);
}

void MakeRecall(const PuzzleOptions& puzzle, Rng& rng, idx_t tokens, std::int32_t* ids,
                std::int32_t* targets) {
  const idx_t pairs = puzzle.pairs, symbols = puzzle.symbols;
  for (idx_t t = 0; t < tokens; ++t) ids[t] = static_cast<std::int32_t>(rng.Below(kFillers));
  std::fill_n(targets, tokens, kIgnoreLabel);
  // Distinct keys, and distinct even places of the first quarter.
  const auto draw = [&rng](idx_t count, idx_t from) {
    std::vector<idx_t> all(static_cast<std::size_t>(from));
    std::iota(all.begin(), all.end(), 0);
    for (idx_t i = 0; i < count; ++i) {
      std::swap(all[static_cast<std::size_t>(i)],
                all[static_cast<std::size_t>(i + rng.Below(from - i))]);
    }
    all.resize(static_cast<std::size_t>(count));
    return all;
  };
  const std::vector<idx_t> keys = draw(pairs, symbols), places = draw(pairs, tokens / 8);
  std::vector<std::int32_t> values;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    values.push_back(static_cast<std::int32_t>(kFillers + symbols + rng.Below(symbols)));
    ids[2 * places[i]] = static_cast<std::int32_t>(kFillers + keys[i]);
    ids[2 * places[i] + 1] = values.back();
  }
  const std::vector<idx_t> order = draw(pairs, pairs);
  std::int32_t* question = ids + tokens - 2 * pairs;
  for (const idx_t i : order) {
    const auto at = static_cast<std::size_t>(i);
    question[0] = static_cast<std::int32_t>(kFillers + keys[at]);
    question[1] = values[at];
    targets[question - ids] = values[at];
    question += 2;
  }
}

// Right answers of a model on rows [0, count) of a stream.
PuzzleScore Score(Context& context, const Reformer& model, const PuzzleOptions& puzzle,
                  idx_t tokens, std::uint64_t key, idx_t count, const EvalHooks& hooks) {
  const idx_t rows = std::clamp<idx_t>(kBatchTokens / tokens, 1, count);
  PuzzleScore score;
  for (idx_t first = 0; first < count; first += rows) {
    const idx_t now = std::min(rows, count - first);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(now * tokens)), targets(ids.size());
    for (idx_t i = 0; i < now; ++i) {
      MakePuzzleRow(puzzle, key, first + i, tokens, ids.data() + i * tokens,
                    targets.data() + i * tokens);
    }
    const HeadLoss loss = model.Loss(context, {now, tokens, ids, targets, {}});
    score.loss += loss.sum;
    score.counted += loss.counted;
    score.right += loss.correct;
    Tell(hooks, first + now, count);
  }
  score.loss /= static_cast<double>(score.counted);
  return score;
}

}  // namespace

PuzzleKind ParsePuzzle(std::string_view name) {
  if (name == "duplication") return PuzzleKind::kDuplication;
  Check(name == "recall", ErrorCode::kUsage, "puzzle: '{}' is unknown; use duplication or recall",
        io::Escape(name));
  return PuzzleKind::kRecall;
}

const char* PuzzleName(PuzzleKind kind) {
  return kind == PuzzleKind::kRecall ? "recall" : "duplication";
}

idx_t PuzzleVocabulary(const PuzzleOptions& puzzle) {
  const bool recall = puzzle.kind == PuzzleKind::kRecall;
  return recall ? kFillers + 2 * puzzle.symbols : puzzle.symbols;
}

void CheckPuzzle(const PuzzleOptions& puzzle, idx_t tokens) {
  const PuzzleKind kind = puzzle.kind;
  Check(puzzle.symbols >= 2 && puzzle.symbols <= 65536, ErrorCode::kUsage,
        "puzzle: {} symbols are not from 2 to 65536", puzzle.symbols);
  Check(puzzle.short_steps >= 0 && puzzle.short_steps <= 1'000'000'000, ErrorCode::kUsage,
        "puzzle: {} short steps are not from 0 to 1000000000", puzzle.short_steps);
  if (kind == PuzzleKind::kDuplication) {
    Check(tokens >= 4 && tokens % 2 == 0, ErrorCode::kUsage,
          "puzzle: rows of {} tokens, duplication needs an even number from 4 on", tokens);
    return;
  }
  Check(tokens >= 8, ErrorCode::kUsage, "puzzle: rows of {} tokens, recall needs 8 a pair", tokens);
  const idx_t most = std::min(puzzle.symbols, tokens / 8);
  Check(
      puzzle.pairs >= 1 && puzzle.pairs <= most, ErrorCode::kUsage,
      "puzzle: {} pairs; {} symbols and rows of {} tokens have room for 1 to {}: give --pairs {}, "
      "or more --symbols and 8 --tokens a pair",
      puzzle.pairs, puzzle.symbols, tokens, most, std::clamp<idx_t>(puzzle.pairs, 1, most));
}

void MakePuzzleRow(const PuzzleOptions& puzzle, std::uint64_t key, idx_t number, idx_t tokens,
                   std::int32_t* ids, std::int32_t* targets) {
  Rng rng(DeriveKey(key, static_cast<std::uint64_t>(number)));
  if (puzzle.kind == PuzzleKind::kDuplication) {
    MakeDuplication(puzzle, rng, tokens, ids, targets);
  } else {
    MakeRecall(puzzle, rng, tokens, ids, targets);
  }
}

// ---- the task -----------------------------------------------------------------------------------

PuzzleTask::PuzzleTask(const TrainOptions& options, const PuzzleOptions& puzzle, std::size_t keep)
    : options_(options), puzzle_(puzzle), keep_(keep) {
  CheckPuzzle(puzzle, options.tokens);
}

idx_t PuzzleRowTokens(const PuzzleOptions& puzzle, idx_t tokens, idx_t step) {
  constexpr idx_t kShortest = 64, kGrowth = 4, kStepsOfALength = 100;
  if (puzzle.short_steps == 0) return tokens;
  idx_t now = kShortest;
  for (idx_t last = puzzle.short_steps; step > last && now < tokens; last += kStepsOfALength) {
    now *= kGrowth;
  }
  return std::min(now, tokens);
}

idx_t PuzzleTask::RowTokens() const { return PuzzleRowTokens(puzzle_, options_.tokens, step_); }

idx_t PuzzleTask::Rows() const {
  return std::max<idx_t>(1, options_.batch * options_.tokens / RowTokens());
}

PuzzleOptions PuzzleTask::Puzzle() const {
  PuzzleOptions now = puzzle_;
  const idx_t room = std::max<idx_t>(1, RowTokens() / 8);
  now.pairs = std::min(now.pairs, room);
  return now;
}

void PuzzleTask::Load(const std::filesystem::path& directory, Origin,
                      std::vector<std::string>* notes) {
  LoadOptions load;
  load.allow_nonfinite = options_.compute.allow_nonfinite;
  load.dropout = options_.compute.dropout;
  load.family = OptionsOf(options_.compute.reformer);
  model_ = LoadReformer(OpenModelFolder(directory), load, notes);
  Check(model_->config().head == HeadKind::kCausalLm &&
            model_->config().vocab_size >= PuzzleVocabulary(puzzle_) &&
            model_->config().longest() >= options_.tokens,
        ErrorCode::kFormat,
        "model: no language model with {} words and positions for {} tokens, as the puzzle needs",
        PuzzleVocabulary(puzzle_), options_.tokens);
  model_->ComputeIn(options_.compute.dtype);
  model_->KeepUpTo(keep_);
  model_->GradientStreamsIn(options_.compute.gradient_streams);
}

std::string PuzzleTask::DataFingerprint() const {
  std::string text = fmt::format("{} of {} symbols, {} pairs", PuzzleName(puzzle_.kind),
                                 puzzle_.symbols, puzzle_.pairs);
  if (puzzle_.short_steps > 0) text += fmt::format(", {} short steps", puzzle_.short_steps);
  return text;
}

nlohmann::json PuzzleTask::DecidingOptions() const {
  nlohmann::json deciding = {{"task", "puzzle"}};
  if (options_.compute.dtype != DType::kF32) deciding["dtype"] = DTypeName(options_.compute.dtype);
  if (options_.compute.gradient_streams != DType::kF32) {
    deciding["gradient_streams"] = DTypeName(options_.compute.gradient_streams);
  }
  return deciding;
}

StepSize PuzzleTask::Draw(idx_t step) {
  step_ = step;
  const idx_t rows = Rows() * options_.accumulate, tokens = RowTokens();
  const bool duplication = puzzle_.kind == PuzzleKind::kDuplication;
  return {rows * (duplication ? tokens / 2 - 1 : Puzzle().pairs), rows * tokens};
}

TaskLoss PuzzleTask::Accumulate(Context& context, idx_t micro, float scale,
                                const StepDropout& dropout) {
  const idx_t tokens = RowTokens(), rows = Rows();
  const PuzzleOptions puzzle = Puzzle();
  // Rows of another length are other rows.
  std::uint64_t key = RowsKey(options_.seed, RowStream::kTrain);
  if (tokens != options_.tokens) key = DeriveKey(key, static_cast<std::uint64_t>(tokens));
  ids_.resize(static_cast<std::size_t>(rows * tokens));
  targets_.resize(ids_.size());
  const idx_t first = ((step_ - 1) * options_.accumulate + micro) * rows;
  for (idx_t i = 0; i < rows; ++i) {
    MakePuzzleRow(puzzle, key, first + i, tokens, ids_.data() + i * tokens,
                  targets_.data() + i * tokens);
  }
  const HeadLoss loss =
      model_->LossAndGradients(context, {rows, tokens, ids_, targets_, {}}, scale, dropout);
  return {loss.sum, loss.correct};
}

std::vector<std::string> PuzzleTask::RowsOf(idx_t micro) const {
  const idx_t rows = Rows(), first = ((step_ - 1) * options_.accumulate + micro) * rows;
  return {fmt::format("rows {} to {} of the puzzle", first, first + rows)};
}

TaskEvaluation PuzzleTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const PuzzleScore score = Score(context, *model_, puzzle_, options_.tokens,
                                  RowsKey(options_.seed, RowStream::kHeldOut), kEvaluated, hooks);
  return {score.loss, {{"accuracy", score.share()}}};
}

std::string PuzzleTask::ConfigText() { return ToJson(model_->config()); }

void PuzzleTask::Save(const std::filesystem::path& directory) { SaveReformer(*model_, directory); }

// ---- the model to start from --------------------------------------------------------------------

namespace {

// Positions whose columns are the places in a chunk of 8: "the token before" is the same relation
// all along a row, and is learnt from all of it at once.
void UseChunkColumns(idx_t positions, ReformerConfig* config) {
  const idx_t row = std::max<idx_t>(1, config->hidden_size / 8);
  config->axial_shape = {(positions + 7) / 8, 8};
  config->axial_dims = {row, config->hidden_size - row};
  config->max_positions = config->axial_shape[0] * 8;
  config->axial_norm_std = 0.1;
  config->initializer_range = 0.06;
}

ReformerConfig StartConfig(const PuzzleModel& c, const PuzzleOptions& puzzle, idx_t tokens) {
  const bool recall = puzzle.kind == PuzzleKind::kRecall;
  const idx_t layers = c.layers > 0 ? c.layers : (recall ? 2 : 1);
  const idx_t positions = std::max(tokens, c.positions);
  Check(c.heads >= 1 && c.hidden >= c.heads && c.hidden % c.heads == 0 && c.hidden % 4 == 0,
        ErrorCode::kUsage, "puzzle: {} channels for {} heads; need a multiple of both and of 4",
        c.hidden, c.heads);
  ReformerConfig config;
  config.layers.clear();
  for (idx_t i = 0; i < layers; ++i) {
    const bool local = (layers - i) % 2 == 0;
    config.layers.push_back(local ? LayerKind::kLocal : LayerKind::kLsh);
  }
  config.vocab_size = PuzzleVocabulary(puzzle);
  config.hidden_size = config.feed_forward_size = c.hidden;
  config.heads = c.heads;
  config.head_size = c.hidden / c.heads;
  config.is_decoder = true;
  config.head = HeadKind::kCausalLm;
  config.max_positions = positions;
  config.axial = recall;
  if (recall) UseChunkColumns(positions, &config);
  config.local_chunk = config.lsh_chunk =
      c.chunk > 0 ? c.chunk : std::max<idx_t>(8, std::min<idx_t>(64, tokens / 16));
  // A chunk and the one before it: the token itself and the one before. Wider ones learn slowly, as
  // attention starts out even over all keys.
  if (recall) config.local_chunk = 1;
  config.num_hashes = c.num_hashes;
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.0;
  config.pad_token = config.eos_token = 0;
  return config;
}

}  // namespace

void WritePuzzleModel(const PuzzleModel& sizes, const PuzzleOptions& puzzle, idx_t tokens,
                      std::uint64_t seed, const std::filesystem::path& directory) {
  Reformer model(StartConfig(sizes, puzzle, tokens));
  model.Initialise(seed);
  SaveReformer(model, directory);
}

ReformerAttention InPlaceOfHashing(const PuzzleOptions& puzzle, std::string_view attention) {
  const bool recall = puzzle.kind == PuzzleKind::kRecall;
  return recall && attention == "full" ? ReformerAttention::kFullLsh : ParseAttention(attention);
}

// ---- running it ---------------------------------------------------------------------------------

TrainResult TrainPuzzle(Context& context, const TrainOptions& options, const PuzzleOptions& puzzle,
                        const TrainHooks& hooks) {
  CheckTrainOptions(options);
  CheckPuzzle(puzzle, options.tokens);
  // A model that cannot attend as asked is found before the output is touched.
  ReformerConfig config = LoadReformerConfig(OpenModelFolder(options.model));
  ApplyOptions(OptionsOf(options.compute.reformer), &config);
  PuzzleTask task(options, puzzle, KeptActivations(context, options));
  return RunTraining(context, options, task, hooks);
}

PuzzleScore EvaluatePuzzle(Context& context, const PuzzleEvalOptions& o) {
  CheckPuzzle(o.puzzle, o.tokens);
  Check(o.rows >= 1 && o.rows <= 1'000'000, ErrorCode::kUsage,
        "puzzle: {} rows are not from 1 to 1000000", o.rows);
  LoadOptions load;
  load.family = OptionsOf(o.reformer);
  Reformer model = LoadReformer(OpenModelFolder(o.model), load);
  return Score(context, model, o.puzzle, o.tokens, RowsKey(o.seed, RowStream::kScore), o.rows,
               HooksOf(context));
}

}  // namespace longspan
