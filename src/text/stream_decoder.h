// Text from ids that come one by one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "longspan/tokenizer.h"

namespace longspan::text {

// Gives out what each new id adds to the text of those before it. What may still change is held
// back: characters of which bytes are missing. The built-in tokenizer also writes bytes that belong
// to no character; they come as they are.
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
  std::string NewByte(std::int32_t id);

  const Tokenizer& tokenizer_;
  bool bytes_;
  std::string half_;               // of bytes: the beginning of a character
  std::vector<std::int32_t> ids_;  // those given out last, then those held back
  std::size_t given_ = 0;          // of them
};

}  // namespace longspan::text
