#include "train/tensorboard_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "io/crc32c.h"
#include "tests/support/event_file.h"
#include "tests/support/files.h"
#include "train/trainer_test.h"

namespace longspan {
namespace {

using test::GetFile;
using test::Scalars;
using test::TempDir;
using testing::ElementsAre;

TrainEvent Trained(idx_t step) {
  TrainEvent event;
  event.step = step;
  event.loss = 2.5;
  event.bits_per_byte = std::numeric_limits<double>::quiet_NaN();
  event.learning_rate = 0.25;
  event.gradient_norm = 4.0;
  event.tokens_per_s = 100.0;
  return event;
}

TrainEvent Evaluated(idx_t step) {
  TrainEvent event;
  event.kind = TrainEvent::Kind::kEval;
  event.step = step;
  event.loss = 1.5;
  event.bits_per_byte = std::numeric_limits<double>::quiet_NaN();
  event.metrics = {{"accuracy", 0.5}};
  return event;
}

std::vector<std::string> LinesOf(idx_t train) {
  return {
      fmt::format("{} train/loss 2.5", train), fmt::format("{} train/learning_rate 0.25", train),
      fmt::format("{} train/grad_norm 4", train), fmt::format("{} train/tokens_per_s 100", train)};
}

std::vector<std::string> Joined(std::vector<std::vector<std::string>> parts) {
  std::vector<std::string> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST(Crc32c, IsThatOfTheStandard) { EXPECT_EQ(io::Crc32c("123456789"), 0xe3069283U); }

TEST(TensorboardLog, HasTheTagsOfHuggingFacesTrainer) {
  const TempDir d;
  TensorboardLog log(d.path(), {});
  log.Write(Trained(1));
  log.Write(Trained(300));  // a varint of two bytes
  log.Write(Evaluated(300));
  EXPECT_EQ(Scalars(GetFile(d / kEventsFile)),
            Joined({LinesOf(1), LinesOf(300), {"300 eval/loss 1.5", "300 eval/accuracy 0.5"}}));
}

TEST(TensorboardLog, AResumedRunRepeatsNoStep) {
  const TempDir d;
  {
    TensorboardLog log(d.path(), {});
    for (const idx_t step : {10, 20, 30}) log.Write(Trained(step));
    log.Write(Evaluated(20));
  }
  // The checkpoint of update 20 does not know that evaluation.
  const std::string whole = GetFile(d / kEventsFile);
  {
    TensorboardLog log(d.path(), {20, {}});
    log.Write(Evaluated(20));
    log.Write(Trained(30));
  }
  EXPECT_EQ(
      Scalars(GetFile(d / kEventsFile)),
      Joined(
          {LinesOf(10), LinesOf(20), {"20 eval/loss 1.5", "20 eval/accuracy 0.5"}, LinesOf(30)}));
  { TensorboardLog log(d.path(), {20, 20}); }
  EXPECT_EQ(Scalars(GetFile(d / kEventsFile)),
            Joined({LinesOf(10), LinesOf(20), {"20 eval/loss 1.5", "20 eval/accuracy 0.5"}}));
  { TensorboardLog log(d.path(), {}); }
  EXPECT_THAT(Scalars(GetFile(d / kEventsFile)), ElementsAre());
}

TEST(TensorboardLog, ADamagedTailIsDropped) {
  const TempDir d;
  std::string two;
  {
    TensorboardLog log(d.path(), {});
    log.Write(Trained(10));
    two = GetFile(d / kEventsFile);
    log.Write(Trained(20));
  }
  const std::string whole = GetFile(d / kEventsFile);
  std::string flipped = whole;
  flipped[two.size() + 20] ^= 1;
  std::string long_length = whole;
  long_length[two.size() + 6] = '\x7f';
  for (const std::string& damaged :
       {whole.substr(0, whole.size() - 1), whole.substr(0, two.size() + 5), flipped, long_length,
        two + std::string(40, 'x')}) {
    test::PutFile(d / kEventsFile, damaged);
    { TensorboardLog log(d.path(), {100, 100}); }
    EXPECT_EQ(GetFile(d / kEventsFile), two);
  }
  test::PutFile(d / kEventsFile, "not a file of events");
  { TensorboardLog log(d.path(), {100, 100}); }
  EXPECT_THAT(Scalars(GetFile(d / kEventsFile)), ElementsAre());
}

// A whole run, stopped and resumed, has the events of one that was not.
TEST_F(TrainerTest, EventsAreThoseOfAnUndisturbedRun) {
  const auto without_speed = [&] {
    std::vector<std::string> lines = Scalars(GetFile(o.output / kEventsFile));
    std::erase_if(lines, [](const std::string& line) { return line.find("_per_s ") != line.npos; });
    return lines;
  };
  o.checkpoints.tensorboard = true;
  Run();
  const std::vector<std::string> whole = without_speed();
  EXPECT_EQ(whole.size(), 12u * 3 + 3);
  o.output = d.path() / "stopped";
  idx_t updates = 0;
  should_stop = [&] { return ++updates == 5; };
  EXPECT_TRUE(Run().stopped);
  should_stop = {};
  o.checkpoints.resume = true;
  Run();
  EXPECT_EQ(without_speed(), whole);
  o.checkpoints.resume = false;
  o.checkpoints.overwrite = true;
  o.checkpoints.tensorboard = false;
  Run();
  EXPECT_FALSE(fs::exists(o.output / kEventsFile));
}

}  // namespace
}  // namespace longspan
