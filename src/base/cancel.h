// Ending long work that is given no Context, such as encoding a text, or reading and drawing
// weights: the wish of whoever asked for it stands with the thread that does it.
#pragma once

#include <atomic>

#include "longspan/error.h"

namespace longspan {

class CancelScope {
 public:
  // Until its end this thread's work ends with Cancelled once `flag` is true; null: nothing ends
  // it.
  explicit CancelScope(const std::atomic<bool>* flag) : outer_(current_) { current_ = flag; }
  ~CancelScope() { current_ = outer_; }
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

  // Whether anything can end this thread's work.
  static bool CanEnd() { return current_ != nullptr; }

  // Called now and then by such work: two loads.
  static void Check() {
    if (current_ != nullptr && current_->load(std::memory_order_relaxed)) throw Cancelled();
  }

 private:
  inline static thread_local const std::atomic<bool>* current_ = nullptr;
  const std::atomic<bool>* outer_;
};

}  // namespace longspan
