// A byte n-gram model with Witten-Bell smoothing: what plain counting reaches on a text, the mark
// that a trained model has to beat.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/types.h"

namespace longspan::text {

// Counts every context of 0..order bytes. With h a context, h' the one without its first byte,
// c(h, w) how often byte w followed h, c(h) the sum of these over w, and T(h) how many different
// bytes followed h:
//   p(w | h) = (c(h, w) + T(h) p(w | h')) / (c(h) + T(h)),
//   p(w | empty) = (c(w) + T / 256) / (n + T);  a context never seen hands on to h'.
// Witten, Bell 1991, "The zero-frequency problem", method C, interpolated.
// Memory: about 40 bytes for each different (context, byte) pair.
class WittenBell {
 public:
  static constexpr int kMostOrder = 6;  // context, byte and order fit into one 64-bit key

  // Throws kUsage when order is not in [0, kMostOrder].
  explicit WittenBell(int order);

  // Adds the counts of a text. Contexts begin empty at its first byte.
  void Train(std::string_view text);

  // p(next | the last `order` bytes of `history`).
  double Probability(std::string_view history, std::uint8_t next) const;

  // Mean of -log2 p over the text, bits per byte; contexts begin empty at its first byte. The
  // counts stay as they are.
  double BitsPerByte(std::string_view text) const;

 private:
  struct Context {
    std::uint32_t count = 0, types = 0;
  };
  int order_;
  std::unordered_map<std::uint64_t, Context> contexts_;
  std::unordered_map<std::uint64_t, std::uint32_t> successors_;  // key of context and byte
};

// How a file is divided: the held-out part is the last floor(bytes * fraction) bytes, the same rule
// as the trainer's. Throws kUsage when fraction is not in (0, 1) or either part would be empty.
struct Split {
  std::string_view train, held_out;
};
Split SplitText(std::string_view text, double fraction);

}  // namespace longspan::text
