#include "cli/failure.h"

#include <execinfo.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>
#include <new>

#include "cli/sanitized.h"
#include "io/escape.h"
#include "io/temporaries.h"
#include "longspan/error.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kLongestMessage = 4096;  // of one that others worded

std::atomic<bool> leaving = false;

int Tell(ErrorCode code, const char* message) {
  std::fprintf(stderr, "longspan: %s\n", message);
  return static_cast<int>(code);
}

int TellNoMemory() {
  return Tell(ErrorCode::kLimit,
              "memory: the system refuses an allocation; lower the length, the batch or the "
              "model's size");
}

// A message of somebody else's, with values in it as they came.
int TellForeign(ErrorCode code, const char* message) {
  try {
    return Tell(code, io::Escape(message, kLongestMessage).c_str());
  } catch (const std::bad_alloc&) {
    return TellNoMemory();
  }
}

// An exception left a function that may not throw. The JSON library's destructors are such: they
// allocate, also while bad_alloc unwinds.
[[noreturn]] void EndAtOnce() {
  if (std::current_exception() == nullptr) std::abort();  // a mistake of ours
  int status = static_cast<int>(ErrorCode::kLimit);
  try {
    throw;
  } catch (...) {
    status = TellFailure();
  }
  io::RemoveLiveTemporaries();
  _exit(status);
}

// libgomp has told why.
void AtExit() {
  if (leaving) return;
  io::RemoveLiveTemporaries();
  _exit(static_cast<int>(ErrorCode::kLimit));
}

}  // namespace

int TellFailure() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return Tell(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return TellNoMemory();
  } catch (const std::filesystem::filesystem_error& error) {
    return TellForeign(ErrorCode::kIo, error.what());
  } catch (const std::exception& error) {
    return TellForeign(ErrorCode::kLimit, error.what());
  } catch (...) {
    return Tell(ErrorCode::kLimit, "an error of an unknown kind");
  }
}

void PrepareForFailure() {
  std::set_terminate(EndAtOnce);
  std::atexit(AtExit);
  // The C library loads what unwinds a thread that ends when it is first needed, and aborts where
  // there is no memory left for that. This makes it do so now.
  void* frame = nullptr;
  backtrace(&frame, 1);
}

void LeaveOrdinarily() { leaving = true; }

}  // namespace longspan::cli

#ifndef LONGSPAN_SANITIZED

namespace {

// Memory for destructors that allocate while an exception is on its way, when the system gives
// none. It is handed out from the front, and is whole again when all of it came back.
class Reserve {
 public:
  void* Take(std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    const std::size_t rounded = (bytes + kUnit - 1) / kUnit * kUnit;
    if (bytes > sizeof(bytes_) || rounded > sizeof(bytes_) - used_) return nullptr;
    void* memory = bytes_ + used_;
    used_ += rounded;
    ++pieces_;
    return memory;
  }

  bool Has(const void* memory) const noexcept {
    return memory >= bytes_ && memory < std::end(bytes_);
  }

  void GiveBack() noexcept {
    const std::lock_guard lock(mutex_);
    if (--pieces_ == 0) used_ = 0;
  }

 private:
  static constexpr std::size_t kUnit = alignof(std::max_align_t);
  std::mutex mutex_;
  std::size_t used_ = 0, pieces_ = 0;
  alignas(kUnit) std::byte bytes_[std::size_t{256} << 10] = {};
};

constinit Reserve reserve;

}  // namespace

// The program's own: those of the standard library, and for an exception's way the reserve.
void* operator new(std::size_t bytes) {
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr && std::uncaught_exceptions() > 0) memory = reserve.Take(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  if (reserve.Has(memory)) return reserve.GiveBack();
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

#endif
