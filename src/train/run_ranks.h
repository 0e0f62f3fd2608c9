// What the ranks of a training agree on. With one process all of it costs nothing.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/ranks.h"
#include "longspan/world.h"
#include "train/gradient_sum.h"
#include "train/train_task.h"
#include "world/row_group.h"

namespace longspan {

// The rank of this process, and how many there are; null: one process.
inline int RankIn(const World* world) { return world == nullptr ? 0 : world->rank(); }
inline int RanksIn(const World* world) { return world == nullptr ? 1 : world->size(); }

// All functions behind Notes are called by all ranks together. kPeer.
class RunRanks {
 public:
  explicit RunRanks(const Context& context);

  World* world() const { return world_; }  // null: one process
  // The ranks that share this one's rows; null: none do.
  RowGroup* row_group() const { return group_; }
  int row_ranks() const { return group_ == nullptr ? 1 : group_->size(); }
  bool many() const { return world_ != nullptr; }
  bool first() const { return world_ == nullptr || world_->is_first(); }

  // Lines for people about how many there are, and how many threads each has.
  std::vector<std::string> Notes(int threads, idx_t accumulate) const;

  // Waits until all have come.
  void Meet() const;
  bool Any(bool own) const;    // whether one of them says so
  bool First(bool own) const;  // what rank 0 says
  // All evaluate, together where the task shares its batches (train/eval_batches.h). What rank 0
  // found counts for all; none where it was stopped.
  using Evaluation = std::optional<TaskEvaluation>;
  Evaluation FromFirst(const std::function<Evaluation()>& evaluate) const;
  // The losses of this rank's micro-batches become those of all, in their order. Ranks that share
  // rows have the same ones.
  void Gather(std::vector<TaskLoss>* losses) const;
  // CheckSameFacts (longspan/ranks.h).
  using Facts = RankFacts;
  void CheckSame(const Facts& facts) const;
  // The end, because of something that all know: nobody misses the others afterwards.
  void EndTogether() const;

 private:
  World* world_;
  RowGroup* group_;
};

// What this rank waits for in an update, and what it has sent since the one before. With one
// process it does nothing.
class UpdateExchanges {
 public:
  explicit UpdateExchanges(World* world) : world_(world) {}  // null: one process
  void BeginUpdate();
  // The update took so many seconds. Fills the event's fields about ranks, and tells the other
  // ranks of its step.
  void EndUpdate(double seconds, TrainEvent* event);

 private:
  World* world_;
  ExchangeCounts at_begin_{}, at_end_{};  // of this update, of the one before
};

// A checksum of all values of a table. Reads them once.
std::string WeightsChecksum(const ParameterTable& weights);

// kUsage unless the ranks divide into groups that share rows, and each group has a micro-batch.
void CheckMicroBatches(const World* world, idx_t accumulate, int row_ranks);

// While it lives, `row_ranks` ranks share the calls of models that get the context
// (Context::SplitRows). kUsage as CheckGroups.
class SharedRows {
 public:
  SharedRows(Context& context, int row_ranks);
  ~SharedRows() { context_.SplitRows(nullptr); }
  SharedRows(const SharedRows&) = delete;
  SharedRows& operator=(const SharedRows&) = delete;

 private:
  Context& context_;
  std::optional<RowGroup> group_;
};

}  // namespace longspan
