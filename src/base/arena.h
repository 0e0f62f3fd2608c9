// Scratch memory with stack discipline: booked at an operation's door, gone when it returns.
#pragma once

#include <cstddef>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// Hands out 64-byte aligned memory, in huge pages where the system grants them, from one range of
// addresses as large as the machine's memory: it grows in place, and pages that were never booked
// cost nothing. Where such a range is refused (ulimit -v, strict overcommitment), from blocks.
// After the first use of a size the memory is there: a training step allocates nothing. Not
// thread-safe: memory is taken before a parallel region, never inside it.
class Arena {
 public:
  // kReserved is for rehearsals (longspan/context.h): bookings get addresses, however large, and
  // cost memory only for the pages that somebody writes.
  enum class Pages { kReal, kReserved };

  explicit Arena(Pages pages = Pages::kReal) : pages_(pages) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Everything that was taken while a Frame lives is given back when it ends.
  class Frame {
   public:
    // Books `bytes` for this frame: taking more than that is a mistake of ours (kLimit).
    Frame(Arena& arena, std::size_t bytes);
    ~Frame();
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

    // `count` elements of T, 64-byte aligned, not initialised.
    template <class T>
    T* Take(idx_t count) {
      return static_cast<T*>(TakeBytes(Bytes<T>(count)));
    }
    void* TakeBytes(std::size_t bytes);

   private:
    Arena& arena_;
    std::size_t block_, used_;  // where the arena stood before
    std::size_t booked_ = 0;
    std::byte* cursor_ = nullptr;  // inside the booked range
    std::byte* end_ = nullptr;
  };

  // What a Take of `count` elements costs in a booking, alignment included.
  template <class T>
  static constexpr std::size_t Bytes(idx_t count) {
    // More than any address space: no booking and no Take succeeds with it.
    if (count < 0 || count > (idx_t{1} << 56)) return kLargestBooking;
    return (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Bookings beyond so many bytes throw kLimit; 0: none do.
  void Limit(std::size_t bytes) { limit_ = bytes; }

  std::size_t capacity() const;               // bytes of pages that bookings have reached
  std::size_t peak() const { return peak_; }  // most bytes booked at once
  // The most of them so far: the peak in whole pages. Blocks take more in the first step, which
  // grows in pieces; later ones find the peak in one block.
  std::size_t most_capacity() const { return most_capacity_; }
  void Release();  // gives idle pages back to the system

 private:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kLargestBooking = std::size_t{1} << 60;
  struct Block {
    std::byte* data;
    std::size_t bytes;        // of addresses
    std::size_t reached = 0;  // by bookings
  };
  std::byte* Book(std::size_t bytes);
  bool AddRange(std::size_t bytes);
  void AddBlock(std::size_t bytes);

  Pages pages_;
  std::vector<Block> blocks_;
  std::size_t block_ = 0, used_ = 0;  // current block and the bytes used in it
  std::size_t booked_ = 0, peak_ = 0, most_capacity_ = 0, limit_ = 0;
};

}  // namespace longspan
