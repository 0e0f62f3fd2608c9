#include "ops/embedding/embedding.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/embedding/embedding.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ops/embedding/embedding-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cstring>

#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(EmbeddingScatter);

// Rows of one forward task: 16384 floats are 64 KiB, enough to pay for starting a task.
constexpr idx_t kTaskElements = 16384;

// Columns of one backward task: four cache lines of each row, so that a row's traffic comes in
// whole lines and a width of 768 still gives 12 tasks.
constexpr idx_t kTaskColumns = 64;

void CheckArguments(std::span<const std::int32_t> ids, idx_t vocabulary, idx_t table_width,
                    idx_t tokens, idx_t width) {
  Check(static_cast<idx_t>(ids.size()) == tokens, ErrorCode::kUsage,
        "embedding: {} ids for {} rows of vectors", ids.size(), tokens);
  Check(table_width == width, ErrorCode::kUsage,
        "embedding: the table is {} wide, the vectors are {}", table_width, width);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    Check(ids[t] >= 0 && ids[t] < vocabulary, ErrorCode::kFormat,
          "embedding: id {} at position {} is outside the vocabulary of {}", ids[t], t, vocabulary);
  }
}

}  // namespace

void EmbeddingForward(Context& context, std::span<const std::int32_t> ids,
                      const View<const float, 2>& table, const View<float, 2>& out) {
  const idx_t tokens = out.extent[0], width = out.extent[1];
  CheckArguments(ids, table.extent[0], table.extent[1], tokens, width);
  if (out.size() == 0) return;
  const idx_t rows = CeilDiv(kTaskElements, width);
  const auto bytes = static_cast<std::size_t>(width) * sizeof(float);
  ParallelFor(context, CeilDiv(tokens, rows), [&](idx_t task, int) {
    const idx_t end = std::min((task + 1) * rows, tokens);
    for (idx_t t = task * rows; t < end; ++t) {
      const idx_t id = ids[static_cast<std::size_t>(t)];
      std::memcpy(out.data + t * out.stride[0], table.data + id * table.stride[0], bytes);
    }
  });
}

void EmbeddingBackward(Context& context, std::span<const std::int32_t> ids,
                       const View<const float, 2>& dout, const View<float, 2>& dtable) {
  const idx_t tokens = dout.extent[0], width = dout.extent[1];
  CheckArguments(ids, dtable.extent[0], dtable.extent[1], tokens, width);
  if (dout.size() == 0) return;
  ParallelFor(context, CeilDiv(width, kTaskColumns), [&](idx_t task, int) {
    const idx_t column = task * kTaskColumns;
    HWY_DYNAMIC_DISPATCH(EmbeddingScatter)
    (ids.data(), tokens, dout.data + column, dout.stride[0], dtable.data + column, dtable.stride[0],
     std::min(kTaskColumns, width - column));
  });
}

}  // namespace longspan
#endif  // HWY_ONCE
