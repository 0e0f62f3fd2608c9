// Embedding rows, one task of the backward pass.

// Included once for every target.
#if defined(LONGSPAN_EMBEDDING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_EMBEDDING_INL_H_
#undef LONGSPAN_EMBEDDING_INL_H_
#else
#define LONGSPAN_EMBEDDING_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// dtable[ids[t]] += dout[t] over `columns` columns of all tokens, in token order: the order of the
// sum is the text's, whatever runs beside it. A block of columns of the whole text belongs to one
// task, so no two tasks meet in a row. Forward: out[t] = table[ids[t]], a copy, needs no kernel.
void EmbeddingScatter(const std::int32_t* HWY_RESTRICT ids, idx_t tokens,
                      const float* HWY_RESTRICT dout, idx_t dout_stride,  // (T, columns)
                      float* HWY_RESTRICT dtable, idx_t dtable_stride,    // (V, columns)
                      idx_t columns) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  for (idx_t t = 0; t < tokens; ++t) {
    const float* HWY_RESTRICT from = dout + t * dout_stride;
    float* HWY_RESTRICT to = dtable + ids[t] * dtable_stride;
    idx_t c = 0;
    for (; c + lanes <= columns; c += lanes) {
      hn::StoreU(hn::Add(hn::LoadU(d, to + c), hn::LoadU(d, from + c)), d, to + c);
    }
    for (; c < columns; ++c) to[c] += from[c];
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_EMBEDDING_INL_H_
