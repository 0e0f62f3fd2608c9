#include "families/modernbert/modernbert_attention.h"

#include <type_traits>

#include "model/rows.h"

namespace longspan {
namespace {

constexpr std::uint64_t kWeights = 0;  // dropout site of the layer

}  // namespace

ModernBertAttention::ModernBertAttention(const ModernBertConfig& config, std::size_t layer)
    : channels_(config.hidden_size),
      heads_(config.heads),
      head_size_(config.head_size()),
      full_theta_(config.full[layer]),
      dropout_(config.attention_dropout) {
  if (config.windowed(layer)) window_ = config.window();
}

template <class T>
std::size_t ModernBertAttention::Bytes(const ModernBertCall& call) const {
  const idx_t n = call.n();
  return Arena::Bytes<T>(n * 3 * channels_) + Arena::Bytes<T>(n * channels_) +
         Arena::Bytes<float>(n * heads_);
}

template <class T>
ModernBertAttention::Tensors<T> ModernBertAttention::Take(Arena::Frame& frame,
                                                          const ModernBertCall& call) const {
  const idx_t n = call.n();
  Tensors<T> t;
  t.qkv = {frame.Take<T>(n * 3 * channels_), {n, 3 * channels_}};
  t.out = {frame.Take<T>(n * channels_), {n, channels_}};
  t.lse = {frame.Take<float>(n * heads_), {n * heads_}};
  return t;
}

// Part `part` of a (N, P*C) matrix as heads: (1, H, N, D).
template <class T>
View<T, 4> ModernBertAttention::Heads(const View<T, 2>& joined, idx_t part) const {
  const idx_t n = joined.extent[0], stride = joined.extent[1];
  return {joined.data + part * channels_,
          {1, heads_, n, head_size_},
          {n * stride, head_size_, stride, 1}};
}

template <class T>
View<T, 4> ModernBertAttention::Turning(const View<T, 2>& qkv) const {
  const idx_t n = qkv.extent[0], stride = qkv.extent[1];
  return {qkv.data, {1, 2 * heads_, n, head_size_}, {n * stride, head_size_, stride, 1}};
}

// What both kinds of attention ask of a call: all texts side by side in one row.
template <class Spec>
Spec ModernBertAttention::SpecOf(const ModernBertCall& call) const {
  const Dropout site = SiteOf(call.dropout, dropout_, kWeights);
  Spec spec;
  spec.dropout = {site.p, site.key};
  spec.starts = call.texts.starts();
  if constexpr (std::is_same_v<Spec, WindowSpec>) spec.left = spec.right = *window_;
  return spec;
}

template <class T>
QkvOf<T> ModernBertAttention::Inputs(const Tensors<T>& t) const {
  return {Heads(t.qkv, 0), Heads(t.qkv, 1), Heads(t.qkv, 2)};
}

template <class T>
AttentionSavedOf<T> ModernBertAttention::Saved(const Tensors<T>& t) const {
  return {Heads(t.out, 0), {t.lse.data, {1, heads_, t.out.extent[0]}}};
}

template <class T>
void ModernBertAttention::Forward(Context& context, const ModernBertCall& call,
                                  const Tensors<T>& t) const {
  RotaryForward(context, TableOf(call), call.texts.positions(), Turning(t.qkv));
  const TokenRoles roles = call.texts.roles();
  if (window_) {
    WindowForward(context, SpecOf<WindowSpec>(call), Inputs(t), roles, Saved(t));
  } else {
    FullForward(context, SpecOf<FullSpec>(call), Inputs(t), roles, Saved(t));
  }
  if constexpr (sizeof(T) == 4) {
    if (call.observer != nullptr) {
      (*call.observer)(call.layer, {call.texts, window_, Inputs(t), Saved(t).lse});
    }
  }
}

template <class T>
void ModernBertAttention::Backward(Context& context, const ModernBertCall& call,
                                   const Tensors<T>& t, const View<const T, 2>& dout,
                                   const View<float, 2>& dqkv) const {
  ZeroRows(context, dqkv);
  const TokenRoles roles = call.texts.roles();
  const DQkv gradients{Heads(dqkv, 0), Heads(dqkv, 1), Heads(dqkv, 2)};
  if (window_) {
    WindowBackward(context, SpecOf<WindowSpec>(call), Inputs(t), roles, Saved(t), Heads(dout, 0),
                   gradients);
  } else {
    FullBackward(context, SpecOf<FullSpec>(call), Inputs(t), roles, Saved(t), Heads(dout, 0),
                 gradients);
  }
  RotaryBackward(context, TableOf(call), call.texts.positions(), Turning(dqkv));
}

// ---- for both types -----------------------------------------------------------------------------

#define LONGSPAN_MODERNBERT_ATTENTION(T)                                                     \
  template std::size_t ModernBertAttention::Bytes<T>(const ModernBertCall&) const;           \
  template ModernBertAttention::Tensors<T> ModernBertAttention::Take<T>(                     \
      Arena::Frame&, const ModernBertCall&) const;                                           \
  template void ModernBertAttention::Forward<T>(Context&, const ModernBertCall&,             \
                                                const Tensors<T>&) const;                    \
  template void ModernBertAttention::Backward<T>(Context&, const ModernBertCall&,            \
                                                 const Tensors<T>&, const View<const T, 2>&, \
                                                 const View<float, 2>&) const;
LONGSPAN_MODERNBERT_ATTENTION(float)
LONGSPAN_MODERNBERT_ATTENTION(bfloat16)
#undef LONGSPAN_MODERNBERT_ATTENTION

}  // namespace longspan
