#include "families/modernbert/modernbert_attention.h"

#include "model/documents.h"
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

// Part `part` of a (N, P*C) matrix as heads of a group: (rows, H, tokens, D).
template <class T>
View<T, 4> ModernBertAttention::Heads(const TextGroup& group, const View<T, 2>& joined,
                                      idx_t part) const {
  const idx_t stride = joined.extent[1];
  return {joined.data + group.begin * stride + part * channels_,
          {group.rows, heads_, group.tokens, head_size_},
          {group.tokens * stride, head_size_, stride, 1}};
}

template <class T>
View<T, 4> ModernBertAttention::Turning(const View<T, 2>& qkv) const {
  const idx_t n = qkv.extent[0], stride = qkv.extent[1];
  return {qkv.data, {1, 2 * heads_, n, head_size_}, {n * stride, head_size_, stride, 1}};
}

ProbabilityDropout ModernBertAttention::DropoutOf(const ModernBertCall& call,
                                                  std::size_t group) const {
  Dropout site = SiteOf(call.dropout, dropout_, kWeights);
  if (call.texts.groups().size() > 1) site = DocumentSite(site, static_cast<idx_t>(group));
  return {site.p, site.key};
}

template <class T>
void ModernBertAttention::Forward(Context& context, const ModernBertCall& call,
                                  const Tensors<T>& t) const {
  RotaryForward(context, TableOf(call), call.texts.positions(), Turning(t.qkv));
  const auto groups = call.texts.groups();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const TextGroup& group = groups[g];
    const TokenRoles roles = call.texts.Roles(group);
    const QkvOf<T> qkv{Heads(group, t.qkv, 0), Heads(group, t.qkv, 1), Heads(group, t.qkv, 2)};
    const View<float, 3> lse(t.lse.data + group.begin * heads_, {group.rows, heads_, group.tokens});
    const AttentionSavedOf<T> saved{Heads(group, t.out, 0), lse};
    if (window_) {
      WindowSpec spec;
      spec.left = spec.right = *window_;
      spec.dropout = DropoutOf(call, g);
      WindowForward(context, spec, qkv, roles, saved);
    } else {
      FullSpec spec;
      spec.dropout = DropoutOf(call, g);
      FullForward(context, spec, qkv, roles, saved);
    }
    if constexpr (sizeof(T) == 4) {
      if (call.observer != nullptr) (*call.observer)(call.layer, {group, window_, roles, qkv, lse});
    }
  }
}

template <class T>
void ModernBertAttention::Backward(Context& context, const ModernBertCall& call,
                                   const Tensors<T>& t, const View<const T, 2>& dout,
                                   const View<float, 2>& dqkv) const {
  ZeroRows(context, dqkv);
  const auto groups = call.texts.groups();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const TextGroup& group = groups[g];
    const TokenRoles roles = call.texts.Roles(group);
    const QkvOf<T> qkv{Heads(group, t.qkv, 0), Heads(group, t.qkv, 1), Heads(group, t.qkv, 2)};
    const AttentionSavedOf<T> saved{
        Heads(group, t.out, 0),
        {t.lse.data + group.begin * heads_, {group.rows, heads_, group.tokens}}};
    const DQkv gradients{Heads(group, dqkv, 0), Heads(group, dqkv, 1), Heads(group, dqkv, 2)};
    if (window_) {
      WindowSpec spec;
      spec.left = spec.right = *window_;
      spec.dropout = DropoutOf(call, g);
      WindowBackward(context, spec, qkv, roles, saved, Heads(group, dout, 0), gradients);
    } else {
      FullSpec spec;
      spec.dropout = DropoutOf(call, g);
      FullBackward(context, spec, qkv, roles, saved, Heads(group, dout, 0), gradients);
    }
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
