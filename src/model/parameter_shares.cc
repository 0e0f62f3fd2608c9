#include "model/parameter_shares.h"

#include <algorithm>
#include <numeric>

#include "base/math.h"

namespace longspan {
namespace {

// Parameters that one rank updates have at least this share of what a rank has, so that the ranks
// come out alike and messages are not small.
constexpr idx_t kGroupsOfARank = 4;
constexpr idx_t kMostOfAGroup = 16 * ParameterShares::kUnit;
constexpr idx_t kMostOpenPieces = 64;

idx_t Overlap(idx_t begin, idx_t end, idx_t other_begin, idx_t other_end) {
  return std::max<idx_t>(0, std::min(end, other_end) - std::max(begin, other_begin));
}

// A range as pieces of at most `piece`, which is a multiple of kUnit, that end at `front` too.
void CutRange(OwnedRange range, idx_t front, idx_t piece, std::vector<OwnedRange>* into) {
  for (idx_t begin = range.begin; begin < range.end;) {
    idx_t end = std::min(range.end, begin + piece);
    if (begin < front) end = std::min(end, front);
    into->push_back({begin, end, range.owner});
    begin = end;
  }
}

struct TrainedRange {
  std::size_t parameter = 0;
  idx_t begin = 0, end = 0;  // in gradients()
  idx_t size() const { return end - begin; }
};

std::vector<TrainedRange> TrainedRanges(const ParameterTable& table) {
  const idx_t first = table.extent() - table.gradient_extent();
  std::vector<TrainedRange> ranges;
  for (std::size_t i = 0; i < table.list().size(); ++i) {
    const ParameterInfo& info = table.list()[i];
    if (!table.trains(static_cast<ParameterId>(i)) || info.size == 0) continue;
    ranges.push_back({i, info.offset - first, info.offset - first + info.size});
  }
  return ranges;
}

// Neighbours that one rank updates, of about `least` floats or one large parameter; no owner yet.
std::vector<OwnedRange> GroupsOf(std::span<const TrainedRange> trained, idx_t least) {
  std::vector<OwnedRange> groups;
  for (const TrainedRange& range : trained) {
    const bool joins = !groups.empty() && groups.back().size() < least && range.size() < least;
    if (joins) {
      groups.back().end = range.end;
    } else {
      groups.push_back({range.begin, range.end, 0});
    }
  }
  return groups;
}

// The largest first, each to the rank that has least; of equal ones the last, because rank 0 also
// writes files.
void Deal(int ranks, std::vector<OwnedRange>* groups) {
  std::vector<std::size_t> order(groups->size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return (*groups)[a].size() > (*groups)[b].size();
  });
  std::vector<idx_t> load(static_cast<std::size_t>(ranks), 0);
  for (const std::size_t group : order) {
    const auto least = std::min_element(load.rbegin(), load.rend());
    *least += (*groups)[group].size();
    (*groups)[group].owner = static_cast<int>(load.rend() - least) - 1;
  }
}

}  // namespace

ParameterShares::ParameterShares(const ParameterTable& table, ParameterCut cut, int ranks)
    : ranks_(ranks), extent_(table.gradient_extent()) {
  stages_ = table.WholeBegins();
  stages_.push_back(extent_);
  if (ranks == 1) {
    owned_ = sums_ = {{0, extent_, 0}};
    AddParts(table);
    return;
  }
  piece_ = std::clamp(RoundUp(CeilDiv(extent_, kGroupsOfARank * ranks), kUnit), kUnit, kPiece);
  if (cut == ParameterCut::kAnywhere) {
    CutAnywhere(table);
  } else {
    CutWhole(table);
  }
  AddParts(table);
  most_open_ = 2 * static_cast<idx_t>(ranks);
  for (std::size_t stage = 1; stage + 1 < stages_.size(); ++stage) {
    most_open_ = std::max<idx_t>(
        most_open_, std::count_if(sums_.begin(), sums_.end(), [&](const OwnedRange& sum) {
          return sum.begin >= stages_[stage] && sum.begin < stages_[stage + 1];
        }));
  }
  most_open_ = std::min(most_open_, std::max<idx_t>(kMostOpenPieces, ranks));
  most_open_ -= most_open_ % ranks;  // of neighbours in turn each rank then has as many
}

void ParameterShares::CutAnywhere(const ParameterTable& table) {
  const std::vector<TrainedRange> trained = TrainedRanges(table);
  const idx_t front = std::min(extent_, RoundUp(table.StageBegin(1), kUnit));
  std::vector<OwnedRange> pieces;
  CutRange({0, extent_, 0}, front, piece_, &pieces);
  std::erase_if(pieces, [&](const OwnedRange& piece) {
    return std::none_of(trained.begin(), trained.end(), [&](const TrainedRange& range) {
      return Overlap(piece.begin, piece.end, range.begin, range.end) > 0;
    });
  });
  std::size_t number = 0;
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece, ++number) {
    piece->owner = ranks_ - 1 - static_cast<int>(number % static_cast<std::size_t>(ranks_));
    sums_.push_back(*piece);
  }
  owned_ = std::move(pieces);
}

void ParameterShares::CutWhole(const ParameterTable& table) {
  const std::vector<TrainedRange> trained = TrainedRanges(table);
  idx_t count = 0;
  for (const TrainedRange& range : trained) count += range.size();
  owned_ = GroupsOf(trained, std::clamp(count / (kGroupsOfARank * ranks_), kUnit, kMostOfAGroup));
  Deal(ranks_, &owned_);
  const idx_t front = std::min(extent_, RoundUp(table.StageBegin(1), kUnit));
  idx_t next = 0;  // the first unit that nobody adds yet
  for (const OwnedRange& group : owned_) {
    if (group.begin < next * kUnit && sums_.back().owner != group.owner) {
      edges_.push_back(
          {group.begin, std::min(group.end, next * kUnit), sums_.back().owner, group.owner});
    }
    const idx_t begin = std::max(next, group.begin / kUnit), end = CeilDiv(group.end, kUnit);
    if (begin >= end) continue;
    CutRange({begin * kUnit, std::min(extent_, end * kUnit), group.owner}, front, piece_, &sums_);
    next = end;
  }
  std::reverse(sums_.begin(), sums_.end());
}

void ParameterShares::AddParts(const ParameterTable& table) {
  for (const TrainedRange& range : TrainedRanges(table)) {
    offsets_.resize(range.parameter + 1, 0);
    offsets_[range.parameter] = range.begin;
    for (const OwnedRange& owned : owned_) {
      const idx_t begin = std::max(range.begin, owned.begin), end = std::min(range.end, owned.end);
      if (begin >= end) continue;
      parts_.push_back({range.parameter, begin - range.begin, end - range.begin, owned.owner});
    }
  }
}

std::vector<OwnedRange> ParameterShares::Updated() const {
  constexpr idx_t kPadding = 64;  // more than there is between two parameters
  std::vector<OwnedRange> ranges;
  for (const OwnedPart& part : parts_) {
    const idx_t offset = offsets_[part.parameter];
    const OwnedRange next{offset + part.begin, offset + part.end, part.owner};
    const bool joins = !ranges.empty() && ranges.back().owner == next.owner &&
                       next.begin - ranges.back().end < kPadding &&
                       next.end - ranges.back().begin <= kPiece;
    if (joins) {
      ranges.back().end = next.end;
    } else {
      CutRange(next, 0, kPiece, &ranges);
    }
  }
  return ranges;
}

idx_t ParameterShares::SumsIn(idx_t begin, idx_t end) const {
  idx_t count = 0;
  for (const OwnedRange& sum : sums_) count += Overlap(begin, end, sum.begin, sum.end);
  return count;
}

idx_t ParameterShares::MostReceived() const {
  const auto open = static_cast<std::size_t>(most_open_);
  idx_t most = 0;
  for (int rank = 0; rank < ranks_; ++rank) {
    idx_t received = 0;
    const auto own = [&](const OwnedRange& sum) { return sum.owner == rank ? sum.size() : 0; };
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      received += own(sums_[i]);
      if (i >= open) received -= own(sums_[i - open]);
      most = std::max(most, received);
    }
  }
  return most;
}

idx_t ParameterShares::MostResident() const {
  if (ranks_ == 1) return extent_;
  idx_t most = 0;
  for (int rank = 0; rank < ranks_; ++rank) {
    const auto own = [&](idx_t begin, idx_t end) {
      idx_t count = 0;
      for (const OwnedRange& sum : sums_) {
        if (sum.owner == rank) count += Overlap(begin, end, sum.begin, sum.end);
      }
      return count;
    };
    // While a stage is computed, the gradients of the one above it are on their way.
    for (std::size_t stage = 0; stage + 1 < stages_.size(); ++stage) {
      const idx_t begin = stages_[stage];
      const idx_t end =
          std::min(extent_, stages_[std::min(stage + 2, stages_.size() - 1)] + piece_);
      most = std::max(most, own(0, extent_) + end - begin - own(begin, end));
    }
  }
  return most;
}

}  // namespace longspan
