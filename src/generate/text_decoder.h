// Several texts that grow token by token, with the logits of the next token of each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "longspan/context.h"

namespace longspan {

class TextDecoder {
 public:
  virtual ~TextDecoder() = default;

  virtual idx_t texts() const = 0;
  virtual idx_t tokens(idx_t text) const = 0;    // so far
  virtual idx_t capacity(idx_t text) const = 0;  // that it may have

  // Adds a text that begins with `ids` and has room for `capacity` tokens. Runs one forward pass
  // over it. Throws kUsage if it is empty, or longer than its room, or if the room exceeds the
  // model's positions.
  virtual void Add(Context& context, std::span<const std::int32_t> ids, idx_t capacity) = 0;
  // Replaces `text` by another one in the same room.
  virtual void Replace(Context& context, idx_t text, std::span<const std::int32_t> ids) = 0;
  // Appends token ids[i] to texts[i], each named once. Throws kUsage if one is full.
  virtual void Step(Context& context, std::span<const idx_t> texts,
                    std::span<const std::int32_t> ids) = 0;
  // Text i becomes what text from[i] was: repeats, drops and reorders texts.
  virtual void Select(std::span<const idx_t> from) = 0;

  // Returns the logits of a text's last token, shape (V).
  virtual std::span<const float> logits(idx_t text) const = 0;
  // Bytes of the texts' caches. What several texts share counts for each of them.
  virtual std::size_t CacheBytes() const = 0;
};

}  // namespace longspan
