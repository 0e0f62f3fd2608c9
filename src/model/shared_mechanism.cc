// Layers whose queries serve as keys: Reformer's LSH layers, and the same weights over chunks of
// the text or the whole of it.

#include <algorithm>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "model/attention_layer.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

template <class T>
SharedQkvOf<T> SharedInputs(const AttentionTensorsOf<T>& t) {
  return {t.Input(0), t.Input(1)};
}
template <class T>
SharedSavedOf<T> SharedSaved(const AttentionTensorsOf<T>& t) {
  return {t.Part(t.out, 0), t.first, t.second, t.delta};
}
template <class T>
DSharedQkv SharedGradients(const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) {
  return {t.Part(dprojected, 0), t.Part(dprojected, 1)};
}

// The same tensors in fp32, for a mechanism without bf16.
class WidenedTensors {
 public:
  static std::size_t Bytes(const Bf16AttentionTensors& t) {
    return Arena::Bytes<float>(t.projected.size()) + Arena::Bytes<float>(t.out.size());
  }
  WidenedTensors(Context& context, Arena::Frame& frame, const Bf16AttentionTensors& t) {
    wide_.rows = t.rows;
    wide_.tokens = t.tokens;
    wide_.heads = t.heads;
    wide_.head_size = t.head_size;
    wide_.first_head = t.first_head;
    wide_.layer_heads = t.layer_heads;
    wide_.projected = {frame.Take<float>(t.projected.size()), t.projected.extent};
    wide_.out = {frame.Take<float>(t.out.size()), t.out.extent};
    wide_.first = t.first;
    wide_.second = t.second;
    wide_.delta = t.delta;
    gemm::Widen(context, t.projected, wide_.projected);
  }
  const AttentionTensors& get() const { return wide_; }

 private:
  AttentionTensors wide_;
};

// bf16: widened, for full attention in the shared form is a baseline.
class FullSharedMechanism final : public MechanismOf<FullSharedMechanism> {
 public:
  explicit FullSharedMechanism(const ReformerConfig& config) : causal_(config.is_decoder) {}

  void Run(Context& context, const BranchCall& call, const Dropout& dropout, bool /*again*/,
           const AttentionTensors& t) const {
    FullSharedForward(context, {causal_, 0.0f, t.DropoutOf(dropout)}, SharedInputs(t), call.mask,
                      SharedSaved(t));
  }
  void Run(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
           const Bf16AttentionTensors& t) const {
    Arena::Frame frame(context.arena(), WidenedTensors::Bytes(t));
    const WidenedTensors wide(context, frame, t);
    Run(context, call, dropout, again, wide.get());
    gemm::Round(context, wide.get().out, t.out);
  }
  void RunBack(Context& context, const BranchCall& call, const Dropout& dropout,
               const AttentionTensors& t, const View<float, 2>& dprojected) const {
    const View<const float, 2> dout = t.out;
    FullSharedBackward(context, {causal_, 0.0f, t.DropoutOf(dropout)}, SharedInputs(t), call.mask,
                       SharedSaved(t), t.Part(dout, 0), SharedGradients(t, dprojected));
  }
  void RunBack(Context& context, const BranchCall& call, const Dropout& dropout,
               const Bf16AttentionTensors& t, const View<float, 2>& dprojected) const {
    Arena::Frame frame(context.arena(), WidenedTensors::Bytes(t));
    const WidenedTensors wide(context, frame, t);
    gemm::Widen(context, t.out, wide.get().out);
    RunBack(context, call, dropout, wide.get(), dprojected);
  }
  double Pairs(idx_t tokens) const override { return FullPairs(tokens, causal_); }

 private:
  bool causal_;
};

class LshMechanism final : public MechanismOf<LshMechanism> {
 public:
  explicit LshMechanism(const ReformerConfig& config) : config_(config) {}

  template <class T>
  void Run(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
           const AttentionTensorsOf<T>& t) const {
    const LshSpec spec = Spec(t.DropoutOf(dropout), t.tokens, call.num_hashes);
    const bool kept = call.buckets != nullptr;
    const idx_t heads = kept ? t.layer_heads : t.heads;
    const idx_t count = spec.Hashes(t.tokens) ? t.n() * heads * spec.rounds : 0;
    Arena::Frame frame(context.arena(), Arena::Bytes<std::uint16_t>(kept ? 0 : count));
    if (kept) Keep(context, count, call.buckets);
    std::uint16_t* ids = kept ? call.buckets->data() : frame.Take<std::uint16_t>(count);
    const LshBuckets buckets = BucketView(spec, t, ids, heads);
    if (!again && spec.Hashes(t.tokens)) Hash(context, call, spec, t, buckets);
    LshForward(context, spec, SharedInputs(t), call.mask, View<const std::uint16_t, 4>(buckets),
               SharedSaved(t));
  }

  template <class T>
  void RunBack(Context& context, const BranchCall& call, const Dropout& dropout,
               const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) const {
    const View<const T, 2> dout = t.out;
    const LshSpec spec = Spec(t.DropoutOf(dropout), t.tokens, call.num_hashes);
    const LshBuckets buckets = BucketView(spec, t, call.buckets->data(), t.layer_heads);
    LshBackward(context, spec, SharedInputs(t), call.mask, View<const std::uint16_t, 4>(buckets),
                SharedSaved(t), t.Part(dout, 0), SharedGradients(t, dprojected));
  }

  double Pairs(idx_t tokens) const override {
    const LshSpec spec = Spec({}, tokens, 0);
    const auto n = static_cast<double>(tokens);
    if (!spec.Hashes(tokens)) return n * n;
    return n * static_cast<double>(spec.rounds * spec.WindowSlots());
  }

 private:
  LshSpec Spec(const ProbabilityDropout& dropout, idx_t tokens, idx_t num_hashes) const {
    LshSpec spec = SharedSpec(config_, tokens, num_hashes);
    spec.dropout = dropout;
    return spec;
  }
  // Room for `count` buckets; grows once. A rehearsal takes the room and leaves it untouched.
  static void Keep(const Context& context, idx_t count, std::vector<std::uint16_t>* buckets) {
    buckets->reserve(static_cast<std::size_t>(count));
    if (!context.rehearsal()) buckets->resize(static_cast<std::size_t>(count));
  }
  // The heads of the call in buckets of `heads` heads: all of the layer, or just these.
  template <class T>
  static LshBuckets BucketView(const LshSpec& spec, const AttentionTensorsOf<T>& t,
                               std::uint16_t* ids, idx_t heads) {
    const idx_t head = spec.rounds * t.tokens;
    const idx_t first = heads == t.layer_heads ? t.first_head : 0;
    return {ids + (spec.Hashes(t.tokens) ? first * head : 0),
            {t.rows, t.heads, spec.rounds, t.tokens},
            {heads * head, head, t.tokens, 1}};
  }

  template <class T>
  void Hash(Context& context, const BranchCall& call, const LshSpec& spec,
            const AttentionTensorsOf<T>& t, const LshBuckets& buckets) const {
    if (config_.attention == AttentionChoice::kLocal) {
      ParallelFor(context, t.rows * t.heads, [&](idx_t head, int) {
        std::fill_n(&buckets(head / t.heads, head % t.heads, 0, 0), spec.rounds * t.tokens,
                    std::uint16_t{0});
      });
      return;
    }
    const std::array<idx_t, 4> shape = {t.layer_heads, t.head_size, spec.rounds,
                                        spec.RotationColumns()};
    const auto of_heads = [&](const View<const float, 4>& rotations) {
      return LshRotations(&rotations(t.first_head, 0, 0, 0),
                          {t.heads, shape[1], shape[2], shape[3]}, rotations.stride);
    };
    if (call.rotations != nullptr) {
      Check(call.rotations->shape() == std::vector<idx_t>(shape.begin(), shape.end()),
            ErrorCode::kUsage, "LSH attention: rotations is {}, expected {}",
            ShapeText(call.rotations->shape()),
            ShapeText(std::vector<idx_t>(shape.begin(), shape.end())));
      LshHash(context, spec, t.Input(0), call.mask, of_heads(call.rotations->view<4>()), buckets);
      return;
    }
    const idx_t count = shape[0] * shape[1] * shape[2] * shape[3];
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(count));
    const View<float, 4> rotations(frame.Take<float>(count), shape);
    DrawRotations(config_, call.rotation_key, rotations);
    LshHash(context, spec, t.Input(0), call.mask, of_heads(rotations), buckets);
  }

  ReformerConfig config_;
};

}  // namespace

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

std::unique_ptr<AttentionMechanism> MakeSharedMechanism(const ReformerConfig& config) {
  if (config.attention == AttentionChoice::kFull || config.attention == AttentionChoice::kFullLsh) {
    return std::make_unique<FullSharedMechanism>(config);
  }
  return std::make_unique<LshMechanism>(config);
}

}  // namespace longspan
