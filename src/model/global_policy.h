// Applies a GlobalRule (longspan/batch.h) to batches of a model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "longspan/tokenizer.h"
#include "model/batch.h"
#include "model/text_model_info.h"

namespace longspan {

class GlobalPolicy {
 public:
  using Kind = GlobalRule::Kind;
  GlobalPolicy() = default;
  // A token that the rule names by its spelling is looked up in `tokenizer`: kUsage if there is
  // none, or it does not know the token.
  explicit GlobalPolicy(GlobalRule rule, const text::Tokenizer* tokenizer = nullptr);
  static GlobalPolicy Parse(std::string_view text) { return GlobalPolicy(GlobalRule::Parse(text)); }
  // The rule that a model's files name. Its positions are skipped where a text has fewer tokens:
  // nobody has asked for them, and texts may be shorter than those of the training.
  static GlobalPolicy OfModel(GlobalRule rule);

  // The policy that `head` means for this head, for `auto` too. Any other policy is returned as it
  // is.
  GlobalPolicy For(HeadKind head) const;

  // "first:4", as GlobalRule::Name.
  std::string Name() const { return rule_.Name(); }
  // A token stands in it by its id.
  const GlobalRule& rule() const { return rule_; }

  // Makes tokens that are not hidden global in roles (B, T). ids is (B, T). Throws kUsage if a row
  // has no separator, and for positions beyond T. With lengths of documents that stand side by side
  // in the rows, it works on each document: positions count from its first token, and those that it
  // does not have are skipped. A model without global tokens is left as it is.
  void Apply(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t rows,
             idx_t tokens, std::span<std::uint8_t> roles,
             std::span<const idx_t> documents = {}) const;
  // kUsage for positions beyond `tokens`, where Apply skips those: for texts side by side, of which
  // the longest has so many.
  void CheckPositions(const TextModelInfo& model, idx_t tokens) const;
  // Does that to a batch, and finds the global tokens once for all layers.
  void Mark(const TextModelInfo& model, Batch* batch) const;

 private:
  // Works on the tokens of one row or document. Errors name it as `row`.
  void ApplyTo(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t row,
               std::span<std::uint8_t> roles) const;

  GlobalRule rule_;
  bool of_model_ = false;
};

}  // namespace longspan
