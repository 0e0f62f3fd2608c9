// What joins tokens to a text again.
#pragma once

#include <string>
#include <vector>

#include "longspan/types.h"

namespace longspan::text {

struct DecoderStep {
  enum class Kind {
    kByteLevel,     // characters stand for bytes; invalid UTF-8 among them becomes U+FFFD
    kWordPiece,     // spaces between words, none before a piece with the prefix
    kFuse,          // one text
    kMetaspace,     // `prefix` becomes a space; of the first token it goes when `cleanup`
    kByteFallback,  // runs of <0x41> become text; U+FFFD each where they are no UTF-8
    kReplace,       // `prefix` becomes `content`
    kStrip,  // a token loses up to `start` and `stop` times `prefix`, a character, at its ends
  };
  Kind kind;
  std::string prefix = "##";
  bool cleanup = true;  // of kWordPiece: no space before punctuation and contractions
  std::string content = {};
  idx_t start = 0, stop = 0;
};

class TokenDecoder {
 public:
  void Add(DecoderStep step) { steps_.push_back(std::move(step)); }
  std::size_t size() const { return steps_.size(); }
  // Without steps the tokens are joined by spaces. kLimit when a step makes more of the tokens than
  // a tokenizer may (growth.h), and time linear in what is there.
  std::string Join(std::vector<std::string> tokens) const;

 private:
  static void Do(const DecoderStep& step, std::size_t room, std::vector<std::string>& tokens);
  std::vector<DecoderStep> steps_;
};

}  // namespace longspan::text
