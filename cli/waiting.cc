#include "cli/waiting.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <system_error>
#include <utility>

#include "cli/visual/stderr_lines.h"
#include "cli/visual/terminal.h"
#include "cli/visual/text.h"

namespace longspan::cli {

Waiting::Waiting(std::string what, bool quiet) : what_(std::move(what)) {
  if (quiet || LinesAreJson() || !DetectTerminal(STDERR_FILENO).interactive) return;
  try {
    thread_ = std::thread([this] { Show(); });
  } catch (const std::system_error&) {  // no thread: nothing is shown
  }
}

void Waiting::Change(std::string what) {
  const std::lock_guard lock(mutex_);
  what_ = std::move(what);
}

void Waiting::End() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

void Waiting::Show() {
  std::unique_lock lock(mutex_);
  int seconds = 0;
  while (!ended_.wait_for(lock, std::chrono::seconds(1), [this] { return end_; })) {
    ++seconds;
    const idx_t columns = DetectTerminal(STDERR_FILENO).width - 1;
    const std::string line =
        ClipColumns(fmt::format("{}: {} s", Printable(what_), seconds), columns);
    fmt::print(stderr, "\r{}\x1b[K", line);
  }
  if (seconds > 0) fmt::print(stderr, "\r\x1b[K");
}

}  // namespace longspan::cli
