// What joins tokens to a text again.
#pragma once

#include <string>
#include <vector>

namespace longspan::text {

struct DecoderStep {
  enum class Kind {
    kByteLevel,  // characters stand for bytes; invalid UTF-8 among them becomes U+FFFD
    kWordPiece,  // spaces between words, none before a piece with the prefix
    kFuse,       // one text
  };
  Kind kind;
  std::string prefix = "##";  // of kWordPiece
  bool cleanup = true;        // of kWordPiece: no space before punctuation and contractions
};

class TokenDecoder {
 public:
  void Add(DecoderStep step) { steps_.push_back(std::move(step)); }
  std::size_t size() const { return steps_.size(); }
  // Without steps the tokens are joined by spaces.
  std::string Join(std::vector<std::string> tokens) const;

 private:
  std::vector<DecoderStep> steps_;
};

}  // namespace longspan::text
