// Puzzles: what rows are, and that a small Reformer learns what only its attention can see.
#include "lab/puzzle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "families/reformer/reformer_files.h"
#include "longspan/error.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

struct Row {
  std::vector<std::int32_t> ids, targets;
};
Row MakeRow(const PuzzleOptions& puzzle, idx_t number, idx_t tokens, std::uint64_t key = 5) {
  Row row{std::vector<std::int32_t>(static_cast<std::size_t>(tokens), -7), {}};
  row.targets = row.ids;
  MakePuzzleRow(puzzle, key, number, tokens, row.ids.data(), row.targets.data());
  return row;
}

TEST(Puzzle, DuplicationIsZeroWordZeroWord) {
  PuzzleOptions puzzle;
  puzzle.symbols = 5;
  const Row row = MakeRow(puzzle, 3, 64);
  for (std::size_t t = 0; t < 32; ++t) {
    EXPECT_EQ(row.ids[t], row.ids[t + 32]);
    EXPECT_EQ(row.ids[t] == 0, t == 0);
    EXPECT_LT(row.ids[t], 5);
  }
  for (std::size_t t = 0; t < 64; ++t) {
    const bool asked = t >= 32 && t < 63;  // the second 0 is given, and nothing follows the last
    EXPECT_EQ(row.targets[t], asked ? row.ids[t + 1] : kIgnoreLabel) << t;
  }
  EXPECT_EQ(std::set(row.ids.begin(), row.ids.end()).size(), 5u);
  EXPECT_EQ(MakeRow(puzzle, 3, 64).ids, row.ids);
  EXPECT_NE(MakeRow(puzzle, 4, 64).ids, row.ids);
  EXPECT_NE(MakeRow(puzzle, 3, 64, 6).ids, row.ids);
}

TEST(Puzzle, ShortRowsComeFirst) {
  PuzzleOptions puzzle;
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 1), 1024);
  puzzle.short_steps = 10;
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 1), 64);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 10), 64);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 11), 256);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 110), 256);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 111), 1024);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 1024, 9999), 1024);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 100, 11), 100);
  EXPECT_EQ(PuzzleRowTokens(puzzle, 32, 1), 32);
}

TEST(Puzzle, RecallAsksForEveryPairOnce) {
  PuzzleOptions puzzle{PuzzleKind::kRecall, 12, 6};
  EXPECT_EQ(PuzzleVocabulary(puzzle), 16 + 24);
  for (idx_t number = 0; number < 20; ++number) {
    const Row row = MakeRow(puzzle, number, 96);
    std::vector<std::int32_t> value_of(12, -1);
    for (std::size_t t = 0; t < 96; ++t) {
      const std::int32_t key = row.ids[t] - 16;
      if (key < 0 || key >= 12) {
        EXPECT_EQ(row.targets[t], kIgnoreLabel);
        continue;
      }
      const std::int32_t value = row.ids[t + 1];
      EXPECT_GE(value, 16 + 12);
      EXPECT_LT(value, PuzzleVocabulary(puzzle));
      auto& known = value_of[static_cast<std::size_t>(key)];
      if (t < 24) {
        EXPECT_EQ(known, -1);
        known = value;
        EXPECT_EQ(row.targets[t], kIgnoreLabel);
      } else {
        EXPECT_GE(t, 96u - 12);
        EXPECT_EQ(known, value);
        EXPECT_EQ(row.targets[t], value);
        known = -2;  // asked for
      }
    }
    EXPECT_EQ(std::count(value_of.begin(), value_of.end(), -2), 6);
  }
}

TEST(Puzzle, BadOnesAreNamed) {
  const auto message = [](const PuzzleOptions& puzzle, idx_t tokens) -> std::string {
    try {
      CheckPuzzle(puzzle, tokens);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({PuzzleKind::kDuplication, 8, 0}, 64), "");
  EXPECT_EQ(message({PuzzleKind::kRecall, 8, 8}, 64), "");
  try {
    ParsePuzzle("riddle");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'riddle'"), std::string::npos);
  }
  EXPECT_NE(message({PuzzleKind::kDuplication, 8, 8}, 65).find("65 tokens"), std::string::npos);
  EXPECT_NE(message({PuzzleKind::kDuplication, 1, 8}, 64).find("1 symbols"), std::string::npos);
  EXPECT_NE(message({PuzzleKind::kRecall, 8, 9}, 96).find("9 pairs"), std::string::npos);
  EXPECT_NE(message({PuzzleKind::kRecall, 8, 8}, 56).find("56 tokens"), std::string::npos);
  EXPECT_NE(message({PuzzleKind::kRecall, 8, 8}, 56).find("give --pairs 7"), std::string::npos);
  EXPECT_NE(message({PuzzleKind::kRecall, 8, 1}, 7).find("needs 8 a pair"), std::string::npos);
}

// A start model for the puzzle, trained for some updates; returns the score with an attention.
class PuzzleRun {
 public:
  PuzzleRun(const PuzzleOptions& puzzle, idx_t tokens) : puzzle_(puzzle) {
    ReformerConfig config;
    config.layers = {LayerKind::kLocal, LayerKind::kLsh};
    config.vocab_size = PuzzleVocabulary(puzzle);
    config.hidden_size = config.feed_forward_size = 64;
    config.heads = 2;
    config.head_size = 32;
    config.is_decoder = true;
    config.head = HeadKind::kCausalLm;
    config.max_positions = tokens;
    config.axial = false;
    config.local_chunk = config.lsh_chunk = 8;
    config.num_hashes = 4;
    config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.0;
    Reformer model(config);
    model.Initialise(1);
    SaveReformer(model, directory_.path() / "start");
    options_.model = directory_.path() / "start";
    options_.output = directory_.path() / "run";
    options_.tokens = tokens;
    options_.batch = 8;
    options_.schedule.warmup = 20;
    options_.optimizer.weight_decay = 0.0;
    options_.optimizer.learning_rate = 3e-3;
    options_.checkpoints.eval_every = 0;
    options_.checkpoints.save_every = 10;
  }
  TrainOptions& options() { return options_; }
  TrainResult Train() { return TrainPuzzle(context_, options_, puzzle_); }
  PuzzleScore Score(std::string_view attention) {
    PuzzleEvalOptions o;
    o.model = options_.output;
    o.puzzle = puzzle_;
    o.tokens = options_.tokens;
    o.reformer.attention = ParseAttention(attention);
    return EvaluatePuzzle(context_, o);
  }
  std::filesystem::path directory() const { return directory_.path(); }

 private:
  test::TempDir directory_;
  PuzzleOptions puzzle_;
  TrainOptions options_;
  Context context_{2};
};

TEST(Puzzle, LearnsAndStopsAndResumes) {
  PuzzleRun whole({PuzzleKind::kDuplication, 8, 0}, 32),
      halves({PuzzleKind::kDuplication, 8, 0}, 32);
  whole.options().steps = halves.options().steps = 30;
  const TrainResult wanted = whole.Train();
  halves.options().checkpoints.resume = false;
  TrainHooks stop;
  idx_t updates = 0;
  stop.should_stop = [&] { return ++updates == 17; };
  Context context(1);
  EXPECT_TRUE(
      TrainPuzzle(context, halves.options(), {PuzzleKind::kDuplication, 8, 0}, stop).stopped);
  halves.options().checkpoints.resume = true;
  const TrainResult resumed = halves.Train();
  EXPECT_EQ(resumed.eval_loss, wanted.eval_loss);
  EXPECT_EQ(halves.Score("full").loss, whole.Score("full").loss);
}

// Full attention in place of hashing is LSH with one chunk of the whole row; local layers stay
// local.
TEST(Puzzle, FullLshIsOneChunkOfEverything) {
  PuzzleRun run({PuzzleKind::kRecall, 8, 4}, 64);
  run.options().steps = 20;
  run.Train();
  const double full_lsh = run.Score("full-lsh").loss, full = run.Score("full").loss;
  EXPECT_GT(std::abs(full - full_lsh), 1e-6);
  const std::filesystem::path file = run.directory() / "run" / "config.json";
  std::stringstream read;
  read << std::ifstream(file).rdbuf();
  std::string text = read.str();
  const std::string chunk = "\"lsh_attn_chunk_length\": 8";
  ASSERT_NE(text.find(chunk), std::string::npos);
  text.replace(text.find(chunk), chunk.size(), "\"lsh_attn_chunk_length\": 64");
  std::ofstream(file) << text;
  EXPECT_NEAR(run.Score("lsh").loss, full_lsh, 1e-5);
}

// Stopped and resumed where rows get longer.
TEST(Puzzle, ShortRowsResume) {
  const PuzzleOptions puzzle{PuzzleKind::kRecall, 8, 8, 10};
  PuzzleRun whole(puzzle, 128), halves(puzzle, 128);
  whole.options().steps = halves.options().steps = 20;
  const TrainResult wanted = whole.Train();
  TrainHooks stop;
  idx_t updates = 0;
  stop.should_stop = [&] { return ++updates == 8; };
  Context context(1);
  EXPECT_TRUE(TrainPuzzle(context, halves.options(), puzzle, stop).stopped);
  halves.options().checkpoints.resume = true;
  EXPECT_EQ(halves.Train().eval_loss, wanted.eval_loss);
}

TEST(Puzzle, ShortDuplicationIsLearned) {
  PuzzleRun run({PuzzleKind::kDuplication, 6, 0}, 16);
  run.options().steps = 400;
  run.options().compute.reformer.attention = ReformerAttention::kFull;
  run.Train();
  EXPECT_GT(run.Score("full").share(), 0.95);
  EXPECT_EQ(run.Score("full").counted, 100 * 7);
}

}  // namespace
}  // namespace longspan
