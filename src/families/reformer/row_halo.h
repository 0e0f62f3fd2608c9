// Chunked attention where ranks share a row (world/row_group.h): each attends with the queries of
// its own chunks, and gets of others the keys and values that their windows reach, the halo. The
// chunks that see nothing of it are computed while it travels.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/arena.h"
#include "families/reformer/attention_mechanism.h"
#include "families/reformer/residual_branch.h"
#include "model/halo_exchange.h"
#include "ops/chunked_attention/chunked_slab.h"
#include "world/row_group.h"

namespace longspan {

// Which chunks of one row each rank has, and which it sees. A rank's keys lie as ChunkedSlab has
// them: a room of `chunk` tokens for each chunk that it sees, in order, its own ones in the middle.
class RowHalo {
 public:
  // Nothing where slabs are no halo's: several rows or documents, slabs that cut a chunk, rows of
  // no more chunks than a window, and halos larger than a slab, for which heads travel more
  // cheaply. The same answer on all ranks. `chunks`: null, the mechanism is another one.
  static std::optional<RowHalo> Of(const BranchCall& call, const ChunkedSpec* chunks);

  const ChunkedSpec& spec() const { return spec_; }
  idx_t own() const { return own_; }  // tokens
  // Where the own keys begin, and rows of all rooms; of the rank with the largest slab.
  idx_t first_own() const { return spec_.before * spec_.chunk; }
  idx_t keys() const;
  idx_t most_keys() const;
  // The call of a layer whose tensors have all rooms, as if they were one row.
  BranchCall CallOfRooms(const BranchCall& call) const;
  // This rank's tokens of such tensors: out, dout, statistics and delta have them from row 0 on,
  // projected in the middle.
  template <class T>
  AttentionTensorsOf<T> Own(const AttentionTensorsOf<T>& rooms) const {
    AttentionTensorsOf<T> own = rooms;
    own.tokens = own_;
    own.projected = rooms.projected.Rows(first_own(), own_);
    own.out = rooms.out.Rows(0, own_);
    own.dout = rooms.dout.Rows(0, own_);
    own.statistics.extent[3] = own_;
    own.delta.extent[2] = own_;
    return own;
  }

  // Computes out and statistics of the own tokens from `rooms`, of which projected has the own
  // tokens; it gets the others. Together.
  template <class T>
  void Forward(Context& context, const MechanismCall& call,
               const AttentionTensorsOf<T>& rooms) const;
  // dprojected (most_keys(), P H D), zeroed, gets the gradients of the own tokens. `rooms` is what
  // the forward left. Together.
  template <class T>
  void Backward(Context& context, const MechanismCall& call, const AttentionTensorsOf<T>& rooms,
                const View<float, 2>& dprojected) const;

 private:
  RowHalo(const BranchCall& call, const ChunkedSpec& spec);

  idx_t chunks_of(int rank) const {
    const auto r = static_cast<std::size_t>(rank);
    return borders_[r + 1] - borders_[r];
  }
  // The chunk of a rank's room; the room of a chunk among its owner's.
  idx_t ChunkOf(int rank, idx_t room) const;
  idx_t RoomOf(int owner, idx_t chunk) const;
  int OwnerOf(idx_t chunk) const;
  std::vector<SeenRows> Seen() const;
  // The own chunks whose windows stay within the slab: a range of them, which may be empty.
  struct Chunks {
    idx_t first, last;
  };
  Chunks Inner() const;
  // Work of these: `each` flop a pair of query and key and channel.
  double InnerFlop(double each, idx_t width) const;
  // run(chunks) for the others.
  template <class Run>
  void EachBorder(const Run& run) const;

  template <class T>
  class Slabs;

  RowGroup* ranks_;
  ChunkedSpec spec_;
  idx_t tokens_, own_;
  std::vector<idx_t> borders_;  // (R + 1): the chunk with which each rank's begin
};

}  // namespace longspan
