#include "train/gradient_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "parallel/parallel_for.h"
#include "world/transport.h"

namespace longspan {
namespace {

constexpr idx_t kBlock = 1 << 14;   // floats of a task
constexpr idx_t kSliceUnit = 16;    // floats: slices begin on 64-byte boundaries
constexpr idx_t kBucket = 1 << 20;  // floats that are exchanged together: 4 MiB
// Buckets at a time whose nodes are on their way. During a backward pass a bucket gets on at the
// end of a layer only: a layer of the base size has seven.
constexpr std::size_t kOnTheirWay = 8;
constexpr int kTagsOfBuckets = 15'000;

// body(begin, end) for parts of [begin, end).
template <class Body>
void ForParts(const Context& context, idx_t begin, idx_t end, const Body& body) {
  ParallelFor(context, CeilDiv(end - begin, kBlock), [&](idx_t task, int) {
    const idx_t from = begin + task * kBlock;
    body(from, std::min(from + kBlock, end));
  });
}

// y = x + y
void AddTo(const float* x, idx_t begin, idx_t end, float* y) {
  for (idx_t i = begin; i < end; ++i) y[i] = x[i] + y[i];
}

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

// ---- between ranks ------------------------------------------------------------------------------

// A part of the gradients on its way. First each rank gets one slice of it from all others and adds
// their nodes in the order of the tree; then it sends the sum to all.
struct GradientSum::Bucket {
  idx_t begin = 0, end = 0;
  int tag = 0;
  bool summed = false;
  std::vector<std::unique_ptr<Message>> messages;
  std::vector<float> received;  // the others' nodes of this rank's slice
};

class GradientSum::Exchange {
 public:
  // `last`: the gradients before this number are whole last (the embeddings), and go apart from the
  // others, which need not wait for them.
  Exchange(World& world, idx_t micros, idx_t last, idx_t extent, int row_ranks)
      : world_(world), micros_(micros), row_ranks_(row_ranks) {
    for (int rank = 0; rank < world.size(); ++rank) {
      nodes_.push_back(
          NodesOf(ShareOf(micros, rank / row_ranks, world.size() / row_ranks), micros));
    }
    // The backward pass ends at the front of the table: what is whole first goes first.
    const auto cut = [&](idx_t front, idx_t end) {
      for (; end > front; end -= kBucket) parts_.push_back({std::max(front, end - kBucket), end});
    };
    cut(last, extent);
    cut(0, last);
  }
  // Memory that messages still point at is given back: nothing moves them any more.
  ~Exchange() { WorldAccess::DriveMessages(world_, false); }

  // `own`: this rank's nodes in order. Result and last node are in own.back().
  void Begin(std::vector<float*> own) {
    own_ = std::move(own);
    next_ = 0;
    whole_from_ = parts_.empty() ? 0 : parts_.front().end;
  }
  bool begun() const { return !own_.empty(); }

  // The last node is whole from `begin` on, but for make_whole(part), which is called before a part
  // of it is sent. Does not wait.
  template <class MakeWhole>
  void SendFrom(const Context& context, idx_t begin, const MakeWhole& make_whole) {
    Check(
        begin <= whole_from_, ErrorCode::kUsage,
        "training: gradients from {} on were called whole, and now those from {} on: a micro-batch "
        "of several passes needs PassesToCome",
        whole_from_, begin);
    whole_from_ = begin;
    Proceed(context, make_whole);
    WorldAccess::DriveMessages(world_, !open_.empty());
  }

  template <class MakeWhole>
  void Finish(const Context& context, const MakeWhole& make_whole) {
    whole_from_ = 0;
    WorldAccess::DriveMessages(world_, false);
    WorldAccess::WaitUntil(world_, [&] {
      Proceed(context, make_whole);
      return open_.empty() && next_ == parts_.size();
    });
    own_.clear();
  }

 private:
  // What can be done without waiting.
  template <class MakeWhole>
  void Proceed(const Context& context, const MakeWhole& make_whole) {
    for (Bucket& bucket : open_) Advance(context, &bucket);
    std::erase_if(open_, [](const Bucket& b) { return b.summed && b.messages.empty(); });
    auto waiting = static_cast<std::size_t>(
        std::count_if(open_.begin(), open_.end(), [](const Bucket& b) { return !b.summed; }));
    for (; waiting < kOnTheirWay && next_ < parts_.size(); ++waiting, ++next_) {
      if (parts_[next_].begin < whole_from_) return;
      make_whole(parts_[next_]);
      open_.push_back(SendNodes(next_));
    }
  }

  MicroRange Slice(const Bucket& bucket, int rank) const {
    const idx_t units = CeilDiv(bucket.end - bucket.begin, kSliceUnit), ranks = world_.size();
    const auto border = [&](idx_t r) {
      return std::min(bucket.end, bucket.begin + units * r / ranks * kSliceUnit);
    };
    return {border(rank), border(rank + 1)};
  }

  template <class Call>
  void ForOthers(const Call& call) const {
    for (int rank = 0; rank < world_.size(); ++rank) {
      if (rank != world_.rank()) call(rank);
    }
  }

  static std::size_t BytesOf(MicroRange slice) {
    return static_cast<std::size_t>(slice.size()) * sizeof(float);
  }

  Bucket SendNodes(std::size_t part) {
    Bucket bucket;
    bucket.begin = parts_[part].begin;
    bucket.end = parts_[part].end;
    bucket.tag = 2 * static_cast<int>(part % kTagsOfBuckets);
    const MicroRange mine = Slice(bucket, world_.rank());
    std::size_t count = 0;
    ForOthers([&](int rank) { count += nodes_[static_cast<std::size_t>(rank)].size(); });
    bucket.received.resize(count * static_cast<std::size_t>(mine.size()));
    float* into = bucket.received.data();
    ForOthers([&](int rank) {
      const MicroRange slice = Slice(bucket, rank);
      for (std::size_t n = 0; mine.size() > 0 && n < nodes_[static_cast<std::size_t>(rank)].size();
           ++n, into += mine.size()) {
        bucket.messages.push_back(
            WorldAccess::Receive(world_, rank, bucket.tag, into, BytesOf(mine)));
      }
      for (const float* node : own_) {
        if (slice.size() == 0) break;
        bucket.messages.push_back(
            WorldAccess::Send(world_, rank, bucket.tag, node + slice.begin, BytesOf(slice)));
      }
    });
    return bucket;
  }

  void Advance(const Context& context, Bucket* bucket) {
    std::erase_if(bucket->messages, [](const auto& message) { return message->Done(); });
    if (bucket->summed || !bucket->messages.empty()) return;
    AddNodes(context, bucket);
    std::vector<float>().swap(bucket->received);
    const MicroRange mine = Slice(*bucket, world_.rank());
    ForOthers([&](int rank) {
      const MicroRange slice = Slice(*bucket, rank);
      if (mine.size() > 0) {
        bucket->messages.push_back(WorldAccess::Send(world_, rank, bucket->tag + 1,
                                                     own_.back() + mine.begin, BytesOf(mine)));
      }
      if (slice.size() > 0) {
        bucket->messages.push_back(WorldAccess::Receive(world_, rank, bucket->tag + 1,
                                                        own_.back() + slice.begin, BytesOf(slice)));
      }
    });
    bucket->summed = true;
  }

  struct Part {
    MicroRange node;
    float* values;  // of the slice
  };

  // All nodes of this rank's slice become their sum in own_.back(): a tree for each of the ranks
  // that share rows, and then these one after another.
  void AddNodes(const Context& context, Bucket* bucket) {
    const MicroRange mine = Slice(*bucket, world_.rank());
    std::vector<std::vector<Part>> parts = PartsOf(bucket);
    const auto add = [&](const float* from, float* to) {
      ForParts(context, 0, mine.size(),
               [&](idx_t begin, idx_t end) { AddTo(from, begin, end, to); });
    };
    const float* sum = nullptr;
    for (int j = 0; j < row_ranks_; ++j) {
      float* tree = TreeOf(j, parts, add);
      if (sum != nullptr) add(sum, tree);
      sum = tree;
    }
    float* into = own_.back() + mine.begin;
    if (sum != into && mine.size() > 0) std::memcpy(into, sum, BytesOf(mine));
  }

  // The nodes of each rank.
  std::vector<std::vector<Part>> PartsOf(Bucket* bucket) {
    const MicroRange mine = Slice(*bucket, world_.rank());
    std::vector<std::vector<Part>> parts(nodes_.size());
    float* received = bucket->received.data();
    for (std::size_t rank = 0; rank < nodes_.size(); ++rank) {
      const bool is_own = static_cast<int>(rank) == world_.rank();
      for (std::size_t n = 0; n < nodes_[rank].size(); ++n) {
        parts[rank].push_back({nodes_[rank][n], is_own ? own_[n] + mine.begin : received});
        if (!is_own) received += mine.size();
      }
    }
    return parts;
  }

  // The sum over the micro-batches of what rank j of each group has left.
  template <class Add>
  float* TreeOf(int j, const std::vector<std::vector<Part>>& all, const Add& add) const {
    std::vector<Part> parts;
    for (std::size_t rank = static_cast<std::size_t>(j); rank < all.size();
         rank += static_cast<std::size_t>(row_ranks_)) {
      for (Part part : all[rank]) {
        for (; !parts.empty() && AreSiblings(parts.back().node, part.node, micros_);
             parts.pop_back()) {
          add(parts.back().values, part.values);
          part.node.begin = parts.back().node.begin;
        }
        parts.push_back(part);
      }
    }
    return parts.front().values;
  }

  World& world_;
  const idx_t micros_;
  const int row_ranks_;
  std::vector<std::vector<MicroRange>> nodes_;  // by rank
  std::vector<MicroRange> parts_;               // of the gradients, in floats
  std::vector<float*> own_;                     // empty between two updates
  std::size_t next_ = 0;                        // of parts_: the first one that was not sent
  idx_t whole_from_ = 0;                        // of the gradients, in this update
  std::vector<Bucket> open_;
};

// ---- in this process ----------------------------------------------------------------------------

GradientSum::GradientSum(World* world, idx_t micros, const ParameterTable& table, int row_ranks)
    : world_(world != nullptr && world->size() > 1 ? world : nullptr),
      micros_(micros),
      extent_(table.gradients().size()),
      share_(world_ == nullptr
                 ? MicroRange{0, micros}
                 : ShareOf(micros, world_->rank() / row_ranks, world_->size() / row_ranks)) {
  CheckMemory("training: sums of gradients over micro-batches",
              GradientSumBytes(micros, world_ == nullptr ? 1 : world_->size(), extent_, row_ranks));
  if (world_ != nullptr) {
    exchange_ =
        std::make_unique<Exchange>(*world_, micros, table.StageBegin(1), extent_, row_ranks);
  }
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
  exchange_->Begin(OwnNodes(gradients));
  table.OnWhole([this, &context, gradients](idx_t begin) {
    exchange_->SendFrom(context, begin, [&](MicroRange part) {
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
  ForParts(context, 0, extent_, [&](idx_t begin, idx_t end) {
    std::copy(gradients + begin, gradients + end, saved + begin);
    std::fill(gradients + begin, gradients + end, 0.0f);
  });
}

void GradientSum::AddKept(const Context& context, float* gradients, idx_t begin, idx_t end) {
  for (std::size_t i = 0; i < joined_; ++i) {
    const float* left = kept_[kept_.size() - 1 - i].values.data<float>();
    ForParts(context, begin, end, [&](idx_t from, idx_t to) { AddTo(left, from, to, gradients); });
  }
}

void GradientSum::Finish(Context& context, ParameterTable& table) {
  float* gradients = table.gradients().data;
  if (exchange_ == nullptr) {
    AddKept(context, gradients, 0, extent_);
  } else {
    if (!exchange_->begun()) exchange_->Begin(OwnNodes(gradients));
    exchange_->Finish(context,
                      [&](MicroRange part) { AddKept(context, gradients, part.begin, part.end); });
  }
  for (Kept& kept : kept_) unused_.push_back(std::move(kept.values));
  kept_.clear();
  joined_ = 0;
}

double ExchangedGradients(idx_t micros, int ranks, int row_ranks) {
  idx_t nodes = 0, most = 0, fewest = micros;
  for (int rank = 0; rank < ranks; ++rank) {
    const MicroRange share = ShareOf(micros, rank / row_ranks, ranks / row_ranks);
    const idx_t own = std::ssize(NodesOf(share, micros));
    nodes += own;
    most = std::max(most, own);
    fewest = std::min(fewest, own);
  }
  // Slices of a rank's nodes go to the others, and theirs of its slice come. Then sums do.
  const idx_t others = ranks - 1;
  const idx_t slices = others + std::max(most * others, nodes - fewest);
  return static_cast<double>(slices) / static_cast<double>(ranks);
}

std::size_t GradientSumBytes(idx_t micros, int ranks, idx_t extent, int row_ranks) {
  idx_t kept = 0, nodes = 0, fewest = micros;
  for (int rank = 0; rank < ranks; ++rank) {
    const MicroRange share = ShareOf(micros, rank / row_ranks, ranks / row_ranks);
    const idx_t own = std::ssize(NodesOf(share, micros));
    kept = std::max(kept, KeptGradients(share, micros));
    nodes += own;
    fewest = std::min(fewest, own);
  }
  const std::uint64_t saved = SaturatingProduct({kept, extent, 4});
  if (ranks == 1) return saved;
  // Each bucket on its way holds the others' nodes of one slice.
  const idx_t slice = CeilDiv(std::min(extent, kBucket), static_cast<idx_t>(ranks)) + kSliceUnit;
  return SaturatingSum(
      {saved, SaturatingProduct({nodes - fewest, static_cast<idx_t>(kOnTheirWay), slice, 4})});
}

}  // namespace longspan
