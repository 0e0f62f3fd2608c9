// How much a tokenizer may make of what it is given. Internal.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/cancel.h"
#include "base/errors.h"
#include "base/limits.h"

namespace longspan::text {

// One text, or one list of tokens, on its way through a tokenizer. Each step can be harmless and
// their product not: thirty steps that double a character make a billion of it. So what every step
// leaves is held against the bytes that went in. Steps that can make more than a few characters of
// one stop by themselves once they have made more than room().
class Growth {
 public:
  // `unit`: what is counted, for messages.
  explicit Growth(std::size_t bytes, std::string_view unit = "characters")
      : unit_(unit), bytes_(bytes), most_(limits::kMostGrowth * bytes + limits::kGrowthRoom) {}

  std::size_t room() const { return most_ - done_; }
  // kLimit naming the step when a part of the text has become more than there is room for.
  void Hold(std::size_t made, std::string_view part, std::size_t step,
            std::string_view name) const {
    if (made <= room()) [[likely]]
      return;
    Fail(ErrorCode::kLimit,
         "tokenizer: {} step {} ({}) makes {} {} or more of a text of {} bytes, at most {} are "
         "made ({} for each byte and {})",
         part, step + 1, name, done_ + made, unit_, bytes_, most_, limits::kMostGrowth,
         limits::kGrowthRoom);
  }
  // The same of the tokens of the whole text.
  void HoldTokens(std::size_t tokens) const {
    if (tokens <= most_) [[likely]]
      return;
    Fail(
        ErrorCode::kLimit,
        "tokenizer: {} tokens of a text of {} bytes, at most {} are made ({} for each byte and {})",
        tokens, bytes_, most_, limits::kMostGrowth, limits::kGrowthRoom);
  }
  // A part of the text is through: the next ones have less room.
  void Spend(std::size_t made) {
    CancelScope::Check();
    done_ += made < room() ? made : room();
  }

 private:
  std::string_view unit_;
  std::size_t bytes_, most_, done_ = 0;
};

}  // namespace longspan::text
