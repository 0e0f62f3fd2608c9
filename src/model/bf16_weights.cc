#include "model/bf16_weights.h"

#include <algorithm>

#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"

namespace longspan {
namespace {

constexpr idx_t kAlignment = 32;  // bf16: 64 bytes
// A run is rounded as rows of this many.
constexpr idx_t kRow = 4096;

}  // namespace

Bf16Weights::Bf16Weights(const ParameterTable& table,
                         const std::function<bool(const ParameterInfo&)>& wanted) {
  idx_t extent = 0;
  for (const ParameterInfo& info : table.list()) {
    if (!wanted(info)) continue;
    const bool goes_on = !runs_.empty() && runs_.back().from + runs_.back().size == info.offset;
    if (!goes_on) {
      extent = RoundUp(extent, kAlignment);
      runs_.push_back({info.offset, extent, 0});
    }
    runs_.back().size += info.size;
    const idx_t cols = info.shape.back();
    places_[info.name] = {extent, {info.size / cols, cols}};
    extent += info.size;
  }
  values_ = Tensor({extent}, DType::kBF16);
}

void Bf16Weights::Refresh(Context& context, const ParameterTable& table) {
  if (generation_ == table.generation()) return;
  for (const Run& run : runs_) {
    const float* from = table.values().data + run.from;
    bfloat16* to = values_.data<bfloat16>() + run.to;
    const idx_t rows = run.size / kRow, rest = run.size % kRow;
    gemm::Round(context, View<const float, 2>(from, {rows, kRow}), {to, {rows, kRow}});
    if (rest == 0) continue;
    gemm::Round(context, View<const float, 2>(from + rows * kRow, {1, rest}),
                {to + rows * kRow, {1, rest}});
  }
  if (!context.rehearsal()) generation_ = table.generation();
}

View<const bfloat16, 2> Bf16Weights::matrix(std::string_view name, idx_t rows) const {
  const auto found = places_.find(std::string(name));
  Check(found != places_.end(), ErrorCode::kUsage, "parameter {}: there is no bf16 copy of it",
        name);
  auto shape = found->second.shape;
  if (rows > 0) shape[0] = rows;
  return {values_.data<bfloat16>() + found->second.offset, shape};
}

}  // namespace longspan
