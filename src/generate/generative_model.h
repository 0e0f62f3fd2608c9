// What continuing a text needs of a model, whatever its family.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "generate/text_decoder.h"
#include "longspan/types.h"

namespace longspan {

class GenerativeModel {
 public:
  virtual ~GenerativeModel() = default;

  // The most tokens of a text.
  virtual idx_t LongestText() const = 0;
  // Whether the model's configuration ends a text with this token.
  virtual bool EndsText(std::int32_t id) const = 0;
  // kUsage unless it is a causal language model.
  virtual void CheckContinues() const = 0;
  // Bytes of a text's cache at most, if it grows to `tokens` tokens.
  virtual std::size_t CacheBytes(idx_t tokens) const = 0;
  // A decoder with a cache, or one that runs the whole forward pass for every token. The model must
  // outlive it. kUsage as CheckContinues.
  virtual std::unique_ptr<TextDecoder> MakeDecoder(bool cache) const = 0;
};

}  // namespace longspan
