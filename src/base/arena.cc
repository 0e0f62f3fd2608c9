#include "base/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/errors.h"

namespace longspan {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kSmallestBlock = std::size_t{4} << 20;

std::size_t RoundUpBytes(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Addresses of a range: no step that fits the machine takes more. A rehearsal's fits no machine.
std::size_t RangeBytes(Arena::Pages pages) {
  if (pages == Arena::Pages::kReserved) return std::size_t{1} << 44;
  const long count = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
  if (count <= 0 || size <= 0) return 0;
  return static_cast<std::size_t>(count) * static_cast<std::size_t>(size) / kHugePage * kHugePage;
}

// Null where the system refuses. `unreserved`: addresses beyond what the system vouches for.
std::byte* MapPages(std::size_t bytes, Arena::Pages pages, bool unreserved) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | (unreserved ? MAP_NORESERVE : 0), -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, bytes, pages == Arena::Pages::kReserved ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
  return static_cast<std::byte*>(memory);
}

}  // namespace

Arena::~Arena() {
  for (const Block& block : blocks_) munmap(block.data, block.bytes);
}

std::size_t Arena::capacity() const {
  std::size_t bytes = 0;
  for (const Block& block : blocks_) bytes += RoundUpBytes(block.reached, kHugePage);
  return bytes;
}

void Arena::Release() {
  if (booked_ != 0) return;
  for (const Block& block : blocks_) munmap(block.data, block.bytes);
  blocks_.clear();
  block_ = used_ = 0;
}

// Makes addresses for `bytes` and all that may come the first block; false where they are refused.
bool Arena::AddRange(std::size_t bytes) {
  const std::size_t range = RangeBytes(pages_);
  if (!blocks_.empty() || bytes > range) return false;
  std::byte* memory = MapPages(range, pages_, true);
  if (memory == nullptr) return false;
  blocks_.push_back({memory, range});
  block_ = used_ = 0;
  return true;
}

// Makes a block with room for `bytes` the current one. Nobody uses what lies behind the current
// block: pieces that were too small on the way up give way to one that is not.
void Arena::AddBlock(std::size_t bytes) {
  const std::size_t next = used_ == 0 ? block_ : block_ + 1;
  while (blocks_.size() > next && blocks_.back().bytes < bytes) {
    munmap(blocks_.back().data, blocks_.back().bytes);
    blocks_.pop_back();
  }
  if (blocks_.size() <= next) {
    const std::size_t want =
        RoundUpBytes(std::max({bytes, booked_ == 0 ? peak_ : 0, kSmallestBlock}), kHugePage);
    std::byte* memory = MapPages(want, pages_, pages_ == Pages::kReserved);
    Check(memory != nullptr, ErrorCode::kLimit,
          "memory: the system refuses {} bytes of scratch ({} already in use); lower the length, "
          "the batch or the threads",
          want, capacity());
    blocks_.push_back({memory, want});
  }
  block_ = blocks_.size() - 1;
  used_ = 0;
}

// Returns `bytes` of contiguous memory behind everything that is booked now.
std::byte* Arena::Book(std::size_t bytes) {
  Check(bytes <= kLargestBooking, ErrorCode::kLimit, "memory: {} bytes of scratch cannot be had",
        bytes);
  Check(limit_ == 0 || bytes + booked_ <= limit_, ErrorCode::kLimit,
        "memory: {} bytes of scratch are needed ({} more are in use), the limit is {} bytes; lower "
        "the length, the batch or the threads",
        bytes, booked_, limit_);
  // When idle, one block of the high-water mark replaces the pieces that grew on the way.
  if (booked_ == 0 && blocks_.size() > 1) Release();
  const bool fits = block_ < blocks_.size() && blocks_[block_].bytes - used_ >= bytes;
  if (!fits && !AddRange(bytes)) AddBlock(bytes);
  Block& block = blocks_[block_];
  std::byte* data = block.data + used_;
  used_ += bytes;
  if (used_ > block.reached) {
    block.reached = used_;
    most_capacity_ = std::max(most_capacity_, capacity());
  }
  booked_ += bytes;
  peak_ = std::max(peak_, booked_);
  return data;
}

Arena::Frame::Frame(Arena& arena, std::size_t bytes)
    : arena_(arena), block_(arena.block_), used_(arena.used_) {
  // Rounding an impossible size would wrap around to a small one; Book refuses it as it is.
  const std::size_t rounded = bytes > kLargestBooking ? bytes : RoundUpBytes(bytes, kAlignment);
  cursor_ = arena.Book(rounded);
  end_ = cursor_ + rounded;
  booked_ = rounded;
}

Arena::Frame::~Frame() {
  arena_.booked_ -= booked_;
  arena_.block_ = block_;
  arena_.used_ = used_;
}

void* Arena::Frame::TakeBytes(std::size_t bytes) {
  // The booking is a multiple of the alignment: what fits, fits rounded up as well.
  Check(bytes <= static_cast<std::size_t>(end_ - cursor_), ErrorCode::kLimit,
        "scratch: {} bytes asked for, {} left of the booking", bytes, end_ - cursor_);
  void* memory = cursor_;
  cursor_ += RoundUpBytes(bytes, kAlignment);
  return memory;
}

}  // namespace longspan
