#include "train/gradient_sum.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "train/gradient_exchange.h"
#include "train/gradient_parts.h"

namespace longspan {
namespace {

idx_t LargestPowerBelow(idx_t n) {
  return static_cast<idx_t>(std::bit_floor(static_cast<std::uint64_t>(n - 1)));
}

}  // namespace

// ---- the tree -----------------------------------------------------------------------------------

// A left child is whole: a power of two of leaves, and stands where two of its size may.
bool AreSiblings(MicroRange left, MicroRange right, idx_t micros) {
  const idx_t size = left.size();
  return std::has_single_bit(static_cast<std::uint64_t>(size)) && left.begin % (2 * size) == 0 &&
         (right.size() == size || (right.size() < size && right.end == micros));
}

MicroRange ShareOf(idx_t micros, int rank, int ranks) {
  return {micros * rank / ranks, micros * (rank + 1) / ranks};
}

namespace {

// Calls after(nodes) behind each leaf of the share, with what its leaves so far have become.
template <class After>
std::vector<MicroRange> Join(MicroRange share, idx_t micros, const After& after) {
  std::vector<MicroRange> nodes;
  for (idx_t micro = share.begin; micro < share.end; ++micro) {
    MicroRange node{micro, micro + 1};
    for (; !nodes.empty() && AreSiblings(nodes.back(), node, micros); nodes.pop_back()) {
      node.begin = nodes.back().begin;
    }
    nodes.push_back(node);
    after(nodes);
  }
  return nodes;
}

}  // namespace

std::vector<MicroRange> NodesOf(MicroRange share, idx_t micros) {
  return Join(share, micros, [](const auto&) {});
}

idx_t KeptGradients(MicroRange share, idx_t micros) {
  std::size_t most = 0;
  Join(share, micros, [&](const std::vector<MicroRange>& nodes) {
    if (nodes.back().end < share.end) most = std::max(most, nodes.size());
  });
  return static_cast<idx_t>(most);
}

double TreeSum(std::span<const double> values) {
  if (values.empty()) return 0.0;
  if (values.size() == 1) return values[0];
  const auto left = static_cast<std::size_t>(LargestPowerBelow(std::ssize(values)));
  return TreeSum(values.first(left)) + TreeSum(values.subspan(left));
}

// ---- in this process ----------------------------------------------------------------------------

GradientSum::GradientSum(World* world, idx_t micros, ParameterTable& table,
                         std::shared_ptr<const ParameterShares> shares, int row_ranks)
    : world_(world != nullptr && world->size() > 1 ? world : nullptr),
      micros_(micros),
      extent_(table.gradients().size()),
      share_(world_ == nullptr
                 ? MicroRange{0, micros}
                 : ShareOf(micros, world_->rank() / row_ranks, world_->size() / row_ranks)) {
  CheckMemory("training: sums of gradients over micro-batches",
              GradientSumBytes(micros, *shares, row_ranks));
  if (world_ == nullptr) return;
  // Several micro-batches of a rank need all gradients in memory in any case.
  const bool saves_memory = share_.size() == 1;
  if (saves_memory) table.ReleaseGradientsOften();
  exchange_ =
      std::make_unique<Exchange>(*world_, micros, std::move(shares), row_ranks, saves_memory);
}

GradientSum::~GradientSum() = default;

void GradientSum::JoinKept(idx_t micro) {
  MicroRange node{micro, micro + 1};
  std::size_t joined = 0;
  for (; joined < kept_.size(); ++joined) {
    const MicroRange left = kept_[kept_.size() - 1 - joined].node;
    if (!AreSiblings(left, node, micros_)) break;
    node.begin = left.begin;
  }
  joined_ = joined;
  last_ = node;
}

std::vector<float*> GradientSum::OwnNodes(float* gradients) {
  std::vector<float*> own;
  for (std::size_t i = 0; i + joined_ < kept_.size(); ++i) {
    own.push_back(kept_[i].values.data<float>());
  }
  own.push_back(gradients);
  return own;
}

GradientSum::Sending GradientSum::SendDuring(Context& context, ParameterTable& table, idx_t micro) {
  if (exchange_ == nullptr || micro + 1 != share_.end) return Sending(nullptr);
  JoinKept(micro);
  float* gradients = table.gradients().data;
  exchange_->Begin(table, OwnNodes(gradients));
  table.OnWhole([this, &context, gradients](idx_t begin) {
    exchange_->SendFrom(context, begin, [&](const OwnedRange& part) {
      AddKept(context, gradients, part.begin, part.end);
    });
  });
  return Sending(&table);
}

void GradientSum::Add(Context& context, ParameterTable& table, idx_t micro) {
  JoinKept(micro);
  if (micro + 1 == share_.end) return;
  float* gradients = table.gradients().data;
  AddKept(context, gradients, 0, extent_);
  for (; joined_ > 0; --joined_) {
    unused_.push_back(std::move(kept_.back().values));
    kept_.pop_back();
  }
  const MicroRange node = last_;
  if (unused_.empty()) unused_.emplace_back(std::vector<idx_t>{extent_});
  kept_.push_back({node, std::move(unused_.back())});
  unused_.pop_back();
  float* saved = kept_.back().values.data<float>();
  ForGradientParts(context, 0, extent_, [&](idx_t begin, idx_t end) {
    std::copy(gradients + begin, gradients + end, saved + begin);
    std::fill(gradients + begin, gradients + end, 0.0f);
  });
}

void GradientSum::AddKept(const Context& context, float* gradients, idx_t begin, idx_t end) {
  for (std::size_t i = 0; i < joined_; ++i) {
    const float* left = kept_[kept_.size() - 1 - i].values.data<float>();
    AddGradients(context, left, begin, end, gradients);
  }
}

void GradientSum::Finish(Context& context, ParameterTable& table) {
  float* gradients = table.gradients().data;
  if (exchange_ == nullptr) {
    AddKept(context, gradients, 0, extent_);
  } else {
    if (!exchange_->begun()) exchange_->Begin(table, OwnNodes(gradients));
    exchange_->Finish(context, [&](const OwnedRange& part) {
      AddKept(context, gradients, part.begin, part.end);
    });
  }
  for (Kept& kept : kept_) unused_.push_back(std::move(kept.values));
  kept_.clear();
  joined_ = 0;
}

// ---- what it takes ------------------------------------------------------------------------------

namespace {

// Of one update: nodes of all ranks together, and those of the rank with fewest and with most.
struct NodeCounts {
  idx_t all = 0, fewest = 0, most = 0;
};

NodeCounts CountNodes(idx_t micros, int ranks, int row_ranks) {
  NodeCounts counts{0, micros, 0};
  for (int rank = 0; rank < ranks; ++rank) {
    const MicroRange share = ShareOf(micros, rank / row_ranks, ranks / row_ranks);
    const idx_t own = std::ssize(NodesOf(share, micros));
    counts.all += own;
    counts.most = std::max(counts.most, own);
    counts.fewest = std::min(counts.fewest, own);
  }
  return counts;
}

}  // namespace

double ExchangedGradients(idx_t micros, int ranks, int row_ranks) {
  const NodeCounts nodes = CountNodes(micros, ranks, row_ranks);
  // Parts of a rank's nodes go to the others, and theirs of its part come.
  const idx_t parts = std::max(nodes.most * (ranks - 1), nodes.all - nodes.fewest);
  return static_cast<double>(parts) / static_cast<double>(ranks);
}

std::size_t GradientSumBytes(idx_t micros, const ParameterShares& shares, int row_ranks) {
  idx_t kept = 0;
  for (int rank = 0; rank < shares.ranks(); rank += row_ranks) {
    const MicroRange share = ShareOf(micros, rank / row_ranks, shares.ranks() / row_ranks);
    kept = std::max(kept, KeptGradients(share, micros));
  }
  const std::uint64_t saved = SaturatingProduct({kept, shares.extent(), 4});
  if (shares.ranks() == 1) return saved;
  const NodeCounts nodes = CountNodes(micros, shares.ranks(), row_ranks);
  return SaturatingSum(
      {saved, SaturatingProduct({nodes.all - nodes.fewest, shares.MostReceived(), 4})});
}

}  // namespace longspan
