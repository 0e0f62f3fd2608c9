#include "model/longformer_attention.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "gemm/gemm.h"
#include "model/rows.h"
#include "ops/embedding/embedding.h"

namespace longspan {
namespace {

constexpr std::uint64_t kProbabilities = 0;  // dropout site of the layer

View<const float, 1> Vector(const float* data, idx_t size) { return {data, {size}}; }

}  // namespace

GlobalTokenRows GlobalTokenRows::Of(const TokenRoles& roles, idx_t batch, idx_t tokens) {
  GlobalTokenRows globals;
  globals.most = LargestGlobalCount(roles);
  for (idx_t b = 0; globals.most > 0 && b < batch; ++b) {
    for (idx_t t = 0; t < tokens; ++t) {
      if (roles(b, t) != kGlobalToken) continue;
      globals.rows.push_back(static_cast<std::int32_t>(b * tokens + t));
    }
    globals.rows.resize(static_cast<std::size_t>((b + 1) * globals.most),
                        static_cast<std::int32_t>(b * tokens));
  }
  return globals;
}

LongformerAttention::LongformerAttention(const LongformerConfig& config, std::size_t layer,
                                         std::string prefix, ParameterTable& parameters)
    : channels_(config.hidden_size),
      heads_(config.heads),
      head_size_(config.head_size()),
      window_(config.window(layer)),
      dropout_(config.attention_dropout),
      prefix_(std::move(prefix)),
      local_{"query", 3},
      query_global_{"query_global", 1},
      key_value_global_{"key_global", 2} {
  const std::vector<std::vector<std::string>> groups = {
      {"query", "key", "value"}, {"query_global"}, {"key_global", "value_global"}};
  // Those of a group lie one behind the other: one product makes them all.
  for (const auto& group : groups) {
    for (const std::string& name : group) {
      parameters.Add(prefix_ + name + ".weight", {channels_, channels_}, ParameterKind::kMatrix,
                     name == group.front());
    }
    for (const std::string& name : group) {
      parameters.Add(prefix_ + name + ".bias", {channels_}, ParameterKind::kBias,
                     name == group.front());
    }
  }
}

std::size_t LongformerAttention::Bytes(const LongformerCall& call) const {
  const idx_t n = call.n(), g = call.rows * call.globals.most;
  std::size_t bytes = Arena::Bytes<float>(n * 3 * channels_) + Arena::Bytes<float>(n * channels_) +
                      Arena::Bytes<float>(n * heads_);
  if (g > 0) bytes += Arena::Bytes<float>(g * channels_);
  if (g > 0 && !Reassociates(call)) bytes += Arena::Bytes<float>(n * 2 * channels_);
  return bytes;
}

LongformerAttention::Tensors LongformerAttention::Take(Arena::Frame& frame,
                                                       const LongformerCall& call) const {
  const idx_t n = call.n(), g = call.rows * call.globals.most;
  Tensors t;
  t.qkv = {frame.Take<float>(n * 3 * channels_), {n, 3 * channels_}};
  t.out = {frame.Take<float>(n * channels_), {n, channels_}};
  t.lse = {frame.Take<float>(n * heads_), {call.rows, heads_, call.tokens}};
  if (g > 0) t.qg = {frame.Take<float>(g * channels_), {g, channels_}};
  if (g > 0 && !Reassociates(call)) {
    t.kvg = {frame.Take<float>(n * 2 * channels_), {n, 2 * channels_}};
  }
  return t;
}

// ---- projections --------------------------------------------------------------------------------

View<float, 2> LongformerAttention::Weight(const LongformerCall& call, const Projection& p) const {
  return call.parameters.matrix(prefix_ + p.name + ".weight", p.parts * channels_);
}

float* LongformerAttention::Bias(const LongformerCall& call, const Projection& p) const {
  return call.parameters.vector(prefix_ + p.name + ".bias").data;
}

void LongformerAttention::Project(Context& context, const LongformerCall& call, const Projection& p,
                                  const View<const float, 2>& x, const View<float, 2>& y) const {
  gemm::Forward(context, x, Weight(call, p), Bias(call, p), y);
}

// The gradients of the weights; those of x are the caller's.
void LongformerAttention::ProjectBackward(Context& context, const LongformerCall& call,
                                          const Projection& p, const View<const float, 2>& x,
                                          const View<const float, 2>& dy) const {
  gemm::BackwardWeights(
      context, dy, x,
      call.parameters.matrix_gradient(prefix_ + p.name + ".weight", p.parts * channels_));
  gemm::BackwardBias(context, dy, call.parameters.vector_gradient(prefix_ + p.name + ".bias").data);
}

// ---- forward ------------------------------------------------------------------------------------

bool LongformerAttention::Reassociates(const LongformerCall& call) const {
  return CountGlobalFlops(call.tokens, channels_, heads_, head_size_, call.globals.most,
                          call.backward)
      .ReassociatedWins();
}

WindowSpec LongformerAttention::Spec(const LongformerCall& call) const {
  WindowSpec spec;
  spec.left = spec.right = window_;
  const Dropout site = SiteOf(call.dropout, dropout_, kProbabilities);
  spec.dropout = {site.p, site.key};
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

AttentionSaved LongformerAttention::Saved(const LongformerCall& call, const Tensors& t) const {
  return {Heads(call, t.out, 0, call.tokens), t.lse};
}

GlobalProjection LongformerAttention::Reassociated(const LongformerCall& call,
                                                   const View<const float, 2>& x,
                                                   const Tensors& t) const {
  const View<const float, 2> weight = Weight(call, key_value_global_);
  const float* bias = Bias(call, key_value_global_);
  return {{x.data, {call.rows, call.tokens, channels_}},
          Heads(call, View<const float, 2>(t.qg), 0, call.globals.most),
          weight.Rows(0, channels_),
          weight.Rows(channels_, channels_),
          Vector(bias, channels_),
          Vector(bias + channels_, channels_)};
}

void LongformerAttention::Forward(Context& context, const LongformerCall& call,
                                  const View<const float, 2>& x, const Tensors& t) const {
  Project(context, call, local_, x, t.qkv);
  const View<const float, 2> qkv = t.qkv;
  const idx_t tokens = call.tokens;
  WindowForward(
      context, Spec(call),
      {Heads(call, qkv, 0, tokens), Heads(call, qkv, 1, tokens), Heads(call, qkv, 2, tokens)},
      call.roles, Saved(call, t));
  if (call.globals.most > 0) GlobalForwardRows(context, call, x, t);
  if (call.observer != nullptr) Show(context, call, x, t);
}

void LongformerAttention::GlobalForwardRows(Context& context, const LongformerCall& call,
                                            const View<const float, 2>& x, const Tensors& t) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qg.size()));
  const View<float, 2> xg(frame.Take<float>(t.qg.size()), t.qg.extent);
  EmbeddingForward(context, call.globals.rows, x, xg);
  Project(context, call, query_global_, xg, t.qg);
  if (t.kvg.empty()) {
    GlobalReassociatedForward(context, Spec(call), Reassociated(call, x, t), call.roles,
                              Saved(call, t));
    return;
  }
  Project(context, call, key_value_global_, x, t.kvg);
  const View<const float, 2> kvg = t.kvg;
  GlobalForward(context, Spec(call),
                {Heads(call, View<const float, 2>(t.qg), 0, call.globals.most),
                 Heads(call, kvg, 0, call.tokens), Heads(call, kvg, 1, call.tokens)},
                call.roles, Saved(call, t));
}

void LongformerAttention::Show(Context& context, const LongformerCall& call,
                               const View<const float, 2>& x, const Tensors& t) const {
  const View<const float, 2> qkv = t.qkv;
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
  if (call.globals.most == 0) {
    (*call.observer)(call.layer, shown);
    return;
  }
  // The re-associated form never computes the keys: do it for those who look.
  const idx_t size = call.n() * 2 * channels_;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(size));
  const View<float, 2> kvg(frame.Take<float>(size), {call.n(), 2 * channels_});
  Project(context, call, key_value_global_, x, kvg);
  const View<const float, 2> read = kvg;
  shown.global = {Heads(call, View<const float, 2>(t.qg), 0, call.globals.most),
                  Heads(call, read, 0, call.tokens), Heads(call, read, 1, call.tokens)};
  (*call.observer)(call.layer, shown);
}

// ---- backward -----------------------------------------------------------------------------------

void LongformerAttention::Backward(Context& context, const LongformerCall& call,
                                   const View<const float, 2>& x, const Tensors& t,
                                   const View<const float, 2>& dout,
                                   const View<float, 2>& dx) const {
  {
    const idx_t tokens = call.tokens;
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qkv.size()));
    const View<float, 2> dqkv(frame.Take<float>(t.qkv.size()), t.qkv.extent);
    ZeroRows(context, dqkv);
    const View<const float, 2> qkv = t.qkv;
    WindowBackward(
        context, Spec(call),
        {Heads(call, qkv, 0, tokens), Heads(call, qkv, 1, tokens), Heads(call, qkv, 2, tokens)},
        call.roles, Saved(call, t), Heads(call, dout, 0, tokens),
        {Heads(call, dqkv, 0, tokens), Heads(call, dqkv, 1, tokens), Heads(call, dqkv, 2, tokens)});
    ProjectBackward(context, call, local_, x, dqkv);
    gemm::BackwardData(context, dqkv, Weight(call, local_), dx, gemm::Store::kAccumulate);
  }
  if (call.globals.most > 0) GlobalBackwardRows(context, call, x, t, dout, dx);
}

void LongformerAttention::GlobalBackwardRows(Context& context, const LongformerCall& call,
                                             const View<const float, 2>& x, const Tensors& t,
                                             const View<const float, 2>& dout,
                                             const View<float, 2>& dx) const {
  const idx_t most = call.globals.most, tokens = call.tokens;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(t.qg.size()) +
                                          Arena::Bytes<float>(t.kvg.empty() ? 0 : t.kvg.size()));
  const View<float, 2> xg(frame.Take<float>(t.qg.size()), t.qg.extent);
  const View<float, 2> dqg(frame.Take<float>(t.qg.size()), t.qg.extent);
  ZeroRows(context, dqg);
  const View<const float, 4> dout_heads = Heads(call, dout, 0, tokens);
  if (t.kvg.empty()) {
    const View<float, 2> dweight = call.parameters.matrix_gradient(
        prefix_ + key_value_global_.name + ".weight", 2 * channels_);
    GlobalReassociatedBackward(context, Spec(call), Reassociated(call, x, t), call.roles,
                               Saved(call, t), dout_heads,
                               {{dx.data, {call.rows, tokens, channels_}},
                                Heads(call, dqg, 0, most),
                                dweight.Rows(0, channels_),
                                dweight.Rows(channels_, channels_),
                                call.parameters.vector_gradient(prefix_ + "value_global.bias")});
  } else {
    const View<float, 2> dkvg(frame.Take<float>(t.kvg.size()), t.kvg.extent);
    ZeroRows(context, dkvg);
    const View<const float, 2> kvg = t.kvg;
    GlobalBackward(
        context, Spec(call),
        {Heads(call, View<const float, 2>(t.qg), 0, most), Heads(call, kvg, 0, tokens),
         Heads(call, kvg, 1, tokens)},
        call.roles, Saved(call, t), dout_heads,
        {Heads(call, dqg, 0, most), Heads(call, dkvg, 0, tokens), Heads(call, dkvg, 1, tokens)});
    ProjectBackward(context, call, key_value_global_, x, dkvg);
    gemm::BackwardData(context, dkvg, Weight(call, key_value_global_), dx,
                       gemm::Store::kAccumulate);
  }
  EmbeddingForward(context, call.globals.rows, x, xg);
  ProjectBackward(context, call, query_global_, xg, dqg);
  gemm::BackwardData(context, dqg, Weight(call, query_global_), xg);
  EmbeddingBackward(context, call.globals.rows, xg, dx);
}

}  // namespace longspan
