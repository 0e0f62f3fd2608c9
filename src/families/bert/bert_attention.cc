#include "families/bert/bert_attention.h"

#include "model/rows.h"

namespace longspan {
namespace {

constexpr std::uint64_t kWeightsSite = 0;  // dropout site of the layer

}  // namespace

BertAttention::BertAttention(const BertConfig& config, std::size_t /*layer*/,
                             const std::string& prefix, ParameterTable& parameters)
    : channels_(config.hidden_size),
      heads_(config.heads),
      head_size_(config.head_size()),
      dropout_(config.attention_dropout),
      qkv_(prefix, {"query", "key", "value"}, channels_, channels_, parameters) {}

template <class T>
std::size_t BertAttention::Bytes(const Call& call) const {
  const idx_t n = call.texts.n(), heads = HeadsOf(call.group, heads_).count;
  const idx_t out = call.group == nullptr ? 0 : call.n() * channels_;
  return Arena::Bytes<T>(n * 3 * heads * head_size_) + Arena::Bytes<T>(n * heads * head_size_) +
         Arena::Bytes<T>(out) + Arena::Bytes<float>(n * heads);
}

template <class T>
BertAttention::Tensors<T> BertAttention::Take(Arena::Frame& frame, const Call& call) const {
  const idx_t n = call.texts.n(), heads = HeadsOf(call.group, heads_).count;
  const idx_t width = heads * head_size_;
  Tensors<T> t;
  t.qkv = {frame.Take<T>(n * 3 * width), {n, 3 * width}};
  t.attended = t.out = {frame.Take<T>(n * width), {n, width}};
  if (call.group != nullptr) {
    t.out = {frame.Take<T>(call.n() * channels_), {call.n(), channels_}};
  }
  t.lse = {frame.Take<float>(n * heads), {n * heads}};
  return t;
}

FullSpec BertAttention::Spec(const Call& call, idx_t group) const {
  const Dropout site = SiteOf(call.dropout, dropout_, kWeightsSite);
  FullSpec spec;
  spec.dropout = {site.p, site.key, Groups(call).Share(group).first, heads_};
  spec.starts = call.texts.starts;
  return spec;
}

// Part `part` of P in (B*T, P*H*D) as heads: (B, H, T, D).
template <class T>
View<T, 4> BertAttention::Heads(const Call& call, const View<T, 2>& joined, idx_t part,
                                idx_t parts) const {
  const idx_t stride = joined.extent[1], width = stride / parts, tokens = call.texts.tokens;
  return {joined.data + part * width,
          {call.texts.rows, width / head_size_, tokens, head_size_},
          {tokens * stride, head_size_, stride, 1}};
}

template <class T>
QkvOf<T> BertAttention::Inputs(const Call& call, const Tensors<T>& t, idx_t group) const {
  const View<T, 2> qkv = Groups(call).Part(t.qkv, 3, group);
  return {Heads(call, qkv, 0, 3), Heads(call, qkv, 1, 3), Heads(call, qkv, 2, 3)};
}

template <class T>
AttentionSavedOf<T> BertAttention::Saved(const Call& call, const Tensors<T>& t, idx_t group) const {
  const HeadsInGroups groups = Groups(call);
  return {Heads(call, groups.Part(t.attended, 1, group), 0, 1),
          {groups.Part(t.lse, group).data,
           {call.texts.rows, groups.Share(group).count, call.texts.tokens}}};
}

template <class T>
void BertAttention::Forward(Context& context, const Call& call, const View<const T, 2>& x,
                            const Tensors<T>& t) const {
  const auto attend = [&](idx_t group) {
    FullForward(context, Spec(call, group), Inputs(call, t, group), call.texts.roles,
                Saved(call, t, group));
  };
  AttendInGroups<T>(context, call, qkv_, Groups(call), x, t, attend);
  if constexpr (sizeof(T) == 4) {
    if (call.observer == nullptr) return;
    (*call.observer)(call.layer, {call.texts.roles, Inputs(call, t, 0), Saved(call, t, 0).lse});
  }
}

template <class T>
void BertAttention::Backward(Context& context, const Call& call, const View<const T, 2>& x,
                             const Tensors<T>& t, const View<const T, 2>& dout,
                             const View<float, 2>& dx) const {
  const GroupsBackward<T> backward(context, call, Groups(call), t.qkv, dout);
  backward.Run(context, [&](idx_t group) {
    const View<float, 2> d = backward.dqkv(group);
    FullBackward(context, Spec(call, group), Inputs(call, t, group), call.texts.roles,
                 Saved(call, t, group), Heads(call, backward.dattended(group), 0, 1),
                 {Heads(call, d, 0, 3), Heads(call, d, 1, 3), Heads(call, d, 2, 3)});
  });
  qkv_.BackwardIn<T>(context, call, x, backward.dprojected(), dx, gemm::Store::kAccumulate);
}

// ---- for both types -----------------------------------------------------------------------------

#define LONGSPAN_BERT_ATTENTION(T)                                                             \
  template std::size_t BertAttention::Bytes<T>(const Call&) const;                             \
  template BertAttention::Tensors<T> BertAttention::Take<T>(Arena::Frame&, const Call&) const; \
  template void BertAttention::Forward<T>(Context&, const Call&, const View<const T, 2>&,      \
                                          const Tensors<T>&) const;                            \
  template void BertAttention::Backward<T>(Context&, const Call&, const View<const T, 2>&,     \
                                           const Tensors<T>&, const View<const T, 2>&,         \
                                           const View<float, 2>&) const;
LONGSPAN_BERT_ATTENTION(float)
LONGSPAN_BERT_ATTENTION(bfloat16)
#undef LONGSPAN_BERT_ATTENTION

}  // namespace longspan
