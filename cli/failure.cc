#include "cli/failure.h"

#include <execinfo.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <mutex>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "cli/ranks.h"
#include "cli/sanitized.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/error.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

std::atomic<bool> leaving = false;

// One line about another rank's failure, whoever is the first to tell it.
std::atomic<bool> peer_is_told = false;

// False when there is no memory for it.
bool TellJson(ErrorCode code, const char* message) {
  try {
    std::fputs(ErrorObject(code, message).c_str(), stderr);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

int TellFailureLine(ErrorCode code, const char* message) {
  if (LinesAreJson() && TellJson(code, message)) return static_cast<int>(code);
  std::fprintf(stderr, "longspan: %s\n", message);
  return static_cast<int>(code);
}

// Of one rank of several, with its name. A rank that failed tells its reason itself: of the others
// rank 0 alone repeats it. Of a rank that is gone all tell, because they may be cut off from each
// other.
int Tell(ErrorCode code, const char* message) {
  std::string line;
  try {
    const bool of_peer = code == ErrorCode::kPeer;
    if (of_peer) code = PeerStatus();
    if (of_peer && peer_is_told.exchange(true)) {
      std::this_thread::sleep_for(std::chrono::seconds(1));  // the other thread is telling it
      return static_cast<int>(code);
    }
    const bool told = of_peer ? code == ErrorCode::kPeer || Speaks() : TellRanks(code, message);
    if (!told) return static_cast<int>(code);
    line = RankPrefix() + message;
    if (of_peer) line += AfterPeer();
  } catch (const std::bad_alloc&) {
    return TellFailureLine(code, message);
  }
  return TellFailureLine(code, line.c_str());
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

// The end without unwinding: nothing that is half written stays.
[[noreturn]] void Leave(int status) {
  io::RemoveLiveTemporaries();
  _exit(status);
}

// Another rank has failed. The thread that trains may be anywhere.
void EndBecauseOfPeer(const char* message) { Leave(Tell(ErrorCode::kPeer, message)); }

// An exception left a function that may not throw. The standard library's iterators of folders and
// the JSON library's destructors are such, and allocate. Where it had not been caught on its way it
// cannot be asked for: what such functions meet is memory that is gone.
[[noreturn]] void EndAtOnce() {
  if (std::current_exception() != nullptr) {
    int status = static_cast<int>(ErrorCode::kLimit);
    try {
      throw;
    } catch (...) {
      status = TellFailure();
    }
    Leave(status);
  }
  if (std::uncaught_exceptions() > 0) Leave(TellNoMemory());
  std::abort();  // a mistake of ours
}

// libgomp has told why.
void AtExit() {
  if (!leaving) Leave(static_cast<int>(ErrorCode::kLimit));
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
  EndOnPeerFailure(EndBecauseOfPeer);
  // The C library loads what unwinds a thread that ends when it is first needed, and aborts where
  // there is no memory left for that. This makes it do so now.
  void* frame = nullptr;
  backtrace(&frame, 1);
}

void LeaveOrdinarily(int status) {
  leaving = true;
  if (MustLeaveAtOnce()) Leave(status);
}

}  // namespace longspan::cli

#ifndef LONGSPAN_SANITIZED

namespace {

// Memory when the system gives none: one half for small things, which functions ask for that must
// not fail (destructors of JSON values, iterators of folders); all of it while an exception is on
// its way. It is handed out from the front, and is whole again when all of it came back.
class Reserve {
 public:
  void* Take(std::size_t bytes) noexcept {
    const bool unwinding = std::uncaught_exceptions() > 0;
    if (bytes > (unwinding ? kBytes : kSmall)) return nullptr;
    const std::lock_guard lock(mutex_);
    const std::size_t rounded = (bytes + kUnit - 1) / kUnit * kUnit;
    if (used_ + rounded > (unwinding ? kBytes : kBytes / 2)) return nullptr;
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
  static constexpr std::size_t kBytes = std::size_t{512} << 10, kSmall = 4096;
  std::mutex mutex_;
  std::size_t used_ = 0, pieces_ = 0;
  alignas(kUnit) std::byte bytes_[kBytes] = {};
};

constinit Reserve reserve;

}  // namespace

// The program's own: those of the standard library, and behind them the reserve.
void* operator new(std::size_t bytes) {
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) memory = reserve.Take(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  if (reserve.Has(memory)) return reserve.GiveBack();
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

#endif
