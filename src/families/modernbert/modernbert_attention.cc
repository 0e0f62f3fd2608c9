#include "families/modernbert/modernbert_attention.h"

#include <algorithm>
#include <type_traits>

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
      full_turn_(config.full[layer]),
      dropout_(config.attention_dropout) {
  if (config.windowed(layer)) window_ = config.window();
}

std::optional<WindowHalo> ModernBertAttention::HaloOf(const ModernBertCall& call) const {
  if (!window_ || call.group == nullptr) return std::nullopt;
  WindowSpec spec = SpecOf<WindowSpec>(call, 0);
  spec.dropout.first_head = 0;
  return WindowHalo::Of(call.group, spec, Columns(1),
                        {1, call.texts.n(), call.texts.starts(), call.texts.roles()});
}

template <class T>
std::size_t ModernBertAttention::Bytes(const ModernBertCall& call) const {
  if (const auto halo = HaloOf(call)) {
    const idx_t own = halo->own();
    return Arena::Bytes<T>(halo->rows() * 3 * channels_) + Arena::Bytes<T>(own * channels_) +
           Arena::Bytes<float>(own * heads_);
  }
  const idx_t n = call.texts.n(), heads = HeadsOf(call.group, heads_).count;
  const idx_t out = call.group == nullptr ? 0 : call.n() * channels_;
  return Arena::Bytes<T>(n * 3 * heads * head_size_) + Arena::Bytes<T>(n * heads * head_size_) +
         Arena::Bytes<T>(out) + Arena::Bytes<float>(n * heads);
}

template <class T>
ModernBertAttention::Tensors<T> ModernBertAttention::Take(Arena::Frame& frame,
                                                          const ModernBertCall& call) const {
  Tensors<T> t;
  if (const auto halo = HaloOf(call)) {
    const idx_t rows = halo->rows(), own = halo->own();
    t.qkv = {frame.Take<T>(rows * 3 * channels_), {rows, 3 * channels_}};
    t.attended = t.out = {frame.Take<T>(own * channels_), {own, channels_}};
    t.lse = {frame.Take<float>(own * heads_), {own * heads_}};
    return t;
  }
  const idx_t n = call.texts.n(), heads = HeadsOf(call.group, heads_).count;
  const idx_t width = heads * head_size_;
  t.qkv = {frame.Take<T>(n * 3 * width), {n, 3 * width}};
  t.attended = t.out = {frame.Take<T>(n * width), {n, width}};
  if (call.group != nullptr) {
    t.out = {frame.Take<T>(call.n() * channels_), {call.n(), channels_}};
  }
  t.lse = {frame.Take<float>(n * heads), {n * heads}};
  return t;
}

// Part `part` of P in (N, P*H*D) as heads: (1, H, N, D).
template <class T>
View<T, 4> ModernBertAttention::Heads(const View<T, 2>& joined, idx_t part, idx_t parts) const {
  const idx_t n = joined.extent[0], stride = joined.extent[1], width = stride / parts;
  return {joined.data + part * width,
          {1, width / head_size_, n, head_size_},
          {n * stride, head_size_, stride, 1}};
}

template <class T>
View<T, 4> ModernBertAttention::Turning(const View<T, 2>& qkv) const {
  const idx_t n = qkv.extent[0], stride = qkv.extent[1];
  return {qkv.data,
          {1, 2 * stride / 3 / head_size_, n, head_size_},
          {n * stride, head_size_, stride, 1}};
}

HeadsInGroups ModernBertAttention::Groups(const ModernBertCall& call) const {
  const idx_t n = call.texts.n();
  const double pairs = window_ ? static_cast<double>(n * std::min(n, 2 * *window_ + 1))
                               : PairsOfTexts(1, n, call.texts.starts());
  return {call.group, n, Columns(1), pairs};
}

// What both kinds of attention ask of a call for a group of heads: all texts side by side in one
// row.
template <class Spec>
Spec ModernBertAttention::SpecOf(const ModernBertCall& call, idx_t group) const {
  const Dropout site = SiteOf(call.dropout, dropout_, kWeights);
  Spec spec;
  spec.dropout = {site.p, site.key, Groups(call).Share(group).first, heads_};
  spec.starts = call.texts.starts();
  if constexpr (std::is_same_v<Spec, WindowSpec>) spec.left = spec.right = *window_;
  return spec;
}

template <class T>
QkvOf<T> ModernBertAttention::Inputs(const View<T, 2>& qkv) const {
  return {Heads(qkv, 0, 3), Heads(qkv, 1, 3), Heads(qkv, 2, 3)};
}

template <class T>
AttentionSavedOf<T> ModernBertAttention::Saved(const ModernBertCall& call, const Tensors<T>& t,
                                               idx_t group) const {
  const HeadsInGroups groups = Groups(call);
  return {Heads(groups.Part(t.attended, 1, group), 0, 1),
          {groups.Part(t.lse, group).data, {1, groups.Share(group).count, call.texts.n()}}};
}

template <class T>
void ModernBertAttention::Forward(Context& context, const ModernBertCall& call,
                                  const Linear& linear, const View<const T, 2>& x,
                                  const Tensors<T>& t) const {
  const RotaryTurn& turn = TurnOf(call);
  if (const auto halo = HaloOf(call)) {
    const View<T, 2> own = halo->Own(t.qkv);
    const std::span<const std::int32_t> positions = OwnPositions(call);
    const auto project = [&](idx_t first, idx_t rows) {
      const View<T, 2> part = own.Rows(first, rows);
      linear.ForwardIn<T>(context, call, x.Rows(first, rows), part);
      RotaryForward(
          context, turn.table,
          positions.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)),
          Turning(part));
    };
    return halo->Forward<T>(context, t.qkv, {project, linear.Flop(channels_)},
                            {t.out, {t.lse.data, {1, heads_, call.n()}}});
  }
  const TokenRoles roles = call.texts.roles();
  AttendInGroups<T>(context, call, linear, Groups(call), x, t, [&](idx_t group) {
    const View<T, 2> qkv = Groups(call).Part(t.qkv, 3, group);
    RotaryForward(context, turn.table, turn.positions, Turning(qkv));
    if (window_) {
      WindowForward(context, SpecOf<WindowSpec>(call, group), Inputs(qkv), roles,
                    Saved(call, t, group));
    } else {
      FullForward(context, SpecOf<FullSpec>(call, group), Inputs(qkv), roles,
                  Saved(call, t, group));
    }
  });
  if constexpr (sizeof(T) == 4) {
    if (call.observer != nullptr) {
      (*call.observer)(call.layer, {call.texts, window_, Inputs(t.qkv), Saved(call, t, 0).lse});
    }
  }
}

template <class T>
void ModernBertAttention::Backward(Context& context, const ModernBertCall& call,
                                   const Tensors<T>& t, const View<const T, 2>& dout,
                                   const ProjectedGradient& use) const {
  const RotaryTurn& turn = TurnOf(call);
  if (const auto halo = HaloOf(call)) {
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(t.qkv.size()));
    const View<float, 2> dqkv(frame.Take<float>(t.qkv.size()), t.qkv.extent);
    ZeroRows(context, dqkv);
    halo->Backward<T>(context, t.qkv, {t.out, {t.lse.data, {1, heads_, call.n()}}}, dout, dqkv);
    RotaryBackward(context, turn.table, OwnPositions(call), Turning(halo->Own(dqkv)));
    return use(halo->Own(dqkv));
  }
  const TokenRoles roles = call.texts.roles();
  const GroupsBackward<T> backward(context, call, Groups(call), t.qkv, dout);
  backward.Run(context, [&](idx_t group) {
    const View<T, 2> qkv = Groups(call).Part(t.qkv, 3, group);
    const View<float, 2> d = backward.dqkv(group);
    const DQkv gradients{Heads(d, 0, 3), Heads(d, 1, 3), Heads(d, 2, 3)};
    const View<const T, 4> dheads = Heads(backward.dattended(group), 0, 1);
    if (window_) {
      WindowBackward(context, SpecOf<WindowSpec>(call, group), Inputs(qkv), roles,
                     Saved(call, t, group), dheads, gradients);
    } else {
      FullBackward(context, SpecOf<FullSpec>(call, group), Inputs(qkv), roles,
                   Saved(call, t, group), dheads, gradients);
    }
    RotaryBackward(context, turn.table, turn.positions, Turning(d));
  });
  use(backward.dprojected());
}

// ---- for both types -----------------------------------------------------------------------------

#define LONGSPAN_MODERNBERT_ATTENTION(T)                                                           \
  template std::size_t ModernBertAttention::Bytes<T>(const ModernBertCall&) const;                 \
  template ModernBertAttention::Tensors<T> ModernBertAttention::Take<T>(                           \
      Arena::Frame&, const ModernBertCall&) const;                                                 \
  template void ModernBertAttention::Forward<T>(Context&, const ModernBertCall&, const Linear&,    \
                                                const View<const T, 2>&, const Tensors<T>&) const; \
  template void ModernBertAttention::Backward<T>(Context&, const ModernBertCall&,                  \
                                                 const Tensors<T>&, const View<const T, 2>&,       \
                                                 const ProjectedGradient&) const;
LONGSPAN_MODERNBERT_ATTENTION(float)
LONGSPAN_MODERNBERT_ATTENTION(bfloat16)
#undef LONGSPAN_MODERNBERT_ATTENTION

}  // namespace longspan
