#include "model/window_halo.h"

#include <algorithm>
#include <utility>

#include "model/part_of_heads.h"
#include "ops/side_by_side.h"

namespace longspan {
// ---- which tokens -------------------------------------------------------------------------------

std::optional<WindowHalo> WindowHalo::Of(RowGroup* group, const WindowSpec& spec,
                                         const HeadColumns& columns, const WindowTexts& texts) {
  const idx_t n = texts.rows * texts.tokens;
  if (group == nullptr || n < group->size()) return std::nullopt;
  WindowHalo halo(*group, spec, columns, texts);
  idx_t most = 0, least = n;
  for (int r = 0; r < group->size(); ++r) {
    const TokenSlab slab = group->SlabOf(n, r);
    const Halo seen = halo.HaloOf(slab);
    most = std::max(most, seen.before + seen.after);
    least = std::min(least, slab.size());
    halo.rows_ = std::max(halo.rows_, seen.before + slab.size() + seen.after);
  }
  const idx_t globals = halo.globals();
  if (globals > 0 && spec.causal) return std::nullopt;  // slabs have no such rows
  if (most + group->size() * globals > least) return std::nullopt;
  halo.rows_ += globals;
  for (int r = 0; r < group->size(); ++r) {
    halo.AddSeen(r);
    halo.AddSeenGlobals(r);
  }
  halo.FindShown();
  const TokenSlab mine = halo.mine_;
  for (std::size_t text = halo.TextOf(mine.begin); text <= halo.TextOf(mine.end - 1); ++text) {
    halo.AddPieces(text);
  }
  return halo;
}

WindowHalo::WindowHalo(RowGroup& group, const WindowSpec& spec, const HeadColumns& columns,
                       const WindowTexts& texts)
    : group_(&group),
      spec_(spec),
      columns_{1, columns.heads, columns.size},
      texts_(texts),
      borders_(texts.starts.begin(), texts.starts.end()),
      mine_(group.Mine(texts.rows * texts.tokens)) {
  spec_.globals = nullptr;
  spec_.starts = {};
  for (idx_t row = 0; texts.starts.empty() && row <= texts.rows; ++row) {
    borders_.push_back(row * texts.tokens);
  }
  globals_ = FindGlobalTokens(texts.roles, texts.rows, texts.starts);
  for (std::size_t text = 0; text + 1 < borders_.size(); ++text) {
    global_texts_.insert(global_texts_.end(),
                         static_cast<std::size_t>(globals_.Count(static_cast<idx_t>(text))),
                         borders_[text]);
  }
  before_ = HaloOf(mine_).before;
}

std::size_t WindowHalo::TextOf(idx_t token) const {
  const auto next = std::upper_bound(borders_.begin(), borders_.end(), token);
  return static_cast<std::size_t>(next - borders_.begin() - 1);
}

WindowHalo::Halo WindowHalo::ReachIn(std::size_t text) const {
  const idx_t length = LengthOf(text);
  return {WindowSlab::Of(spec_, length, length, length).before,
          WindowSlab::Of(spec_, length, 0, 0).after};
}

WindowHalo::Halo WindowHalo::HaloOf(const TokenSlab& slab) const {
  const std::size_t first = TextOf(slab.begin), last = TextOf(slab.end - 1);
  return {std::min(ReachIn(first).before, slab.begin - borders_[first]),
          std::min(ReachIn(last).after, borders_[last + 1] - slab.end)};
}

// What `viewer` sees of each other rank.
void WindowHalo::AddSeen(int viewer) {
  const idx_t n = borders_.back();
  const TokenSlab slab = group_->SlabOf(n, viewer);
  const Halo halo = HaloOf(slab);
  const idx_t first = slab.begin - halo.before;  // the token of the viewer's row 0
  for (int owner = 0; owner < group_->size(); ++owner) {
    if (owner == viewer) continue;
    const TokenSlab its = group_->SlabOf(n, owner);
    const idx_t begin = std::max(its.begin, first);
    const idx_t end = std::min(its.end, slab.end + halo.after);
    if (begin >= end) continue;
    const idx_t row = begin - its.begin + HaloOf(its).before;
    seen_.push_back({owner, viewer, row, begin - first, end - begin});
  }
}

void WindowHalo::FindShown() {
  // More parts than those of two neighbours and of the global tokens at a row's begin and end are
  // not worth it: each product orders all weights.
  constexpr std::size_t kMostParts = 4;
  std::vector<TokenSlab> parts;
  for (const auto& list : {seen_, seen_globals_}) {
    for (const SeenRows& rows : list) {
      const idx_t begin = rows.owned - before_;
      if (rows.owner == group_->rank()) parts.push_back({begin, begin + rows.rows});
    }
  }
  std::sort(parts.begin(), parts.end(),
            [](const TokenSlab& a, const TokenSlab& b) { return a.begin < b.begin; });
  for (const TokenSlab& part : parts) {
    if (shown_.empty() || part.begin > shown_.back().end) {
      shown_.push_back(part);
    } else {
      shown_.back().end = std::max(shown_.back().end, part.end);
    }
  }
  if (shown_.size() > kMostParts) shown_ = {{0, own()}};
  idx_t end = 0;
  for (const TokenSlab& part : shown_) {
    if (end < part.begin) hidden_.push_back({end, part.begin});
    end = part.end;
  }
  if (end < own()) hidden_.push_back({end, own()});
}

// ---- which queries ------------------------------------------------------------------------------

// The own queries of a text: those that see tokens of others at its ends, and those between them.
void WindowHalo::AddPieces(std::size_t text) {
  const idx_t at = borders_[text];
  const idx_t begin = std::max(at, mine_.begin) - at;
  const idx_t end = std::min(borders_[text + 1], mine_.end) - at;
  const Halo reach = ReachIn(text);
  const idx_t first = begin > 0 ? std::min(end, begin + reach.before) : begin;
  const idx_t last = end < LengthOf(text) ? std::max(first, end - reach.after) : end;
  AddPiece(text, begin, first, &outer_);
  AddPiece(text, first, last, &inner_);
  AddPiece(text, last, end, &outer_);
}

void WindowHalo::AddPiece(std::size_t text, idx_t begin, idx_t end,
                          std::vector<Piece>* pieces) const {
  if (begin == end) return;
  Piece piece{text, WindowSlab::Of(spec_, LengthOf(text), begin, end)};
  PutGlobals(&piece);
  if (piece.slab.Globals() > 0) {
    piece.slab.global_keys = rows_ - globals() + FirstGlobal(piece) - KeyRow(piece);
  }
  pieces->push_back(std::move(piece));
}

// Dropout draws as in the call of the whole batch.
WindowSpec WindowHalo::SpecOf(const Piece& piece) const {
  WindowSpec spec = spec_;
  const auto number = static_cast<idx_t>(piece.text);
  if (!texts_.starts.empty()) {
    spec.dropout = TextOfRow{number}.Draw(spec.dropout);
  } else {
    spec.dropout.first_head = number * columns_.heads;
    spec.dropout.layer_heads = columns_.heads;
  }
  return spec;
}

TokenRoles WindowHalo::RolesOf(const Piece& piece) const {
  if (texts_.roles.empty()) return {};
  const idx_t first = borders_[piece.text] + piece.slab.begin - piece.slab.before;
  return {texts_.roles.data + first, {1, piece.slab.Keys()}};
}

idx_t WindowHalo::QueryRow(const Piece& piece) const {
  return borders_[piece.text] + piece.slab.begin - mine_.begin;
}

double WindowHalo::InnerFlop(double each) const {
  double pairs = 0.0;
  for (const Piece& piece : inner_) {
    const Halo reach = ReachIn(piece.text);
    pairs += static_cast<double>(piece.slab.Queries() * (reach.before + 1 + reach.after));
  }
  return each * pairs * static_cast<double>(columns_.all());
}

// ---- attention ----------------------------------------------------------------------------------

template <class T>
QkvOf<T> WindowHalo::InputsOf(const Piece& piece, const View<T, 2>& qkv) const {
  const View<const T, 2> keys = qkv.Rows(KeyRow(piece), KeyRows(piece));
  const View<const T, 2> queries = keys.Rows(piece.slab.before, piece.slab.Queries());
  return {PartOfHeads(queries, 0, columns_), PartOfHeads(keys, 1, columns_),
          PartOfHeads(keys, 2, columns_)};
}

template <class T>
AttentionSavedOf<T> WindowHalo::SavedOf(const Piece& piece, const Saved<T>& saved) const {
  const idx_t first = QueryRow(piece), count = piece.slab.Queries();
  return {PartOfHeads(saved.out.Rows(first, count), 0, columns_), Part(saved.lse, 2, first, count)};
}

template <class T>
void WindowHalo::RunForward(Context& context, const std::vector<Piece>& pieces,
                            const View<T, 2>& qkv, const Saved<T>& saved) const {
  for (const Piece& piece : pieces) {
    WindowForward(context, SpecOf(piece), piece.slab, InputsOf(piece, qkv), RolesOf(piece),
                  SavedOf(piece, saved));
  }
}

template <class T>
void WindowHalo::RunBackward(Context& context, const std::vector<Piece>& pieces,
                             const View<T, 2>& qkv, const Saved<T>& saved,
                             const View<const T, 2>& dout, const View<float, 2>& dqkv) const {
  for (const Piece& piece : pieces) {
    const View<float, 2> dkeys = dqkv.Rows(KeyRow(piece), KeyRows(piece));
    const View<float, 2> dqueries = dkeys.Rows(piece.slab.before, piece.slab.Queries());
    WindowBackward(context, SpecOf(piece), piece.slab, InputsOf(piece, qkv), RolesOf(piece),
                   SavedOf(piece, saved),
                   PartOfHeads(dout.Rows(QueryRow(piece), piece.slab.Queries()), 0, columns_),
                   {PartOfHeads(dqueries, 0, columns_), PartOfHeads(dkeys, 1, columns_),
                    PartOfHeads(dkeys, 2, columns_)});
  }
}

template <class T>
void WindowHalo::Forward(Context& context, const View<T, 2>& qkv, const Projection& projection,
                         const Saved<T>& saved) const {
  // Keys and values stand side by side behind the queries.
  const idx_t width = columns_.all();
  HaloExchange<T> globals(context, *group_, ExchangeKind::kGlobals, seen_globals_, qkv, qkv, width,
                          2 * width);
  HaloExchange<T> halo(context, *group_, ExchangeKind::kHalos, seen_, qkv, qkv, width, 2 * width);
  idx_t later = 0;
  for (const TokenSlab& part : hidden_) later += part.size();
  for (const TokenSlab& part : shown_) projection.project(part.begin, part.size());
  globals.Send();
  halo.Send(static_cast<double>(later) * projection.flop + InnerFlop(kForwardFlop));
  for (const TokenSlab& part : hidden_) projection.project(part.begin, part.size());
  globals.Fill();
  RunForward(context, inner_, qkv, saved);
  halo.Fill();
  RunForward(context, outer_, qkv, saved);
}

template <class T>
void WindowHalo::Backward(Context& context, const View<T, 2>& qkv, const Saved<T>& saved,
                          const View<const T, 2>& dout, const View<float, 2>& dqkv) const {
  const idx_t width = columns_.all();
  HaloExchange<float> globals(context, *group_, ExchangeKind::kGlobals, seen_globals_, dqkv, dqkv,
                              width, 2 * width);
  HaloExchange<float> halo(context, *group_, ExchangeKind::kHalos, seen_, dqkv, dqkv, width,
                           2 * width);
  RunBackward(context, outer_, qkv, saved, dout, dqkv);
  halo.Return(InnerFlop(kBackwardFlop));
  RunBackward(context, inner_, qkv, saved, dout, dqkv);
  globals.Return();
  halo.Add();
  globals.Add();
}

#define LONGSPAN_WINDOW_HALO(T)                                                        \
  template void WindowHalo::Forward<T>(Context&, const View<T, 2>&, const Projection&, \
                                       const Saved<T>&) const;                         \
  template void WindowHalo::Backward<T>(Context&, const View<T, 2>&, const Saved<T>&,  \
                                        const View<const T, 2>&, const View<float, 2>&) const;
LONGSPAN_WINDOW_HALO(float)
LONGSPAN_WINDOW_HALO(bfloat16)
#undef LONGSPAN_WINDOW_HALO

}  // namespace longspan
