#include "model/heads_exchange.h"

#include <cstring>
#include <utility>

#include "base/errors.h"
#include "model/rows.h"

namespace longspan {
namespace {

// Part `index` of `count` of [0, n): neighbours, as many as any other part has or one more.
HeadShare PartOf(idx_t n, idx_t index, idx_t count) {
  const idx_t first = n * index / count;
  return {first, n * (index + 1) / count - first};
}

}  // namespace

HeadShare HeadsOf(int rank, int ranks, idx_t heads, HeadGroup part) {
  const HeadShare all = PartOf(heads, rank, ranks);
  const HeadShare in = PartOf(all.count, part.index, part.count);
  return {all.first + in.first, in.count};
}

HeadShare HeadsOf(const RowGroup* group, idx_t heads) {
  return group == nullptr ? HeadShare{0, heads} : HeadsOf(group->rank(), group->size(), heads);
}

void CheckHeadsForRows(const RowGroup* group, idx_t heads) {
  Check(group == nullptr || group->size() <= heads, ErrorCode::kUsage,
        "row-ranks: {} ranks share the {} heads of a layer, and each needs one; lower --row-ranks",
        group == nullptr ? 1 : group->size(), heads);
}

HeadsExchange::HeadsExchange(RowGroup& group, idx_t rows, const HeadColumns& columns,
                             HeadGroup part)
    : HeadsExchange(group, group.Borders(rows), columns, part) {}

HeadsExchange::HeadsExchange(RowGroup& group, std::vector<idx_t> borders,
                             const HeadColumns& columns, HeadGroup part, ExchangeKind kind)
    : group_(&group), borders_(std::move(borders)), columns_(columns), part_(part), kind_(kind) {}

HeadShare HeadsExchange::ShareOf(int rank) const {
  return HeadsOf(rank, group_->size(), columns_.heads, part_);
}

TokenSlab HeadsExchange::mine() const {
  const auto r = static_cast<std::size_t>(group_->rank());
  return {borders_[r], borders_[r + 1]};
}

// ---- between a slab's rows and messages ---------------------------------------------------------

template <class Copy>
void HeadsExchange::ForParts(Context& context, int rank, const Copy& copy) const {
  const HeadShare share = ShareOf(rank);
  const idx_t width = share.count * columns_.size;
  if (width == 0) return;
  ForEachRow(context, mine().size(), [&](idx_t t) {
    for (idx_t p = 0; p < columns_.parts; ++p) {
      const idx_t column = (p * columns_.heads + share.first) * columns_.size;
      copy(t, column, (t * columns_.parts + p) * width, width);
    }
  });
}

template <class T>
void HeadsExchange::Pack(Context& context, int rank, const View<const T, 2>& slab,
                         T* packed) const {
  ForParts(context, rank, [&](idx_t t, idx_t column, idx_t at, idx_t cells) {
    std::memcpy(packed + at, &slab(t, column), static_cast<std::size_t>(cells) * sizeof(T));
  });
}

template <class T>
void HeadsExchange::Unpack(Context& context, int rank, const T* packed,
                           const View<T, 2>& slab) const {
  ForParts(context, rank, [&](idx_t t, idx_t column, idx_t at, idx_t cells) {
    std::memcpy(&slab(t, column), packed + at, static_cast<std::size_t>(cells) * sizeof(T));
  });
}

// A group of a rehearsal counts what is sent; one of a training is not there in a rehearsal.
bool HeadsExchange::Sends(const Context& context) const {
  return !context.rehearsal() || group_->rehearses();
}

// ---- the exchange -------------------------------------------------------------------------------

void HeadsExchange::Flight::Wait(Context& context) {
  pending_.Wait();
  if (unpack_) std::exchange(unpack_, nullptr)(context);
}

template <class T>
std::size_t HeadsExchange::Bytes() const {
  std::size_t bytes = 0;
  for (int r = 0; r < group_->size(); ++r) {
    if (r != group_->rank()) bytes += Arena::Bytes<T>(mine().size() * Columns(r));
  }
  return bytes;
}

template <class T>
HeadsExchange::Flight HeadsExchange::ToHeads(Context& context, Arena::Frame& frame,
                                             const View<const T, 2>& slab,
                                             const View<T, 2>& own) const {
  std::vector<RowGroup::Piece> sends, receives;
  for (int r = 0; r < group_->size(); ++r) {
    T* into = own.data + borders_[static_cast<std::size_t>(r)] * own_columns();
    receives.push_back({into, static_cast<std::size_t>(RowsOf(r) * own_columns()) * sizeof(T)});
    const idx_t cells = mine().size() * Columns(r);
    T* packed = r == group_->rank() ? into : frame.Take<T>(cells);
    Pack(context, r, slab, packed);
    sends.push_back({packed, static_cast<std::size_t>(cells) * sizeof(T)});
  }
  Flight flight;
  if (Sends(context)) flight.pending_ = group_->Exchange(kind_, sends, receives);
  return flight;
}

template <class T>
HeadsExchange::Flight HeadsExchange::ToSlab(Context& context, Arena::Frame& frame,
                                            const View<const T, 2>& own,
                                            const View<T, 2>& slab) const {
  std::vector<RowGroup::Piece> sends, receives;
  std::vector<const T*> arrived;
  for (int r = 0; r < group_->size(); ++r) {
    // Only read: Exchange takes both directions in one type.
    T* from = const_cast<T*>(own.data) + borders_[static_cast<std::size_t>(r)] * own_columns();
    if (r == group_->rank()) {
      sends.push_back({});
      receives.push_back({});
      arrived.push_back(from);
      continue;
    }
    sends.push_back({from, static_cast<std::size_t>(RowsOf(r) * own_columns()) * sizeof(T)});
    const idx_t cells = mine().size() * Columns(r);
    T* packed = frame.Take<T>(cells);
    receives.push_back({packed, static_cast<std::size_t>(cells) * sizeof(T)});
    arrived.push_back(packed);
  }
  Flight flight;
  if (Sends(context)) flight.pending_ = group_->Exchange(kind_, sends, receives);
  flight.unpack_ = [exchange = *this, arrived = std::move(arrived), slab](Context& waiting) {
    for (int r = 0; r < exchange.group_->size(); ++r) {
      exchange.Unpack(waiting, r, arrived[static_cast<std::size_t>(r)], slab);
    }
  };
  return flight;
}

template <class T>
void HeadsExchange::GatherHeads(Context& context, const View<const T, 2>& slab,
                                const View<T, 2>& own) const {
  Arena::Frame frame(context.arena(), Bytes<T>());
  ToHeads(context, frame, slab, own).Wait(context);
}

template <class T>
void HeadsExchange::ReturnHeads(Context& context, const View<const T, 2>& own,
                                const View<T, 2>& slab) const {
  Arena::Frame frame(context.arena(), Bytes<T>());
  ToSlab(context, frame, own, slab).Wait(context);
}

#define LONGSPAN_HEADS_EXCHANGE(T)                                                \
  template std::size_t HeadsExchange::Bytes<T>() const;                           \
  template HeadsExchange::Flight HeadsExchange::ToHeads<T>(                       \
      Context&, Arena::Frame&, const View<const T, 2>&, const View<T, 2>&) const; \
  template HeadsExchange::Flight HeadsExchange::ToSlab<T>(                        \
      Context&, Arena::Frame&, const View<const T, 2>&, const View<T, 2>&) const; \
  template void HeadsExchange::GatherHeads<T>(Context&, const View<const T, 2>&,  \
                                              const View<T, 2>&) const;           \
  template void HeadsExchange::ReturnHeads<T>(Context&, const View<const T, 2>&,  \
                                              const View<T, 2>&) const;
LONGSPAN_HEADS_EXCHANGE(float)
LONGSPAN_HEADS_EXCHANGE(bfloat16)
#undef LONGSPAN_HEADS_EXCHANGE

}  // namespace longspan
