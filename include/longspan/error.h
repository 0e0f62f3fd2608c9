// The exceptions that longspan throws: Error, and Cancelled, which is one.
#pragma once

#include <stdexcept>
#include <string>

#pragma GCC visibility push(default)
namespace longspan {

// The kinds of errors. The values are the program's exit codes (docs/reference/errors.md).
enum class ErrorCode {
  kUsage = 2,      // a bad argument: option, shape, range
  kFormat = 3,     // a bad model, config, tokenizer or data file
  kIo = 4,         // the operating system refused: open, read, write, sync
  kLimit = 5,      // memory or another limit would be exceeded
  kNumeric = 6,    // a loss or a gradient is no longer finite
  kLocked = 7,     // another process owns the directory
  kPeer = 8,       // another process of the same run failed
  kCancelled = 9,  // the caller wanted the call to end
};

// The message is one line: what, where, which value, what to do.
class Error : public std::runtime_error {
 public:
  // The kind, and one line without line break.
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  // The kind; the program ends with its number.
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

// Thrown by a call that the caller's flag (Context::CancelWhen) or hook ended. Results are
// meaningless; models, contexts and files are as good as before the call.
class Cancelled : public Error {
 public:
  Cancelled() : Error(ErrorCode::kCancelled, "cancelled by the caller") {}
};

}  // namespace longspan
#pragma GCC visibility pop
