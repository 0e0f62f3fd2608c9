// Attention of a ModernBERT's layer between its projections: queries and keys turn by their
// positions (ops/rotary), then each text attends to itself, in a window or as a whole.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/arena.h"
#include "families/modernbert/modernbert_config.h"
#include "families/modernbert/rotary_tables.h"
#include "families/modernbert/visible_batch.h"
#include "longspan/attention.h"
#include "longspan/context.h"
#include "model/bf16_weights.h"
#include "model/last_rows.h"
#include "model/parameters.h"
#include "model/row_slab.h"
#include "model/split_projection.h"
#include "model/step_dropout.h"
#include "model/window_halo.h"
#include "ops/rotary/rotary.h"

namespace longspan {

// The tensors of one layer for an observer. Valid until it returns.
struct ModernBertAttentionTensors {
  const VisibleBatch& texts;
  std::optional<idx_t> window;  // to each side; absent: a token sees its whole text
  Qkv qkv;                      // (1, H, N, D), turned
  View<const float, 3> lse;     // (1, H, N)
};
using ModernBertObserver =
    std::function<void(std::size_t layer, const ModernBertAttentionTensors& tensors)>;

// The arguments of one call of a layer.
struct ModernBertCall {
  const ParameterTable& parameters;
  const Bf16Weights* bf16;  // of the same parameters where T below is bfloat16, else null
  const VisibleBatch& texts;
  const RotaryTurn& full_turn;                   // of layers that see all
  const RotaryTurn& window_turn;                 // of the others
  StepDropout dropout;                           // its key is the layer's own
  bool backward = false;                         // a backward pass follows
  const ModernBertObserver* observer = nullptr;  // fp32 only
  std::size_t layer = 0;
  RowGroup* group = nullptr;       // ranks that share the rows; null: this process has all tokens
  const LastRows* last = nullptr;  // the output's rows; null: all

  // The tokens whose streams this rank has, and their number.
  TokenSlab slab() const { return OwnTokens(group, texts.n()); }
  idx_t n() const { return slab().size(); }
};

// T, here and in the layer, is what products multiply: float or bfloat16.
class ModernBertAttention {
 public:
  // The backward needs them all. Where ranks share rows, H heads of size D are those of this rank,
  // N all tokens, n its own, and groups of heads lie one after another (HeadsInGroups); or, where
  // windows have a halo, all heads, N the rows with it in qkv, and n elsewhere. Without ranks H D
  // is C and n is N.
  template <class T>
  struct Tensors {
    View<T, 2> qkv;       // (N, 3 H D): queries, keys, values; the first two turned after Forward
    View<T, 2> attended;  // (N, H D)
    View<T, 2> out;       // (n, C); `attended` itself where it is the same
    View<float, 1> lse;   // (H N)
  };

  ModernBertAttention(const ModernBertConfig& config, std::size_t layer);

  template <class T>
  std::size_t Bytes(const ModernBertCall& call) const;
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const ModernBertCall& call) const;

  // t.out from x (n, C), of which `linear` makes queries, keys and values.
  template <class T>
  void Forward(Context& context, const ModernBertCall& call, const Linear& linear,
               const View<const T, 2>& x, const Tensors<T>& t) const;
  // Calls use(dprojected) with (n, 3C), the gradient of what `linear` gave, for d loss / d out =
  // dout (n, C), which is not read any more then.
  using ProjectedGradient = std::function<void(const View<const float, 2>& dprojected)>;
  template <class T>
  void Backward(Context& context, const ModernBertCall& call, const Tensors<T>& t,
                const View<const T, 2>& dout, const ProjectedGradient& use) const;

 private:
  HeadColumns Columns(idx_t parts) const { return {parts, heads_, head_size_}; }
  template <class T>
  View<T, 4> Heads(const View<T, 2>& joined, idx_t part, idx_t parts) const;
  HeadsInGroups Groups(const ModernBertCall& call) const;
  template <class Spec>
  Spec SpecOf(const ModernBertCall& call, idx_t group) const;
  template <class T>
  QkvOf<T> Inputs(const View<T, 2>& qkv) const;
  template <class T>
  AttentionSavedOf<T> Saved(const ModernBertCall& call, const Tensors<T>& t, idx_t group) const;
  // The own tokens' positions, where windows have a halo.
  std::span<const std::int32_t> OwnPositions(const ModernBertCall& call) const {
    return PartOf(call.slab(), TurnOf(call).positions);
  }
  // Nothing where all tokens of some heads are here.
  std::optional<WindowHalo> HaloOf(const ModernBertCall& call) const;
  // Queries and keys: (1, 2H, N, D).
  template <class T>
  View<T, 4> Turning(const View<T, 2>& qkv) const;
  const RotaryTurn& TurnOf(const ModernBertCall& call) const {
    return full_turn_ ? call.full_turn : call.window_turn;
  }

  idx_t channels_, heads_, head_size_;
  bool full_turn_;
  std::optional<idx_t> window_;
  double dropout_;
};

}  // namespace longspan
