// Counts the bytes of tensors that a rehearsed call makes.
#pragma once

#include <cstddef>

namespace longspan {

// While it lives, tensors that this thread makes are counted, and take addresses instead of memory:
// nothing is written to them. They must end before it does. One at a time on a thread.
class TensorMeter {
 public:
  TensorMeter();
  ~TensorMeter();
  TensorMeter(const TensorMeter&) = delete;
  TensorMeter& operator=(const TensorMeter&) = delete;

  std::size_t most() const { return most_; }  // bytes at once

  // For Tensor. Null: nobody counts on this thread.
  static TensorMeter* Current();
  void Add(std::size_t bytes) {
    now_ += bytes;
    if (now_ > most_) most_ = now_;
  }
  void Subtract(std::size_t bytes) { now_ -= bytes; }

 private:
  std::size_t now_ = 0, most_ = 0;
};

}  // namespace longspan
