#include "families/longformer/longformer_attention.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "gemm/gemm.h"
#include "model/documents.h"
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

template <class T>
std::size_t LongformerAttention::Bytes(const LongformerCall& call) const {
  const idx_t n = call.n(), g = call.globals.all();
  std::size_t bytes = Arena::Bytes<T>(n * 3 * channels_) + Arena::Bytes<T>(n * channels_) +
                      Arena::Bytes<float>(n * heads_);
  if (g > 0) bytes += Arena::Bytes<T>(g * channels_);
  if (g > 0 && !Reassociates(call)) bytes += Arena::Bytes<T>(n * 2 * channels_);
  return bytes;
}

template <class T>
LongformerAttention::Tensors<T> LongformerAttention::Take(Arena::Frame& frame,
                                                          const LongformerCall& call) const {
  const idx_t n = call.n(), g = call.globals.all();
  Tensors<T> t;
  t.qkv = {frame.Take<T>(n * 3 * channels_), {n, 3 * channels_}};
  t.out = {frame.Take<T>(n * channels_), {n, channels_}};
  t.lse = {frame.Take<float>(n * heads_), {call.rows, heads_, call.tokens}};
  if (g > 0) t.qg = {frame.Take<T>(g * channels_), {g, channels_}};
  if (g > 0 && !Reassociates(call)) {
    t.kvg = {frame.Take<T>(n * 2 * channels_), {n, 2 * channels_}};
  }
  return t;
}

// ---- forward ------------------------------------------------------------------------------------

template <class T, class Use>
void LongformerAttention::ForEachPart(const LongformerCall& call, const Tensors<T>& t,
                                      const Use& use) {
  if (call.documents.empty()) return use(call, t, idx_t{0});
  const idx_t heads = t.lse.extent[1];
  idx_t first_global = 0;
  ForEachDocument(call.documents, [&](idx_t d, idx_t begin, idx_t length) {
    const GlobalTokenRows& globals = call.globals.documents[static_cast<std::size_t>(d)];
    LongformerCall part{
        call.parameters, call.bf16,    1, length, DocumentRoles(call.roles, begin, length), globals,
        call.dropout,    call.backward};
    part.document = d;
    Tensors<T> own;
    own.qkv = t.qkv.Rows(begin, length);
    own.out = t.out.Rows(begin, length);
    own.lse = {t.lse.data + begin * heads, {1, heads, length}};
    if (globals.most > 0) own.qg = t.qg.Rows(first_global, globals.most);
    if (!t.kvg.empty()) own.kvg = t.kvg.Rows(begin, length);
    use(part, own, begin);
    first_global += globals.most;
  });
}

// One form for all documents: whichever costs less for them together.
bool LongformerAttention::Reassociates(const LongformerCall& call) const {
  GlobalFlops sum;
  const auto add = [&](idx_t tokens, idx_t globals) {
    const GlobalFlops one =
        CountGlobalFlops(tokens, channels_, heads_, head_size_, globals, call.backward);
    sum.projected += one.projected;
    sum.reassociated += one.reassociated;
  };
  if (call.documents.empty()) add(call.tokens, call.globals.most);
  ForEachDocument(call.documents, [&](idx_t d, idx_t, idx_t length) {
    add(length, call.globals.documents[static_cast<std::size_t>(d)].most);
  });
  return sum.ReassociatedWins();
}

WindowSpec LongformerAttention::Spec(const LongformerCall& call) const {
  WindowSpec spec;
  spec.left = spec.right = window_;
  Dropout site = SiteOf(call.dropout, dropout_, kProbabilities);
  if (call.document >= 0) site = DocumentSite(site, call.document);
  spec.dropout = {site.p, site.key};
  spec.globals = &call.globals.tokens;
  return spec;
}

// Part `part` of a (B*tokens, P*C) matrix as heads: (B, H, tokens, D).
template <class T>
View<T, 4> LongformerAttention::Heads(const LongformerCall& call, const View<T, 2>& joined,
                                      idx_t part, idx_t tokens) const {
  const idx_t stride = joined.extent[1];
  return {joined.data + part * channels_,
          {call.rows, heads_, tokens, head_size_},
          {tokens * stride, head_size_, stride, 1}};
}

template <class T>
QkvOf<T> LongformerAttention::Local(const LongformerCall& call, const Tensors<T>& t) const {
  return {Heads(call, t.qkv, 0, call.tokens), Heads(call, t.qkv, 1, call.tokens),
          Heads(call, t.qkv, 2, call.tokens)};
}

template <class T>
GlobalQkvOf<T> LongformerAttention::Global(const LongformerCall& call, const Tensors<T>& t) const {
  return {Heads(call, t.qg, 0, call.globals.most), Heads(call, t.kvg, 0, call.tokens),
          Heads(call, t.kvg, 1, call.tokens)};
}

template <class T>
AttentionSavedOf<T> LongformerAttention::Saved(const LongformerCall& call,
                                               const Tensors<T>& t) const {
  return {Heads(call, t.out, 0, call.tokens), t.lse};
}

// The weights are the fp32 masters whatever T is: few rows pass through them.
template <class T>
GlobalProjectionOf<T> LongformerAttention::Reassociated(const LongformerCall& call,
                                                        const View<const T, 2>& x,
                                                        const Tensors<T>& t) const {
  const View<const float, 2> weight = key_value_global_.Weight(call.parameters);
  const View<const float, 1> bias = key_value_global_.Bias(call.parameters);
  return {{x.data, {call.rows, call.tokens, channels_}},
          Heads(call, t.qg, 0, call.globals.most),
          weight.Rows(0, channels_),
          weight.Rows(channels_, channels_),
          bias.Rows(0, channels_),
          bias.Rows(channels_, channels_)};
}

template <class T>
void LongformerAttention::Forward(Context& context, const LongformerCall& call,
                                  const View<const T, 2>& x, const Tensors<T>& t) const {
  local_.ForwardIn<T>(context, call, x, t.qkv);
  if (call.globals.most > 0) ProjectGlobals(context, call, x, t);
  ForEachPart(call, t, [&](const LongformerCall& part, const Tensors<T>& own, idx_t begin) {
    WindowForward(context, Spec(part), Local(part, own), part.roles, Saved(part, own));
    if (part.globals.most == 0) return;
    if (own.kvg.empty()) {
      GlobalReassociatedForward(context, Spec(part),
                                Reassociated(part, x.Rows(begin, part.n()), own), part.roles,
                                Saved(part, own));
    } else {
      GlobalForward(context, Spec(part), Global(part, own), part.roles, Saved(part, own));
    }
  });
  if (call.observer != nullptr) Show(context, call, x, t);
}

template <class T>
void LongformerAttention::ProjectGlobals(Context& context, const LongformerCall& call,
                                         const View<const T, 2>& x, const Tensors<T>& t) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(t.qg.size()));
  const View<T, 2> xg(frame.Take<T>(t.qg.size()), t.qg.extent);
  GatherRows(context, call.globals.rows, x, xg);
  query_global_.ForwardIn<T>(context, call, xg, t.qg);
  if (!t.kvg.empty()) key_value_global_.ForwardIn<T>(context, call, x, t.kvg);
}

template <class T>
void LongformerAttention::Show(Context& context, const LongformerCall& call,
                               const View<const T, 2>& x, const Tensors<T>& t) const {
  // The re-associated form never computes the keys: do it for those who look.
  const idx_t keys = call.globals.most > 0 ? call.n() * 2 * channels_ : 0;
  Arena::Frame frame(context.arena(),
                     InFloatsBytes(t.qkv) + InFloatsBytes(t.qg) + Arena::Bytes<float>(keys));
  const View<const float, 2> qkv = InFloats(context, frame, t.qkv);
  LongformerAttentionTensors shown;
  shown.rows = call.rows;
  shown.tokens = call.tokens;
  shown.heads = heads_;
  shown.head_size = head_size_;
  shown.spec = Spec(call);
  shown.roles = call.roles;
  shown.qkv = {Heads(call, qkv, 0, call.tokens), Heads(call, qkv, 1, call.tokens),
               Heads(call, qkv, 2, call.tokens)};
  shown.lse = t.lse;
  shown.globals = &call.globals;
  if (call.globals.most > 0) {
    const View<float, 2> kvg(frame.Take<float>(keys), {call.n(), 2 * channels_});
    key_value_global_.ForwardIn<T>(context, call, x, kvg);
    const View<const float, 2> qg = InFloats(context, frame, t.qg), read = kvg;
    shown.global = {Heads(call, qg, 0, call.globals.most), Heads(call, read, 0, call.tokens),
                    Heads(call, read, 1, call.tokens)};
  }
  (*call.observer)(call.layer, shown);
}

// ---- backward -----------------------------------------------------------------------------------

template <class T>
void LongformerAttention::Backward(Context& context, const LongformerCall& call,
                                   const View<const T, 2>& x, const Tensors<T>& t,
                                   const View<const T, 2>& dout, const View<float, 2>& dx) const {
  {
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qkv.size()));
    const View<float, 2> dqkv(frame.Take<float>(t.qkv.size()), t.qkv.extent);
    ZeroRows(context, dqkv);
    ForEachPart(call, t, [&](const LongformerCall& part, const Tensors<T>& own, idx_t begin) {
      const idx_t tokens = part.tokens;
      const View<float, 2> d = dqkv.Rows(begin, part.n());
      WindowBackward(
          context, Spec(part), Local(part, own), part.roles, Saved(part, own),
          Heads(part, dout.Rows(begin, part.n()), 0, tokens),
          {Heads(part, d, 0, tokens), Heads(part, d, 1, tokens), Heads(part, d, 2, tokens)});
    });
    local_.BackwardIn<T>(context, call, x, dqkv, dx, gemm::Store::kAccumulate);
  }
  if (call.globals.most > 0) GlobalBackwardRows(context, call, x, t, dout, dx);
}

template <class T>
void LongformerAttention::GlobalBackwardRows(Context& context, const LongformerCall& call,
                                             const View<const T, 2>& x, const Tensors<T>& t,
                                             const View<const T, 2>& dout,
                                             const View<float, 2>& dx) const {
  const idx_t size = t.qg.size();
  const idx_t kvg_size = t.kvg.empty() ? 0 : t.kvg.size();
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(size) + 2 * Arena::Bytes<float>(size) +
                                          Arena::Bytes<float>(kvg_size));
  const View<T, 2> xg(frame.Take<T>(size), t.qg.extent);
  const View<float, 2> dqg(frame.Take<float>(size), t.qg.extent);
  const View<float, 2> dxg(frame.Take<float>(size), t.qg.extent);
  ZeroRows(context, dqg);
  View<float, 2> dkvg;
  if (kvg_size > 0) {
    dkvg = {frame.Take<float>(kvg_size), t.kvg.extent};
    ZeroRows(context, dkvg);
  }
  idx_t first = 0;  // of the part's rows of dqg
  ForEachPart(call, t, [&](const LongformerCall& part, const Tensors<T>& own, idx_t begin) {
    const idx_t most = part.globals.most, tokens = part.tokens, n = part.n();
    if (most == 0) return;
    const View<float, 2> dq = dqg.Rows(first, part.rows * most);
    first += part.rows * most;
    const View<const T, 4> dout_heads = Heads(part, dout.Rows(begin, n), 0, tokens);
    if (own.kvg.empty()) {
      const View<float, 2> dweight = key_value_global_.WeightGradient(part.parameters);
      GlobalReassociatedBackward(context, Spec(part), Reassociated(part, x.Rows(begin, n), own),
                                 part.roles, Saved(part, own), dout_heads,
                                 {{dx.Rows(begin, n).data, {part.rows, tokens, channels_}},
                                  Heads(part, dq, 0, most),
                                  dweight.Rows(0, channels_),
                                  dweight.Rows(channels_, channels_),
                                  part.parameters.vector_gradient(value_global_bias_)});
    } else {
      const View<float, 2> d = dkvg.Rows(begin, n);
      GlobalBackward(
          context, Spec(part), Global(part, own), part.roles, Saved(part, own), dout_heads,
          {Heads(part, dq, 0, most), Heads(part, d, 0, tokens), Heads(part, d, 1, tokens)});
    }
  });
  if (kvg_size > 0) {
    key_value_global_.BackwardIn<T>(context, call, x, dkvg, dx, gemm::Store::kAccumulate);
  }
  GatherRows(context, call.globals.rows, x, xg);
  query_global_.BackwardIn<T>(context, call, xg, dqg, dxg, gemm::Store::kOverwrite);
  EmbeddingBackward(context, call.globals.rows, dxg, dx);
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
