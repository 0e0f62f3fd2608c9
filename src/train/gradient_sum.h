// The gradients of an update's micro-batches, added in an order that the update and the number of
// ranks that share a row decide alone: the same bits for any number of ranks.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "longspan/world.h"
#include "model/parameter_shares.h"
#include "model/parameters.h"

namespace longspan {

// Micro-batches [begin, end) of an update; of a tree over all of them, a node.
struct MicroRange {
  idx_t begin = 0, end = 0;
  idx_t size() const { return end - begin; }
};

// The tree over `micros` leaves: a node of n leaves has the largest power of two below n in its
// left child, and the others in its right one. Whether two neighbours are a node's children.
bool AreSiblings(MicroRange left, MicroRange right, idx_t micros);
// The micro-batches that a rank computes: neighbours, so many as any other rank or one more.
MicroRange ShareOf(idx_t micros, int rank, int ranks);
// What becomes of a rank's leaves without the others': as few nodes as there can be, in order.
std::vector<MicroRange> NodesOf(MicroRange share, idx_t micros);
// Gradients that a rank saves at a time while it computes its share: log2 of the share, rounded up.
idx_t KeptGradients(MicroRange share, idx_t micros);
// The sum by the tree.
double TreeSum(std::span<const double> values);

// Adds what the micro-batches leave in a table's gradients. Every update: for each micro-batch of
// share() in order SendDuring while it is computed, and Add after it; then Finish.
class GradientSum {
 public:
  // `world`: null for one process; it must outlive this. The table has its gradients already, all
  // zero, and all later calls are given one of the same size. `shares`: which rank owns which sums.
  // `row_ranks` neighbours share the rows of each micro-batch: the tree is that of what each of
  // them leaves, and the trees' sums are added in the order of these ranks. So the bits are those
  // of `row_ranks`, for any number of ranks.
  GradientSum(World* world, idx_t micros, ParameterTable& table,
              std::shared_ptr<const ParameterShares> shares, int row_ranks = 1);
  ~GradientSum();

  MicroRange share() const { return share_; }
  // While it lives, and `micro` is the share's last, parts of the gradients are sent as soon as the
  // backward pass has made them whole (ParameterTable::OnWhole), on the thread of that pass. The
  // table stays where it is. If the share is one micro-batch, what was sent is given back
  // (ParameterTable::ReleaseGradients), and the pass waits at the end of a stage for the gradients
  // of the one before: so few of them are in memory at a time. kUsage from that pass if it adds to
  // what it had called whole, kPeer. With one process it does nothing.
  class Sending;
  [[nodiscard]] Sending SendDuring(Context& context, ParameterTable& table, idx_t micro);
  // The gradients are those of `micro` alone. They are zero afterwards, unless it is the share's
  // last.
  void Add(Context& context, ParameterTable& table, idx_t micro);
  // The gradients become the sum over all micro-batches of all ranks, where this rank owns them or
  // needs them for its update, and zero elsewhere. Together. kPeer.
  void Finish(Context& context, ParameterTable& table);
  // Gives memory back between two updates.
  void Free() { unused_.clear(); }

 private:
  struct Kept {
    MicroRange node;
    Tensor values;
  };
  class Exchange;

  // The node that `micro` becomes, and how many of kept_ are in it.
  void JoinKept(idx_t micro);
  // This rank's nodes in order; the last one is in the gradients.
  std::vector<float*> OwnNodes(float* gradients);
  // In a part of the gradients: the last micro-batch and those saved nodes that it makes whole.
  void AddKept(const Context& context, float* gradients, idx_t begin, idx_t end);

  World* world_;
  const idx_t micros_, extent_;
  const MicroRange share_;
  std::vector<Kept> kept_;      // nodes of this update, left to right
  std::vector<Tensor> unused_;  // their memory from earlier
  MicroRange last_;             // the node that the gradients themselves hold, once AddKept ran
  std::size_t joined_ = 0;      // the last ones of kept_ that are in that node
  std::unique_ptr<Exchange> exchange_;
};

class GradientSum::Sending {
 public:
  explicit Sending(ParameterTable* table) : table_(table) {}  // null: nothing is sent
  ~Sending() {
    if (table_ != nullptr) table_->OnWhole(nullptr);
  }
  Sending(const Sending&) = delete;
  Sending& operator=(const Sending&) = delete;

 private:
  ParameterTable* table_;
};

// How many times the bytes of all gradients go out of a rank, or come into it, in one update: of
// the rank that has most to do. (R - 1) / R where the shares are whole nodes of R ranks.
double ExchangedGradients(idx_t micros, int ranks, int row_ranks = 1);

// Bytes that a GradientSum takes beside the table on any of the ranks: saved gradients, and parts
// on their way.
std::size_t GradientSumBytes(idx_t micros, const ParameterShares& shares, int row_ranks = 1);

}  // namespace longspan
