// Attention over all tokens where ranks share rows: heads travel in groups
// (model/heads_exchange.h). One is computed while the next one comes and the one before goes back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/arena.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/heads_exchange.h"
#include "world/row_group.h"

namespace longspan {

// How the heads of a rank are cut. The tensors of a group lie together, group after group. Without
// ranks that share rows there is one group, which has all heads.
class HeadsInGroups {
 public:
  // Of N tokens. `columns`: H heads of D channels; parts do not matter. `pairs` of a query and a
  // key that a head looks at: its work, for plans.
  HeadsInGroups(RowGroup* ranks, idx_t tokens, const HeadColumns& columns, double pairs)
      : ranks_(ranks), tokens_(tokens), columns_(columns), pairs_(pairs) {
    if (ranks == nullptr) return;
    // All ranks have as many groups, and each of them some heads. Of four, the first one's way
    // there and the last one's way back are not hidden: a quarter.
    constexpr idx_t kMostGroups = 4;
    count_ = std::clamp<idx_t>(columns.heads / ranks->size(), 1, kMostGroups);
  }

  idx_t count() const { return count_; }
  idx_t channels() const { return columns_.heads * columns_.size; }  // H D
  // The heads of a group, of those of the layer.
  HeadShare Share(idx_t group) const {
    if (ranks_ == nullptr) return {0, columns_.heads};
    return HeadsOf(ranks_->rank(), ranks_->size(), columns_.heads, {group, count_});
  }
  // What a group has of x (N, P h D), of h own heads: (N, P h' D) of its h' heads.
  template <class T>
  View<T, 2> Part(const View<T, 2>& x, idx_t parts, idx_t group) const {
    const idx_t first = Share(group).first - Share(0).first, width = parts * columns_.size;
    return {x.data + tokens_ * first * width, {tokens_, Share(group).count * width}};
  }
  // Of numbers for each own head and token (h N): those of the group's.
  View<float, 1> Part(const View<float, 1>& x, idx_t group) const {
    const idx_t first = Share(group).first - Share(0).first;
    return {x.data + tokens_ * first, {tokens_ * Share(group).count}};
  }

  // Scratch of Run in bytes, for messages of T there and U back.
  template <class T, class U>
  std::size_t Bytes(idx_t parts_there, idx_t parts_back) const {
    std::size_t bytes = 0;
    for (idx_t g = 0; g < count_; ++g) {
      bytes += Exchange(parts_there, g).template Bytes<T>() +
               Exchange(parts_back, g).template Bytes<U>();
    }
    return bytes;
  }
  // With ranks, for each group: `there` (N, P h D) gets its heads from `from` (n, P H D), the rows
  // of this rank's tokens; compute(group); and what that has written to `back` (N, Q h D) goes to
  // `to` (n, Q H D). Together. `flop`: of a pair and channel.
  template <class T, class U, class Compute>
  void Run(Context& context, double flop, idx_t parts_there, const View<const T, 2>& from,
           const View<T, 2>& there, idx_t parts_back, const View<U, 2>& back, const View<U, 2>& to,
           const Compute& compute) const {
    const std::uint64_t sent = ranks_->bytes_sent();
    Arena::Frame frame(context.arena(), Bytes<T, U>(parts_there, parts_back));
    std::vector<HeadsExchange::Flight> coming, going;
    const auto send = [&](idx_t g) {
      coming.push_back(Exchange(parts_there, g)
                           .template ToHeads<T>(context, frame, from, Part(there, parts_there, g)));
    };
    send(0);
    for (idx_t g = 0; g < count_; ++g) {
      if (g + 1 < count_) send(g + 1);
      coming[static_cast<std::size_t>(g)].Wait(context);
      compute(g);
      const View<const U, 2> done = Part(back, parts_back, g);
      going.push_back(Exchange(parts_back, g).template ToSlab<U>(context, frame, done, to));
    }
    for (HeadsExchange::Flight& flight : going) flight.Wait(context);
    if (ranks_->rehearses()) CountBeside(ranks_->bytes_sent() - sent, flop);
  }

 private:
  // All but the first group's way there and the last one's way back.
  void CountBeside(std::uint64_t sent, double flop) const {
    if (count_ == 1) return;
    const idx_t own = HeadsOf(ranks_->rank(), ranks_->size(), columns_.heads).count;
    const auto groups = static_cast<std::uint64_t>(count_);
    ranks_->CountBeside(sent / groups * (groups - 1),
                        flop * pairs_ * static_cast<double>(own * columns_.size));
  }
  HeadsExchange Exchange(idx_t parts, idx_t group) const {
    return {*ranks_, tokens_, {parts, columns_.heads, columns_.size}, {group, count_}};
  }

  RowGroup* ranks_;
  idx_t tokens_;
  HeadColumns columns_;
  double pairs_;
  idx_t count_ = 1;
};

}  // namespace longspan
