#include "cli/visual/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/check.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/text.h"
#include "cli/visual/ticks.h"

namespace longspan::cli {
namespace {

constexpr double kBarPeriod_s = 0.1, kPlainPeriod_s = 2.0;

// 0:41, 12:41, 3:07:09, 2 d 04 h.
std::string Duration(double seconds) {
  const auto whole = static_cast<idx_t>(std::llround(std::min(seconds, 1e12)));
  const idx_t minutes = whole / 60, hours = whole / 3600, days = whole / 86400;
  if (days > 0) return fmt::format("{} d {:02} h", days, hours % 24);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes % 60, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string Bytes(idx_t bytes) {
  const double mega = static_cast<double>(bytes) / 1e6;
  if (mega < 999.5) return fmt::format("{:.0f} MB", mega);
  return fmt::format("{:.1f} GB", mega / 1e3);
}

struct Field {
  std::string text;
  int importance;  // the smallest one goes first when the line is too long
};
constexpr int kAlways = 100;

std::string Join(const std::vector<Field>& fields, std::string_view separator) {
  std::string text;
  for (const Field& field : fields) {
    if (!text.empty()) text += separator;
    text += field.text;
  }
  return text;
}

bool IsComplete(const ProgressLine& line) { return line.steps > 0 && line.step >= line.steps; }

// What the line says, with the names that metrics.jsonl has.
nlohmann::ordered_json ProgressJson(const ProgressLine& line) {
  nlohmann::ordered_json j = {{"unit", line.unit}, {"step", line.step}};
  const auto put = [&](const char* name, double value) {
    if (std::isfinite(value)) j[name] = value;
  };
  if (line.steps > 0) j["steps"] = line.steps;
  if (!line.of.empty()) j["of"] = line.of;
  put("loss", line.loss);
  put("bits_per_byte", line.bits_per_byte);
  put("learning_rate", line.learning_rate);
  put("grad_norm", line.grad_norm);
  put("tokens_per_s", line.tokens_per_s);
  if (line.ranks > 0) {
    j["ranks"] = line.ranks;
    put("waiting_share", line.waiting_share);
  }
  if (line.rss_bytes > 0) j["rss_bytes"] = line.rss_bytes;
  if (line.seconds_left >= 0) put("seconds_left", line.seconds_left);
  return j;
}

double SteadySeconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

std::string FormatProgress(const ProgressLine& line, bool utf8, idx_t columns, double still_s) {
  std::vector<Field> fields;
  std::string count = fmt::format("{} {}", line.unit, line.step);
  if (line.steps > 0) count += fmt::format("/{}", line.steps);
  if (!line.of.empty()) count += fmt::format(" {}", line.of);
  if (line.steps > 0) count += fmt::format(" {}%", 100 * line.step / line.steps);
  fields.push_back({count, kAlways});
  // A loss that is infinite is news; NaN means "not measured".
  if (!std::isnan(line.loss)) fields.push_back({fmt::format("loss {:.3f}", line.loss), kAlways});
  if (!std::isnan(line.bits_per_byte)) {
    fields.push_back({fmt::format("bits/byte {:.3f}", line.bits_per_byte), 5});
  }
  if (!std::isnan(line.learning_rate)) {
    fields.push_back({"lr " + ShortNumber(line.learning_rate), 3});
  }
  if (!std::isnan(line.grad_norm)) {
    fields.push_back({(utf8 ? "|g| " : "grad ") + ShortNumber(line.grad_norm), 2});
  }
  if (!std::isnan(line.tokens_per_s)) {
    fields.push_back({ShortNumber(line.tokens_per_s) + " tok/s", 4});
  }
  if (line.ranks > 0) {
    fields.push_back(
        {fmt::format("{} ranks, waiting {:.0f}%", line.ranks, 100.0 * line.waiting_share), 2});
  }
  if (line.rss_bytes > 0) fields.push_back({Bytes(line.rss_bytes), 1});
  if (line.seconds_left >= 0 && std::isfinite(line.seconds_left)) {
    fields.push_back({Duration(line.seconds_left) + " left", kAlways});
  }
  if (still_s >= 1) fields.push_back({fmt::format("working for {:.0f} s", still_s), 6});
  const std::string_view separator = utf8 ? " │ " : " | ";
  std::string text = Join(fields, separator);
  while (Columns(text) > columns) {
    const auto least = std::min_element(
        fields.begin(), fields.end(),
        [](const Field& a, const Field& b) { return a.importance < b.importance; });
    if (least->importance == kAlways) break;
    fields.erase(least);
    text = Join(fields, separator);
  }
  return ClipColumns(text, columns);
}

ProgressMode ParseProgressMode(std::string_view name) {
  if (name == "auto") return ProgressMode::kAuto;
  if (name == "bar") return ProgressMode::kBar;
  if (name == "plain") return ProgressMode::kPlain;
  Check(name == "none", ErrorCode::kUsage, "progress: '{}' is none of auto, bar, plain, none",
        name);
  return ProgressMode::kNone;
}

Progress::Progress(ProgressMode mode)
    : Progress(
          mode, std::cerr, [] { return DetectTerminal(STDERR_FILENO); }, SteadySeconds) {
  ticks_ = mode_ == ProgressMode::kBar;
}

Progress::Progress(ProgressMode mode, std::ostream& stream, std::function<Terminal()> terminal,
                   std::function<double()> clock)
    : mode_(mode), stream_(stream), terminal_(std::move(terminal)), clock_(std::move(clock)) {
  if (mode_ == ProgressMode::kAuto) {
    mode_ = terminal_().interactive ? ProgressMode::kBar : ProgressMode::kPlain;
  }
  if (mode_ == ProgressMode::kBar && LinesAreJson()) mode_ = ProgressMode::kPlain;
}

Progress::~Progress() {
  StopTicks();
  try {
    Finish();
  } catch (...) {  // a stream that throws: nothing is left to say, and nowhere to say it
  }
}

void Progress::Update(const ProgressLine& line) {
  const std::lock_guard lock(mutex_);
  if (ticks_ && !thread_.joinable()) StartTicks();
  last_ = line;
  news_at_ = clock_();
  pending_ = true;
  const double period = mode_ == ProgressMode::kBar ? kBarPeriod_s : kPlainPeriod_s;
  if (mode_ != ProgressMode::kNone && clock_() - shown_at_ >= period) Show();
}

void Progress::Message(std::string_view text, LineKind kind) {
  const std::lock_guard lock(mutex_);
  if (IsComplete(last_)) {
    pending_ = pending_ && !last_.passing;
    if (last_.passing) {
      EraseBar();
    } else {
      End();
    }
  }
  const bool had_bar = bar_drawn_;
  EraseBar();
  stream_ << StderrLine(kind, text);
  if (had_bar) Show();
  stream_.flush();
}

void Progress::Clear() {
  const std::lock_guard lock(mutex_);
  if (!bar_drawn_) return;
  EraseBar();
  stream_.flush();
}

void Progress::Finish() {
  const std::lock_guard lock(mutex_);
  End();
}

void Progress::End() {
  if (mode_ == ProgressMode::kNone) return;
  if (pending_) Show();
  if (bar_drawn_) stream_ << '\n' << std::flush;
  bar_drawn_ = false;
}

void Progress::Tick() {
  const std::lock_guard lock(mutex_);
  const double still_s = clock_() - news_at_;
  if (bar_drawn_ && still_s >= 1 && !IsComplete(last_)) Show(still_s);
}

void Progress::StartTicks() {
  ticks_ = false;  // one try
  try {
    thread_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (!ended_.wait_for(lock, std::chrono::seconds(1), [this] { return end_; })) {
        lock.unlock();
        Tick();
        lock.lock();
      }
    });
  } catch (const std::system_error&) {
  }
}

void Progress::StopTicks() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

// One write for the whole line: no flicker, and lines of other processes do not cut into it.
void Progress::Show(double still_s) {
  const Terminal terminal = terminal_();
  if (mode_ == ProgressMode::kBar) {
    // The last column stays free: some terminals wrap when it is filled.
    const std::string text =
        FormatProgress(last_, terminal.utf8, std::max<idx_t>(1, terminal.width - 1), still_s);
    stream_ << ("\r" + text + "\x1b[K") << std::flush;
    bar_drawn_ = true;
  } else if (LinesAreJson()) {
    stream_ << StderrObject({{"progress", ProgressJson(last_)}}) << std::flush;
  } else {
    stream_ << (FormatProgress(last_, false) + "\n") << std::flush;
  }
  pending_ = false;
  shown_at_ = clock_();
}

void Progress::EraseBar() {
  if (bar_drawn_) stream_ << "\r\x1b[K";
  bar_drawn_ = false;
}

}  // namespace longspan::cli
