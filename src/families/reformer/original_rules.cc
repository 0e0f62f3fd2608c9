#include "families/reformer/original_rules.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/errors.h"
#include "base/math.h"

namespace longspan {
namespace {

// The chunks of the kinds of layers that a model has.
struct Chunks {
  idx_t multiple = 1, smallest = std::numeric_limits<idx_t>::max();

  explicit Chunks(const ReformerConfig& config) {
    for (const LayerKind kind : config.layers) {
      const idx_t chunk = kind == LayerKind::kLsh ? config.lsh_chunk : config.local_chunk;
      multiple = std::lcm(multiple, chunk);
      smallest = std::min(smallest, chunk);
    }
  }
  bool Fit(idx_t tokens) const { return tokens <= smallest || tokens % multiple == 0; }
};

bool Hashes(const ReformerConfig& config, idx_t tokens) {
  return tokens > config.lsh_chunk &&
         std::count(config.layers.begin(), config.layers.end(), LayerKind::kLsh) > 0;
}

void CheckKinds(const ReformerConfig& config) {
  for (const LayerKind kind : config.layers) {
    Check(kind == LayerKind::kLocal || kind == LayerKind::kLsh, ErrorCode::kUsage,
          "strict: attn_layers has '{}', which the original does not know", kind.name());
  }
}

void CheckTraining(const ReformerConfig& c, const ReformerBatch& batch) {
  const Chunks chunks(c);
  const idx_t tokens = batch.tokens;
  Check(chunks.Fit(tokens), ErrorCode::kUsage,
        "strict: a row of {} tokens; training needs a multiple of {}, or at most {}", tokens,
        chunks.multiple, chunks.smallest);
  Check(!c.axial || tokens == c.axial_shape[0] * c.axial_shape[1], ErrorCode::kUsage,
        "strict: a row of {} tokens; training needs exactly axial_pos_shape {} x {} = {}", tokens,
        c.axial ? c.axial_shape[0] : 0, c.axial ? c.axial_shape[1] : 0,
        c.axial ? c.axial_shape[0] * c.axial_shape[1] : 0);
  Check(!c.axial || batch.positions.empty(), ErrorCode::kUsage,
        "strict: axial positions are given in training, where the original ignores them");
  Check(batch.num_hashes == 0 || batch.num_hashes == c.num_hashes || !Hashes(c, tokens),
        ErrorCode::kUsage, "strict: {} rounds of hashing in training, the config has {}",
        batch.num_hashes, c.num_hashes);
}

}  // namespace

idx_t PaddedTokens(const ReformerConfig& config, idx_t tokens) {
  const Chunks chunks(config);
  return chunks.Fit(tokens) ? tokens : RoundUp(tokens, chunks.multiple);
}

void CheckOriginalRules(const ReformerConfig& c, const ReformerBatch& batch, bool training) {
  CheckKinds(c);
  if (training) CheckTraining(c, batch);
  const idx_t padded = PaddedTokens(c, batch.tokens);
  Check(padded <= c.longest(), ErrorCode::kUsage,
        "strict: {} tokens, {} with padding to whole chunks, but the model has positions for {}",
        batch.tokens, padded, c.longest());
  Check(batch.positions.empty() || padded == batch.tokens, ErrorCode::kUsage,
        "strict: positions are given for {} tokens, which need padding to {}", batch.tokens,
        padded);
  const auto check_division = [](const char* field, idx_t size, idx_t tokens) {
    Check(size == 0 || tokens % size == 0, ErrorCode::kUsage,
          "strict: {} {} does not divide {} tokens", field, size, tokens);
  };
  check_division("chunk_size_feed_forward", c.chunk_size_feed_forward, padded);
  const bool language = c.head == HeadKind::kCausalLm || c.head == HeadKind::kMaskedLm;
  if (language) check_division("chunk_size_lm_head", c.chunk_size_lm_head, batch.tokens);
}

PaddedBatch::PaddedBatch(const ReformerBatch& batch, idx_t padded, std::int32_t pad,
                         const View<const float, 1>& pad_row)
    : batch_(batch) {
  const auto lengthen = [&](const auto& values, auto fill, auto* longer) {
    for (idx_t b = 0; b < batch.rows; ++b) {
      const auto row = values.begin() + b * batch.tokens;
      longer->insert(longer->end(), row, row + batch.tokens);
      longer->insert(longer->end(), static_cast<std::size_t>(padded - batch.tokens), fill);
    }
  };
  std::vector<std::uint8_t> shown(static_cast<std::size_t>(batch.rows * batch.tokens), 1);
  for (idx_t b = 0; b < batch.rows && !batch.roles.empty(); ++b) {
    for (idx_t t = 0; t < batch.tokens; ++t) {
      shown[static_cast<std::size_t>(b * batch.tokens + t)] = batch.roles(b, t);
    }
  }
  lengthen(shown, std::uint8_t{0}, &mask_);
  if (!batch.ids.empty()) lengthen(batch.ids, pad, &ids_);
  batch_.tokens = padded;
  batch_.ids = ids_;
  batch_.labels = {};
  batch_.roles = {mask_.data(), {batch.rows, padded}};
  if (batch.embeddings.empty()) return;
  const idx_t channels = batch.embeddings.extent[1];
  embeddings_ = Tensor({batch.rows * padded, channels});
  const View<float, 2> longer = embeddings_.view<2>();
  for (idx_t i = 0; i < longer.extent[0]; ++i) {
    const idx_t b = i / padded, t = i % padded;
    const float* from =
        t < batch.tokens ? &batch.embeddings(b * batch.tokens + t, 0) : pad_row.data;
    std::copy_n(from, channels, &longer(i, 0));
  }
  batch_.embeddings = longer;
}

void CutRows(const View<const float, 2>& x, idx_t rows, const View<float, 2>& cut) {
  const idx_t padded = x.extent[0] / rows, tokens = cut.extent[0] / rows;
  for (idx_t b = 0; b < rows; ++b) {
    for (idx_t t = 0; t < tokens; ++t) {
      std::copy_n(&x(b * padded + t, 0), x.extent[1], &cut(b * tokens + t, 0));
    }
  }
}

}  // namespace longspan
