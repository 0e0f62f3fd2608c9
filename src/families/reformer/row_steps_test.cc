// Heads that travel between ranks in steps, with threads as ranks.
#include "families/reformer/row_steps.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;

// Every cell goes to the rank that has its head and comes back, in steps that do not divide slabs.
TEST(RowSteps, EveryCellArrivesAndComesBack) {
  constexpr idx_t kRows = 37, kParts = 3, kHeads = 5, kSize = 2;
  const auto cell = [](idx_t row, idx_t part, idx_t head, idx_t d) {
    return static_cast<float>(((row * kParts + part) * kHeads + head) * kSize + d);
  };
  const auto check = [&](World& world, idx_t rows, HeadGroup part) {
    Context context(1);
    RowGroup group(world, world.size());
    const RowSteps steps(group, kRows, rows, kHeads, kSize, part);
    // fill(rank's piece, its tokens, its heads) and the check of the same.
    const auto each = [&](const View<float, 2>& x, idx_t first, int rank, const auto& use) {
      const HeadShare share = steps.share(rank);
      for (idx_t t = 0; t < x.extent[0]; ++t) {
        for (idx_t i = 0; i < x.extent[1]; ++i) {
          const idx_t width = share.count * kSize, p = i / width, h = i % width / kSize;
          use(x(t, i), cell(first + t, p, share.first + h, i % kSize));
        }
      }
    };
    const idx_t columns = steps.Columns(group.rank(), kParts);
    std::vector<float> memory(static_cast<std::size_t>(kRows * columns + 1), -1.0f);
    const View<float, 2> all(memory.data(), {kRows, columns});
    SendHeads<float>(context, steps, all, kParts, [&](idx_t step, const auto& pieces) {
      for (int r = 0; r < group.size(); ++r) {
        each(pieces[static_cast<std::size_t>(r)], steps.Mine(step).begin, r,
             [](float& x, float value) { x = value; });
      }
    });
    each(all, 0, group.rank(), [](float& x, float value) {
      ASSERT_EQ(x, value);
      x = -value;
    });
    idx_t tokens = 0;
    ReceiveHeads<float>(context, steps, all, kParts, [&](idx_t step, const auto& pieces) {
      tokens += steps.Mine(step).size();
      for (int r = 0; r < group.size(); ++r) {
        each(pieces[static_cast<std::size_t>(r)], steps.Mine(step).begin, r,
             [](float x, float value) { ASSERT_EQ(x, -value); });
      }
    });
    EXPECT_EQ(tokens, group.Mine(kRows).size());
  };
  for (const int ranks : {2, 3, 4}) {
    OnRanks(ranks, [&](World& world) {
      for (const idx_t rows : {idx_t{4}, idx_t{100}}) {
        check(world, rows, {});
        check(world, rows, {1, 2});
      }
    });
  }
}

}  // namespace
}  // namespace longspan
