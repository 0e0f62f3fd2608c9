#include "text/witten_bell.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace longspan::text {
namespace {

// The last `length` bytes of `history` below a byte that tells the lengths apart.
std::uint64_t ContextKey(std::string_view history, std::size_t length) {
  std::uint64_t key = length + 1;
  for (std::size_t i = history.size() - length; i < history.size(); ++i) {
    key = key << 8 | static_cast<std::uint8_t>(history[i]);
  }
  return key;
}

}  // namespace

WittenBell::WittenBell(int order) : order_(order) {
  Check(order >= 0 && order <= kMostOrder, ErrorCode::kUsage, "order: {} is not from 0 to {}",
        order, kMostOrder);
}

void WittenBell::Train(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view history = text.substr(0, i);
    const std::size_t longest = std::min(i, static_cast<std::size_t>(order_));
    for (std::size_t length = 0; length <= longest; ++length) {
      const std::uint64_t key = ContextKey(history, length);
      Context& context = contexts_[key];
      const std::uint64_t successor = key << 8 | static_cast<std::uint8_t>(text[i]);
      if (successors_[successor]++ == 0) ++context.types;
      ++context.count;
    }
  }
}

double WittenBell::Probability(std::string_view history, std::uint8_t next) const {
  double p = 1.0 / 256;
  const std::size_t longest = std::min(history.size(), static_cast<std::size_t>(order_));
  for (std::size_t length = 0; length <= longest; ++length) {
    const std::uint64_t key = ContextKey(history, length);
    const auto context = contexts_.find(key);
    if (context == contexts_.end()) break;  // longer ones have not been seen either
    const auto successor = successors_.find(key << 8 | next);
    const double count = successor == successors_.end() ? 0 : successor->second;
    const double types = context->second.types;
    p = (count + types * p) / (context->second.count + types);
  }
  return p;
}

double WittenBell::BitsPerByte(std::string_view text) const {
  double bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bits -= std::log2(Probability(text.substr(0, i), static_cast<std::uint8_t>(text[i])));
  }
  return text.empty() ? 0 : bits / static_cast<double>(text.size());
}

Split SplitText(std::string_view text, double fraction) {
  Check(fraction > 0 && fraction < 1, ErrorCode::kUsage, "held-out: {} is not between 0 and 1",
        fraction);
  const auto held_out =
      static_cast<std::size_t>(std::floor(static_cast<double>(text.size()) * fraction));
  Check(held_out >= 1 && held_out < text.size(), ErrorCode::kUsage,
        "held-out: {} of {} bytes leaves one part empty", fraction, text.size());
  return {text.substr(0, text.size() - held_out), text.substr(text.size() - held_out)};
}

}  // namespace longspan::text
