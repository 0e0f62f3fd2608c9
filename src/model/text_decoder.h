// Several texts that grow token by token, and what the model expects next in each of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "model/reformer.h"

namespace longspan {

class TextDecoder {
 public:
  virtual ~TextDecoder() = default;

  virtual idx_t texts() const = 0;
  virtual idx_t tokens(idx_t text) const = 0;    // so far
  virtual idx_t capacity(idx_t text) const = 0;  // that it may have

  // A text more, which begins with `ids` and has room for `capacity` tokens. Runs one forward pass
  // over it. kUsage when it is empty or longer than its room, or that exceeds the model's
  // positions.
  virtual void Add(Context& context, std::span<const std::int32_t> ids, idx_t capacity) = 0;
  // Another text in the place and room of `text`.
  virtual void Replace(Context& context, idx_t text, std::span<const std::int32_t> ids) = 0;
  // A token more, ids[i], for texts[i], each named once. kUsage when one is full.
  virtual void Step(Context& context, std::span<const idx_t> texts,
                    std::span<const std::int32_t> ids) = 0;
  // Text i becomes what text from[i] was: repeats, drops and reorders texts.
  virtual void Select(std::span<const idx_t> from) = 0;

  // Of the last token of a text: (V).
  virtual std::span<const float> logits(idx_t text) const = 0;
  // Memory of what is kept of the texts; what several of them share counts for each.
  virtual std::size_t CacheBytes() const = 0;
};

// With a cache (reformer_decoder.h), or running the forward pass over the whole text for every
// token. The model must outlive it. kUsage when it is no causal language model.
std::unique_ptr<TextDecoder> MakeTextDecoder(Reformer& model, bool cache);

// What both check. kUsage.
void CheckDecodes(const ReformerConfig& config);
void CheckRoom(const ReformerConfig& config, std::size_t tokens, idx_t capacity);

}  // namespace longspan
