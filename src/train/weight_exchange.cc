#include "train/weight_exchange.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "train/gradient_exchange.h"

namespace longspan {
namespace {

// In the place of an exchange that has ended before its time.
class LostValues final : public ValuesToCome {
 public:
  void Await(idx_t, idx_t) override { AwaitAll(); }
  void AwaitAll() override {
    Fail(ErrorCode::kPeer,
         "training: it ended before all updated weights had come from the other ranks: this model "
         "has old and new ones; load a checkpoint");
  }
};

}  // namespace

WeightExchange::WeightExchange(World* world, std::shared_ptr<const ParameterShares> shares)
    : world_(world), shares_(std::move(shares)) {}

WeightExchange::~WeightExchange() {
  if (table_ == nullptr) return;
  static LostValues lost;
  table_->Expect(&lost);
  WorldAccess::DriveMessages(*world_, ExchangeKind::kWeights, false);
}

void WeightExchange::Updated(ParameterTable& table) {
  if (world_ == nullptr) return;
  AwaitAll();
  table_ = &table;
  table.Expect(this);
}

void WeightExchange::Send() {
  if (table_ == nullptr || is_sent_) return;
  is_sent_ = true;
  table_->Expect(nullptr);  // for the writer, after which bf16 weights are rounded anew
  float* const weights = table_->Write().values().data;
  table_->Expect(this);
  const idx_t first = table_->extent() - table_->gradient_extent();
  // All at once: whoever waits for weights does not wait for a call of another rank.
  const std::vector<OwnedRange> ranges = shares_->Updated();
  for (std::size_t number = 0; number < ranges.size(); ++number) {
    const OwnedRange& range = ranges[number];
    const auto bytes = static_cast<std::size_t>(range.size()) * sizeof(float);
    const int tag = TagOf(number, SharedTag::kWeights);
    float* const values = weights + first + range.begin;
    if (range.owner != world_->rank()) {
      arriving_.push_back(
          {first + range.begin, first + range.end,
           WorldAccess::Receive(*world_, ExchangeKind::kWeights, range.owner, tag, values, bytes)});
      continue;
    }
    // Each rank begins with its right neighbour, so that no rank is everybody's first.
    for (int step = 1; step < world_->size(); ++step) {
      const int to = (world_->rank() + step) % world_->size();
      sent_.push_back(WorldAccess::Send(*world_, ExchangeKind::kWeights, to, tag, values, bytes));
    }
  }
  WorldAccess::DriveMessages(*world_, ExchangeKind::kWeights, true);
  DropDone();
}

void WeightExchange::Await(idx_t begin, idx_t end) {
  Check(is_sent_, ErrorCode::kUsage,
        "training: weights are read between an update and the exchange of what ranks have updated");
  auto next = std::partition_point(arriving_.begin() + static_cast<std::ptrdiff_t>(next_arriving_),
                                   arriving_.end(),
                                   [&](const Arriving& arriving) { return arriving.end <= begin; });
  WorldAccess::WaitUntil(*world_, ExchangeKind::kWeights, [&] {
    while (next != arriving_.end() && next->begin < end && next->message->Done()) ++next;
    return next == arriving_.end() || next->begin >= end;
  });
  DropDone();
}

void WeightExchange::AwaitAll() {
  Send();
  if (table_ == nullptr) return;
  WorldAccess::WaitUntil(*world_, ExchangeKind::kWeights, [&] {
    DropDone();
    return table_ == nullptr;
  });
}

void WeightExchange::DropDone() {
  const auto drop = [](const auto& messages, std::size_t* next, const auto& of) {
    while (*next < messages.size() && of(messages[*next])->Done()) ++*next;
    return *next == messages.size();
  };
  const bool arrived =
      drop(arriving_, &next_arriving_, [](const Arriving& a) { return a.message.get(); });
  const bool sent = drop(sent_, &next_sent_, [](const auto& message) { return message.get(); });
  if (!arrived || !sent) return;
  WorldAccess::DriveMessages(*world_, ExchangeKind::kWeights, false);
  arriving_.clear();
  sent_.clear();
  next_arriving_ = next_sent_ = 0;
  is_sent_ = false;
  std::exchange(table_, nullptr)->Expect(nullptr);
}

}  // namespace longspan
