// base, tensor, parallel: what everything stands on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <vector>

#include "base/arena.h"
#include "base/bfloat16.h"
#include "base/errors.h"
#include "base/huge_pages.h"
#include "base/isa.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "base/rng.h"
#include "base/scratch_layout.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "parallel/parallel_for.h"
#include "parallel/task_shares.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Runs `call`, which must throw an Error, and returns it.
template <class Call>
Error Thrown(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kIo, "");
}

// --- random numbers

TEST(Philox, KnownAnswers) {  // Random123's own vectors for philox4x32-10
  constexpr std::uint64_t kOnes = ~std::uint64_t{0};
  EXPECT_THAT(Philox(0, 0, 0), ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(Philox(kOnes, kOnes, kOnes),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(Philox(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x0370734413198a2eu),
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

TEST(Philox, KeysOfPurposesDiffer) {
  EXPECT_NE(DeriveKey(1, 0), DeriveKey(1, 1));
  EXPECT_NE(DeriveKey(1, 0), DeriveKey(2, 0));
}

TEST(Rng, ResumesFromItsState) {
  Rng first(7);
  for (int i = 0; i < 5; ++i) first.Bits64();
  Rng second(first.key(), first.next());
  EXPECT_EQ(first.Bits64(), second.Bits64());
}

TEST(Rng, BelowCoversItsRangeEvenly) {
  Rng rng(11);
  std::array<int, 10> counts{};
  for (int i = 0; i < 100000; ++i) ++counts[static_cast<std::size_t>(rng.Below(10))];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);  // five sigma
}

TEST(Rng, NormalHasItsMomentsAndDependsOnTheIndexOnly) {
  constexpr idx_t kCount = 1000003;
  std::vector<float> values(kCount), part(5);
  FillNormal(13, 2.0f, values.data(), kCount);
  double sum = 0.0, squares = 0.0;
  for (const float value : values) {
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(squares / kCount, 4.0, 0.03);
  FillNormal(13, 2.0f, part.data(), 5);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(part[i], values[i]);
}

TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  const Dropout dropout{0.25f, 99};
  constexpr idx_t kCount = 1 << 20;
  idx_t dropped = 0;
  for (idx_t i = 0; i < kCount; ++i) {
    const float factor = dropout.Factor(i);
    ASSERT_TRUE(factor == 0.0f || factor == dropout.scale());
    dropped += factor == 0.0f;
  }
  EXPECT_NEAR(static_cast<double>(dropped) / kCount, 0.25, 0.003);
  EXPECT_FALSE(Dropout{}.active());
}

// --- bfloat16

// Between two neighbours of the upper half, floats are ordered like their lower halves, and the
// midpoint is 0x8000: that says what each of the 2^32 must become.
// Rounding looks at the lower half and at the last bit of the upper one: every upper half meets the
// lower halves around each change, and some meet all.
TEST(Bfloat16, RoundsEveryFloatToNearestEven) {
  const auto wrong = [](std::uint32_t upper, std::uint32_t lower) {
    const bool finite = (upper & 0x7f80u) != 0x7f80u, infinite = (upper & 0x7fffu) == 0x7f80u;
    const std::uint32_t got = ToBfloat16(std::bit_cast<float>((upper << 16) | lower)).bits;
    if (finite || (infinite && lower == 0)) {
      return got != upper + (lower > 0x8000u || (lower == 0x8000u && (upper & 1u) != 0));
    }
    // NaN: stays NaN, keeps its sign, is quiet.
    return (got & 0x7fc0u) != 0x7fc0u || (got >> 15) != (upper >> 15);
  };
  constexpr std::uint32_t kHalf = 1u << 16;
  idx_t bad = 0;
  for (std::uint32_t upper = 0; upper < kHalf; ++upper) {
    for (const std::uint32_t lower : {0u, 1u, 0x4000u, 0x7fffu, 0x8000u, 0x8001u, 0xc000u, 0xffffu})
      bad += wrong(upper, lower);
  }
  for (const std::uint32_t upper : {0x0000u, 0x0001u, 0x007fu, 0x3f80u, 0x3f81u, 0x7f7fu, 0x7f80u,
                                    0x7f81u, 0x7fffu, 0x8000u, 0xbf81u, 0xff80u, 0xffffu}) {
    for (std::uint32_t lower = 0; lower < kHalf; ++lower) bad += wrong(upper, lower);
  }
  EXPECT_EQ(bad, 0);
}

TEST(Bfloat16, WidensExactly) {
  for (std::uint32_t bits = 0; bits < (1u << 16); ++bits) {
    const bfloat16 value{static_cast<std::uint16_t>(bits)};
    if (std::isnan(ToFloat(value))) continue;
    ASSERT_EQ(ToBfloat16(ToFloat(value)).bits, value.bits);
  }
  EXPECT_EQ(ToFloat({0x3f80}), 1.0f);
  EXPECT_EQ(ToBfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);  // overflows to infinity
}

// --- arena

TEST(Arena, AlignsAndNests) {
  Arena arena;
  Arena::Frame outer(arena, Arena::Bytes<float>(3) + Arena::Bytes<double>(5));
  float* a = outer.Take<float>(3);
  double* b = outer.Take<double>(5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b) % 64, 0u);
  a[2] = 1.0f;
  b[4] = 2.0;
  void* first = nullptr;
  {
    Arena::Frame inner(arena, 1 << 20);
    first = inner.TakeBytes(1 << 20);
    std::fill_n(static_cast<char*>(first), 1 << 20, char{-1});
  }
  EXPECT_EQ(a[2], 1.0f);
  EXPECT_EQ(b[4], 2.0);
  Arena::Frame again(arena, 1 << 20);
  EXPECT_EQ(again.TakeBytes(1 << 20), first);
}

// --- how much memory there is

// A tree of files as the kernel has them, below a folder of its own.
class FakeSystem {
 public:
  FakeSystem() {
    std::string name = (std::filesystem::temp_directory_path() / "longspan-test-XXXXXX").native();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    root_ = name;
  }
  ~FakeSystem() { std::filesystem::remove_all(root_); }
  FakeSystem(const FakeSystem&) = delete;
  FakeSystem& operator=(const FakeSystem&) = delete;
  void Put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::uint64_t Limit() const { return SystemMemoryLimit(root_); }

 private:
  std::string root_;
};

TEST(MemoryLimit, LeastOfGroupsAndMachine) {
  FakeSystem system;
  EXPECT_EQ(system.Limit(), std::numeric_limits<std::uint64_t>::max());  // nothing says anything
  system.Put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
  EXPECT_EQ(system.Limit(), std::uint64_t{16} << 30);
  // Version 2: the group has no limit, the one that it lies in has.
  system.Put("/proc/self/cgroup", "0::/user/me.scope\n");
  system.Put("/sys/fs/cgroup/user/me.scope/memory.max", "max\n");
  EXPECT_EQ(system.Limit(), std::uint64_t{16} << 30);
  system.Put("/sys/fs/cgroup/user/memory.max", "2000000000\n");
  EXPECT_EQ(system.Limit(), 2'000'000'000u);
  // A container that sees its group as the root.
  system.Put("/sys/fs/cgroup/memory.max", "1500000000\n");
  EXPECT_EQ(system.Limit(), 1'500'000'000u);
  // Version 1, whose "no limit" is a number near 2^63.
  system.Put("/proc/self/cgroup", "3:cpu,cpuacct:/x\n7:memory:/docker/abc\n");
  system.Put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(system.Limit(), 1'500'000'000u);
  system.Put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "700000000\n");
  EXPECT_EQ(system.Limit(), 700'000'000u);
  system.Put("/proc/self/cgroup", "nonsense\n::\n0::\n");
  EXPECT_EQ(system.Limit(), 1'500'000'000u);
}

// Leaves the process, with 0 when the limit of its addresses is seen.
[[noreturn]] void LeaveWithLimit() {
  constexpr std::uint64_t kSpace = std::uint64_t{3} << 30;
  rlimit space{};
  space.rlim_cur = space.rlim_max = kSpace;
  const bool seen = setrlimit(RLIMIT_AS, &space) == 0 && MemoryLimit() <= kSpace &&
                    SystemMemoryLimit("/nowhere") == kSpace;
  std::_Exit(seen ? 0 : 1);
}

// In a child: the limit holds for the whole process.
TEST(MemoryLimit, KnowsTheAddressSpace) {
  EXPECT_EXIT(LeaveWithLimit(), testing::ExitedWithCode(0), "");
}

TEST(MemoryLimit, RefusalsNameBothNumbers) {
  SetMemoryLimit(20'000'000'000);
  EXPECT_EQ(MemoryLimit(), 20'000'000'000u);
  EXPECT_NO_THROW(CheckMemory("model", 20'000'000'000));
  const Error error = Thrown([] { CheckMemory("model: 3 layers", 412'000'000'000); });
  EXPECT_EQ(error.code(), ErrorCode::kLimit);
  EXPECT_THAT(error.what(), HasSubstr("model: 3 layers: needs 412 GB, limit 20 GB"));
  SetMemoryLimit(0);
  EXPECT_EQ(MemoryLimit(), SystemMemoryLimit());
}

TEST(MemoryLimit, SizesDoNotOverflow) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  constexpr idx_t kLargest = std::numeric_limits<idx_t>::max();
  EXPECT_EQ(SaturatingProduct({3, 4, 5}), 60u);
  EXPECT_EQ(SaturatingProduct({kLargest, 2}), kMost - 1);
  EXPECT_EQ(SaturatingProduct({kLargest, 3}), kMost);
  EXPECT_EQ(SaturatingProduct({idx_t{1} << 32, idx_t{1} << 32, 1}), kMost);
  EXPECT_EQ(SaturatingProduct({kLargest, kLargest, 0}), 0u);
  EXPECT_EQ(SaturatingSum({kMost - 1, 1}), kMost);
  EXPECT_EQ(SaturatingSum({kMost, 1}), kMost);
  EXPECT_EQ(BytesText(0), "0 bytes");
  EXPECT_EQ(BytesText(999), "999 bytes");
  EXPECT_EQ(BytesText(1500), "1.5 kB");
  EXPECT_EQ(BytesText(999'999), "1 MB");
  EXPECT_EQ(BytesText(412'345'000'000), "412 GB");
  EXPECT_EQ(BytesText(kMost), "18.4 EB");
}

// While it lives the process gets 1 GiB of addresses more, too few for an arena's range.
class FewAddresses {
 public:
  FewAddresses() {
    getrlimit(RLIMIT_AS, &before_);
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit few = before_;
    few.rlim_cur = pages * static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE)) + (rlim_t{1} << 30);
    setrlimit(RLIMIT_AS, &few);
  }
  ~FewAddresses() { setrlimit(RLIMIT_AS, &before_); }
  FewAddresses(const FewAddresses&) = delete;
  FewAddresses& operator=(const FewAddresses&) = delete;

 private:
  rlimit before_{};
};

struct TwoArrays {
  idx_t rows = 0;
  float* scores = nullptr;
  void* terms = nullptr;
  std::uint16_t* unused = nullptr;
};

// What is booked is what is taken, to the byte, and every thread's arrays lie apart.
TEST(ScratchLayout, BooksWhatItTakes) {
  TwoArrays start;
  start.rows = 17;
  const ScratchLayout layout(start, [](TwoArrays& s, const auto& take) {
    take(s.scores, s.rows * 3);
    take(s.terms, 65);  // bytes
  });
  EXPECT_EQ(layout.Bytes(), Arena::Bytes<float>(51) + 128);
  Arena arena;
  Arena::Frame frame(arena, 4 * layout.Bytes());
  auto each = layout.TakeEach(frame, 3);
  each.push_back(layout.Take(frame));
  ASSERT_EQ(each.size(), 4u);
  for (std::size_t i = 0; i < each.size(); ++i) {
    EXPECT_EQ(each[i].rows, 17);
    EXPECT_EQ(each[i].unused, nullptr);
    const auto* scores = reinterpret_cast<std::byte*>(each[i].scores);
    const auto* terms = static_cast<std::byte*>(each[i].terms);
    EXPECT_EQ(terms - scores, static_cast<std::ptrdiff_t>(Arena::Bytes<float>(51)));
    const auto* first = reinterpret_cast<std::byte*>(each[0].scores);
    EXPECT_EQ(scores - first, static_cast<std::ptrdiff_t>(i * layout.Bytes()));
  }
  EXPECT_THROW(frame.Take<float>(1), Error);
}

// Frames over frames in one range, and in the blocks that serve where it is refused.
class ArenaMemory : public testing::TestWithParam<bool> {
 protected:
  ArenaMemory() {
    if (GetParam()) few_.emplace();
  }
  std::optional<FewAddresses> few_;
};
INSTANTIATE_TEST_SUITE_P(, ArenaMemory, testing::Bool(),
                         [](const auto& test) { return test.param ? "Blocks" : "Range"; });

TEST_P(ArenaMemory, NestedFramesLieApart) {
  Arena arena;
  Arena::Frame outer(arena, 3 << 20);
  char* a = static_cast<char*>(outer.TakeBytes(3 << 20));
  Arena::Frame middle(arena, 9 << 20);  // of blocks: does not fit behind it
  char* b = static_cast<char*>(middle.TakeBytes(9 << 20));
  Arena::Frame inner(arena, 2 << 20);
  char* c = static_cast<char*>(inner.TakeBytes(2 << 20));
  std::fill_n(a, 3 << 20, 'a');
  std::fill_n(b, 9 << 20, 'b');
  std::fill_n(c, 2 << 20, 'c');
  EXPECT_EQ(std::count(a, a + (3 << 20), 'a'), 3 << 20);
  EXPECT_EQ(std::count(b, b + (9 << 20), 'b'), 9 << 20);
  EXPECT_EQ(arena.capacity(), std::size_t{GetParam() ? 16u : 14u} << 20);  // blocks have rests
}

TEST(Arena, TakingMoreThanBookedThrows) {
  Arena arena;
  Arena::Frame frame(arena, 128);
  frame.Take<float>(16);
  const Error error = Thrown([&] { frame.Take<float>(17); });
  EXPECT_EQ(error.code(), ErrorCode::kLimit);
  EXPECT_THAT(error.what(), HasSubstr("64 left"));
  EXPECT_EQ(Thrown([&] { frame.Take<float>(-1); }).code(), ErrorCode::kLimit);
  frame.Take<float>(16);  // what was booked is still there
}

TEST(Arena, ImpossibleSizesThrowAndLeaveItUsable) {
  Arena arena;
  const auto book = [&](std::size_t bytes) { Arena::Frame frame(arena, bytes); };
  EXPECT_EQ(Thrown([&] { book(~std::size_t{0}); }).code(), ErrorCode::kLimit);
  EXPECT_EQ(Thrown([&] { book(std::size_t{1} << 62); }).code(), ErrorCode::kLimit);
  book(1000);
  EXPECT_EQ(arena.peak(), 1024u);
}

TEST_P(ArenaMemory, RepeatedUseAllocatesNothing) {
  Arena arena;
  const auto step = [&] {
    Arena::Frame outer(arena, 3 << 20);
    Arena::Frame inner(arena, 7 << 20);
    inner.TakeBytes(7 << 20);
    return outer.TakeBytes(3 << 20);
  };
  step();
  const void* second = step();  // blocks: the pieces of the first use become one
  const std::size_t capacity = arena.capacity();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(step(), second);
  EXPECT_EQ(arena.capacity(), capacity);
  EXPECT_EQ(arena.peak(), std::size_t{10} << 20);
  arena.Release();
  EXPECT_EQ(arena.capacity(), 0u);
  EXPECT_EQ(arena.most_capacity(), std::size_t{GetParam() ? 12u : 10u} << 20);
}

// --- instruction sets

TEST(Isa, NamesAreReadBack) {
  for (const Isa isa :
       {Isa::kPortable, Isa::kSse4, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    EXPECT_EQ(ParseIsa(IsaName(isa)), isa);
  }
  const Error error = Thrown([] { ParseIsa("avx3"); });
  EXPECT_EQ(error.code(), ErrorCode::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("'avx3'"));
  EXPECT_THAT(error.what(), HasSubstr("portable, sse4, avx2, avx512, avx512_bf16, amx"));
}

TEST(Isa, CapHoldsFromTheFirstOperationOn) {
  Context context(1);
  const Isa active = ActiveIsa();
  EXPECT_LE(active, DetectedIsa());
  EXPECT_EQ(RunnableIsas().size(), static_cast<std::size_t>(DetectedIsa()) + 1);
  CapIsa(active);  // what holds already may be said again
  if (active == Isa::kPortable) return;
  const Error error = Thrown([] { CapIsa("portable"); });
  EXPECT_EQ(error.code(), ErrorCode::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("portable"));
  EXPECT_THAT(error.what(), HasSubstr(std::string(IsaName(active))));
  EXPECT_EQ(ActiveIsa(), active);
}

// --- views and tensors

TEST(Math, Rounds) {
  EXPECT_EQ(CeilDiv(0, 4), 0);
  EXPECT_EQ(CeilDiv(5, 4), 2);
  EXPECT_EQ(RoundUp(8, 4), 8);
  EXPECT_EQ(RoundUp(9, 4), 12);
}

TEST(View, IndexesWithItsStrides) {
  std::vector<float> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const View<float, 3> view(values.data(), {2, 3, 4});
  EXPECT_EQ(view(1, 2, 3), 23.0f);
  EXPECT_EQ(view[1](2, 3), 23.0f);
  EXPECT_EQ(view.size(), 24);
  EXPECT_TRUE(view.contiguous());
  const View<const float, 2> rows = view[1].Rows(1, 2);
  EXPECT_EQ(rows.extent[0], 2);
  EXPECT_EQ(rows(0, 0), 16.0f);
  const View<float, 2> columns(values.data() + 1, {6, 2}, {4, 1});
  EXPECT_EQ(columns(5, 1), 22.0f);
  EXPECT_FALSE(columns.contiguous());
  EXPECT_TRUE((View<float, 2>{}).empty());
  EXPECT_EQ(ShapeText(view), "(2, 3, 4)");
}

TEST(Tensor, IsAlignedZeroAndTyped) {
  Tensor tensor({3, 5}, DType::kF32);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % 64, 0u);
  EXPECT_EQ(tensor.size(), 15);
  EXPECT_EQ(tensor.bytes(), 60u);
  for (idx_t i = 0; i < 15; ++i) EXPECT_EQ(tensor.data<float>()[i], 0.0f);
  tensor.view<2>()(2, 4) = 7.0f;
  EXPECT_EQ(tensor.data<float>()[14], 7.0f);
  EXPECT_EQ(Thrown([&] { tensor.data<double>(); }).code(), ErrorCode::kUsage);
  EXPECT_THAT(Thrown([&] { tensor.view<3>(); }).what(), HasSubstr("(3, 5)"));
  EXPECT_TRUE(Tensor({0, 7}).empty());
  EXPECT_EQ(Tensor({}, DType::kI64).size(), 1);  // a scalar
}

TEST(Tensor, LargeOnesAreZeroToTheLastElement) {
  for (const idx_t extra : {-1, 0, 1}) {  // around what huge pages are worth
    const Tensor tensor({(idx_t{2} << 20) + extra}, DType::kF32);
    const float* data = tensor.data<float>();
    EXPECT_EQ(std::count(data, data + tensor.size(), 0.0f), tensor.size());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0u);
  }
}

TEST(PageAllocator, ServesContainersAndRefusesTheImpossible) {
  std::vector<int, PageAllocator<int>> numbers(3'000'000, 7);
  numbers.resize(4'000'000, 8);
  EXPECT_EQ(numbers[2'999'999], 7);
  EXPECT_EQ(numbers.back(), 8);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(numbers.data()) % (std::size_t{2} << 20), 0u);
  EXPECT_THROW(PageAllocator<int>().allocate(std::numeric_limits<std::size_t>::max() / 2),
               std::bad_alloc);
}

TEST(Tensor, ShapesThatCannotBeThrow) {
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  EXPECT_EQ(Thrown([] { Tensor({2, -1}); }).code(), ErrorCode::kUsage);
  for (const std::vector<idx_t>& shape : std::vector<std::vector<idx_t>>{
           {kMost, kMost}, {1 << 20, 1 << 20, 1 << 20, 1 << 20}, {kMost}, {kMost / 4}}) {
    const Error error = Thrown([&] { Tensor{shape}; });
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
    EXPECT_THAT(error.what(), HasSubstr(ShapeText(shape)));
  }
}

// --- threads

TEST(ParallelFor, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    const Context context(threads);
    for (const idx_t tasks : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      ParallelFor(context, tasks, [&](idx_t task, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        ++runs[static_cast<std::size_t>(task)];
      });
      for (const auto& count : runs) ASSERT_EQ(count.load(), 1);
    }
  }
}

TEST(TaskShares, OwnTasksComeFirst) {
  const auto taken_by = [](TaskShares& shares, int thread) {
    std::vector<idx_t> taken;
    shares.Run(thread, [&](idx_t task) { taken.push_back(task); });
    return taken;
  };
  {
    TaskShares shares(8, 3);  // [0, 3), [3, 6), [6, 8)
    EXPECT_THAT(taken_by(shares, 1), ElementsAre(3, 4, 5, 6, 7, 0, 1, 2));
    for (int thread = 0; thread < 3; ++thread) {
      EXPECT_THAT(taken_by(shares, thread), testing::IsEmpty());
    }
  }
  {
    TaskShares shares(2, 4);  // threads without a share take others'
    EXPECT_THAT(taken_by(shares, 3), ElementsAre(0, 1));
  }
  {
    // A thread that comes late finds what is left of its share, and no task twice.
    TaskShares shares(8, 2);
    std::vector<idx_t> late;
    shares.Run(0, [&](idx_t task) {
      if (task == 5) late = taken_by(shares, 1);
    });
    EXPECT_THAT(late, ElementsAre(6, 7));
  }
}

TEST(ParallelFor, ThrowsAgainWhatATaskThrew) {
  for (const int threads : {1, 4}) {
    const Context context(threads);
    const auto throws = [&] {
      ParallelFor(context, 100, [](idx_t task, int) {
        if (task >= 50) Fail(ErrorCode::kNumeric, "task {}", task);
      });
    };
    EXPECT_EQ(Thrown(throws).code(), ErrorCode::kNumeric);
    std::atomic<int> runs{0};  // and works afterwards
    ParallelFor(context, 10, [&](idx_t, int) { ++runs; });
    EXPECT_EQ(runs.load(), 10);
  }
}

TEST(ParallelFor, NestedRunsOnTheCallingThread) {
  const Context context(4);
  std::atomic<int> runs{0};
  ParallelFor(context, 8, [&](idx_t, int) {
    ParallelFor(context, 5, [&](idx_t, int thread) {
      EXPECT_EQ(thread, 0);
      ++runs;
    });
  });
  EXPECT_EQ(runs.load(), 40);
}

TEST(Context, RefusesBadThreadCounts) {
  EXPECT_EQ(Thrown([] { Context(-1); }).code(), ErrorCode::kUsage);
  EXPECT_THAT(Thrown([] { Context(5000); }).what(), HasSubstr("5000"));
  EXPECT_THAT(Context(3).Describe(), HasSubstr("3 threads"));
}

}  // namespace
}  // namespace longspan
