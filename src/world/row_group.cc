#include "world/row_group.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "world/transport.h"

namespace longspan {

void CheckGroups(int ranks, int row_ranks) {
  Check(
      row_ranks >= 1 && ranks % row_ranks == 0, ErrorCode::kUsage,
      "row-ranks: {} does not divide the number of ranks, {}; start a multiple of it with mpirun, "
      "or give another --row-ranks",
      row_ranks, ranks);
}

RowGroup::RowGroup(World& world, int ranks) : world_(&world), size_(ranks) {
  CheckGroups(world.size(), ranks);
  rank_ = world.rank() % ranks;
  first_ = world.rank() - rank_;
}

RowGroup::RowGroup(int rank, int ranks) : rank_(rank), size_(ranks) {}

void RowGroup::CountBeside(std::uint64_t bytes, double flop) {
  beside_ += bytes;
  flop_beside_ += flop;
}

TokenSlab RowGroup::SlabOf(idx_t n, int rank) const {
  // A slab of a long batch may have one unit more than another: 6 %.
  constexpr idx_t kUnitsOfLong = 16;
  const idx_t unit = n >= kUnitsOfLong * kUnit * size_ ? kUnit : 1;
  const auto border = [&](idx_t r) { return r == size_ ? n : n / unit * r / size_ * unit; };
  return {border(rank), border(rank + 1)};
}

std::vector<idx_t> RowGroup::Borders(idx_t n) const {
  std::vector<idx_t> borders = {0};
  for (int r = 0; r < size_; ++r) borders.push_back(SlabOf(n, r).end);
  return borders;
}

// ---- messages -----------------------------------------------------------------------------------

RowGroup::Pending::Pending() = default;

RowGroup::Pending::Pending(Pending&& other) noexcept
    : group_(std::exchange(other.group_, nullptr)),
      kind_(other.kind_),
      messages_(std::move(other.messages_)) {}

RowGroup::Pending& RowGroup::Pending::operator=(Pending&& other) noexcept {
  Close();
  group_ = std::exchange(other.group_, nullptr);
  kind_ = other.kind_;
  messages_ = std::move(other.messages_);
  return *this;
}

RowGroup::Pending::~Pending() { Close(); }

void RowGroup::Pending::Close() {
  messages_.clear();
  RowGroup* group = std::exchange(group_, nullptr);
  if (group == nullptr || --group->open_ > 0) return;
  WorldAccess::DriveMessages(*group->world_, ExchangeKind::kRows, false);
}

bool RowGroup::Pending::Done() {
  std::erase_if(messages_, [](const auto& message) { return message->Done(); });
  return messages_.empty();
}

void RowGroup::Pending::Wait() {
  if (group_ == nullptr) return;
  WorldAccess::WaitUntil(*group_->world_, kind_, [this] { return Done(); });
  Close();
}

RowGroup::Pending RowGroup::Exchange(ExchangeKind kind, std::span<const Piece> sends,
                                     std::span<const Piece> receives) {
  Pending pending;
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) sent_ += sends[static_cast<std::size_t>(r)].bytes;
  }
  if (world_ == nullptr) return pending;
  const auto call = [&](int r, const Piece& piece, bool sent) {
    auto* memory = static_cast<char*>(piece.data);
    for (std::size_t at = 0; at < piece.bytes; at += kMostMessageBytes) {
      const std::size_t bytes = std::min(kMostMessageBytes, piece.bytes - at);
      pending.messages_.push_back(
          sent ? WorldAccess::Send(*world_, kind, first_ + r, RowTag(kind), memory + at, bytes)
               : WorldAccess::Receive(*world_, kind, first_ + r, RowTag(kind), memory + at, bytes));
    }
  };
  for (int r = 0; r < size_; ++r) {
    const Piece& to = sends[static_cast<std::size_t>(r)];
    const Piece& from = receives[static_cast<std::size_t>(r)];
    if (r != rank_) {
      call(r, from, false);
    } else if (to.bytes > 0 && to.data != from.data) {
      std::memcpy(from.data, to.data, to.bytes);
    }
  }
  // Each rank begins with its right neighbour, so that no rank is everybody's first.
  for (int step = 1; step < size_; ++step) {
    const int r = (rank_ + step) % size_;
    call(r, sends[static_cast<std::size_t>(r)], true);
  }
  if (pending.messages_.empty()) return pending;
  pending.group_ = this;
  pending.kind_ = kind;
  if (open_++ == 0) WorldAccess::DriveMessages(*world_, ExchangeKind::kRows, true);
  return pending;
}

template <class T>
void RowGroup::SumOf(std::span<T> values) {
  if (world_ == nullptr || values.empty()) return;
  const std::size_t count = values.size();
  std::vector<T> all(count * static_cast<std::size_t>(size_));
  std::vector<Piece> sends(static_cast<std::size_t>(size_), {values.data(), values.size_bytes()});
  std::vector<Piece> receives;
  for (int r = 0; r < size_; ++r) {
    receives.push_back({all.data() + static_cast<std::size_t>(r) * count, values.size_bytes()});
  }
  Exchange(ExchangeKind::kRows, sends, receives).Wait();
  std::copy_n(all.begin(), count, values.begin());
  for (std::size_t i = count; i < all.size(); ++i) values[i % count] += all[i];
}

void RowGroup::Sum(std::span<double> values) { SumOf(values); }
void RowGroup::Sum(std::span<float> values) { SumOf(values); }

double RowGroup::Max(double value) {
  std::vector<double> all(static_cast<std::size_t>(size_), 0.0);
  all[static_cast<std::size_t>(rank_)] = value;  // x + 0 is x
  SumOf(std::span<double>(all));
  return *std::max_element(all.begin(), all.end());
}

void RowGroup::Broadcast(void* data, std::size_t bytes, int from) {
  std::vector<Piece> sends(static_cast<std::size_t>(size_)), receives(sends.size());
  if (rank_ == from) {
    for (Piece& piece : sends) piece = {data, bytes};
    sends[static_cast<std::size_t>(rank_)] = {};
  } else {
    receives[static_cast<std::size_t>(from)] = {data, bytes};
  }
  Exchange(ExchangeKind::kRows, sends, receives).Wait();
}

}  // namespace longspan
