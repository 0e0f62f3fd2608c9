// Rows of tokens for a model: what each token is, and what each should give.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/attention.h"

#pragma GCC visibility push(default)
namespace longspan {

// Which tokens of a row are global: they see all tokens, and all tokens see them. Only models with
// global tokens (ModelInfo::global_tokens) follow a rule other than kAuto and kNone. Its text form,
// which options and logs use:
//   auto        as in the model's training, where its folder says so (ModelInfo::global_rule);
//               otherwise `head`
//   head        what the head needs, as Hugging Face has it: the first token of a text to classify,
//               the question, the choices; none for masked language models, token classes and
//               encoders
//   none        no token
//   first:N     the first N tokens that are not hidden
//   question    all tokens before the first separator
//   every:N     the tokens at positions 0, N, 2N, ...
//   ids:1,2,7   the tokens at these positions of a row, from 0, which are no ids of a vocabulary;
//               positions:1,2,7 reads as the same
//   token:ID    every token with this id; token:TEXT, with the tokenizer's spelling, works too
struct GlobalRule {
  // As the rule's text above names them.
  enum class Kind { kAuto, kNone, kFirst, kQuestion, kChoices, kEvery, kPositions, kToken, kHead };
  Kind kind = Kind::kAuto;     // which of these
  std::vector<idx_t> numbers;  // N, the positions, or the id
  std::string token;           // of kToken, instead of the id

  // What the head needs, whatever the model's folder says.
  static GlobalRule Head() { return {Kind::kHead, {}, {}}; }
  // The first `count` tokens.
  static GlobalRule First(idx_t count) { return {Kind::kFirst, {count}, {}}; }
  // Every step-th token.
  static GlobalRule Every(idx_t step) { return {Kind::kEvery, {step}, {}}; }
  // The tokens at these positions.
  static GlobalRule Positions(std::vector<idx_t> places) {
    return {Kind::kPositions, std::move(places), {}};
  }
  // Every token that the tokenizer spells so.
  static GlobalRule Token(std::string spelling) { return {Kind::kToken, {}, std::move(spelling)}; }

  // Throws kUsage with the text and the forms that exist.
  static GlobalRule Parse(std::string_view text);
  // What Parse reads; "choices" (all tokens after the double separator) only `head` selects.
  std::string Name() const;
};

// Where the rule about global tokens comes from that a model follows.
enum class GlobalOrigin {
  kGiven,  // from the options
  kModel,  // from its folder, which names the rule of its training
  kHead    // from neither: its head needs it
};
// "as the options say", "as in its training", "as its head needs".
std::string_view Phrase(GlobalOrigin origin);

// The global tokens of a batch: G, the most that a row has, and for each row of the batch G row
// numbers of the (B*T, C) stream. A row with fewer repeats its first token, to no effect. If rows
// hold documents, the list has those of each document, one document after the other, and nothing is
// repeated.
struct GlobalTokenRows {
  idx_t most = 0;                  // G; of documents, the most that one has
  GlobalTokens tokens;             // of whole rows, or of the documents, a list each
  std::vector<std::int32_t> rows;  // (B * G)

  // Of all rows together: B * G.
  idx_t all() const { return static_cast<idx_t>(rows.size()); }
  // From what each token is; documents (B * T) or nothing.
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
  // Question answering: (B). A place after the text's last token is ignored.
  std::span<const std::int32_t> starts = {}, ends = {};
  idx_t choices = 1;  // multiple choice: rows that belong to one question, one after another

  // Lengths of the documents that stand side by side, over all rows in order. None crosses a row's
  // end. Each is computed as a row of its own: its own positions, chunks, windows, buckets and
  // global tokens, and no token sees another document. Empty: a row is one document. A head that
  // gives something for each row gives it for each document then, and takes targets for each: one
  // class, one choice, one answer whose places count from the document's first token.
  std::span<const idx_t> documents = {};
  // The global tokens of `roles`, if the batch's owner has found them. Null: a model finds them
  // once a pass.
  const GlobalTokenRows* globals = nullptr;
  // How the loss of sequence classes counts them, as PyTorch's cross_entropy has it: a weight above
  // 0 for each class (labels), by which its rows count in sum and mean (empty: 1 each), and the
  // share of each target that is spread over all classes, [0, 1). Token classes have the weights
  // alone. For no other head or problem.
  std::span<const float> class_weights = {};
  float label_smoothing = 0.0f;
  // Sequence classes may have these in the place of labels and values: (B, labels), the gradient of
  // a loss for each logit, which the batch's owner has found over more rows than these. The loss is
  // then the sum of logits times dlogits, and its mean is over all logits.
  std::span<const float> dlogits = {};
};

// A batch that owns its memory: rows of one length, the shorter ones padded on the right with
// hidden tokens.
struct Batch {
  idx_t rows = 0, tokens = 0;                    // B, T
  std::vector<std::int32_t> ids, types, labels;  // as BatchView has them
  std::vector<float> values;
  std::vector<std::int32_t> starts, ends;
  std::vector<std::uint8_t> roles;
  std::vector<idx_t> documents;
  idx_t choices = 1;
  std::vector<float> class_weights;
  float label_smoothing = 0.0f;
  std::vector<float> dlogits;
  bool with_types = false;

  // Makes room for rows of `width` tokens, all of them hidden padding. Removes all targets.
  void Reset(idx_t row_count, idx_t width, idx_t pad);
  // Writes a row of at most `tokens` ids as visible local tokens; `row_types` may be empty.
  void SetRow(idx_t row, std::span<const std::int32_t> row_ids,
              std::span<const std::int32_t> row_types = {});
  // Writes ids from token `begin` of the one row on, as SetRow does, and appends them to
  // `documents`. Write one text after the other; after Reset(1, ...) with room for all of them.
  void AddDocument(idx_t begin, std::span<const std::int32_t> own_ids,
                   std::span<const std::int32_t> own_types = {});
  // A batch of rows of any lengths, each from its first token; `pad` fills the shorter ones.
  static Batch Of(std::span<const std::vector<std::int32_t>> row_ids, idx_t pad = 0);
  // Finds the global tokens of `roles`, once for all layers and both directions. Call it after the
  // last change of `roles`.
  void FindGlobals();
  // Valid until the batch changes or moves.
  BatchView view() const;

 private:
  GlobalTokenRows globals_;
  bool found_ = false;

  void Put(idx_t begin, std::span<const std::int32_t> new_ids,
           std::span<const std::int32_t> new_types);
};

// Hugging Face's two masks as roles: attention_mask 0 or 1 (2: global), and 1 in
// global_attention_mask, which makes no hidden token global. Either may be empty.
std::vector<std::uint8_t> MergeMasks(std::span<const std::int32_t> attention_mask,
                                     std::span<const std::int32_t> global_attention_mask);

}  // namespace longspan
#pragma GCC visibility pop
