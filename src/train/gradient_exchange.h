// The gradients of several ranks on their way: each rank adds those that it owns, and no other.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "longspan/context.h"
#include "longspan/world.h"
#include "model/parameter_shares.h"
#include "train/gradient_sum.h"
#include "world/transport.h"

namespace longspan {

// One update's exchange at a time: Begin, SendFrom as often as wanted, Finish.
class GradientSum::Exchange {
 public:
  // `saves_memory`: what this rank has sent and does not own is given back.
  Exchange(World& world, idx_t micros, std::shared_ptr<const ParameterShares> shares, int row_ranks,
           bool saves_memory);
  // Memory that messages still point at is given back: nothing moves them any more.
  ~Exchange() { WorldAccess::DriveMessages(world_, ExchangeKind::kGradients, false); }

  // `own`: this rank's nodes in order. Result and last node are in own.back(), the gradients.
  void Begin(ParameterTable& table, std::vector<float*> own);
  bool begun() const { return !own_.empty(); }

  // make_whole(range) is called before a part of the last node is sent.
  using MakeWhole = std::function<void(const OwnedRange& range)>;
  // The last node is whole from `begin` on, but for make_whole. Does not wait; to save memory it
  // waits until what was whole at the call before is sent and added.
  void SendFrom(const Context& context, idx_t begin, const MakeWhole& make_whole);
  // Afterwards the gradients are the sums where this rank owns them, and zero elsewhere.
  void Finish(const Context& context, const MakeWhole& make_whole);

 private:
  struct Part {
    MicroRange node;
    float* values;  // of the range
  };
  // A part of the gradients on its way to its owner.
  struct Open {
    std::size_t number;  // of the sums
    OwnedRange range;
    std::vector<std::unique_ptr<Message>> messages;
    std::vector<float> received;  // the others' nodes, on the owner
  };

  // What can be done without waiting.
  void Proceed(const Context& context, const MakeWhole& make_whole);
  Open SendNodes(std::size_t number);
  // All nodes of a range become their sum in own_.back(): a tree for each of the ranks that share
  // rows, and then these one after another.
  void AddNodes(const Context& context, Open* open);
  std::vector<std::vector<Part>> PartsOf(Open* open);
  float* TreeOf(const Context& context, int j, const std::vector<std::vector<Part>>& all,
                idx_t size) const;
  void ExchangeEdges();
  // Sets what this rank does not own to zero.
  void ClearOthers(const Context& context);
  void Clear(const Context& context, idx_t begin, idx_t end);

  World& world_;
  const idx_t micros_;
  const std::shared_ptr<const ParameterShares> shares_;
  const int row_ranks_;
  const bool saves_memory_;
  std::vector<std::vector<MicroRange>> nodes_;  // by rank
  ParameterTable* table_ = nullptr;
  std::vector<float*> own_;  // empty between two updates
  std::size_t next_ = 0;     // of the sums: the first one that was not sent
  idx_t whole_from_ = 0;     // of the gradients, in this update
  std::vector<Open> open_;
};

// Tags of messages: up to the gradients' limit (world/transport.h), and in order where two are the
// same.
enum class SharedTag { kNodes = 0, kEdges = 1, kWeights = 2 };
constexpr int kTagsOfShares = 10'000;
inline int TagOf(std::size_t number, SharedTag kind) {
  return 3 * static_cast<int>(number % kTagsOfShares) + static_cast<int>(kind);
}

}  // namespace longspan
