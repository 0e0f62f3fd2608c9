#include "families/reformer/row_halo.h"

#include <algorithm>

#include "base/math.h"
#include "families/reformer/separate_views.h"
#include "model/part_of_heads.h"
#include "model/rows.h"
#include "ops/side_by_side.h"

namespace longspan {

// ---- which chunks -------------------------------------------------------------------------------

std::optional<RowHalo> RowHalo::Of(const BranchCall& call, const ChunkedSpec* chunks) {
  if (call.ranks == nullptr || chunks == nullptr) return std::nullopt;
  if (call.rows != 1 || !call.documents.empty()) return std::nullopt;
  const idx_t count = CeilDiv(call.tokens, chunks->chunk), halo = chunks->before + chunks->after;
  if (count < 2 || count < 1 + halo) return std::nullopt;
  const std::vector<idx_t> borders = call.ranks->Borders(call.tokens);
  for (std::size_t r = 0; r + 1 < borders.size(); ++r) {
    const idx_t slab = borders[r + 1] - borders[r];
    if (borders[r] % chunks->chunk != 0 || halo * chunks->chunk > slab) return std::nullopt;
  }
  return RowHalo(call, *chunks);
}

RowHalo::RowHalo(const BranchCall& call, const ChunkedSpec& spec)
    : ranks_(call.ranks), spec_(spec), tokens_(call.tokens), own_(call.own()) {
  for (const idx_t token : call.ranks->Borders(call.tokens)) {
    borders_.push_back(CeilDiv(token, spec.chunk));
  }
}

idx_t RowHalo::keys() const {
  return (spec_.before + chunks_of(ranks_->rank()) + spec_.after) * spec_.chunk;
}

idx_t RowHalo::most_keys() const {
  idx_t most = 0;
  for (int r = 0; r < ranks_->size(); ++r) most = std::max(most, chunks_of(r));
  return (spec_.before + most + spec_.after) * spec_.chunk;
}

BranchCall RowHalo::CallOfRooms(const BranchCall& call) const {
  BranchCall rooms = call;
  rooms.ranks = nullptr;
  rooms.tokens = most_keys();
  rooms.mask = {};
  return rooms;
}

idx_t RowHalo::ChunkOf(int rank, idx_t room) const {
  const idx_t count = borders_.back();
  return (borders_[static_cast<std::size_t>(rank)] - spec_.before + room + count) % count;
}

idx_t RowHalo::RoomOf(int owner, idx_t chunk) const {
  return chunk - borders_[static_cast<std::size_t>(owner)] + spec_.before;
}

int RowHalo::OwnerOf(idx_t chunk) const {
  const auto next = std::upper_bound(borders_.begin(), borders_.end(), chunk);
  return static_cast<int>(next - borders_.begin() - 1);
}

// The rooms of each rank's halo.
std::vector<SeenRows> RowHalo::Seen() const {
  std::vector<SeenRows> seen;
  for (int rank = 0; rank < ranks_->size(); ++rank) {
    const idx_t own_end = spec_.before + chunks_of(rank);
    for (idx_t room = 0; room < own_end + spec_.after; ++room) {
      if (room >= spec_.before && room < own_end) continue;
      const idx_t chunk = ChunkOf(rank, room);
      const int owner = OwnerOf(chunk);
      seen.push_back({owner, rank, RoomOf(owner, chunk) * spec_.chunk, room * spec_.chunk,
                      std::min(spec_.chunk, tokens_ - chunk * spec_.chunk)});
    }
  }
  return seen;
}

double RowHalo::InnerFlop(double each, idx_t width) const {
  const Chunks inner = Inner();
  const idx_t pairs =
      (inner.last - inner.first) * spec_.chunk * spec_.chunk * (spec_.before + 1 + spec_.after);
  return each * static_cast<double>(pairs) * static_cast<double>(width);
}

RowHalo::Chunks RowHalo::Inner() const {
  const auto r = static_cast<std::size_t>(ranks_->rank());
  const idx_t first = borders_[r] + spec_.before, last = borders_[r + 1] - spec_.after;
  return {first, std::max(first, last)};
}

template <class Run>
void RowHalo::EachBorder(const Run& run) const {
  const auto r = static_cast<std::size_t>(ranks_->rank());
  const Chunks inner = Inner();
  if (inner.first == inner.last) return run(Chunks{borders_[r], borders_[r + 1]});
  if (borders_[r] < inner.first) run(Chunks{borders_[r], inner.first});
  if (inner.last < borders_[r + 1]) run(Chunks{inner.last, borders_[r + 1]});
}

// ---- attention ----------------------------------------------------------------------------------

// The calls of a rank's chunks.
template <class T>
class RowHalo::Slabs {
 public:
  Slabs(Context& context, const RowHalo& halo, const MechanismCall& call,
        const AttentionTensorsOf<T>& rooms)
      : context_(context),
        halo_(halo),
        rooms_(rooms),
        own_(halo.Own(rooms)),
        spec_(halo.spec_),
        frame_(context.arena(), Arena::Bytes<std::uint8_t>(call.mask.empty() ? 0 : halo.keys())) {
    spec_.dropout = rooms.DropoutOf(call.dropout);
    if (call.mask.empty()) return;
    // Behind the end of a short chunk nothing is read.
    auto* mask = frame_.template Take<std::uint8_t>(halo.keys());
    for (idx_t t = 0; t < halo.keys(); ++t) {
      const idx_t chunk = halo.ChunkOf(halo.ranks_->rank(), t / spec_.chunk);
      mask[t] = call.mask(0, std::min(chunk * spec_.chunk + t % spec_.chunk, halo.tokens_ - 1));
    }
    mask_ = KeyMask(mask, {1, halo.keys()});
  }

  void Forward(const Chunks& chunks) const {
    const Place at = PlaceOf(chunks);
    ChunkedForward(context_, spec_, at.slab, Inputs(at), Mask(at), Saved(at));
  }
  void Backward(const Chunks& chunks, const View<float, 2>& dprojected) const {
    const Place at = PlaceOf(chunks);
    const DQkv gradients = {
        Part(own_.Part(dprojected.Rows(halo_.first_own(), halo_.own_), 0), 2, at.query, at.queries),
        Part(rooms_.Part(dprojected, 1), 2, at.key, at.keys),
        Part(rooms_.Part(dprojected, 2), 2, at.key, at.keys)};
    ChunkedBackward(context_, spec_, at.slab, Inputs(at), Mask(at), Saved(at),
                    Part(own_.DOut(), 2, at.query, at.queries), gradients);
  }

 private:
  struct Place {
    ChunkedSlab slab;
    idx_t query, queries, key, keys;
  };
  Place PlaceOf(const Chunks& chunks) const {
    const ChunkedSlab slab = {halo_.tokens_, chunks.first, chunks.last};
    const idx_t at =
        (halo_.RoomOf(halo_.ranks_->rank(), chunks.first) - spec_.before) * spec_.chunk;
    return {slab, at, slab.Queries(spec_), at, slab.Keys(spec_)};
  }
  QkvOf<T> Inputs(const Place& at) const {
    return {Part(own_.Input(0), 2, at.query, at.queries), Part(rooms_.Input(1), 2, at.key, at.keys),
            Part(rooms_.Input(2), 2, at.key, at.keys)};
  }
  KeyMask Mask(const Place& at) const { return Part(mask_, 1, at.key, at.keys); }
  AttentionSavedOf<T> Saved(const Place& at) const {
    AttentionSavedOf<T> saved;
    saved.out = Part(own_.Out(), 2, at.query, at.queries);
    saved.lse = Part(own_.statistics[0], 2, at.query, at.queries);
    saved.delta = Part(own_.delta, 2, at.query, at.queries);
    return saved;
  }

  Context& context_;
  const RowHalo& halo_;
  const AttentionTensorsOf<T> rooms_, own_;
  ChunkedSpec spec_;
  Arena::Frame frame_;
  KeyMask mask_;
};

template <class T>
void RowHalo::Forward(Context& context, const MechanismCall& call,
                      const AttentionTensorsOf<T>& rooms) const {
  // Keys and values stand side by side behind the queries.
  const std::vector<SeenRows> seen = Seen();
  HaloExchange<T> exchange(context, *ranks_, ExchangeKind::kHalos, seen, rooms.projected,
                           rooms.projected, rooms.width(), 2 * rooms.width());
  exchange.Send(InnerFlop(kForwardFlop, rooms.width()));
  const Slabs<T> slabs(context, *this, call, rooms);
  const Chunks inner = Inner();
  if (inner.first < inner.last) slabs.Forward(inner);
  exchange.Fill();
  EachBorder([&](const Chunks& chunks) { slabs.Forward(chunks); });
}

template <class T>
void RowHalo::Backward(Context& context, const MechanismCall& call,
                       const AttentionTensorsOf<T>& rooms, const View<float, 2>& dprojected) const {
  const std::vector<SeenRows> seen = Seen();
  HaloExchange<float> exchange(context, *ranks_, ExchangeKind::kHalos, seen, dprojected, dprojected,
                               rooms.width(), 2 * rooms.width());
  const Slabs<T> slabs(context, *this, call, rooms);
  EachBorder([&](const Chunks& chunks) { slabs.Backward(chunks, dprojected); });
  exchange.Return(InnerFlop(kBackwardFlop, rooms.width()));
  const Chunks inner = Inner();
  if (inner.first < inner.last) slabs.Backward(inner, dprojected);
  exchange.Add();
}

#define LONGSPAN_ROW_HALO(T)                                                                       \
  template void RowHalo::Forward<T>(Context&, const MechanismCall&, const AttentionTensorsOf<T>&)  \
      const;                                                                                       \
  template void RowHalo::Backward<T>(Context&, const MechanismCall&, const AttentionTensorsOf<T>&, \
                                     const View<float, 2>&) const;
LONGSPAN_ROW_HALO(float)
LONGSPAN_ROW_HALO(bfloat16)
#undef LONGSPAN_ROW_HALO

}  // namespace longspan
