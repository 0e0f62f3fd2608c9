#include "families/longformer/longformer_attention.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "gemm/gemm.h"
#include "model/rows.h"
#include "ops/embedding/embedding.h"

namespace longspan {
namespace {

constexpr std::uint64_t kProbabilities = 0;  // dropout site of the layer

// x in fp32: as it is, or widened into `frame`.
template <class T>
View<const float, 2> InFloats(Context& context, Arena::Frame& frame, const View<T, 2>& x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    const View<float, 2> wide(frame.Take<float>(x.size()), x.extent);
    gemm::Widen(context, x, wide);
    return wide;
  }
}
template <class T>
std::size_t InFloatsBytes(const View<T, 2>& x) {
  return sizeof(T) == 4 || x.empty() ? 0 : Arena::Bytes<float>(x.size());
}

// The rows of qg or its gradient that belong to texts of either form.
template <class T>
View<T, 2> ProjectedRows(const LongformerCall& call, const View<T, 2>& qg) {
  return qg.Rows(0, call.texts.projected_rows);
}
template <class T>
View<T, 2> ReassociatedRows(const LongformerCall& call, const View<T, 2>& qg) {
  return qg.Rows(call.texts.projected_rows, call.texts.globals() - call.texts.projected_rows);
}

}  // namespace

LongformerAttention::LongformerAttention(const LongformerConfig& config, std::size_t layer,
                                         const std::string& prefix, ParameterTable& parameters)
    : channels_(config.hidden_size),
      heads_(config.heads),
      head_size_(config.head_size()),
      window_(config.window(layer)),
      dropout_(config.attention_dropout),
      local_(prefix, {"query", "key", "value"}, channels_, channels_, parameters),
      query_global_(prefix, {"query_global"}, channels_, channels_, parameters),
      key_value_global_(prefix, {"key_global", "value_global"}, channels_, channels_, parameters),
      value_global_bias_(parameters.Find(prefix + "value_global.bias")) {}

std::optional<WindowHalo> LongformerAttention::HaloOf(const LongformerCall& call) const {
  if (call.group == nullptr) return std::nullopt;
  const LongformerTexts& texts = call.texts;
  WindowSpec spec = Spec(call, texts.all);
  spec.dropout.first_head = 0;
  return WindowHalo::Of(call.group, spec, Columns(1),
                        {texts.rows, texts.tokens, texts.starts, texts.roles});
}

template <class T>
std::size_t LongformerAttention::Bytes(const LongformerCall& call) const {
  if (const auto halo = HaloOf(call)) {
    const idx_t own = halo->own(), g = halo->globals();
    const std::size_t bytes = Arena::Bytes<T>(halo->rows() * 3 * channels_) +
                              Arena::Bytes<T>(own * channels_) + Arena::Bytes<float>(own * heads_);
    if (g == 0) return bytes;
    return bytes + 2 * Arena::Bytes<T>(g * channels_) + Arena::Bytes<T>(own * 2 * channels_) +
           Arena::Bytes<float>(g * heads_);
  }
  const idx_t n = call.texts.n(), g = call.texts.globals();
  const idx_t heads = HeadsOf(call.group, heads_).count, width = heads * head_size_;
  std::size_t bytes =
      Arena::Bytes<T>(n * 3 * width) + Arena::Bytes<T>(n * width) + Arena::Bytes<float>(n * heads);
  if (call.group != nullptr) bytes += Arena::Bytes<T>(call.n() * channels_);
  if (g > 0) bytes += Arena::Bytes<T>(g * width);
  if (call.texts.projected_rows > 0) bytes += Arena::Bytes<T>(n * 2 * width);
  return bytes;
}

template <class T>
LongformerAttention::Tensors<T> LongformerAttention::Take(Arena::Frame& frame,
                                                          const LongformerCall& call) const {
  Tensors<T> t;
  if (const auto halo = HaloOf(call)) {
    const idx_t rows = halo->rows(), own = halo->own();
    t.qkv = {frame.Take<T>(rows * 3 * channels_), {rows, 3 * channels_}};
    t.attended = t.out = {frame.Take<T>(own * channels_), {own, channels_}};
    t.lse = {frame.Take<float>(own * heads_), {1, heads_, own}};
    const idx_t g = halo->globals();
    if (g == 0) return t;
    t.qg = {frame.Take<T>(g * channels_), {g, channels_}};
    t.kvg = {frame.Take<T>(own * 2 * channels_), {own, 2 * channels_}};
    t.global_out = {frame.Take<T>(g * channels_), {g, channels_}};
    t.global_lse = {frame.Take<float>(g * heads_), {1, heads_, g}};
    return t;
  }
  const idx_t n = call.texts.n(), g = call.texts.globals();
  const idx_t heads = HeadsOf(call.group, heads_).count, width = heads * head_size_;
  t.qkv = {frame.Take<T>(n * 3 * width), {n, 3 * width}};
  t.attended = t.out = {frame.Take<T>(n * width), {n, width}};
  if (call.group != nullptr) {
    t.out = {frame.Take<T>(call.n() * channels_), {call.n(), channels_}};
  }
  t.lse = {frame.Take<float>(n * heads), {call.texts.rows, heads, call.texts.tokens}};
  if (g > 0) t.qg = {frame.Take<T>(g * width), {g, width}};
  if (call.texts.projected_rows > 0) t.kvg = {frame.Take<T>(n * 2 * width), {n, 2 * width}};
  return t;
}

// ---- forward ------------------------------------------------------------------------------------

WindowSpec LongformerAttention::Spec(const LongformerCall& call,
                                     const GlobalTokens& globals) const {
  WindowSpec spec;
  spec.left = spec.right = window_;
  const Dropout site = SiteOf(call.dropout, dropout_, kProbabilities);
  spec.dropout = {site.p, site.key, HeadsOf(call.group, heads_).first, heads_};
  spec.globals = &globals;
  spec.starts = call.texts.starts;
  return spec;
}

// Part `part` of a (B*T, P*H*D) matrix as heads: (B, H, T, D).
template <class T>
View<T, 4> LongformerAttention::Heads(const LongformerCall& call, const View<T, 2>& joined,
                                      idx_t part) const {
  const idx_t stride = joined.extent[1], tokens = call.texts.tokens;
  const idx_t heads = HeadsOf(call.group, heads_).count;
  return {joined.data + part * heads * head_size_,
          {call.texts.rows, heads, tokens, head_size_},
          {tokens * stride, head_size_, stride, 1}};
}

template <class T>
View<T, 4> LongformerAttention::GlobalHeads(const LongformerCall& call,
                                            const View<T, 2>& rows) const {
  const idx_t stride = rows.extent[1], count = rows.extent[0] / call.texts.rows;
  return {rows.data,
          {call.texts.rows, stride / head_size_, count, head_size_},
          {count * stride, head_size_, stride, 1}};
}

template <class T>
QkvOf<T> LongformerAttention::Local(const LongformerCall& call, const Tensors<T>& t) const {
  return {Heads(call, t.qkv, 0), Heads(call, t.qkv, 1), Heads(call, t.qkv, 2)};
}

template <class T>
GlobalQkvOf<T> LongformerAttention::Projected(const LongformerCall& call,
                                              const Tensors<T>& t) const {
  return {GlobalHeads(call, ProjectedRows(call, t.qg)), Heads(call, t.kvg, 0),
          Heads(call, t.kvg, 1)};
}

template <class T>
AttentionSavedOf<T> LongformerAttention::Saved(const LongformerCall& call,
                                               const Tensors<T>& t) const {
  return {Heads(call, t.attended, 0), t.lse};
}

// The weights are the fp32 masters whatever T is: few rows pass through them.
template <class T>
GlobalProjectionOf<T> LongformerAttention::Reassociated(const LongformerCall& call,
                                                        const View<const T, 2>& x,
                                                        const Tensors<T>& t) const {
  const View<const float, 2> weight = key_value_global_.Weight(call.parameters);
  const View<const float, 1> bias = key_value_global_.Bias(call.parameters);
  return {{x.data, {call.texts.rows, call.texts.tokens, channels_}},
          GlobalHeads(call, ReassociatedRows(call, t.qg)),
          weight.Rows(0, channels_),
          weight.Rows(channels_, channels_),
          bias.Rows(0, channels_),
          bias.Rows(channels_, channels_)};
}

template <class T>
void LongformerAttention::Forward(Context& context, const LongformerCall& call,
                                  const View<const T, 2>& x, const Tensors<T>& t) const {
  const LongformerTexts& texts = call.texts;
  if (const auto halo = HaloOf(call)) return ForwardInHalo<T>(context, call, *halo, x, t);
  ProjectToHeads<T>(context, call, local_, Columns(3), texts.n(), x, t.qkv);
  if (texts.globals() > 0) ProjectGlobals(context, call, x, t);
  WindowForward(context, Spec(call, texts.all), Local(call, t), texts.roles, Saved(call, t));
  if (texts.projected.most > 0) {
    GlobalForward(context, Spec(call, texts.projected), Projected(call, t), texts.roles,
                  Saved(call, t));
  }
  if (texts.reassociated.most > 0) {
    GlobalReassociatedForward(context, Spec(call, texts.reassociated), Reassociated(call, x, t),
                              texts.roles, Saved(call, t));
  }
  ReturnAttended<T>(context, call, Columns(1), texts.n(), t.attended, t.out);
  if (call.observer != nullptr) Show(context, call, x, t);
}

template <class T>
void LongformerAttention::ForwardInHalo(Context& context, const LongformerCall& call,
                                        const WindowHalo& halo, const View<const T, 2>& x,
                                        const Tensors<T>& t) const {
  const View<T, 2> own = halo.Own(t.qkv);
  const auto project = [&](idx_t first, idx_t rows) {
    local_.ForwardIn<T>(context, call, x.Rows(first, rows), own.Rows(first, rows));
  };
  halo.Forward<T>(context, t.qkv, {project, local_.Flop(channels_)}, {t.out, t.lse});
  if (halo.globals() == 0) return;
  const std::vector<std::int32_t> rows = halo.own_global_rows();
  const idx_t count = std::ssize(rows), cells = halo.most_own_globals() * channels_;
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(cells));
  const View<T, 2> xg(frame.Take<T>(cells), {count, channels_});
  GatherRows(context, rows, x, xg);
  if (count > 0) {
    query_global_.ForwardIn<T>(context, call, xg, t.qg.Rows(halo.own_globals().begin, count));
  }
  key_value_global_.ForwardIn<T>(context, call, x, t.kvg);
  halo.ForwardGlobals<T>(context, t.qg, t.kvg, {t.global_out, t.global_lse}, t.out);
}

template <class T>
void LongformerAttention::ProjectGlobals(Context& context, const LongformerCall& call,
                                         const View<const T, 2>& x, const Tensors<T>& t) const {
  const LongformerTexts& texts = call.texts;
  const std::vector<std::int32_t>& rows = call.group ? texts.own_rows : texts.global_rows;
  const idx_t count = std::ssize(rows), cells = count * channels_;
  {
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(cells) + Arena::Bytes<T>(cells));
    const View<T, 2> xg(frame.Take<T>(cells), {count, channels_});
    const View<T, 2> own = call.group ? View<T, 2>(frame.Take<T>(cells), xg.extent) : t.qg;
    GatherRows(context, rows, x, xg);
    if (count > 0) query_global_.ForwardIn<T>(context, call, xg, own);
    if (call.group != nullptr) GatherQueries<T>(context, call, own, t);
  }
  if (t.kvg.empty()) return;
  ProjectToHeads<T>(context, call, key_value_global_, Columns(2), texts.n(), x, t.kvg);
}

// By way of the order in which ranks have them.
template <class T>
void LongformerAttention::GatherQueries(Context& context, const LongformerCall& call,
                                        const View<const T, 2>& own, const Tensors<T>& t) const {
  const LongformerTexts& texts = call.texts;
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(t.qg.size()));
  const View<T, 2> arrived(frame.Take<T>(t.qg.size()), t.qg.extent);
  HeadsExchange(*call.group, texts.borders, Columns(1), {}, ExchangeKind::kGlobals)
      .GatherHeads<T>(context, own, arrived);
  const auto bytes = static_cast<std::size_t>(t.qg.extent[1]) * sizeof(T);
  ForEachRow(context, t.qg.extent[0], [&](idx_t i) {
    std::memcpy(&t.qg(texts.by_rank[static_cast<std::size_t>(i)], 0), &arrived(i, 0), bytes);
  });
}

void LongformerAttention::ReturnQueries(Context& context, const LongformerCall& call,
                                        const View<const float, 2>& dqg,
                                        const View<float, 2>& downed) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(dqg.size()));
  const View<float, 2> leaving(frame.Take<float>(dqg.size()), dqg.extent);
  GatherRows<float>(context, call.texts.by_rank, dqg, leaving);
  HeadsExchange(*call.group, call.texts.borders, Columns(1), {}, ExchangeKind::kGlobals)
      .ReturnHeads<float>(context, leaving, downed);
}

template <class T>
void LongformerAttention::Show(Context& context, const LongformerCall& call,
                               const View<const T, 2>& x, const Tensors<T>& t) const {
  // The re-associated form never computes the keys: do it for those who look.
  const LongformerTexts& texts = call.texts;
  const idx_t keys = texts.globals() > 0 ? call.n() * 2 * channels_ : 0;
  Arena::Frame frame(context.arena(),
                     InFloatsBytes(t.qkv) + InFloatsBytes(t.qg) + Arena::Bytes<float>(keys));
  const View<const float, 2> qkv = InFloats(context, frame, t.qkv);
  LongformerAttentionTensors shown;
  shown.rows = texts.rows;
  shown.tokens = texts.tokens;
  shown.heads = heads_;
  shown.head_size = head_size_;
  shown.spec = Spec(call, texts.all);
  shown.roles = texts.roles;
  shown.qkv = {Heads(call, qkv, 0), Heads(call, qkv, 1), Heads(call, qkv, 2)};
  shown.lse = t.lse;
  shown.globals = &texts.all;
  if (texts.globals() > 0) {
    const View<float, 2> kvg(frame.Take<float>(keys), {call.n(), 2 * channels_});
    key_value_global_.ForwardIn<T>(context, call, x, kvg);
    const View<const float, 2> qg = InFloats(context, frame, t.qg), read = kvg;
    shown.global = {GlobalHeads(call, qg), Heads(call, read, 0), Heads(call, read, 1)};
  }
  (*call.observer)(call.layer, shown);
}

// ---- backward -----------------------------------------------------------------------------------

template <class T>
void LongformerAttention::Backward(Context& context, const LongformerCall& call,
                                   const View<const T, 2>& x, const Tensors<T>& t,
                                   const View<const T, 2>& dout, const View<float, 2>& dx) const {
  if (const auto halo = HaloOf(call)) {
    return BackwardInHalo<T>(context, call, *halo, x, t, dout, dx);
  }
  const AttendedGradient<T> dattended(context, call, Columns(1), call.texts.n(), dout);
  {
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qkv.size()));
    const View<float, 2> d(frame.Take<float>(t.qkv.size()), t.qkv.extent);
    ZeroRows(context, d);
    WindowBackward(context, Spec(call, call.texts.all), Local(call, t), call.texts.roles,
                   Saved(call, t), Heads(call, dattended.own(), 0),
                   {Heads(call, d, 0), Heads(call, d, 1), Heads(call, d, 2)});
    ProjectToHeadsBackward<T>(context, call, local_, Columns(3), call.texts.n(), x, d, dx,
                              gemm::Store::kAccumulate);
  }
  if (call.texts.globals() > 0) GlobalBackwardRows(context, call, x, t, dattended.own(), dx);
}

template <class T>
void LongformerAttention::BackwardInHalo(Context& context, const LongformerCall& call,
                                         const WindowHalo& halo, const View<const T, 2>& x,
                                         const Tensors<T>& t, const View<const T, 2>& dout,
                                         const View<float, 2>& dx) const {
  {
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qkv.size()));
    const View<float, 2> d(frame.Take<float>(t.qkv.size()), t.qkv.extent);
    ZeroRows(context, d);
    halo.Backward<T>(context, t.qkv, {t.out, t.lse}, dout, d);
    local_.BackwardIn<T>(context, call, x, halo.Own(d), dx, gemm::Store::kAccumulate);
  }
  if (halo.globals() == 0) return;
  Arena::Frame frame(context.arena(),
                     Arena::Bytes<float>(t.qg.size()) + Arena::Bytes<float>(t.kvg.size()));
  const View<float, 2> dqg(frame.Take<float>(t.qg.size()), t.qg.extent);
  const View<float, 2> dkvg(frame.Take<float>(t.kvg.size()), t.kvg.extent);
  ZeroRows(context, dqg);
  ZeroRows(context, dkvg);
  halo.BackwardGlobals<T>(context, t.qg, t.kvg, {t.global_out, t.global_lse}, dout, dqg, dkvg);
  key_value_global_.BackwardIn<T>(context, call, x, dkvg, dx, gemm::Store::kAccumulate);
  const TokenSlab mine = halo.own_globals();
  QueriesBackward<T>(context, call, halo.own_global_rows(), halo.most_own_globals(), x,
                     dqg.Rows(mine.begin, mine.size()), dx);
}

template <class T>
void LongformerAttention::QueriesBackward(Context& context, const LongformerCall& call,
                                          std::span<const std::int32_t> rows, idx_t most,
                                          const View<const T, 2>& x, const View<const float, 2>& dq,
                                          const View<float, 2>& dx) const {
  const idx_t cells = most * channels_;
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(cells) + Arena::Bytes<float>(cells));
  const View<T, 2> xg(frame.Take<T>(cells), {std::ssize(rows), channels_});
  const View<float, 2> dxg(frame.Take<float>(cells), xg.extent);
  if (rows.empty()) return;
  GatherRows(context, rows, x, xg);
  query_global_.BackwardIn<T>(context, call, xg, dq, dxg, gemm::Store::kOverwrite);
  EmbeddingBackward(context, rows, dxg, dx);
}

template <class T>
void LongformerAttention::ProjectedBackward(Context& context, const LongformerCall& call,
                                            const View<const T, 2>& x, const Tensors<T>& t,
                                            const View<const T, 2>& dout, const View<float, 2>& dqg,
                                            const View<float, 2>& dx) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.kvg.size()));
  const View<float, 2> d(frame.Take<float>(t.kvg.size()), t.kvg.extent);
  ZeroRows(context, d);
  GlobalBackward(
      context, Spec(call, call.texts.projected), Projected(call, t), call.texts.roles,
      Saved(call, t), Heads(call, dout, 0),
      {GlobalHeads(call, ProjectedRows(call, dqg)), Heads(call, d, 0), Heads(call, d, 1)});
  ProjectToHeadsBackward<T>(context, call, key_value_global_, Columns(2), call.texts.n(), x, d, dx,
                            gemm::Store::kAccumulate);
}

template <class T>
void LongformerAttention::ReassociatedBackward(Context& context, const LongformerCall& call,
                                               const View<const T, 2>& x, const Tensors<T>& t,
                                               const View<const T, 2>& dout,
                                               const View<float, 2>& dqg,
                                               const View<float, 2>& dx) const {
  const ParameterTable& parameters = call.parameters;
  const ParameterId key = key_value_global_.weight();
  const auto value = static_cast<ParameterId>(static_cast<std::uint32_t>(key) + 1);
  GlobalReassociatedBackward(context, Spec(call, call.texts.reassociated), Reassociated(call, x, t),
                             call.texts.roles, Saved(call, t), Heads(call, dout, 0),
                             {{dx.data, {call.texts.rows, call.texts.tokens, channels_}},
                              GlobalHeads(call, ReassociatedRows(call, dqg)),
                              parameters.trained_gradient(key),
                              parameters.trained_gradient(value),
                              parameters.trained_vector_gradient(value_global_bias_)});
}

template <class T>
void LongformerAttention::GlobalBackwardRows(Context& context, const LongformerCall& call,
                                             const View<const T, 2>& x, const Tensors<T>& t,
                                             const View<const T, 2>& dout,
                                             const View<float, 2>& dx) const {
  const LongformerTexts& texts = call.texts;
  const std::vector<std::int32_t>& rows = call.group ? texts.own_rows : texts.global_rows;
  const idx_t size = t.qg.size(), count = std::ssize(rows), cells = count * channels_;
  Arena::Frame frame(context.arena(),
                     Arena::Bytes<float>(size) + (call.group ? Arena::Bytes<float>(cells) : 0));
  const View<float, 2> dqg(frame.Take<float>(size), t.qg.extent);
  ZeroRows(context, dqg);
  if (texts.reassociated.most > 0) ReassociatedBackward(context, call, x, t, dout, dqg, dx);
  if (texts.projected.most > 0) ProjectedBackward(context, call, x, t, dout, dqg, dx);
  View<float, 2> downed = dqg;  // of the rows of this rank's tokens, all heads
  if (call.group != nullptr) {
    downed = {frame.Take<float>(cells), {count, channels_}};
    ReturnQueries(context, call, dqg, downed);
  }
  QueriesBackward<T>(context, call, rows, count, x, downed, dx);
}

// ---- for both types -----------------------------------------------------------------------------

#define LONGSPAN_LONGFORMER_ATTENTION(T)                                                           \
  template std::size_t LongformerAttention::Bytes<T>(const LongformerCall&) const;                 \
  template LongformerAttention::Tensors<T> LongformerAttention::Take<T>(                           \
      Arena::Frame&, const LongformerCall&) const;                                                 \
  template void LongformerAttention::Forward<T>(Context&, const LongformerCall&,                   \
                                                const View<const T, 2>&, const Tensors<T>&) const; \
  template void LongformerAttention::Backward<T>(                                                  \
      Context&, const LongformerCall&, const View<const T, 2>&, const Tensors<T>&,                 \
      const View<const T, 2>&, const View<float, 2>&) const;
LONGSPAN_LONGFORMER_ATTENTION(float)
LONGSPAN_LONGFORMER_ATTENTION(bfloat16)
#undef LONGSPAN_LONGFORMER_ATTENTION

}  // namespace longspan
