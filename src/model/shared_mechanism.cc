// Layers whose queries serve as keys: Reformer's LSH layers, and the same weights over chunks of
// the text or the whole of it.

#include <algorithm>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "model/attention_layer.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

SharedQkv Inputs(const AttentionTensors& t) { return {t.Input(0), t.Input(1)}; }
SharedSaved Saved(const AttentionTensors& t) { return {t.Part(t.out, 0), t.first, t.second}; }
DSharedQkv Gradients(const AttentionTensors& t, const View<float, 2>& dprojected) {
  return {t.Part(dprojected, 0), t.Part(dprojected, 1)};
}

class FullSharedMechanism final : public AttentionMechanism {
 public:
  explicit FullSharedMechanism(const ReformerConfig& config) : causal_(config.is_decoder) {}

  void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool,
               const AttentionTensors& t) const override {
    FullSharedForward(context, Spec(dropout), Inputs(t), call.mask, Saved(t));
  }
  void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                const AttentionTensors& t, const View<const float, 2>& dout,
                const View<float, 2>& dprojected) const override {
    FullSharedBackward(context, Spec(dropout), Inputs(t), call.mask, Saved(t), t.Part(dout, 0),
                       Gradients(t, dprojected));
  }
  double Pairs(idx_t tokens) const override { return FullPairs(tokens, causal_); }

 private:
  FullSpec Spec(const Dropout& dropout) const { return FullAttentionSpec(causal_, dropout); }
  bool causal_;
};

class LshMechanism final : public AttentionMechanism {
 public:
  explicit LshMechanism(const ReformerConfig& config) : config_(config) {}

  void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
               const AttentionTensors& t) const override {
    const LshSpec spec = Spec(dropout, t.tokens, call.num_hashes);
    const idx_t count = BucketCount(spec, t);
    Arena::Frame frame(context.arena(), Arena::Bytes<std::uint16_t>(count));
    std::uint16_t* ids = nullptr;
    if (call.buckets != nullptr) {
      Keep(context, count, call.buckets);
      ids = call.buckets->data();
    } else {
      ids = frame.Take<std::uint16_t>(count);
    }
    const LshBuckets buckets = BucketView(spec, t, ids);
    if (!again && spec.Hashes(t.tokens)) Hash(context, call, spec, t, buckets);
    LshForward(context, spec, Inputs(t), call.mask, View<const std::uint16_t, 4>(buckets),
               Saved(t));
  }

  void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                const AttentionTensors& t, const View<const float, 2>& dout,
                const View<float, 2>& dprojected) const override {
    const LshSpec spec = Spec(dropout, t.tokens, call.num_hashes);
    const LshBuckets buckets = BucketView(spec, t, call.buckets->data());
    LshBackward(context, spec, Inputs(t), call.mask, View<const std::uint16_t, 4>(buckets),
                Saved(t), t.Part(dout, 0), Gradients(t, dprojected));
  }

  double Pairs(idx_t tokens) const override {
    const LshSpec spec = Spec({}, tokens, 0);
    const auto n = static_cast<double>(tokens);
    if (!spec.Hashes(tokens)) return n * n;
    return n * static_cast<double>(spec.rounds * spec.WindowSlots());
  }

 private:
  LshSpec Spec(const Dropout& dropout, idx_t tokens, idx_t num_hashes) const {
    LshSpec spec = SharedSpec(config_, tokens, num_hashes);
    spec.dropout = {dropout.p, dropout.key};
    return spec;
  }
  static idx_t BucketCount(const LshSpec& spec, const AttentionTensors& t) {
    return spec.Hashes(t.tokens) ? t.rows * t.heads * spec.rounds * t.tokens : 0;
  }
  // Room for `count` buckets; grows once. A rehearsal takes the room and leaves it untouched.
  static void Keep(const Context& context, idx_t count, std::vector<std::uint16_t>* buckets) {
    buckets->reserve(static_cast<std::size_t>(count));
    if (!context.rehearsal()) buckets->resize(static_cast<std::size_t>(count));
  }
  static LshBuckets BucketView(const LshSpec& spec, const AttentionTensors& t, std::uint16_t* ids) {
    return {ids, {t.rows, t.heads, spec.rounds, t.tokens}};
  }

  void Hash(Context& context, const BranchCall& call, const LshSpec& spec,
            const AttentionTensors& t, const LshBuckets& buckets) const {
    if (config_.attention == AttentionChoice::kLocal) {
      ParallelFor(context, t.rows * t.heads, [&](idx_t head, int) {
        const idx_t count = spec.rounds * t.tokens;
        std::fill_n(buckets.data + head * count, count, std::uint16_t{0});
      });
      return;
    }
    const std::array<idx_t, 4> shape = {t.heads, t.head_size, spec.rounds, spec.RotationColumns()};
    if (call.rotations != nullptr) {
      LshHash(context, spec, t.Input(0), call.mask, call.rotations->view<4>(), buckets);
      return;
    }
    const idx_t count = shape[0] * shape[1] * shape[2] * shape[3];
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(count));
    const View<float, 4> rotations(frame.Take<float>(count), shape);
    DrawRotations(config_, call.rotation_key, rotations);
    LshHash(context, spec, t.Input(0), call.mask, rotations, buckets);
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
  if (config.attention == AttentionChoice::kFull) {
    return std::make_unique<FullSharedMechanism>(config);
  }
  return std::make_unique<LshMechanism>(config);
}

}  // namespace longspan
