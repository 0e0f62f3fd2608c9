// Schedules, data, evaluation, and the loop with all the ways in which it is interrupted.
#include "longspan/train.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/reformer_files.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "longspan/tokenizer.h"
#include "tests/support/files.h"
#include "train/evaluate.h"
#include "train/lm_data.h"
#include "train/schedule.h"
#include "train/stop_after_test.h"
#include "train/text_data.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

void WriteText(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

// Something to learn: words that follow each other by a rule.
std::string Rhyme(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) {
    text += (i % 3 == 0) ? "the cat sat on the mat\n" : "a dog ran to the fog\n";
  }
  return text;
}

// ---- schedule -----------------------------------------------------------------------------------

TEST(ScheduleTest, WarmsUpAndComesDown) {
  TrainOptions o;
  o.optimizer.learning_rate = 0.4;
  o.schedule.final_rate = 0.1;
  o.schedule.warmup = 4;
  o.steps = 24;
  EXPECT_DOUBLE_EQ(LearningRate(o, 1), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate(o, 4), 0.4);
  EXPECT_DOUBLE_EQ(LearningRate(o, 5), 0.4);
  EXPECT_NEAR(LearningRate(o, 15), 0.4 * 0.55, 1e-12);  // half way down the cosine
  EXPECT_NEAR(LearningRate(o, 25), 0.04, 1e-12);        // after the last update
  o.schedule.kind = ScheduleKind::kLinear;
  EXPECT_NEAR(LearningRate(o, 10), 0.4 * (1 - 0.9 * 0.25), 1e-12);
  EXPECT_NEAR(LearningRate(o, 24), 0.4 * (1 - 0.9 * 0.95), 1e-12);
  o.schedule.kind = ScheduleKind::kConstant;
  EXPECT_DOUBLE_EQ(LearningRate(o, 24), 0.4);
  o.schedule.kind = ParseSchedule("inverse-sqrt");
  EXPECT_DOUBLE_EQ(LearningRate(o, 5), 0.4);
  EXPECT_DOUBLE_EQ(LearningRate(o, 17), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(o, 401), 0.04);  // beyond the last one, too
  o.schedule.warmup = 0;
  EXPECT_DOUBLE_EQ(LearningRate(o, 30'001), 0.2);
  EXPECT_THROW(ParseSchedule("cosin"), Error);
}

// get_linear_schedule_with_warmup, get_cosine_schedule_with_warmup and get_inverse_sqrt_schedule of
// transformers 5.24 with a rate of 1: updates 3 to 6 of 6 after a warm-up of 2, and all of 3
// without one. During a warm-up a rate here is theirs of the next update: they begin with one of 0.
TEST(ScheduleTest, IsTheOriginalsUpdateByUpdate) {
  struct Recorded {
    const char* name;
    std::vector<double> after_two, of_three;
  };
  const Recorded recorded[] = {
      {"linear", {1.0, 0.75, 0.5, 0.25}, {1.0, 0.6666666666666666, 0.3333333333333333}},
      {"cosine",
       {1.0, 0.8535533905932737, 0.5, 0.14644660940672627},
       {1.0, 0.75, 0.2500000000000001}},
      {"inverse-sqrt",
       {1.0, 0.8164965809277261, 0.7071067811865475, 0.6324555320336759},
       {1.0, 0.9999500037496877, 0.9999000149975006}},
  };
  TrainOptions o;
  o.optimizer.learning_rate = 1.0;
  o.schedule.final_rate = 0.0;
  for (const Recorded& r : recorded) {
    o.schedule.kind = ParseSchedule(r.name);
    o.schedule.warmup = 2;
    o.steps = 6;
    EXPECT_EQ(LearningRate(o, 1), 0.5);
    EXPECT_EQ(LearningRate(o, 2), 1.0);
    for (idx_t s = 3; s <= 6; ++s)
      EXPECT_NEAR(LearningRate(o, s), r.after_two[static_cast<std::size_t>(s - 3)], 1e-15);
    o.schedule.warmup = 0;
    o.steps = 3;
    for (idx_t s = 1; s <= 3; ++s)
      EXPECT_NEAR(LearningRate(o, s), r.of_three[static_cast<std::size_t>(s - 1)], 1e-15);
  }
}

// A run of one update learns, whatever its schedule.
TEST(ScheduleTest, NoUpdateHasARateOfZero) {
  for (const ScheduleKind kind : {ScheduleKind::kCosine, ScheduleKind::kLinear,
                                  ScheduleKind::kConstant, ScheduleKind::kInverseSqrt}) {
    for (const idx_t steps : {1, 2, 8, 100}) {
      TrainOptions o = FineTuneOptions();
      o.schedule.kind = kind;
      o.steps = steps;
      ResolveWarmup(&o);
      for (idx_t s = 1; s <= steps; ++s) EXPECT_GT(LearningRate(o, s), 0.0) << steps << " " << s;
      EXPECT_TRUE(steps > 1 || LearningRate(o, 1) == o.optimizer.learning_rate);
    }
  }
}

// ---- data ---------------------------------------------------------------------------------------

data::CorpusRules Bytes() { return CorpusRulesFor({}, true); }

TEST(TextDataTest, HoldsOutTheEndAndSamplesTheRest) {
  const TempDir d;
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i < 90 ? 'a' + i % 26 : 'Z');
  WriteText(d.path() / "t", text);
  const TextData data({d.path() / "t"}, {}, 0.1, 8, Bytes());
  EXPECT_EQ(data.train_bytes(), 90);
  EXPECT_EQ(data.held_out_bytes().size(), 10u);
  EXPECT_EQ(data.held_out_bytes()[0], 'Z');
  TextRows rows, again;
  std::set<std::int32_t> starts;
  for (idx_t step = 1; step <= 50; ++step) {
    data.Sample(7, step, 0, 4, 8, &rows);
    data.Sample(7, step, 2, 2, 8, &again);
    // Row 2 is row 2, in whatever batch.
    EXPECT_TRUE(std::equal(again.ids.begin(), again.ids.end(), rows.ids.begin() + 16));
    for (std::size_t i = 0; i < rows.ids.size(); ++i) {
      EXPECT_NE(rows.targets[i], 'Z' + 2);  // nothing of the held-out part
      if (i % 8 != 7) {
        EXPECT_EQ(rows.targets[i], rows.ids[i + 1]);
      }
    }
    starts.insert(rows.ids[0]);
  }
  EXPECT_GT(starts.size(), 15u);
}

// A mapped text that shrinks would end the run by SIGBUS; a copied one may do what it likes.
TEST(TextDataTest, AMappedTextThatShrinksIsNamed) {
  const TempDir d;
  for (const bool mapped : {false, true}) {
    std::ofstream(d.path() / "t") << std::string(100000, 'x');
    data::CorpusRules rules = Bytes();
    if (mapped) rules.copy_below = 0;
    const TextData data({d.path() / "t"}, {}, 0.1, 8, rules);
    EXPECT_NO_THROW(data.CheckUnchanged());
    std::filesystem::resize_file(d.path() / "t", 10);
    if (!mapped) {
      EXPECT_NO_THROW(data.CheckUnchanged());
      continue;
    }
    EXPECT_TRUE(test::Throws([&] { data.CheckUnchanged(); }, ErrorCode::kFormat,
                             "changed since it was opened (100000 bytes then, 10 now)"));
  }
}

// Large enough to be mapped, and sparse: a run asks before each update and each evaluation.
TEST(LmDataFiles, ATextThatShrinksEndsTheRunInOneLine) {
  const TempDir d;
  const auto path = d.path() / "t";
  std::ofstream(path) << "x";
  std::filesystem::resize_file(path, data::MappedFile::kCopyBelow + 4096);
  TrainOptions o;
  o.data.train = {path};
  o.data.held_out = 1e-5;
  o.tokens = 16;
  Context context(1);
  const auto data = MakeLmData(context, o, {}, *text::MakeBytesTokenizer());
  data->Draw(1);
  EXPECT_EQ(data->Micro(0).tokens, 16);
  std::filesystem::resize_file(path, 4096);
  EXPECT_TRUE(test::Throws([&] { data->Draw(2); }, ErrorCode::kFormat, "4096 now"));
}

TEST(TextDataTest, RowsCrossFiles) {
  const TempDir d;
  WriteText(d.path() / "a", "aaaa");
  WriteText(d.path() / "b", "bbbb");
  WriteText(d.path() / "e", "ee");
  const TextData data({d.path() / "a", d.path() / "b"}, d.path() / "e", 0.5, 7, Bytes());
  TextRows rows;
  data.Sample(1, 1, 0, 1, 7, &rows);  // 8 bytes: there is one row only
  std::string seen;
  for (const std::int32_t id : rows.ids) seen += static_cast<char>(id - 2);
  EXPECT_EQ(seen, "aaaabbb");
  EXPECT_THROW(TextData({d.path() / "a"}, d.path() / "e", 0.5, 4, Bytes()), Error);
  EXPECT_THROW(TextData({d.path() / "none"}, {}, 0.1, 4, Bytes()), Error);
}

// ---- a tiny model -------------------------------------------------------------------------------

ReformerConfig TinyModel() {
  ReformerConfig c = ReformerPreset("tiny");
  c.hidden_size = 32;
  c.heads = 2;
  c.head_size = 16;
  c.feed_forward_size = 64;
  c.axial_shape = {8, 16};
  c.axial_dims = {8, 24};
  c.local_chunk = 8;
  c.lsh_chunk = 8;  // shorter than the rows, so that LSH layers hash
  return c;
}

// A start model, a text, options; runs trainings into directories of their own.
class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    Reformer model(TinyModel());
    model.Initialise(1);
    SaveReformer(model, d_.path() / "start");
    WriteText(d_.path() / "text", Rhyme(60));
  }

  TrainOptions Options(const std::string& run) const {
    TrainOptions o;
    o.model = d_.path() / "start";
    o.data.train = {d_.path() / "text"};
    o.output = d_.path() / run;
    o.steps = 12;
    o.batch = 2;
    o.tokens = 32;
    o.accumulate = 2;
    o.optimizer.learning_rate = 3e-3;
    o.schedule.warmup = 3;
    o.compute.dropout = 0.1;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = 4;
    o.checkpoints.save_every = 4;
    return o;
  }

  TrainResult Train(const TrainOptions& options, int threads = 2, idx_t stop_after = 0) const {
    Context context(threads);
    return TrainLanguageModel(context, options, StopAfter(stop_after));
  }

  std::string Weights(const std::string& run) const {
    return test::GetFile(d_.path() / run / "model.safetensors");
  }

  // kind, step and loss of every line.
  std::vector<std::string> Losses(const std::string& run) const {
    std::ifstream in(d_.path() / run / "metrics.jsonl");
    std::vector<std::string> losses;
    for (std::string line; std::getline(in, line);) {
      const auto j = nlohmann::json::parse(line);
      losses.push_back(j["kind"].get<std::string>() + j["step"].dump() + " " + j["loss"].dump());
    }
    return losses;
  }

  ErrorCode CodeOf(const TrainOptions& options, std::string* message = nullptr) const {
    try {
      Train(options);
    } catch (const Error& error) {
      if (message != nullptr) *message = error.what();
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::kPeer;
  }

  TempDir d_;
};

TEST_F(TrainTest, LearnsTheRhyme) {
  TrainOptions o = Options("run");
  o.steps = 150;
  o.batch = 8;
  o.accumulate = 1;
  o.compute.dropout = 0.0;
  o.optimizer.learning_rate = 1e-2;
  o.checkpoints.log_every = 50;
  const TrainResult result = Train(o);
  EXPECT_EQ(result.step, 150);
  EXPECT_LT(result.eval_bits_per_byte, 1.0);  // uniform bytes: 8, letter frequencies: about 3.5
  Context context(2);
  EvalOptions judged;
  judged.model = o.output;
  judged.text = o.data.train[0];
  judged.held_out = 0.1;
  judged.tokens = 32;
  const EvalResult eval = EvaluateLanguageModel(context, judged);
  EXPECT_DOUBLE_EQ(eval.bits_per_byte, result.eval_bits_per_byte);
}

TEST_F(TrainTest, StoppedAndResumedGivesTheSameBits) {
  Train(Options("whole"));
  for (const idx_t stop : {1, 5, 8, 11}) {
    const std::string run = "part" + std::to_string(stop);
    TrainOptions o = Options(run);
    EXPECT_TRUE(Train(o, 2, stop).stopped);
    o.checkpoints.resume = true;
    EXPECT_EQ(Train(o, 1).step, 12);  // another number of threads, too
    EXPECT_EQ(Weights(run), Weights("whole")) << stop;
    EXPECT_EQ(Losses(run), Losses("whole")) << stop;
  }
}

// Values and the optimizer's state of a parameter in a folder; empty: there are none.
std::vector<float> ValuesIn(const fs::path& file, const std::string& name) {
  const auto source = io::SafetensorsFile::Open(file);
  if (!source.Has(name)) return {};
  const Tensor values = source.Read(name);
  return {values.data<float>(), values.data<float>() + values.size()};
}

TEST_F(TrainTest, FrozenParametersKeepTheirBitsAndHaveNoState) {
  const std::string frozen = "reformer.encoder.layers.0.feed_forward.dense.dense.weight",
                    trained = "reformer.encoder.layers.0.feed_forward.output.dense.weight";
  TrainOptions o = Options("frozen");
  o.steps = 2;
  o.optimizer.clip = 0.0;
  o.trained.freeze = {"*.embeddings.*", "*.feed_forward.dense.*"};
  Train(o);
  const fs::path start = o.model / "model.safetensors", end = o.output / "model.safetensors",
                 state = o.output / "checkpoint-2" / "optimizer.safetensors";
  EXPECT_FALSE(ValuesIn(start, frozen).empty());
  EXPECT_EQ(ValuesIn(start, frozen), ValuesIn(end, frozen));
  EXPECT_NE(ValuesIn(start, trained), ValuesIn(end, trained));
  EXPECT_TRUE(ValuesIn(state, "first_moment." + frozen).empty());
  EXPECT_FALSE(ValuesIn(state, "first_moment." + trained).empty());
  // They are not in the norm, and the first loss is that of the whole model.
  TrainOptions all = Options("all");
  all.steps = 2;
  all.optimizer.clip = 0.0;
  Train(all);
  const auto first = [&](const char* run) {
    std::ifstream in(d_.path() / run / "metrics.jsonl");
    std::string line;
    std::getline(in, line);
    return nlohmann::json::parse(line);
  };
  EXPECT_EQ(first("frozen")["loss"], first("all")["loss"]);
  EXPECT_LT(first("frozen")["grad_norm"].get<double>(), first("all")["grad_norm"].get<double>());
  // A resumed run has the same options, and goes on to the same bits.
  o.output = d_.path() / "part";
  EXPECT_TRUE(Train(o, 2, 1).stopped);
  o.checkpoints.resume = true;
  TrainOptions other = o;
  other.trained.freeze.pop_back();
  std::string message;
  EXPECT_EQ(CodeOf(other, &message), ErrorCode::kUsage);
  EXPECT_NE(message.find("freeze"), std::string::npos) << message;
  Train(o, 1);
  EXPECT_EQ(Weights("part"), Weights("frozen"));
}

// The backward ends above the layers, and a budget of memory counts that.
TEST_F(TrainTest, TheHeadAloneIsResumedBitForBit) {
  TrainOptions o = Options("head");
  o.steps = 4;
  o.trained.only = {"lm_head.*"};
  Train(o);
  const std::string layer = "reformer.encoder.layers.0.feed_forward.output.dense.weight";
  const fs::path start = o.model / "model.safetensors", end = o.output / "model.safetensors";
  EXPECT_EQ(ValuesIn(start, layer), ValuesIn(end, layer));
  EXPECT_NE(ValuesIn(start, "lm_head.decoder.weight"), ValuesIn(end, "lm_head.decoder.weight"));
  o.output = d_.path() / "head-part";
  o.compute.memory = std::size_t{1} << 30;
  EXPECT_TRUE(Train(o, 2, 2).stopped);
  o.checkpoints.resume = true;
  Train(o, 3);
  EXPECT_EQ(Weights("head-part"), Weights("head"));
}

TEST_F(TrainTest, TheHeadHasARateOfItsOwn) {
  const std::string head = "lm_head.decoder.weight",
                    encoder = "reformer.encoder.layers.0.feed_forward.output.dense.weight";
  TrainOptions o = Options("still");
  o.steps = 2;
  o.optimizer.learning_rate = 0.0;
  o.trained.head_learning_rate = 1e-2;
  Train(o);
  const fs::path start = o.model / "model.safetensors", end = o.output / "model.safetensors";
  EXPECT_EQ(ValuesIn(start, encoder), ValuesIn(end, encoder));
  EXPECT_NE(ValuesIn(start, head), ValuesIn(end, head));
  // The rate of all, said for the head too, changes nothing.
  o.optimizer.learning_rate = 1e-2;
  o.output = d_.path() / "both";
  Train(o);
  o.trained.head_learning_rate = {};
  o.output = d_.path() / "one";
  Train(o);
  EXPECT_EQ(Weights("both"), Weights("one"));
}

TEST_F(TrainTest, RowsThatGetLongerAreResumedBitForBit) {
  TrainOptions o = Options("long");
  o.lengths = ParseLengths("16:5,32:");
  o.checkpoints.eval_every = 0;
  Train(o);
  o.output = d_.path() / "half";
  EXPECT_TRUE(Train(o, 2, 3).stopped);
  o.checkpoints.resume = true;
  TrainOptions other = o;
  other.lengths = ParseLengths("16:6,32:");
  std::string message;
  EXPECT_EQ(CodeOf(other, &message), ErrorCode::kUsage);
  EXPECT_NE(message.find("lengths"), std::string::npos) << message;
  Train(o, 1);
  EXPECT_EQ(Weights("half"), Weights("long"));
  std::ifstream in(d_.path() / "long" / "metrics.jsonl");
  std::vector<idx_t> tokens;
  for (std::string line; std::getline(in, line);) {
    tokens.push_back(nlohmann::json::parse(line)["tokens"].get<idx_t>());
  }
  EXPECT_EQ(tokens[4], 5 * 4 * 16);
  EXPECT_EQ(tokens[5], 5 * 4 * 16 + 4 * 32);
}

TEST_F(TrainTest, AFinishedRunHasNothingLeftToDo) {
  TrainOptions o = Options("run");
  const TrainResult first = Train(o);
  const auto before = Losses("run");
  o.checkpoints.resume = true;
  const TrainResult again = Train(o);
  EXPECT_EQ(again.step, 12);
  EXPECT_DOUBLE_EQ(again.eval_bits_per_byte, first.eval_bits_per_byte);
  EXPECT_EQ(Losses("run"), before);
}

TEST_F(TrainTest, LostProgressIsRepeatedNotKept) {
  Train(Options("whole"));
  TrainOptions o = Options("run");
  Train(o, 2, 11);
  // As after a crash at step 11: the checkpoint of step 8 is the newest.
  fs::remove_all(d_.path() / "run" / "checkpoint-11");
  o.checkpoints.resume = true;
  Train(o);
  EXPECT_EQ(Losses("run"), Losses("whole"));
  EXPECT_EQ(Weights("run"), Weights("whole"));
}

TEST_F(TrainTest, ADamagedCheckpointIsPassedOver) {
  Train(Options("whole"));
  TrainOptions o = Options("run");
  Train(o, 2, 9);
  const fs::path file = d_.path() / "run" / "checkpoint-9" / "model.safetensors";
  {
    std::fstream damaged(file, std::ios::in | std::ios::out | std::ios::binary);
    damaged.seekp(-5, std::ios::end);
    damaged.put('x');
  }
  o.checkpoints.resume = true;
  Train(o);
  EXPECT_EQ(Weights("run"), Weights("whole"));
}

TEST_F(TrainTest, OutputIsNeverOverwrittenByAccident) {
  Train(Options("run"));
  std::string message;
  EXPECT_EQ(CodeOf(Options("run"), &message), ErrorCode::kUsage);
  EXPECT_NE(message.find("--resume"), std::string::npos) << message;
  const std::string before = Weights("run");
  TrainOptions o = Options("run");
  o.seed = 5;
  o.checkpoints.overwrite = true;
  Train(o);
  EXPECT_NE(Weights("run"), before);
  WriteText(d_.path() / "run" / "thesis.tex", "mine");
  EXPECT_EQ(CodeOf(o), ErrorCode::kUsage);
  EXPECT_TRUE(fs::exists(d_.path() / "run" / "thesis.tex"));
  EXPECT_TRUE(fs::exists(d_.path() / "run" / "model.safetensors"));
}

TEST_F(TrainTest, ResumingSomethingElseIsRefused) {
  TrainOptions o = Options("run");
  Train(o, 2, 5);
  o.checkpoints.resume = true;
  TrainOptions other = o;
  other.optimizer.learning_rate = 1e-3;
  std::string message;
  EXPECT_EQ(CodeOf(other, &message), ErrorCode::kUsage);
  EXPECT_NE(message.find("--learning-rate"), std::string::npos) << message;
  WriteText(d_.path() / "text", Rhyme(61));
  EXPECT_EQ(CodeOf(o), ErrorCode::kFormat);
}

TEST_F(TrainTest, OneRunADirectory) {
  fs::create_directories(d_.path() / "run");
  const io::DirectoryLock lock(d_.path() / "run");
  EXPECT_EQ(CodeOf(Options("run")), ErrorCode::kLocked);
}

TEST_F(TrainTest, BadInputIsNamed) {
  TrainOptions o = Options("run");
  o.tokens = 129;  // the model has 128 positions
  EXPECT_EQ(CodeOf(o), ErrorCode::kUsage);
  o = Options("run2");
  o.data.train = {d_.path() / "missing"};
  EXPECT_EQ(CodeOf(o), ErrorCode::kIo);
  o = Options("run3");
  o.model = d_.path() / "missing";
  EXPECT_EQ(CodeOf(o), ErrorCode::kIo);
  EXPECT_FALSE(fs::exists(d_.path() / "run3"));
  o = Options("run4");
  o.optimizer.learning_rate = -1;
  EXPECT_EQ(CodeOf(o), ErrorCode::kUsage);
  o = Options("run5");
  o.optimizer.learning_rate = 99;
  o.optimizer.clip = 0;
  o.steps = 200;
  EXPECT_EQ(CodeOf(o), ErrorCode::kNumeric);
}

TEST_F(TrainTest, EveryByteIsJudgedOnceWhateverTheWindows) {
  Context context(2);
  Reformer model = LoadReformer(OpenModelFolder(d_.path() / "start"));
  const std::string text = Rhyme(9);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(text.data()),
                                            text.size());
  for (const idx_t tokens : {16, 33, 100}) {
    for (const idx_t stride : {1, 7, 16}) {
      EvalHooks hooks;
      hooks.batch_tokens = 200;
      const EvalResult r = EvaluateText(context, model, bytes, tokens, stride, hooks);
      EXPECT_EQ(r.counted, static_cast<idx_t>(text.size()) - 1) << tokens << " " << stride;
    }
  }
  // With one window over all of it, it is the plain loss.
  const std::string line = Rhyme(9).substr(0, 90);
  const std::span<const std::uint8_t> few(reinterpret_cast<const std::uint8_t*>(line.data()), 90);
  std::vector<std::int32_t> ids, targets;
  for (std::size_t i = 0; i + 1 < 90; ++i) {
    ids.push_back(few[i] + 2);
    targets.push_back(few[i + 1] + 2);
  }
  const double plain = model.Loss(context, {1, 89, ids, targets, {}}).sum / 89.0;
  EXPECT_NEAR(EvaluateText(context, model, few, 128, 0).loss, plain, 1e-9);
}

}  // namespace
}  // namespace longspan
