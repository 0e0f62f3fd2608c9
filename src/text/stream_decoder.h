// Text from ids that come one by one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "longspan/tokenizer.h"

namespace longspan::text {

// Gives out what each new id adds to the text of those before it. What may still change is held
// back: characters of which bytes are missing. Of the built-in tokenizer each byte comes at once.
class StreamDecoder {
 public:
  // `before` are ids that the text goes on from.
  explicit StreamDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> before = {});

  // kFormat for an id without a token. Special tokens add nothing.
  std::string Add(std::int32_t id);
  // What is still held back.
  std::string Finish();

 private:
  std::string New(bool last);

  const Tokenizer& tokenizer_;
  bool bytes_;
  std::vector<std::int32_t> ids_;  // those given out last, then those held back
  std::size_t given_ = 0;          // of them
};

}  // namespace longspan::text
