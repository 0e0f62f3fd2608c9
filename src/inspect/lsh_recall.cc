#include "inspect/lsh_recall.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "base/rng.h"
#include "families/reformer/attention_mechanism.h"
#include "families/reformer/shared_mechanism.h"

namespace longspan {
namespace {

// Random sites of one text.
enum RecallSite : std::uint64_t { kRowSite = 0, kFirstBucketSite = 1 };

// Buckets (1, H, R, T) of one hashing, by direction and by chance.
struct Buckets {
  LshSpec spec;
  std::vector<std::uint16_t> hashed, random;

  Hashing AsHashing(const View<const float, 4>& qk) const {
    if (hashed.empty()) return {spec, {}, {}};
    const std::array<idx_t, 4> shape = {1, qk.extent[1], spec.rounds, qk.extent[2]};
    return {spec, {hashed.data(), shape}, {random.data(), shape}};
  }
};

// Hashes qk (1, H, T, D) of a layer as evaluation with config.num_hashes rounds does.
Buckets Hash(Context& context, const ReformerConfig& config, std::size_t layer,
             std::uint64_t chance_key, const View<const float, 4>& qk) {
  const idx_t H = qk.extent[1], T = qk.extent[2], D = qk.extent[3];
  Buckets result;
  result.spec = SharedSpec(config, T);
  const LshSpec& spec = result.spec;
  if (!spec.Hashes(T)) return result;
  Tensor rotations({H, D, spec.rounds, spec.RotationColumns()});
  DrawRotations(config, Reformer::EvaluationKey(config, layer), rotations.view<4>());
  const auto count = static_cast<std::size_t>(H * spec.rounds * T);
  result.hashed.resize(count);
  LshHash(context, spec, qk, {}, rotations.view<4>(),
          {result.hashed.data(), {1, H, spec.rounds, T}});
  result.random.resize(count);
  Rng rng(chance_key);
  const idx_t buckets = spec.BucketCount();
  for (std::uint16_t& bucket : result.random) {
    bucket = static_cast<std::uint16_t>(rng.Below(buckets));
  }
  return result;
}

// Reorders the values.
Spread SpreadOf(std::vector<float>& values) {
  Spread spread;
  for (const float value : values) spread.mean += static_cast<double>(value);
  spread.mean /= static_cast<double>(values.size());
  const auto tenth = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 10);
  std::nth_element(values.begin(), tenth, values.end());
  spread.tenth = static_cast<double>(*tenth);
  return spread;
}

}  // namespace

LshRecall::LshRecall(const ReformerConfig& config, LshRecallOptions options)
    : config_(config), options_(std::move(options)), mass_(config.layers.size()) {
  config_.attention = AttentionChoice::kConfigured;  // what hashing sees is asked of every model
  Check(!options_.rounds.empty(), ErrorCode::kUsage, "rounds: none is given");
  idx_t before = 0;
  for (const idx_t rounds : options_.rounds) {
    Check(rounds >= 1 && rounds <= limits::kHashRounds, ErrorCode::kUsage,
          "rounds: {} is not from 1 to {}", rounds, limits::kHashRounds);
    Check(rounds > before, ErrorCode::kUsage, "rounds: {} does not rise behind {}", rounds, before);
    before = rounds;
  }
  Check(options_.rows >= 1, ErrorCode::kUsage, "rows: {} is not at least 1", options_.rows);
  bool hashes = false;
  for (std::size_t i = 0; i < config_.layers.size(); ++i) {
    if (config_.layers[i] != LayerKind::kLsh) continue;
    mass_[i].resize(static_cast<std::size_t>(config_.heads));
    hashes = true;
  }
  Check(hashes, ErrorCode::kFormat, "model: no layer hashes, attn_layers has no \"lsh\"");
}

void LshRecall::Add(Context& context, const Reformer& model, std::span<const std::int32_t> ids) {
  const auto tokens = static_cast<idx_t>(ids.size());
  Check(tokens >= 2, ErrorCode::kUsage, "text: {} tokens, need at least 2", tokens);
  const std::vector<idx_t> rows = ChooseRows(tokens);
  model.Observe(context, {1, tokens, ids, {}, {}},
                [&](std::size_t layer, const AttentionTensors& tensors) {
                  if (config_.layers[layer] != LayerKind::kLsh) return;
                  Measure(context, layer, tensors.Input(0), rows);
                });
  ++texts_;
}

// One row by chance from each of options_.rows equal stretches: evenly spaced rows would always
// stand at the same place of a chunk, or of an axial table.
std::vector<idx_t> LshRecall::ChooseRows(idx_t tokens) const {
  const idx_t first = config_.is_decoder ? 1 : 0, others = tokens - first;
  const idx_t count = std::min(options_.rows, others);
  Rng rng(DeriveKey(DeriveKey(options_.seed, texts_), kRowSite));
  std::vector<idx_t> rows;
  for (idx_t i = 0; i < count; ++i) {
    const idx_t begin = i * others / count, end = (i + 1) * others / count;
    rows.push_back(first + begin + rng.Below(end - begin));
  }
  return rows;
}

void LshRecall::Measure(Context& context, std::size_t layer, const View<const float, 4>& qk,
                        std::span<const idx_t> rows) {
  std::vector<Buckets> buckets;
  std::vector<Hashing> hashings;
  const std::uint64_t text_key = DeriveKey(options_.seed, texts_);
  for (std::size_t i = 0; i < options_.rounds.size(); ++i) {
    ReformerConfig config = config_;
    config.num_hashes = options_.rounds[i];
    const std::uint64_t site = kFirstBucketSite + layer * options_.rounds.size() + i;
    buckets.push_back(Hash(context, config, layer, DeriveKey(text_key, site), qk));
  }
  for (const Buckets& each : buckets) hashings.push_back(each.AsHashing(qk));
  const idx_t row_floats = static_cast<idx_t>(rows.size()) * Columns();
  Tensor mass({config_.heads, static_cast<idx_t>(rows.size()), Columns()});
  MeasureMass(context, qk, config_.is_decoder, hashings, rows, mass.view<3>());
  for (idx_t h = 0; h < config_.heads; ++h) {
    const float* from = mass.data<float>() + h * row_floats;
    auto& kept = mass_[layer][static_cast<std::size_t>(h)];
    kept.insert(kept.end(), from, from + row_floats);
  }
}

MassRecall LshRecall::Summary(std::size_t layer, idx_t first_head, idx_t heads) const {
  const auto step = static_cast<std::size_t>(Columns());
  const auto spread = [&](idx_t column) {
    std::vector<float> values;
    for (idx_t h = first_head; h < first_head + heads; ++h) {
      const std::vector<float>& kept = mass_[layer][static_cast<std::size_t>(h)];
      for (auto i = static_cast<std::size_t>(column); i < kept.size(); i += step) {
        values.push_back(kept[i]);
      }
    }
    return SpreadOf(values);
  };
  MassRecall recall;
  recall.rows = heads * static_cast<idx_t>(mass_[layer].front().size() / step);
  idx_t column = 0;
  for (Spread& top : recall.top) top = spread(column++);
  for (const idx_t rounds : options_.rounds) {
    RoundRecall r;
    r.rounds = rounds;
    r.seen = spread(column + kSeenMass);
    r.local = spread(column + kLocalMass);
    r.random = spread(column + kRandomMass);
    r.best = spread(column + kBestMass);
    r.seen_keys = spread(column + kSeenKeys).mean;
    r.random_keys = spread(column + kRandomKeys).mean;
    recall.rounds.push_back(r);
    column += kMassFields;
  }
  return recall;
}

std::vector<LayerRecall> LshRecall::Result() const {
  Check(texts_ > 0, ErrorCode::kUsage, "lsh recall: no text was measured");
  std::vector<LayerRecall> layers;
  for (std::size_t i = 0; i < mass_.size(); ++i) {
    if (mass_[i].empty()) continue;
    LayerRecall layer;
    layer.layer = i;
    layer.all = Summary(i, 0, config_.heads);
    for (idx_t h = 0; h < config_.heads; ++h) layer.heads.push_back(Summary(i, h, 1));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace longspan
