// The one exception type that longspan throws.
#pragma once

#include <stdexcept>
#include <string>

namespace longspan {

// The kinds of errors. The values are the program's exit codes (docs/reference/errors.md).
enum class ErrorCode {
  kUsage = 2,    // a bad argument: option, shape, range
  kFormat = 3,   // a bad model, config, tokenizer or data file
  kIo = 4,       // the operating system refused: open, read, write, sync
  kLimit = 5,    // memory or another limit would be exceeded
  kNumeric = 6,  // a loss or a gradient is no longer finite
  kLocked = 7,   // another process owns the directory
  kPeer = 8,     // another process of the same run failed
};

// The message is one line: what, where, which value, what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace longspan
