#include "train/gradient_exchange.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "train/gradient_parts.h"

namespace longspan {
namespace {

std::size_t FloatBytes(idx_t count) { return static_cast<std::size_t>(count) * sizeof(float); }

}  // namespace

GradientSum::Exchange::Exchange(World& world, idx_t micros,
                                std::shared_ptr<const ParameterShares> shares, int row_ranks,
                                bool saves_memory)
    : world_(world),
      micros_(micros),
      shares_(std::move(shares)),
      row_ranks_(row_ranks),
      saves_memory_(saves_memory) {
  for (int rank = 0; rank < world.size(); ++rank) {
    nodes_.push_back(NodesOf(ShareOf(micros, rank / row_ranks, world.size() / row_ranks), micros));
  }
}

void GradientSum::Exchange::Begin(ParameterTable& table, std::vector<float*> own) {
  table_ = &table;
  own_ = std::move(own);
  next_ = 0;
  whole_from_ = shares_->extent();
}

void GradientSum::Exchange::SendFrom(const Context& context, idx_t begin,
                                     const MakeWhole& make_whole) {
  Check(begin <= whole_from_, ErrorCode::kUsage,
        "training: gradients from {} on were called whole, and now those from {} on: a micro-batch "
        "of several passes needs PassesToCome",
        whole_from_, begin);
  const idx_t before = std::exchange(whole_from_, begin);
  Proceed(context, make_whole);
  const auto sent = [&] {
    const std::vector<OwnedRange>& sums = shares_->sums();
    return (next_ == sums.size() || sums[next_].begin < before) &&
           std::all_of(open_.begin(), open_.end(),
                       [&](const Open& open) { return open.range.begin < before; });
  };
  if (saves_memory_ && !sent()) {
    WorldAccess::WaitUntil(world_, ExchangeKind::kGradients, [&] {
      Proceed(context, make_whole);
      return sent();
    });
  }
  WorldAccess::DriveMessages(world_, ExchangeKind::kGradients, !open_.empty());
}

void GradientSum::Exchange::Finish(const Context& context, const MakeWhole& make_whole) {
  whole_from_ = 0;
  WorldAccess::DriveMessages(world_, ExchangeKind::kGradients, false);
  WorldAccess::WaitUntil(world_, ExchangeKind::kGradients, [&] {
    Proceed(context, make_whole);
    return open_.empty() && next_ == shares_->sums().size();
  });
  ClearOthers(context);
  ExchangeEdges();
  own_.clear();
}

void GradientSum::Exchange::Proceed(const Context& context, const MakeWhole& make_whole) {
  const std::vector<OwnedRange>& sums = shares_->sums();
  std::erase_if(open_, [&](Open& open) {
    std::erase_if(open.messages, [](const auto& message) { return message->Done(); });
    if (!open.messages.empty()) return false;
    if (open.range.owner == world_.rank()) {
      AddNodes(context, &open);
    } else if (saves_memory_) {
      Clear(context, open.range.begin, open.range.end);
    }
    return true;
  });
  // No later than the first one that is still on its way allows: MostReceived counts on it.
  const auto most = static_cast<std::size_t>(shares_->MostOpen());
  for (; next_ < sums.size() && sums[next_].begin >= whole_from_; ++next_) {
    if (!open_.empty() && next_ - open_.front().number >= most) return;
    make_whole(sums[next_]);
    open_.push_back(SendNodes(next_));
  }
}

GradientSum::Exchange::Open GradientSum::Exchange::SendNodes(std::size_t number) {
  Open open{number, shares_->sums()[number], {}, {}};
  const OwnedRange& range = open.range;
  const std::size_t bytes = FloatBytes(range.size());
  const int tag = TagOf(number, SharedTag::kNodes);
  if (range.owner != world_.rank()) {
    for (const float* node : own_) {
      open.messages.push_back(WorldAccess::Send(world_, ExchangeKind::kGradients, range.owner, tag,
                                                node + range.begin, bytes));
    }
    return open;
  }
  std::size_t count = 0;
  for (const auto& nodes : nodes_) count += nodes.size();
  count -= nodes_[static_cast<std::size_t>(world_.rank())].size();
  open.received.resize(count * static_cast<std::size_t>(range.size()));
  float* into = open.received.data();
  for (int rank = 0; rank < world_.size(); ++rank) {
    if (rank == world_.rank()) continue;
    for (std::size_t n = 0; n < nodes_[static_cast<std::size_t>(rank)].size(); ++n) {
      open.messages.push_back(
          WorldAccess::Receive(world_, ExchangeKind::kGradients, rank, tag, into, bytes));
      into += range.size();
    }
  }
  return open;
}

// ---- on the owner -------------------------------------------------------------------------------

void GradientSum::Exchange::AddNodes(const Context& context, Open* open) {
  const idx_t size = open->range.size();
  const std::vector<std::vector<Part>> parts = PartsOf(open);
  const float* sum = TreeOf(context, 0, parts, size);
  for (int j = 1; j < row_ranks_; ++j) {
    float* tree = TreeOf(context, j, parts, size);
    AddGradients(context, sum, 0, size, tree);
    sum = tree;
  }
  float* into = own_.back() + open->range.begin;
  if (sum != into) std::memcpy(into, sum, FloatBytes(size));
}

// The nodes of each rank.
std::vector<std::vector<GradientSum::Exchange::Part>> GradientSum::Exchange::PartsOf(Open* open) {
  std::vector<std::vector<Part>> parts(nodes_.size());
  float* received = open->received.data();
  for (std::size_t rank = 0; rank < nodes_.size(); ++rank) {
    const bool is_own = static_cast<int>(rank) == world_.rank();
    for (std::size_t n = 0; n < nodes_[rank].size(); ++n) {
      parts[rank].push_back({nodes_[rank][n], is_own ? own_[n] + open->range.begin : received});
      if (!is_own) received += open->range.size();
    }
  }
  return parts;
}

// The sum over the micro-batches of what rank j of each group has left.
float* GradientSum::Exchange::TreeOf(const Context& context, int j,
                                     const std::vector<std::vector<Part>>& all, idx_t size) const {
  std::vector<Part> parts;
  for (std::size_t rank = static_cast<std::size_t>(j); rank < all.size();
       rank += static_cast<std::size_t>(row_ranks_)) {
    for (Part part : all[rank]) {
      for (; !parts.empty() && AreSiblings(parts.back().node, part.node, micros_);
           parts.pop_back()) {
        AddGradients(context, parts.back().values, 0, size, part.values);
        part.node.begin = parts.back().node.begin;
      }
      parts.push_back(part);
    }
  }
  return parts.front().values;
}

// ---- at the end ---------------------------------------------------------------------------------

void GradientSum::Exchange::ExchangeEdges() {
  std::vector<std::unique_ptr<Message>> messages;
  float* const gradients = own_.back();
  for (std::size_t i = 0; i < shares_->edges().size(); ++i) {
    const SharedEdge& edge = shares_->edges()[i];
    const int tag = TagOf(i, SharedTag::kEdges);
    const std::size_t bytes = FloatBytes(edge.size());
    if (edge.from == world_.rank()) {
      messages.push_back(WorldAccess::Send(world_, ExchangeKind::kGradients, edge.to, tag,
                                           gradients + edge.begin, bytes));
    } else if (edge.to == world_.rank()) {
      messages.push_back(WorldAccess::Receive(world_, ExchangeKind::kGradients, edge.from, tag,
                                              gradients + edge.begin, bytes));
    }
  }
  WorldAccess::WaitUntil(world_, ExchangeKind::kGradients, [&] {
    std::erase_if(messages, [](const auto& message) { return message->Done(); });
    return messages.empty();
  });
}

void GradientSum::Exchange::ClearOthers(const Context& context) {
  idx_t begin = 0;
  for (auto sum = shares_->sums().rbegin(); sum != shares_->sums().rend(); ++sum) {
    if (sum->owner != world_.rank()) continue;
    Clear(context, begin, sum->begin);
    begin = sum->end;
  }
  Clear(context, begin, shares_->extent());
}

void GradientSum::Exchange::Clear(const Context& context, idx_t begin, idx_t end) {
  if (begin >= end) return;
  if (saves_memory_) return table_->ReleaseGradients(begin, end);
  float* const gradients = table_->gradients().data;
  ForGradientParts(context, begin, end, [&](idx_t from, idx_t to) {
    std::fill(gradients + from, gradients + to, 0.0f);
  });
}

}  // namespace longspan
