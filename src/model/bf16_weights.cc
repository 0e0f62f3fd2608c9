#include "model/bf16_weights.h"

#include <algorithm>
#include <unordered_map>

#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"

namespace longspan {
namespace {

constexpr idx_t kBf16Alignment = 32;  // bf16: 64 bytes
// A run is rounded as rows of this many.
constexpr idx_t kRow = 4096;

}  // namespace

Bf16Weights::Bf16Weights(const ParameterTable& table, LayerCopies copies, const LayerOf& layer_of)
    : copies_(copies), places_(table.list().size()) {
  const std::vector<ParameterInfo>& all = table.list();
  const bool kept = copies == LayerCopies::kKept;
  idx_t common = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const int of = layer_of(all[i]);
    if (of == kNotCopied || (of >= 0 && !kept)) continue;
    Add(all[i], i, of, &common);
    if (of >= std::ssize(layers_)) layers_.resize(static_cast<std::size_t>(of) + 1, 0);
  }
  common = RoundUp(common, kBf16Alignment);
  std::unordered_map<int, idx_t> ends;  // of the layers, behind what all have
  idx_t extent = common;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const int of = kept ? kNotCopied : layer_of(all[i]);
    if (of < 0) continue;
    idx_t& end = ends.try_emplace(of, common).first->second;
    Add(all[i], i, of, &end);
    extent = std::max(extent, end);
  }
  values_ = Tensor({extent}, DType::kBF16);
}

void Bf16Weights::Add(const ParameterInfo& info, std::size_t number, int layer, idx_t* extent) {
  const bool goes_on = !runs_.empty() && runs_.back().layer == layer &&
                       runs_.back().from + runs_.back().size == info.offset;
  if (!goes_on) {
    *extent = RoundUp(*extent, kBf16Alignment);
    runs_.push_back({layer, info.offset, *extent, 0});
  }
  runs_.back().size += info.size;
  const idx_t cols = info.shape.back();
  places_[number] = {layer, *extent, {info.size / cols, cols}};
  *extent += info.size;
}

void Bf16Weights::Round(Context& context, const ParameterTable& table, int layer) {
  for (const Run& run : runs_) {
    if (run.layer != layer) continue;
    rounded_ += static_cast<std::uint64_t>(run.size);
    const float* from = table.values(run.from, run.from + run.size).data;
    bfloat16* to = values_.data<bfloat16>() + run.to;
    const idx_t rows = run.size / kRow, rest = run.size % kRow;
    gemm::Round(context, View<const float, 2>(from, {rows, kRow}), {to, {rows, kRow}});
    if (rest == 0) continue;
    gemm::Round(context, View<const float, 2>(from + rows * kRow, {1, rest}),
                {to + rows * kRow, {1, rest}});
  }
}

void Bf16Weights::RoundIfStale(Context& context, const ParameterTable& table, std::size_t layer) {
  if (layers_[layer] == table.generation()) return;
  Round(context, table, static_cast<int>(layer));
  if (!context.rehearsal()) layers_[layer] = table.generation();
}

void Bf16Weights::Refresh(Context& context, const ParameterTable& table) {
  const std::lock_guard lock(refreshing_);
  if (generation_ != table.generation()) {
    Round(context, table, kNoLayer);
    entered_ = kNoLayer;
    if (!context.rehearsal()) generation_ = table.generation();
  }
  if (table.expects()) return;
  for (std::size_t i = 0; i < layers_.size(); ++i) RoundIfStale(context, table, i);
}

void Bf16Weights::Enter(Context& context, const ParameterTable& table, std::size_t layer) {
  if (copies_ == LayerCopies::kKept) {
    if (context.rehearsal() || layer >= layers_.size()) return;
    const std::lock_guard lock(refreshing_);
    return RoundIfStale(context, table, layer);
  }
  const int wanted = static_cast<int>(layer);
  if (entered_ == wanted) return;
  Round(context, table, wanted);
  entered_ = wanted;
}

View<const bfloat16, 2> Bf16Weights::matrix(ParameterId id, idx_t rows) const {
  const Place& place = places_[static_cast<std::size_t>(id)];
  Check(place.layer != kNotCopied, ErrorCode::kUsage, "parameter {}: there is no bf16 copy of it",
        static_cast<std::size_t>(id));
  const bool kept = copies_ == LayerCopies::kKept;
  Check(place.layer == kNoLayer || kept || place.layer == entered_, ErrorCode::kUsage,
        "parameter {}: the bf16 copies there are of another layer", static_cast<std::size_t>(id));
  Check(place.layer == kNoLayer || !kept ||
            layers_[static_cast<std::size_t>(place.layer)] == generation_,
        ErrorCode::kUsage, "parameter {}: its layer was not entered since its weights have changed",
        static_cast<std::size_t>(id));
  auto shape = place.shape;
  if (rows > 0) shape[0] = rows;
  return {values_.data<bfloat16>() + place.offset, shape};
}

std::unique_ptr<Bf16Weights> EncoderBf16Weights(const ParameterTable& table, LayerCopies copies,
                                                const std::string& layers, ParameterId tall) {
  const std::string tall_name = tall == kNoParameter ? "" : table.at(tall).name;
  return std::make_unique<Bf16Weights>(table, copies, [&](const ParameterInfo& info) {
    if (info.name == tall_name) return Bf16Weights::kNoLayer;
    const bool in_layer = info.name.starts_with(layers) && info.kind == ParameterKind::kMatrix;
    return in_layer ? std::stoi(info.name.substr(layers.size())) : Bf16Weights::kNotCopied;
  });
}

}  // namespace longspan
