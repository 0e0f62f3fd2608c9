// Named policies that say which tokens are global. Users choose one, and logs repeat its name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/batch.h"
#include "model/text_model_info.h"

namespace longspan {

// auto        what the head needs, as Hugging Face has it: the first token of a sequence to
//             classify, the question, the choices; none for masked LMs, token classes, bare models
// none        no token
// first:N     the first N tokens that are not hidden
// question    all tokens before the first separator
// every:N     the tokens at positions 0, N, 2N, ...
// ids:1,2,7   the tokens at these positions
// token:ID    every token with this id
class GlobalPolicy {
 public:
  enum class Kind { kAuto, kNone, kFirst, kQuestion, kChoices, kEvery, kPositions, kToken };

  // Throws kUsage with the text and the forms that exist.
  static GlobalPolicy Parse(std::string_view text);

  // Returns the policy that `auto` means for this head. Any other policy is returned as it is.
  GlobalPolicy For(HeadKind head) const;

  // "first:4": what Parse reads, or "choices" (all tokens after the double separator), which only
  // auto selects.
  std::string Name() const;

  // Makes tokens that are not hidden global in roles (B, T). ids is (B, T). Throws kUsage if a row
  // has no separator, and for positions beyond T. With lengths of documents that stand side by side
  // in the rows, it works on each document: positions count from its first token, and those that it
  // does not have are skipped. A model without global tokens is left as it is.
  void Apply(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t rows,
             idx_t tokens, std::span<std::uint8_t> roles,
             std::span<const idx_t> documents = {}) const;
  // Does that to a batch, and finds the global tokens once for all layers.
  void Mark(const TextModelInfo& model, Batch* batch) const;

 private:
  // Works on the tokens of one row or document. Errors name it as `row`.
  void ApplyTo(const TextModelInfo& model, std::span<const std::int32_t> ids, idx_t row,
               std::span<std::uint8_t> roles) const;

  Kind kind_ = Kind::kAuto;
  std::vector<idx_t> numbers_;  // N, the positions or the id
};

}  // namespace longspan
