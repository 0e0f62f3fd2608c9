// What the tests of encoders with PostNormFields share: batches for every head.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/batch.h"
#include "model/encoder_test.h"
#include "model/post_norm_fields.h"

namespace longspan {

inline constexpr HeadKind kTestedHeads[] = {HeadKind::kNone,     HeadKind::kMaskedLm,
                                            HeadKind::kSequence, HeadKind::kToken,
                                            HeadKind::kQuestion, HeadKind::kChoice};

// A batch that owns its memory: padding on either side, holes, any global tokens, targets for the
// head. Multiple choice needs an even number of rows.
struct PostNormData {
  std::vector<std::int32_t> ids, types, labels, starts, ends;
  std::vector<float> values;
  std::vector<std::uint8_t> roles;
  BatchView batch;

  PostNormData(const PostNormFields& c, idx_t rows, idx_t tokens, std::uint64_t seed)
      : rng_(DeriveKey(seed, 2)) {
    batch.rows = rows;
    batch.tokens = tokens;
    const idx_t often = rng_.Below(4);  // of global tokens: none, some, all
    for (idx_t b = 0; b < rows; ++b) Row(c, tokens, b == 0 ? 0 : rng_.Below(4), often);
    Targets(c, rows, tokens);
    batch.ids = ids;
    batch.roles = {roles.data(), {rows, tokens}};
    if (rng_.Below(3) != 0) batch.token_types = types;
  }
  PostNormData(const PostNormData&) = delete;
  PostNormData& operator=(const PostNormData&) = delete;

 private:
  std::int32_t Below(idx_t n) { return static_cast<std::int32_t>(rng_.Below(n)); }

  // padding 0: none, 1: right, 2: left, 3: holes in the mask.
  void Row(const PostNormFields& c, idx_t tokens, idx_t padding, idx_t often) {
    const idx_t pads = rng_.Below(tokens);
    for (idx_t t = 0; t < tokens; ++t) {
      const bool pad = (padding == 1 && t >= tokens - pads) || (padding == 2 && t < pads);
      const bool hidden = pad || (padding == 3 && rng_.Below(3) == 0);
      const bool global = often == 3 || (often > 0 && rng_.Below(6) < often);
      std::int32_t id = Below(c.vocab_size);
      if (id == c.pad_token) id = (id + 1) % static_cast<std::int32_t>(c.vocab_size);
      ids.push_back(pad ? static_cast<std::int32_t>(c.pad_token) : id);
      types.push_back(Below(c.token_types));
      roles.push_back(hidden ? kHiddenToken : (global ? kGlobalToken : kLocalToken));
    }
  }

  void Targets(const PostNormFields& c, idx_t rows, idx_t tokens) {
    const bool lm = c.head == HeadKind::kMaskedLm;
    if (c.head == HeadKind::kChoice) batch.choices = 2;
    if (lm || c.head == HeadKind::kToken) {
      for (idx_t n = 0; n < rows * tokens; ++n) {
        const bool labelled = n == 3 || rng_.Below(4) == 0;
        labels.push_back(labelled ? Below(lm ? c.vocab_size : c.label_count()) : -100);
      }
    } else if (c.head == HeadKind::kChoice) {
      for (idx_t q = 0; q < rows / 2; ++q) labels.push_back(Below(2));
    } else if (c.head == HeadKind::kSequence) {
      const bool classes =
          c.problem == ProblemType::kSingleLabel ||
          (c.problem == ProblemType::kInferred && c.label_count() > 1 && rng_.Below(2) == 0);
      for (idx_t b = 0; classes && b < rows; ++b) labels.push_back(Below(c.label_count()));
      for (idx_t n = 0; !classes && n < rows * c.label_count(); ++n) {
        values.push_back(static_cast<float>(rng_.Below(2)));
      }
    }
    for (idx_t b = 0; c.head == HeadKind::kQuestion && b < rows; ++b) {
      // -1 counts as 0, tokens and beyond as outside; at least one counts.
      starts.push_back(b == 0 ? Below(tokens) : Below(tokens + 4) - 1);
      ends.push_back(b == 0 ? Below(tokens) : Below(tokens + 4) - 1);
    }
    batch.labels = labels;
    batch.values = values;
    batch.starts = starts;
    batch.ends = ends;
  }

  Rng rng_;
};

}  // namespace longspan
