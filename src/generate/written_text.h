// Tokens that come one by one, as text that can be shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/tokenizer.h"
#include "text/stream_decoder.h"

namespace longspan {

// kUsage for an empty stop string.
void CheckStops(std::span<const std::string> stops);

// Holds back what may still change: bytes of a character that is not whole yet, and what could be
// the beginning of a stop string. Behind a stop string nothing counts, nor does the string itself.
class WrittenText {
 public:
  // `prompt` is the text before: how a token is spelt may depend on it. Errors as CheckStops.
  WrittenText(const text::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
              std::vector<std::string> stops);

  // Takes a token; returns what can be shown since the last call.
  std::string Add(std::int32_t id);
  // The text has ended: returns what was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }          // a stop string was met
  const std::string& text() const { return text_; }  // so far, without prompt and stop string

 private:
  void Append(const std::string& piece);
  void FindStop(std::size_t new_from);
  std::string Show(std::size_t end);

  text::StreamDecoder decoder_;
  std::vector<std::string> stops_;
  std::string text_;
  std::size_t shown_ = 0;
  bool stopped_ = false;
};

// Whether `written` has a stop string that ends in its last token, given that no shorter beginning
// of it had one.
bool EndsInStop(const text::Tokenizer& tokenizer, std::span<const std::int32_t> written,
                const std::vector<std::string>& stops);

}  // namespace longspan
