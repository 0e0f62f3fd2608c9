#include "train/metrics_log.h"

#include "tests/support/files.h"

namespace longspan {
namespace {

using test::GetFile;
using test::PutFile;
using test::TempDir;

constexpr const char* kLog =
    "{\"kind\":\"train\",\"step\":1,\"loss\":3}\n"
    "{\"kind\":\"eval\",\"step\":1,\"loss\":4}\n"
    "{\"kind\":\"train\",\"step\":2,\"loss\":2}\n"
    "{\"kind\":\"eval\",\"step\":2,\"loss\":3}\n"
    "{\"kind\":\"train\",\"step\":3,\"loss\":1}\n";

// The lines of kLog that are there after a resume.
std::string Kept(idx_t step, std::optional<idx_t> evaluated, const std::string& text = kLog,
                 bool open = false) {
  const TempDir dir;
  PutFile(dir / "metrics.jsonl", text);
  MetricsLog log(dir.path(), {step, evaluated, open});
  const std::string found = GetFile(dir / "metrics.jsonl");
  std::string numbers;
  for (std::size_t begin = 0; begin < found.size(); begin = found.find('\n', begin) + 1) {
    const std::string line = found.substr(begin, found.find('\n', begin) + 1 - begin);
    const std::size_t at = std::string(kLog).find(line);
    EXPECT_NE(at, std::string::npos) << line;
    numbers += std::to_string(std::count(kLog, kLog + at, '\n') + 1);
  }
  return numbers;
}

TEST(MetricsLogTest, KeepsWhatTheCheckpointKnows) {
  EXPECT_EQ(Kept(3, 2), "12345");
  EXPECT_EQ(Kept(2, 2), "1234");
  EXPECT_EQ(Kept(2, 1), "123");  // saved before its evaluation, which is done again
  EXPECT_EQ(Kept(2, std::nullopt), "13");
  EXPECT_EQ(Kept(1, 1), "12");
  EXPECT_EQ(Kept(0, std::nullopt), "");
}

TEST(MetricsLogTest, ALineWhoseSumsTheCheckpointHasIsDropped) {
  EXPECT_EQ(Kept(3, 2, kLog, true), "1234");
  EXPECT_EQ(Kept(2, 2, kLog, true), "124");
}

TEST(MetricsLogTest, ATornOrDamagedLineEndsIt) {
  const std::string whole = kLog;
  EXPECT_EQ(Kept(3, 2, whole.substr(0, whole.size() - 4)), "1234");
  EXPECT_EQ(Kept(3, 2, whole.substr(0, whole.size() - 30) + "\n" + whole), "1234");
  EXPECT_EQ(Kept(3, 2, "5\n" + whole), "");
}

TEST(MetricsLogTest, ARepeatedEvaluationStandsOnce) {
  const TempDir dir;
  TrainEvent eval;
  eval.kind = TrainEvent::Kind::kEval;
  eval.step = 4;
  for (int i = 0; i < 3; ++i) {
    MetricsLog log(dir.path(), {i == 0 ? 0 : 4, std::nullopt});
    log.Write(eval);
    log.Sync();
  }
  const std::string found = GetFile(dir / "metrics.jsonl");
  EXPECT_EQ(std::count(found.begin(), found.end(), '\n'), 1) << found;
}

}  // namespace
}  // namespace longspan
