#include "families/reformer/shared_mechanism.h"

#include <algorithm>
#include <any>
#include <array>
#include <variant>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// The arguments of attention functions, views of a call's tensors: projected is (N, 2 H D) with
// query-key and value; the statistics are max and sum.
constexpr idx_t kSharedStatistics = 2;

template <class T>
SharedQkvOf<T> SharedInputs(const AttentionTensorsOf<T>& t) {
  return {t.Input(0), t.Input(1)};
}
template <class T>
SharedSavedOf<T> SharedSavedViews(const AttentionTensorsOf<T>& t) {
  SharedSavedOf<T> saved;
  saved.out = t.Out();
  saved.max = t.statistics[0];
  saved.sum = t.statistics[1];
  saved.delta = t.delta;
  return saved;
}
template <class T>
DSharedQkv SharedGradients(const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) {
  return {t.Part(dprojected, 0), t.Part(dprojected, 1)};
}

// ---- full attention -----------------------------------------------------------------------------

class FullSharedMechanism final : public AttentionMechanism {
 public:
  explicit FullSharedMechanism(const ReformerConfig& config) : causal_(config.is_decoder) {}

  idx_t Statistics() const override { return kSharedStatistics; }
  bool TakesTexts() const override { return true; }
  void Forward(Context& context, const MechanismCall& call,
               const AnyAttentionTensors& tensors) const override {
    std::visit(
        [&](const auto& t) {
          FullSharedForward(context, Spec(call, t), SharedInputs(t), call.mask,
                            SharedSavedViews(t));
        },
        tensors);
  }
  void Backward(Context& context, const MechanismCall& call, const AnyAttentionTensors& tensors,
                const View<float, 2>& dprojected) const override {
    std::visit(
        [&](const auto& t) {
          FullSharedBackward(context, Spec(call, t), SharedInputs(t), call.mask,
                             SharedSavedViews(t), t.DOut(), SharedGradients(t, dprojected));
        },
        tensors);
  }
  double Pairs(idx_t tokens) const override { return FullPairs(tokens, causal_); }
  DecodingRule Decoding() const override { return {}; }

 private:
  FullSpec Spec(const MechanismCall& call, const AttentionExtents& extents) const {
    return {causal_, 0.0f, extents.DropoutOf(call.dropout), call.starts};
  }

  bool causal_;
};

// ---- LSH attention ------------------------------------------------------------------------------

// The buckets (B, H, R, T) of all held heads of a layer; empty if the text was not hashed.
class LshState final : public MechanismState {
 public:
  std::vector<std::uint16_t> buckets;

  // Room for `count` buckets; grows once. A rehearsal takes the room and leaves it untouched.
  void Reserve(const Context& context, idx_t count) {
    buckets.reserve(static_cast<std::size_t>(count));
    if (!context.rehearsal()) buckets.resize(static_cast<std::size_t>(count));
  }

 private:
  std::size_t OwnBytes() const override { return buckets.capacity() * sizeof(std::uint16_t); }
};

// The buckets of a call's heads in `ids`, which has `heads` heads: all held ones, or just these.
LshBuckets BucketsOf(const LshSpec& spec, const AttentionExtents& t, std::uint16_t* ids,
                     idx_t heads) {
  const idx_t head = spec.rounds * t.tokens;
  const idx_t first = heads == t.held_heads ? t.first_head - t.held_first : 0;
  return {ids + (spec.Hashes(t.tokens) ? first * head : 0),
          {t.rows, t.heads, spec.rounds, t.tokens},
          {heads * head, head, t.tokens, 1}};
}

}  // namespace

idx_t LshMechanism::Statistics() const { return kSharedStatistics; }

std::unique_ptr<MechanismState> LshMechanism::NewState() const {
  return std::make_unique<LshState>();
}

std::span<const std::uint16_t> LshMechanism::Buckets(const MechanismState& state) {
  return static_cast<const LshState&>(state).buckets;
}

LshSpec LshMechanism::Spec(const MechanismCall& call, const AttentionExtents& extents) const {
  const auto* rounds = std::any_cast<Rounds>(&call.setting);
  LshSpec spec = SharedSpec(config_, extents.tokens, rounds == nullptr ? 0 : rounds->count);
  spec.dropout = extents.DropoutOf(call.dropout);
  return spec;
}

void LshMechanism::Forward(Context& context, const MechanismCall& call,
                           const AnyAttentionTensors& tensors) const {
  std::visit([&](const auto& t) { ForwardIn(context, call, t); }, tensors);
}

template <class T>
void LshMechanism::ForwardIn(Context& context, const MechanismCall& call,
                             const AttentionTensorsOf<T>& t) const {
  const LshSpec spec = Spec(call, t);
  auto* state = static_cast<LshState*>(call.state);
  const idx_t heads = state != nullptr ? t.held_heads : t.heads;
  const idx_t count = spec.Hashes(t.tokens) ? t.n() * heads * spec.rounds : 0;
  Arena::Frame frame(context.arena(), Arena::Bytes<std::uint16_t>(state != nullptr ? 0 : count));
  if (state != nullptr) state->Reserve(context, count);
  std::uint16_t* ids = state != nullptr ? state->buckets.data() : frame.Take<std::uint16_t>(count);
  const LshBuckets buckets = BucketsOf(spec, t, ids, heads);
  if (!call.recomputes && spec.Hashes(t.tokens)) Hash(context, call, spec, t, buckets);
  LshForward(context, spec, SharedInputs(t), call.mask, View<const std::uint16_t, 4>(buckets),
             SharedSavedViews(t));
}

void LshMechanism::Backward(Context& context, const MechanismCall& call,
                            const AnyAttentionTensors& tensors,
                            const View<float, 2>& dprojected) const {
  std::visit(
      [&](const auto& t) {
        const LshSpec spec = Spec(call, t);
        auto& state = static_cast<LshState&>(*call.state);
        const LshBuckets buckets = BucketsOf(spec, t, state.buckets.data(), t.held_heads);
        LshBackward(context, spec, SharedInputs(t), call.mask,
                    View<const std::uint16_t, 4>(buckets), SharedSavedViews(t), t.DOut(),
                    SharedGradients(t, dprojected));
      },
      tensors);
}

template <class T>
void LshMechanism::Hash(Context& context, const MechanismCall& call, const LshSpec& spec,
                        const AttentionTensorsOf<T>& t, const LshBuckets& buckets) const {
  if (!hashes()) {
    ParallelFor(context, t.rows * t.heads, [&](idx_t head, int) {
      std::fill_n(&buckets(head / t.heads, head % t.heads, 0, 0), spec.rounds * t.tokens,
                  std::uint16_t{0});
    });
    return;
  }
  const std::array<idx_t, 4> shape = {t.layer_heads, t.head_size, spec.rounds,
                                      spec.RotationColumns()};
  const auto hash_with = [&](const View<const float, 4>& rotations) {
    LshHash(context, spec, t.Input(0), call.mask, rotations.Rows(t.first_head, t.heads), buckets);
  };
  if (!given_.empty()) {
    const std::vector<idx_t> expected(shape.begin(), shape.end());
    Check(given_.shape() == expected, ErrorCode::kUsage,
          "LSH attention: rotations is {}, expected {}", ShapeText(given_.shape()),
          ShapeText(expected));
    return hash_with(given_.view<4>());
  }
  const idx_t count = shape[0] * shape[1] * shape[2] * shape[3];
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(count));
  const View<float, 4> rotations(frame.Take<float>(count), shape);
  DrawRotations(config_, call.key, rotations);
  hash_with(rotations);
}

double LshMechanism::Pairs(idx_t tokens) const {
  const LshSpec spec = SharedSpec(config_, tokens);
  const auto n = static_cast<double>(tokens);
  if (!spec.Hashes(tokens)) return n * n;
  return n * static_cast<double>(spec.rounds * spec.WindowSlots());
}

DecodingRule LshMechanism::Decoding() const {
  return {hashes(), config_.lsh_chunk, config_.lsh_before};
}

// ---- specs --------------------------------------------------------------------------------------

LshSpec SharedSpec(const ReformerConfig& config, idx_t tokens, idx_t num_hashes) {
  LshSpec spec;
  spec.chunk = config.lsh_chunk;
  spec.before = config.lsh_before;
  spec.after = config.lsh_after;
  spec.causal = config.is_decoder;
  spec.rounds = num_hashes > 0 ? num_hashes : config.num_hashes;
  if (config.attention == AttentionChoice::kLocal) {
    spec.rounds = 1;
    spec.buckets = {2};
  } else if (!config.num_buckets.empty()) {
    spec.buckets = config.num_buckets;
  } else if (spec.Hashes(tokens)) {
    // The original rounds a text up to whole chunks before it counts them.
    spec.buckets = LshBucketFactors(RoundUp(tokens, spec.chunk), spec.chunk, config.max_positions);
  }
  return spec;
}

void DrawRotations(const ReformerConfig& config, std::uint64_t key,
                   const View<float, 4>& rotations) {
  if (config.hash_seed) {
    FillTorchNormal(*config.hash_seed, rotations);
  } else {
    FillNormal(key, 1.0f, rotations.data, rotations.size());
  }
}

std::unique_ptr<AttentionMechanism> MakeSharedMechanism(const ReformerConfig& config,
                                                        LayerKind /*kind*/) {
  if (config.attention == AttentionChoice::kFull || config.attention == AttentionChoice::kFullLsh) {
    return std::make_unique<FullSharedMechanism>(config);
  }
  return std::make_unique<LshMechanism>(config);
}

}  // namespace longspan
