#include "longspan/context.h"

#include <sched.h>

#include <charconv>
#include <cstdlib>
#include <string>

#include "base/arena.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/memory_limit.h"
#include "longspan/counted.h"
#include "parallel/task_shares.h"

namespace longspan {
namespace {

int AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

int ThreadsFromEnvironment() {
  const char* text = std::getenv("LONGSPAN_THREADS");
  if (text == nullptr || *text == '\0') return AllowedCpus();
  int threads = 0;
  const std::string_view value(text);
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), threads);
  Check(error == std::errc() && end == value.data() + value.size() && threads >= 1 &&
            threads <= kMostThreads,
        ErrorCode::kUsage, "LONGSPAN_THREADS: '{}' is not a number from 1 to {}", value,
        kMostThreads);
  return threads;
}

}  // namespace

Context::Context(int threads) : Context(threads, false) {}

Context::Context(int threads, bool rehearsal)
    : threads_(threads == 0 ? ThreadsFromEnvironment() : threads),
      granted_(threads_),
      rehearsal_(rehearsal),
      arena_(std::make_unique<Arena>(rehearsal ? Arena::Pages::kReserved : Arena::Pages::kReal)) {
  Check(threads_ >= 1 && threads_ <= kMostThreads, ErrorCode::kUsage,
        "threads: {} is not from 1 to {}", threads_, kMostThreads);
  ApplyIsaCap();
}

Context Context::Rehearsal(int threads) { return Context(threads, true); }

Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

std::size_t Context::PeakBytes() const { return arena_->peak(); }

void Context::LimitMemory(std::size_t bytes) {
  memory_limit_ = bytes;
  arena_->Limit(bytes);
}

void Context::CheckMemory(const char* what, std::size_t bytes) const {
  Check(memory_limit_ == 0 || bytes <= memory_limit_, ErrorCode::kLimit,
        "{}: needs {} ({} bytes), the limit is {} ({} bytes); use fewer tokens at a time "
        "(TaskOptions::batch_tokens), fewer threads, or raise the limit (Context::LimitMemory)",
        what, BytesText(bytes), bytes, BytesText(memory_limit_), memory_limit_);
}

void Context::ThrowCancelled() { throw Cancelled(); }

std::string Context::Describe() const {
  return fmt::format("{}, {}", Counted(threads_, "thread"), IsaName(ActiveIsa()));
}

}  // namespace longspan
