// Global tokens of ranks that share rows: where they are, and the rows of their queries.
#include <algorithm>
#include <limits>

#include "model/part_of_heads.h"
#include "model/rows.h"
#include "model/window_halo.h"
#include "ops/side_by_side.h"

namespace longspan {

// ---- which tokens -------------------------------------------------------------------------------

TokenSlab WindowHalo::GlobalsOf(const TokenSlab& slab) const {
  TokenSlab range{globals(), globals()};
  for (idx_t g = globals(); g-- > 0;) {
    if (GlobalToken(g) >= slab.end) range.end = g;
    if (GlobalToken(g) >= slab.begin) range.begin = g;
  }
  return range;
}

std::vector<std::int32_t> WindowHalo::own_global_rows() const {
  std::vector<std::int32_t> rows;
  for (idx_t g = own_globals().begin; g < own_globals().end; ++g) {
    rows.push_back(static_cast<std::int32_t>(GlobalToken(g) - mine_.begin));
  }
  return rows;
}

idx_t WindowHalo::most_own_globals() const {
  idx_t most = 0;
  for (int r = 0; r < group_->size(); ++r) {
    most = std::max(most, GlobalsOf(group_->SlabOf(borders_.back(), r)).size());
  }
  return most;
}

// Keys of all global tokens, its own ones too, behind the other rows of `viewer`.
void WindowHalo::AddSeenGlobals(int viewer) {
  const idx_t first = rows_ - globals();
  for (int owner = 0; owner < group_->size(); ++owner) {
    const TokenSlab its = group_->SlabOf(borders_.back(), owner);
    const TokenSlab range = GlobalsOf(its);
    for (idx_t g = range.begin; g < range.end; ++g) {
      const idx_t row = GlobalToken(g) - its.begin + HaloOf(its).before;
      seen_globals_.push_back({owner, viewer, row, first + g, 1});
    }
  }
}

std::vector<SeenRows> WindowHalo::GlobalRows() const {
  std::vector<SeenRows> list;
  for (int owner = 0; owner < group_->size(); ++owner) {
    const TokenSlab range = GlobalsOf(group_->SlabOf(borders_.back(), owner));
    for (int viewer = 0; viewer < group_->size(); ++viewer) {
      if (viewer == owner || range.size() == 0) continue;
      list.push_back({owner, viewer, range.begin, range.begin, range.size()});
    }
  }
  return list;
}

std::vector<SeenRows> WindowHalo::RowsOfAll(idx_t rows) const {
  std::vector<SeenRows> list;
  for (int owner = 0; owner < group_->size(); ++owner) {
    for (int viewer = 0; viewer < group_->size(); ++viewer) {
      list.push_back({owner, viewer, 0, owner * rows, rows});
    }
  }
  return list;
}

void WindowHalo::PutGlobals(Piece* piece) const {
  const auto text = static_cast<idx_t>(piece->text);
  const idx_t* list = globals_.List(text);
  piece->slab.globals.assign(list, list + globals_.Count(text));
}

std::vector<WindowHalo::Piece> WindowHalo::PartsWithGlobals() const {
  std::vector<Piece> parts;
  for (std::size_t text = TextOf(mine_.begin); text <= TextOf(mine_.end - 1); ++text) {
    if (globals_.Count(static_cast<idx_t>(text)) == 0) continue;
    const idx_t at = borders_[text];
    Piece part{text, {}};
    part.slab.tokens = LengthOf(text);
    part.slab.begin = std::max(at, mine_.begin) - at;
    part.slab.end = std::min(borders_[text + 1], mine_.end) - at;
    PutGlobals(&part);
    parts.push_back(std::move(part));
  }
  return parts;
}

// ---- their queries ------------------------------------------------------------------------------

template <class T>
void WindowHalo::ForwardGlobals(Context& context, const View<T, 2>& qg, const View<const T, 2>& kvg,
                                const Saved<T>& saved, const View<T, 2>& out) const {
  const idx_t count = globals(), width = columns_.all(), ranks = group_->size();
  const idx_t cells = count * width, sums = columns_.heads * count;
  const std::vector<SeenRows> list = GlobalRows(), outs = RowsOfAll(count),
                              lses = RowsOfAll(columns_.heads);
  HaloExchange<T> queries(context, *group_, ExchangeKind::kGlobals, list, qg, qg, 0, width);
  queries.Send();
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(cells) + Arena::Bytes<float>(sums) +
                                          Arena::Bytes<float>(ranks * cells) +
                                          Arena::Bytes<float>(ranks * sums));
  const View<float, 2> part(frame.Take<float>(cells), qg.extent);
  const View<float, 2> lse(frame.Take<float>(sums), {columns_.heads, count});
  const View<float, 2> all(frame.Take<float>(ranks * cells), {ranks * count, width});
  const View<float, 2> all_lse(frame.Take<float>(ranks * sums), {ranks * columns_.heads, count});
  // Texts of which this rank has no token have no part.
  ForEachRow(context, columns_.heads, [&](idx_t h) {
    std::fill_n(&lse(h, 0), count, -std::numeric_limits<float>::infinity());
  });
  queries.Fill();
  for (const Piece& piece : PartsWithGlobals()) {
    const idx_t first = FirstGlobal(piece), own = piece.slab.Globals();
    const View<const T, 2> q = qg.Rows(first, own);
    const View<const T, 2> kv = kvg.Rows(QueryRow(piece), piece.slab.Queries());
    const View<float, 3> its(lse.data, {1, columns_.heads, count});
    GlobalForward(
        context, SpecOf(piece), piece.slab,
        GlobalQkvOf<T>{PartOfHeads(q, 0, columns_), PartOfHeads(kv, 0, columns_),
                       PartOfHeads(kv, 1, columns_)},
        RolesOf(piece),
        AttentionSaved{PartOfHeads(part.Rows(first, own), 0, columns_), Part(its, 2, first, own)});
  }
  HaloExchange<float> sent(context, *group_, ExchangeKind::kGlobals, outs, part, all, 0, width);
  HaloExchange<float> sent_lse(context, *group_, ExchangeKind::kGlobals, lses, lse, all_lse, 0,
                               count);
  sent.Send();
  sent_lse.Send();
  sent.Fill();
  sent_lse.Fill();
  std::vector<AttentionSaved> parts;
  for (idx_t r = 0; r < ranks; ++r) {
    parts.push_back({PartOfHeads(all.Rows(r * count, count), 0, columns_),
                     {all_lse.data + r * sums, {1, columns_.heads, count}}});
  }
  JoinParts(context, parts, {PartOfHeads(part, 0, columns_), saved.lse});
  StoreRows(context, part, saved.out);
  const std::vector<std::int32_t> rows = own_global_rows();
  const View<T, 2> mine = saved.out.Rows(own_globals().begin, own_globals().size());
  ForEachRow(context, mine.extent[0], [&](idx_t i) {
    std::copy_n(&mine(i, 0), width, &out(rows[static_cast<std::size_t>(i)], 0));
  });
}

template <class T>
void WindowHalo::BackwardGlobals(Context& context, const View<const T, 2>& qg,
                                 const View<const T, 2>& kvg, const Saved<T>& saved,
                                 const View<const T, 2>& dout, const View<float, 2>& dqg,
                                 const View<float, 2>& dkvg) const {
  const idx_t width = columns_.all();
  const std::vector<SeenRows> list = GlobalRows();
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(qg.size()));
  const View<T, 2> dg(frame.Take<T>(qg.size()), qg.extent);
  const TokenSlab mine = own_globals();
  GatherRows<T>(context, own_global_rows(), dout, dg.Rows(mine.begin, mine.size()));
  HaloExchange<T> gradients(context, *group_, ExchangeKind::kGlobals, list, dg, dg, 0, width);
  gradients.Send();
  gradients.Fill();
  for (const Piece& piece : PartsWithGlobals()) {
    const idx_t first = FirstGlobal(piece), own = piece.slab.Globals();
    const idx_t row = QueryRow(piece), tokens = piece.slab.Queries();
    const View<const T, 2> d = dg.Rows(first, own), kv = kvg.Rows(row, tokens);
    const View<float, 2> dkv = dkvg.Rows(row, tokens);
    GlobalBackward(context, SpecOf(piece), piece.slab,
                   GlobalQkvOf<T>{PartOfHeads(qg.Rows(first, own), 0, columns_),
                                  PartOfHeads(kv, 0, columns_), PartOfHeads(kv, 1, columns_)},
                   RolesOf(piece),
                   AttentionSavedOf<T>{PartOfHeads(saved.out.Rows(first, own), 0, columns_),
                                       Part(saved.lse, 2, first, own)},
                   PartOfHeads(d, 0, columns_),
                   DGlobalQkv{PartOfHeads(dqg.Rows(first, own), 0, columns_),
                              PartOfHeads(dkv, 0, columns_), PartOfHeads(dkv, 1, columns_)});
  }
  HaloExchange<float> parts(context, *group_, ExchangeKind::kGlobals, list, dqg, dqg, 0, width);
  parts.Return();
  parts.Add();
}

#define LONGSPAN_WINDOW_HALO_GLOBALS(T)                                                         \
  template void WindowHalo::ForwardGlobals<T>(                                                  \
      Context&, const View<T, 2>&, const View<const T, 2>&, const Saved<T>&, const View<T, 2>&) \
      const;                                                                                    \
  template void WindowHalo::BackwardGlobals<T>(                                                 \
      Context&, const View<const T, 2>&, const View<const T, 2>&, const Saved<T>&,              \
      const View<const T, 2>&, const View<float, 2>&, const View<float, 2>&) const;
LONGSPAN_WINDOW_HALO_GLOBALS(float)
LONGSPAN_WINDOW_HALO_GLOBALS(bfloat16)
#undef LONGSPAN_WINDOW_HALO_GLOBALS

}  // namespace longspan
