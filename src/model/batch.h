// The input of a model: rows of tokens, what each token is, and what each should give. A view of
// it, and a batch that owns its memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "longspan/attention.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {

// The roles of the document that begins at token `begin` of all rows, as one row.
TokenRoles DocumentRoles(const TokenRoles& roles, idx_t begin, idx_t length);

// The global tokens of a batch: G, the most that a row has, and for each row of the batch G row
// numbers of the (N, C) stream. A row with fewer repeats its first token, to no effect. If rows
// hold documents, the list has those of each document, one document after the other, and nothing is
// repeated.
struct GlobalTokenRows {
  idx_t most = 0;                          // G; of documents, the most that one has
  GlobalTokens tokens;                     // of whole rows, or of this document; else empty
  std::vector<std::int32_t> rows;          // (B * G)
  std::vector<GlobalTokenRows> documents;  // how many each has; empty: a row is one document

  idx_t all() const { return static_cast<idx_t>(rows.size()); }
  static GlobalTokenRows Of(const TokenRoles& roles, idx_t batch, idx_t tokens,
                            std::span<const idx_t> documents = {});
};

// B rows of T tokens each. The memory belongs to somebody else and must outlive the view.
struct BatchView {
  idx_t rows = 0, tokens = 0;              // B, T
  std::span<const std::int32_t> ids = {};  // (B, T)
  // What should be predicted, which depends on the head. Language models and token classes: (B, T),
  // the id or class of each position. Sequence classes: (B). Multiple choice: (B / choices).
  // kIgnoreLabel stands for none.
  std::span<const std::int32_t> labels = {};
  // (B, T): hidden, local and global tokens. Empty: every token is local. Hidden tokens may stand
  // before, after and in a text; they keep their places.
  TokenRoles roles = {};
  std::span<const std::int32_t> token_types = {};  // (B, T), empty: all 0
  std::span<const float> values = {};              // regression, sets of labels: (B, labels)
  // Question answering: (B). A place after the row is ignored.
  std::span<const std::int32_t> starts = {}, ends = {};
  idx_t choices = 1;  // multiple choice: rows that belong to one question, one after another

  // Lengths of the documents that stand side by side, over all rows in order. None crosses a row's
  // end. Each is computed as a row of its own: its own positions, chunks, windows, buckets and
  // global tokens, and no token sees another document. Empty: a row is one document. Only heads
  // that read every token take them.
  std::span<const idx_t> documents = {};
  // The global tokens of `roles`, if the batch's owner has found them. Null: a model finds them
  // once a pass.
  const GlobalTokenRows* globals = nullptr;
};

// The global tokens of a batch: its owner's, or found now.
class FoundGlobals {
 public:
  explicit FoundGlobals(const BatchView& batch);
  FoundGlobals(const FoundGlobals&) = delete;
  FoundGlobals& operator=(const FoundGlobals&) = delete;
  const GlobalTokenRows& get() const { return *globals_; }

 private:
  GlobalTokenRows found_;
  const GlobalTokenRows* globals_;
};

// A batch that owns its memory: rows of one length, the shorter ones padded on the right with
// hidden tokens.
struct Batch {
  idx_t rows = 0, tokens = 0;
  std::vector<std::int32_t> ids, types, labels;  // as BatchView has them
  std::vector<float> values;
  std::vector<std::int32_t> starts, ends;
  std::vector<std::uint8_t> roles;
  std::vector<idx_t> documents;
  bool with_types = false;

  // Makes room for rows of `width` tokens, all of them hidden padding. Removes all targets.
  void Reset(idx_t row_count, idx_t width, idx_t pad);
  // Writes a row of at most `tokens` ids as visible local tokens; `row_types` may be empty.
  void SetRow(idx_t row, std::span<const std::int32_t> row_ids,
              std::span<const std::int32_t> row_types = {});
  // Finds the global tokens of `roles`, once for all layers and both directions. Call it after the
  // last change of `roles`.
  void FindGlobals();
  // Valid until the batch changes or moves.
  BatchView view() const;

 private:
  GlobalTokenRows globals_;
  bool found_ = false;
};

// Hugging Face's two masks as roles: attention_mask 0 or 1 (2: global), and 1 in
// global_attention_mask, which makes no hidden token global. Either may be empty.
std::vector<std::uint8_t> MergeMasks(std::span<const std::int32_t> attention_mask,
                                     std::span<const std::int32_t> global_attention_mask);

}  // namespace longspan
