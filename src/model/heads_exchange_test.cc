// Rows of some heads and some rows of all heads, with threads as ranks.
#include "model/heads_exchange.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"
#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;

float Cell(idx_t row, idx_t column) { return static_cast<float>(row * 1000 + column); }

// There and back again: what arrives is what was sent, cell by cell.
void CheckWays(World& world, int ranks, idx_t rows, const HeadColumns& columns, HeadGroup part) {
  Context context(1);
  RowGroup group(world, ranks);
  const HeadsExchange exchange(group, rows, columns, part);
  const TokenSlab mine = exchange.mine();
  const idx_t apart = columns.all() + 3;
  std::vector<float> slab(static_cast<std::size_t>(mine.size() * apart));
  std::vector<float> own(static_cast<std::size_t>(rows * exchange.own_columns()));
  const View<float, 2> all(slab.data(), {mine.size(), columns.all()}, {apart, 1});
  const View<float, 2> some(own.data(), {rows, exchange.own_columns()});
  for (idx_t t = 0; t < mine.size(); ++t) {
    for (idx_t c = 0; c < columns.all(); ++c) all(t, c) = Cell(mine.begin + t, c);
  }
  exchange.GatherHeads<float>(context, all, some);
  const HeadShare share = exchange.share();
  const idx_t width = share.count * columns.size;
  for (idx_t t = 0; t < rows; ++t) {
    for (idx_t p = 0; p < columns.parts; ++p) {
      for (idx_t c = 0; c < width; ++c) {
        const idx_t column = (p * columns.heads + share.first) * columns.size + c;
        ASSERT_EQ(some(t, p * width + c), Cell(t, column)) << t << ", " << column;
        some(t, p * width + c) = -Cell(t, column) / 2;
      }
    }
  }
  exchange.ReturnHeads<float>(context, some, all);
  for (idx_t t = 0; t < mine.size(); ++t) {
    for (idx_t c = 0; c < columns.all(); ++c) {
      const idx_t head = c / columns.size % columns.heads;
      bool goes = part.count == 1;  // else only the heads of one group of each rank
      for (int r = 0; r < ranks && part.count > 1; ++r) {
        const idx_t first = columns.heads * r / ranks, end = columns.heads * (r + 1) / ranks;
        const idx_t size = end - first;
        goes = goes || (head >= first + size * part.index / part.count &&
                        head < first + size * (part.index + 1) / part.count);
      }
      const float before = Cell(mine.begin + t, c);
      ASSERT_EQ(all(t, c), goes ? -before / 2 : before);
    }
  }
}

TEST(HeadsExchange, EveryCellArrivesAndComesBack) {
  for (const int ranks : {1, 2, 4}) {
    OnRanks(ranks, [&](World& world) {
      CheckWays(world, ranks, 37, {3, 4, 5}, {});
      CheckWays(world, ranks, 37, {1, 5, 2}, {});  // heads that the ranks do not divide
      CheckWays(world, ranks, 37, {2, 6, 2}, {1, 2});
    });
  }
}

TEST(HeadsExchange, RowsOfBf16GoTheSameWay) {
  OnRanks(2, [](World& world) {
    Context context(2);
    RowGroup group(world, 2);
    const HeadsExchange exchange(group, 6, {1, 3, 2});
    const HeadShare share = exchange.share();
    std::vector<bfloat16> slab, own(static_cast<std::size_t>(6 * share.count * 2));
    for (idx_t t = exchange.mine().begin; t < exchange.mine().end; ++t) {
      for (idx_t c = 0; c < 6; ++c) slab.push_back({static_cast<std::uint16_t>(t * 6 + c)});
    }
    exchange.GatherHeads<bfloat16>(context, {slab.data(), {3, 6}},
                                   {own.data(), {6, share.count * 2}});
    for (idx_t t = 0; t < 6; ++t) {
      for (idx_t c = 0; c < share.count * 2; ++c) {
        const auto at = static_cast<std::size_t>(t * share.count * 2 + c);
        EXPECT_EQ(own[at].bits, t * 6 + share.first * 2 + c);
      }
    }
  });
}

// Rows of global tokens: some ranks have none.
TEST(HeadsExchange, RanksMayHaveNoRows) {
  OnRanks(3, [](World& world) {
    Context context(1);
    RowGroup group(world, 3);
    const HeadsExchange exchange(group, std::vector<idx_t>{0, 0, 2, 2}, {1, 3, 1});
    EXPECT_EQ(exchange.mine().size(), world.rank() == 1 ? 2 : 0);
    std::vector<float> slab = {0, 1, 2, 10, 11, 12}, own(2);
    slab.resize(static_cast<std::size_t>(exchange.mine().size() * 3));
    exchange.GatherHeads<float>(context, {slab.data(), {exchange.mine().size(), 3}},
                                {own.data(), {2, 1}});
    EXPECT_EQ(own[0], static_cast<float>(world.rank()));
    EXPECT_EQ(own[1], static_cast<float>(10 + world.rank()));
    std::fill(slab.begin(), slab.end(), 0.0f);
    exchange.ReturnHeads<float>(context, {own.data(), {2, 1}},
                                {slab.data(), {exchange.mine().size(), 3}});
    if (world.rank() == 1) {
      EXPECT_EQ(slab, (std::vector<float>{0, 1, 2, 10, 11, 12}));
    }
  });
}

// A group is on its way while another one is: what comes back are both.
TEST(HeadsExchange, GroupsOfHeadsTravelAtOnce) {
  OnRanks(2, [](World& world) {
    Context context(1);
    RowGroup group(world, 2);
    const HeadColumns columns{1, 5, 1};
    const HeadsExchange first(group, 4, columns, {0, 2}), second(group, 4, columns, {1, 2});
    std::vector<float> slab(10), back(10);
    for (std::size_t i = 0; i < slab.size(); ++i) slab[i] = static_cast<float>(i + 1);
    std::vector<float> a(static_cast<std::size_t>(4 * first.own_columns())),
        b(static_cast<std::size_t>(4 * second.own_columns()));
    const View<const float, 2> from(slab.data(), {2, 5});
    const View<float, 2> into(back.data(), {2, 5});
    const View<float, 2> own_a(a.data(), {4, first.own_columns()});
    const View<float, 2> own_b(b.data(), {4, second.own_columns()});
    Arena::Frame frame(context.arena(), 2 * (first.Bytes<float>() + second.Bytes<float>()));
    auto flight_a = first.ToHeads<float>(context, frame, from, own_a);
    auto flight_b = second.ToHeads<float>(context, frame, from, own_b);
    flight_a.Wait(context);
    auto back_a = first.ToSlab<float>(context, frame, own_a, into);
    flight_b.Wait(context);
    auto back_b = second.ToSlab<float>(context, frame, own_b, into);
    back_b.Wait(context);
    back_a.Wait(context);
    EXPECT_EQ(back, slab);
  });
}

TEST(HeadsExchange, MoreRanksThanHeadsAreRefused) {
  RowGroup group(0, 4);
  CheckHeadsForRows(&group, 4);
  CheckHeadsForRows(nullptr, 1);
  EXPECT_TRUE(test::Throws([&] { CheckHeadsForRows(&group, 3); }, ErrorCode::kUsage,
                           "row-ranks: 4 ranks share the 3 heads of a layer"));
}

}  // namespace
}  // namespace longspan
