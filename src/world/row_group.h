// Ranks that share rows: each holds the streams of a slab of neighbouring tokens, and only
// attention needs those of the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "longspan/types.h"
#include "longspan/world.h"

namespace longspan {

class Message;

// Tokens [begin, end) of the N = B*T tokens of a batch, over all rows in order.
struct TokenSlab {
  idx_t begin = 0, end = 0;
  idx_t size() const { return end - begin; }
};

// kUsage unless groups of `row_ranks` are all of the world's ranks.
void CheckGroups(int ranks, int row_ranks);

// R ranks, neighbours in the world, of which this process is one. Context::SplitRows gives it to
// the layers. All ranks of a group see the same batch: ids, roles, labels, documents.
//
// Calls marked "together" are made by every rank of the group, in the same order. They throw kPeer
// as World's do.
class RowGroup {
 public:
  // This process's group of `ranks` neighbours; kUsage as CheckGroups. The world must outlive this.
  RowGroup(World& world, int ranks);
  // Rank `rank` of a group without messages, for rehearsals alone: its calls count what they would
  // send, and do nothing else.
  RowGroup(int rank, int ranks);
  RowGroup(const RowGroup&) = delete;
  RowGroup& operator=(const RowGroup&) = delete;

  int rank() const { return rank_; }  // in the group
  int size() const { return size_; }  // R
  bool is_first() const { return rank_ == 0; }
  bool rehearses() const { return world_ == nullptr; }
  // Bytes that this rank has sent to the others of its group.
  std::uint64_t bytes_sent() const { return sent_; }
  // A rehearsal says instead of sending that so many bytes would go; and of its bytes, how many go
  // while so much is computed.
  void CountRehearsed(std::uint64_t bytes) { sent_ += bytes; }
  void CountBeside(std::uint64_t bytes, double flop);
  std::uint64_t bytes_beside() const { return beside_; }
  double flop_beside() const { return flop_beside_; }

  // Which of n tokens a rank has: as many as any other, or almost. Long batches are cut at
  // multiples of kUnit, the usual chunk. Of fewer tokens than ranks some ranks have none.
  static constexpr idx_t kUnit = 64;
  TokenSlab SlabOf(idx_t n, int rank) const;
  TokenSlab Mine(idx_t n) const { return SlabOf(n, rank_); }
  // (R + 1): where the slabs begin, and n.
  std::vector<idx_t> Borders(idx_t n) const;

  // ---- together

  // Memory for or from one rank.
  struct Piece {
    void* data = nullptr;
    std::size_t bytes = 0;
  };
  // Messages on their way. Wait before it ends: it may be destroyed earlier only when the run ends.
  class Pending {
   public:
    Pending();  // nothing
    Pending(Pending&&) noexcept;
    Pending& operator=(Pending&&) noexcept;
    ~Pending();
    bool Done();  // does not wait
    void Wait();  // kPeer

   private:
    friend class RowGroup;
    void Close();
    RowGroup* group_ = nullptr;
    ExchangeKind kind_ = ExchangeKind::kRows;
    std::vector<std::unique_ptr<Message>> messages_;
  };
  // Sends sends[r] to each rank r of the group and fills receives[r] from it. What this rank sends
  // itself is copied now. Both sides name the same number of bytes; where that is 0, nothing is
  // sent, so halos go to neighbours alone. Memory stays as it is until the end. Messages move on
  // while this thread computes. Bytes and the time of Wait count for `kind`.
  [[nodiscard]] Pending Exchange(ExchangeKind kind, std::span<const Piece> sends,
                                 std::span<const Piece> receives);
  // These count for ExchangeKind::kRows. Each value becomes the sum over the group, added in the
  // order of the ranks: the same bits on all. Takes R times their memory.
  void Sum(std::span<double> values);
  void Sum(std::span<float> values);
  // The largest value of any rank, on all.
  double Max(double value);
  // Rank `from`'s memory is copied to the others of the group.
  void Broadcast(void* data, std::size_t bytes, int from = 0);

 private:
  template <class T>
  void SumOf(std::span<T> values);

  World* world_ = nullptr;  // null: no messages
  int rank_, size_, first_ = 0;
  int open_ = 0;  // Pendings that were not waited for
  std::uint64_t sent_ = 0, beside_ = 0;
  double flop_beside_ = 0.0;
};

}  // namespace longspan
