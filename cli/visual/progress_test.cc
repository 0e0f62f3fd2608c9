#include "cli/visual/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <sstream>
#include <string>

#include "cli/visual/text.h"
#include "longspan/error.h"

namespace longspan::cli {
namespace {

ProgressLine FullLine(idx_t step = 1200) {
  ProgressLine line;
  line.step = step;
  line.steps = 5000;
  line.loss = 2.41;
  line.bits_per_byte = 2.31;
  line.learning_rate = 2.7e-4;
  line.grad_norm = 0.82;
  line.tokens_per_s = 18432;
  line.rss_bytes = 790'000'000;
  line.seconds_left = 761;
  return line;
}

TEST(FormatProgress, AllFields) {
  EXPECT_EQ(FormatProgress(FullLine(), true),
            "step 1200/5000 24% │ loss 2.410 │ bits/byte 2.310 │ lr 2.7e-4 │ |g| 0.82 │ "
            "18.4k tok/s │ 790 MB │ 12:41 left");
  EXPECT_EQ(FormatProgress(FullLine(), false),
            "step 1200/5000 24% | loss 2.410 | bits/byte 2.310 | lr 2.7e-4 | grad 0.82 | "
            "18.4k tok/s | 790 MB | 12:41 left");
}

TEST(FormatProgress, LeavesOutWhatIsUnknown) {
  ProgressLine line;
  line.step = 7;
  EXPECT_EQ(FormatProgress(line, true), "step 7");
  line.loss = std::numeric_limits<double>::infinity();
  line.seconds_left = 3661;
  EXPECT_EQ(FormatProgress(line, true), "step 7 │ loss inf │ 1:01:01 left");
  line.seconds_left = 200000;
  line.rss_bytes = 2'345'000'000;
  EXPECT_EQ(FormatProgress(line, true), "step 7 │ loss inf │ 2.3 GB │ 2 d 07 h left");
}

TEST(FormatProgress, KeepsTheEndInSightWhenTheLineIsNarrow) {
  EXPECT_EQ(FormatProgress(FullLine(), true, 79),
            "step 1200/5000 24% │ loss 2.410 │ bits/byte 2.310 │ 18.4k tok/s │ 12:41 left");
  EXPECT_EQ(FormatProgress(FullLine(), true, 45), "step 1200/5000 24% │ loss 2.410 │ 12:41 left");
  EXPECT_EQ(FormatProgress(FullLine(), true, 10), "step 1200/");
}

struct Fixture {
  double now = 0;
  Terminal terminal{true, true, true, 100};
  std::ostringstream stream;
  Progress Make(ProgressMode mode) {
    return Progress(
        mode, stream, [this] { return terminal; }, [this] { return now; });
  }
};

TEST(Progress, BarRedrawsInPlaceAtMostTenTimesASecond) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  for (int step = 1; step <= 100; ++step) {
    ProgressLine line;
    line.step = step;
    f.now += 0.01;
    progress.Update(line);
  }
  progress.Finish();
  const std::string text = f.stream.str();
  const auto redraws = std::count(text.begin(), text.end(), '\r');
  EXPECT_GE(redraws, 9);
  EXPECT_LE(redraws, 12);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(text.substr(text.rfind('\r')), "\rstep 100\x1b[K\n");  // the last one is always shown
}

TEST(Progress, BarFitsTheWindowAsItIsNow) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  for (const idx_t width : {100, 60, 20}) {
    f.terminal.width = width;
    f.stream.str("");
    f.now += 1;
    progress.Update(FullLine());
    EXPECT_LT(Columns(f.stream.str().substr(1)), width);
  }
}

TEST(Progress, MessageStandsAboveTheBar) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  ProgressLine line;
  line.step = 3;
  progress.Update(line);
  progress.Message("saved checkpoint-3");
  EXPECT_EQ(f.stream.str(), "\rstep 3\x1b[K\r\x1b[Ksaved checkpoint-3\n\rstep 3\x1b[K");
}

// "held out 20000/20000" goes before the line that says what they came to, and does not come back.
TEST(Progress, ACompletePassingBarGoesBeforeItsMessage) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  ProgressLine line;
  line.unit = "held out";
  line.of = "tokens";
  line.passing = true;
  line.step = line.steps = 4;
  progress.Update(line);
  progress.Message("step 6: held out 7.28");
  progress.Finish();
  EXPECT_EQ(f.stream.str(), "\rheld out 4/4 tokens 100%\x1b[K\r\x1b[Kstep 6: held out 7.28\n");
}

TEST(Progress, LinesDoNotFollowTheMessageThatEndsThem) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kPlain);
  ProgressLine line;
  line.unit = "held out";
  line.passing = true;
  line.steps = 4;
  for (line.step = 1; line.step < 4; line.step += 2) progress.Update(line);
  line.step = 4;
  progress.Update(line);
  progress.Message("step 6: held out 7.28");
  progress.Update(FullLine(5000));
  f.stream.str("");
  progress.Update(FullLine(5000));
  progress.Message("saved checkpoint-5000");
  progress.Finish();
  const std::string shown = f.stream.str();
  EXPECT_EQ(shown.substr(0, 14), "step 5000/5000");
  EXPECT_EQ(shown.substr(shown.find('\n')), "\nsaved checkpoint-5000\n");
}

TEST(Progress, ABarThatIsDoneIsFinishedBeforeAMessage) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  ProgressLine line;
  line.step = line.steps = 3;
  progress.Update(line);
  progress.Message("saved checkpoint-3");
  progress.Finish();
  EXPECT_EQ(f.stream.str(), "\rstep 3/3 100%\x1b[K\nsaved checkpoint-3\n");
}

TEST(Progress, ABarWithoutNewsSaysHowLong) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  progress.Tick();  // nothing is drawn
  ProgressLine line;
  line.step = 3;
  progress.Update(line);
  f.now += 0.5;
  progress.Tick();
  f.now += 4.5;
  progress.Tick();
  EXPECT_EQ(f.stream.str(), "\rstep 3\x1b[K\rstep 3 │ working for 5 s\x1b[K");
  progress.Clear();
  f.stream.str("");
  progress.Tick();
  EXPECT_EQ(f.stream.str(), "");
}

TEST(Progress, ClearErasesTheBarUntilTheNextUpdate) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kBar);
  ProgressLine line;
  line.step = 3;
  progress.Update(line);
  progress.Clear();
  progress.Clear();  // there is nothing any more
  EXPECT_EQ(f.stream.str(), "\rstep 3\x1b[K\r\x1b[K");
  f.now += 1;
  line.step = 4;
  progress.Update(line);
  EXPECT_EQ(f.stream.str(), "\rstep 3\x1b[K\r\x1b[K\rstep 4\x1b[K");
}

TEST(Progress, PlainLinesAreRareAndTheLastIsShown) {
  Fixture f;
  f.terminal.interactive = false;
  Progress progress = f.Make(ProgressMode::kAuto);
  EXPECT_EQ(progress.mode(), ProgressMode::kPlain);
  for (int step = 1; step <= 10; ++step) {
    ProgressLine line;
    line.step = step;
    progress.Update(line);
    f.now += 0.7;
  }
  progress.Message("done");
  progress.Finish();
  progress.Finish();
  EXPECT_EQ(f.stream.str(), "step 1\nstep 4\nstep 7\nstep 10\ndone\n");
}

TEST(Progress, FinishShowsWhatIsPending) {
  Fixture f;
  {
    Progress progress = f.Make(ProgressMode::kPlain);
    progress.Update(FullLine(1));
    progress.Update(FullLine(2));
  }
  const std::string shown = f.stream.str();
  EXPECT_NE(shown.find("\nstep 2/5000"), std::string::npos);
  EXPECT_TRUE(std::all_of(shown.begin(), shown.end(), [](char c) { return c > 0; }));
}

TEST(Progress, NoneWritesOnlyMessages) {
  Fixture f;
  Progress progress = f.Make(ProgressMode::kNone);
  progress.Update(FullLine());
  progress.Message("warning");
  progress.Finish();
  EXPECT_EQ(f.stream.str(), "warning\n");
}

TEST(ParseProgressMode, FourNames) {
  EXPECT_EQ(ParseProgressMode("auto"), ProgressMode::kAuto);
  EXPECT_EQ(ParseProgressMode("bar"), ProgressMode::kBar);
  EXPECT_EQ(ParseProgressMode("plain"), ProgressMode::kPlain);
  EXPECT_EQ(ParseProgressMode("none"), ProgressMode::kNone);
  EXPECT_THROW(ParseProgressMode("fancy"), Error);
}

TEST(DetectTerminal, HonoursTheEnvironment) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG", "COLUMNS", "FORCE_COLOR", "NO_COLOR"}) {
    unsetenv(name);
  }
  const int file = 1000;  // no such descriptor: no TTY
  EXPECT_FALSE(DetectTerminal(file).utf8);
  EXPECT_FALSE(DetectTerminal(file).color);
  EXPECT_FALSE(DetectTerminal(file).interactive);
  EXPECT_EQ(DetectTerminal(file).width, 80);
  setenv("LANG", "de_DE.UTF-8", 1);
  setenv("COLUMNS", "132", 1);
  setenv("FORCE_COLOR", "1", 1);
  EXPECT_TRUE(DetectTerminal(file).utf8);
  EXPECT_TRUE(DetectTerminal(file).color);
  EXPECT_EQ(DetectTerminal(file).width, 132);
  setenv("LC_ALL", "C", 1);
  setenv("NO_COLOR", "1", 1);
  setenv("COLUMNS", "wide", 1);
  EXPECT_FALSE(DetectTerminal(file).utf8);
  EXPECT_FALSE(DetectTerminal(file).color);
  EXPECT_EQ(DetectTerminal(file).width, 80);
}

}  // namespace
}  // namespace longspan::cli
