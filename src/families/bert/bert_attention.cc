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
  t.lse = {frame.Take<float>(n * heads), {call.texts.rows, heads, call.texts.tokens}};
  return t;
}

FullSpec BertAttention::Spec(const Call& call) const {
  const Dropout site = SiteOf(call.dropout, dropout_, kWeightsSite);
  FullSpec spec;
  spec.dropout = {site.p, site.key, HeadsOf(call.group, heads_).first, heads_};
  spec.starts = call.texts.starts;
  return spec;
}

// Part `part` of a (B*T, P*H*D) matrix as heads: (B, H, T, D).
template <class T>
View<T, 4> BertAttention::Heads(const Call& call, const View<T, 2>& joined, idx_t part) const {
  const idx_t stride = joined.extent[1], tokens = call.texts.tokens;
  const idx_t heads = HeadsOf(call.group, heads_).count;
  return {joined.data + part * heads * head_size_,
          {call.texts.rows, heads, tokens, head_size_},
          {tokens * stride, head_size_, stride, 1}};
}

template <class T>
QkvOf<T> BertAttention::Inputs(const Call& call, const Tensors<T>& t) const {
  return {Heads(call, t.qkv, 0), Heads(call, t.qkv, 1), Heads(call, t.qkv, 2)};
}

template <class T>
AttentionSavedOf<T> BertAttention::Saved(const Call& call, const Tensors<T>& t) const {
  return {Heads(call, t.attended, 0), t.lse};
}

template <class T>
void BertAttention::Forward(Context& context, const Call& call, const View<const T, 2>& x,
                            const Tensors<T>& t) const {
  ProjectToHeads<T>(context, call, qkv_, Columns(3), call.texts.n(), x, t.qkv);
  FullForward(context, Spec(call), Inputs(call, t), call.texts.roles, Saved(call, t));
  ReturnAttended<T>(context, call, Columns(1), call.texts.n(), t.attended, t.out);
  if constexpr (sizeof(T) == 4) {
    if (call.observer == nullptr) return;
    (*call.observer)(call.layer, {call.texts.roles, Inputs(call, t), t.lse});
  }
}

template <class T>
void BertAttention::Backward(Context& context, const Call& call, const View<const T, 2>& x,
                             const Tensors<T>& t, const View<const T, 2>& dout,
                             const View<float, 2>& dx) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qkv.size()));
  const View<float, 2> d(frame.Take<float>(t.qkv.size()), t.qkv.extent);
  ZeroRows(context, d);
  {
    const AttendedGradient<T> gradient(context, call, Columns(1), call.texts.n(), dout);
    FullBackward(context, Spec(call), Inputs(call, t), call.texts.roles, Saved(call, t),
                 Heads(call, gradient.own(), 0),
                 {Heads(call, d, 0), Heads(call, d, 1), Heads(call, d, 2)});
  }
  ProjectToHeadsBackward<T>(context, call, qkv_, Columns(3), call.texts.n(), x, d, dx,
                            gemm::Store::kAccumulate);
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
