// The line that shows how far a run has come.
#pragma once

#include <condition_variable>
#include <functional>
#include <iosfwd>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "cli/visual/stderr_lines.h"
#include "cli/visual/terminal.h"

namespace longspan::cli {

// A value of NaN (or 0 bytes, or a negative time) is left out of the line.
struct ProgressLine {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  idx_t step = 0, steps = 0;  // steps 0: the end is not known
  std::string_view unit = "step";
  double loss = kUnknown, bits_per_byte = kUnknown, learning_rate = kUnknown;
  double grad_norm = kUnknown;
  double tokens_per_s = kUnknown;
  idx_t rss_bytes = 0;
  idx_t ranks = 0;  // 0: one process
  double waiting_share = 0.0;
  double seconds_left = -1;
  std::string_view of;   // what is counted, after the numbers: "tokens", "rows"
  bool passing = false;  // once complete it goes: a message says what it came to
};

// step 1200/5000 24% │ loss 2.41 │ bits/byte 2.31 │ lr 2.7e-4 │ |g| 0.82 │ 18.4k tok/s │ ...
// With utf8 false: "|" between the fields, and "grad" for "|g|".
// Fields are left out, the least important first (memory, |g|, lr, tok/s, bits/byte), until the
// line fits into `columns`; what is still too long is cut. `still_s`: seconds since the last news,
// which the line's end says from the first whole one on ("working for 5 s").
std::string FormatProgress(const ProgressLine& line, bool utf8,
                           idx_t columns = std::numeric_limits<idx_t>::max(), double still_s = 0);

// kAuto: kBar on an interactive terminal, else kPlain.
enum class ProgressMode { kAuto, kBar, kPlain, kNone };

// "auto", "bar", "plain", "none"; throws kUsage on anything else.
ProgressMode ParseProgressMode(std::string_view name);

// Writes to stderr. kBar redraws one line in place, fitted to the terminal's width, ten times a
// second at most. kPlain writes a line every two seconds at most, and the last one. kNone writes
// only messages. Where lines are JSON (cli/visual/stderr_lines.h) no bar is drawn, and a line is
// {"progress": {"unit": "step", "step": 5, "steps": 20, "loss": 2.4, ...}}. One thread reports; a
// bar has a thread of its own that redraws it each second while there is no news.
class Progress {
 public:
  explicit Progress(ProgressMode mode = ProgressMode::kAuto);

  // For tests: a stream, what it can do (asked before each drawing: windows change their size),
  // and a clock in seconds.
  Progress(ProgressMode mode, std::ostream& stream, std::function<Terminal()> terminal,
           std::function<double()> clock);

  ~Progress();  // as Finish()
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // kBar or kPlain or kNone.
  ProgressMode mode() const { return mode_; }

  void Update(const ProgressLine& line);

  // A line of its own, above the progress line; one line break is added. A progress line that is
  // complete (step == steps) is finished before, or goes, if it is `passing`.
  void Message(std::string_view text, LineKind kind = LineKind::kPlain);

  // Erases the bar until the next Update: before something else is printed on its terminal.
  void Clear();

  // Shows the last Update, if it is not shown yet, and ends the line. Update may follow.
  void Finish();

  // Redraws a bar that had no news for a second, with how long that is. Its thread calls this.
  void Tick();

 private:
  void Show(double still_s = 0);
  void EraseBar();
  void End();         // what Finish does, under the lock
  void StartTicks();  // where the system has no thread to give, bars stand still
  void StopTicks();

  ProgressMode mode_;
  std::ostream& stream_;
  std::function<Terminal()> terminal_;
  std::function<double()> clock_;
  ProgressLine last_;
  bool pending_ = false;    // last_ has not been shown
  bool bar_drawn_ = false;  // the cursor stands behind a bar
  double shown_at_ = -std::numeric_limits<double>::infinity();
  double news_at_ = 0;  // the last Update
  bool ticks_ = false;  // whether bars get a thread
  std::mutex mutex_;    // of all above
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace longspan::cli
