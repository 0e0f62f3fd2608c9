#include "train/shared_update.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/math.h"
#include "ops/adamw/adamw.h"
#include "train/gradient_exchange.h"
#include "train/run_ranks.h"
#include "world/transport.h"

namespace longspan {
namespace {

static_assert(ParameterShares::kUnit == kSquaredBlock, "sums are cut between blocks of the norm");

using Messages = std::vector<std::unique_ptr<Message>>;

bool AreDone(Messages* messages) {
  std::erase_if(*messages, [](const auto& message) { return message->Done(); });
  return messages->empty();
}

void WaitForAll(World& world, Messages* messages) {
  WorldAccess::WaitUntil(world, ExchangeKind::kTogether, [&] { return AreDone(messages); });
}

// call(sum) for each of the sums that a rank owns, in their order.
template <class Call>
void ForSumsOf(int rank, const ParameterShares& shares, const Call& call) {
  for (const OwnedRange& sum : shares.sums()) {
    if (sum.owner == rank) call(sum);
  }
}

}  // namespace

double SharedSquaredNorm(Context& context, World* world, const ParameterShares& shares,
                         const ParameterTable& table) {
  if (world == nullptr) return SquaredNorm(context, table.gradients());
  std::vector<double> blocks(static_cast<std::size_t>(CeilDiv(shares.extent(), kSquaredBlock)));
  std::string own;
  ForSumsOf(world->rank(), shares, [&](const OwnedRange& sum) {
    double* const of_sum = blocks.data() + sum.begin / kSquaredBlock;
    SquaredBlocks(context, {table.gradients().data + sum.begin, {sum.size()}}, of_sum);
    own.append(reinterpret_cast<const char*>(of_sum),
               static_cast<std::size_t>(CeilDiv(sum.size(), kSquaredBlock)) * sizeof(double));
  });
  const std::vector<std::string> all = world->Gather(own);
  for (int rank = 0; rank < world->size(); ++rank) {
    const char* next = all[static_cast<std::size_t>(rank)].data();
    ForSumsOf(rank, shares, [&](const OwnedRange& sum) {
      const auto bytes =
          static_cast<std::size_t>(CeilDiv(sum.size(), kSquaredBlock)) * sizeof(double);
      std::memcpy(blocks.data() + sum.begin / kSquaredBlock, next, bytes);
      next += bytes;
    });
  }
  double total = 0.0;
  for (const double block : blocks) total += block;
  return total;
}

void ClearGradients(World* world, const ParameterShares& shares, ParameterTable& table) {
  float* const gradients = table.gradients().data;
  const int rank = RankIn(world);
  ForSumsOf(rank, shares, [&](const OwnedRange& sum) {
    std::fill(gradients + sum.begin, gradients + sum.end, 0.0f);
  });
  for (const SharedEdge& edge : shares.edges()) {
    if (edge.to == rank) std::fill(gradients + edge.begin, gradients + edge.end, 0.0f);
  }
}

// ---- the state ----------------------------------------------------------------------------------

namespace {

constexpr idx_t kStateChunk = idx_t{1} << 20;  // floats of a message
constexpr std::int64_t kNoSlot = -1;           // rank 0 needs nothing more

// call(begin, end) for the messages of a part.
template <class Call>
void ForStateChunks(const OptimizerState::SlotPart& part, const Call& call) {
  for (idx_t begin = 0; begin < part.size(); begin += kStateChunk) {
    call(begin, std::min(begin + kStateChunk, part.size()));
  }
}

std::size_t StateBytes(idx_t count) { return static_cast<std::size_t>(count) * sizeof(float); }

}  // namespace

SharedState::SharedState(World* world, const OptimizerState& state)
    : world_(world), state_(state) {}

SharedState::~SharedState() {
  if (world_ == nullptr) return;
  try {
    std::int64_t none = kNoSlot;
    world_->Broadcast(&none, sizeof(none));
  } catch (const std::exception&) {
    // A rank has failed: the others know, and this one's next call says so.
  }
}

void SharedState::Write(std::size_t slot, io::ByteSink& sink) {
  const OptimizerState::Slot& wanted = state_.slots()[slot];
  if (world_ != nullptr) {
    auto number = static_cast<std::int64_t>(slot);
    world_->Broadcast(&number, sizeof(number));
  }
  std::vector<float> room;
  std::exception_ptr failed;  // after it the others' messages are received all the same
  const auto write = [&](const float* values, idx_t count) {
    try {
      if (!failed) sink.Write(values, StateBytes(count));
    } catch (...) {
      failed = std::current_exception();
    }
  };
  for (const OptimizerState::SlotPart& part : wanted.parts) {
    if (part.values != nullptr) {
      write(part.values, part.size());
      continue;
    }
    room.resize(static_cast<std::size_t>(std::min(kStateChunk, part.size())), 0.0f);
    ForStateChunks(part, [&](idx_t begin, idx_t end) {
      if (world_ != nullptr) {
        Messages messages;
        messages.push_back(WorldAccess::Receive(*world_, ExchangeKind::kTogether, part.owner,
                                                TagOf(0, SharedTag::kWeights), room.data(),
                                                StateBytes(end - begin)));
        WaitForAll(*world_, &messages);
      }
      write(room.data(), end - begin);
    });
  }
  if (failed) std::rethrow_exception(failed);
}

void ServeState(World& world, const OptimizerState& state) {
  for (;;) {
    std::int64_t slot = kNoSlot;
    world.Broadcast(&slot, sizeof(slot));
    if (slot == kNoSlot) return;
    Messages messages;
    for (const OptimizerState::SlotPart& part :
         state.slots()[static_cast<std::size_t>(slot)].parts) {
      if (part.owner != world.rank()) continue;
      ForStateChunks(part, [&](idx_t begin, idx_t end) {
        messages.push_back(WorldAccess::Send(world, ExchangeKind::kTogether, 0,
                                             TagOf(0, SharedTag::kWeights), part.values + begin,
                                             StateBytes(end - begin)));
      });
    }
    WaitForAll(world, &messages);
  }
}

}  // namespace longspan
