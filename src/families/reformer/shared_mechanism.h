// Attention whose queries serve as keys: Reformer's LSH layers, and the same weights over chunks of
// the text or the whole of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "families/reformer/attention_mechanism.h"
#include "families/reformer/reformer_config.h"
#include "longspan/tensor.h"

namespace longspan {

// Hashed, or over chunks of the text if config.attention is kLocal. Projections are query-key and
// value, statistics max and sum. A training step's state holds the buckets, 2 bytes for each token,
// head and round, so that the backward hashes nothing.
class LshMechanism final : public AttentionMechanism {
 public:
  // The setting of a call: rounds of hashing instead of the config's.
  struct Rounds {
    idx_t count = 0;
  };

  explicit LshMechanism(const ReformerConfig& config) : config_(config) {}

  // From now on rotations (H, D, R, columns) instead of drawn ones; their shape is checked when the
  // layer hashes. Empty: they are drawn again.
  void GiveRotations(Tensor rotations) { given_ = std::move(rotations); }
  const Tensor& given_rotations() const { return given_; }
  // False over chunks of the text, where every bucket is 0.
  bool hashes() const { return config_.attention == AttentionChoice::kConfigured; }
  // The buckets (B, H, R, T) of whole rows in a state that NewState made. Empty if none were
  // hashed.
  static std::span<const std::uint16_t> Buckets(const MechanismState& state);

  idx_t Statistics() const override;
  std::unique_ptr<MechanismState> NewState() const override;
  void Forward(Context& context, const MechanismCall& call,
               const AnyAttentionTensors& tensors) const override;
  void Backward(Context& context, const MechanismCall& call, const AnyAttentionTensors& tensors,
                const View<float, 2>& dprojected) const override;
  double Pairs(idx_t tokens) const override;
  DecodingRule Decoding() const override;

 private:
  template <class T>
  void ForwardIn(Context& context, const MechanismCall& call, const AttentionTensorsOf<T>& t) const;
  template <class T>
  void Hash(Context& context, const MechanismCall& call, const LshSpec& spec,
            const AttentionTensorsOf<T>& t, const LshBuckets& buckets) const;
  LshSpec Spec(const MechanismCall& call, const AttentionExtents& extents) const;

  ReformerConfig config_;
  Tensor given_;  // rotations, or empty
};

// Hashed, chunks of the text, or full attention, as config.attention says.
std::unique_ptr<AttentionMechanism> MakeSharedMechanism(const ReformerConfig& config,
                                                        LayerKind kind);

// The spec of the config's LSH layers on texts of `tokens` tokens. `num_hashes`, unless 0, replaces
// the config's rounds. With config.attention local, LSH layers have one round and one bucket, so
// the stable sort keeps the text's order.
LshSpec SharedSpec(const ReformerConfig& config, idx_t tokens, idx_t num_hashes = 0);

// Rotations (H, D, R, columns) of an LSH layer: those of config.hash_seed as `transformers` draws
// them, or drawn from the key.
void DrawRotations(const ReformerConfig& config, std::uint64_t key,
                   const View<float, 4>& rotations);

}  // namespace longspan
