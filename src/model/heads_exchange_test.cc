// Rows of some heads and some rows of all heads, with threads as ranks.
#include "model/heads_exchange.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "model/heads_in_groups.h"
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

// ---- groups -------------------------------------------------------------------------------------

// What a group's attention gets and gives: three parts there, their sum back.
void CheckGroupsOfHeads(World& world, int ranks, idx_t rows, idx_t heads) {
  constexpr idx_t kSize = 2;
  Context context(1);
  RowGroup group(world, ranks);
  const HeadsInGroups groups(&group, rows, {1, heads, kSize}, 1.0);
  const TokenSlab mine = group.Mine(rows);
  const idx_t own = HeadsOf(&group, heads).count * kSize, all = heads * kSize;
  std::vector<float> from(static_cast<std::size_t>(mine.size() * 3 * all)),
      there(static_cast<std::size_t>(rows * 3 * own)), back(there.size() / 3),
      to(from.size() / 3, -1.0f);
  const View<float, 2> slab(from.data(), {mine.size(), 3 * all}),
      out(to.data(), {mine.size(), all});
  const View<float, 2> in(there.data(), {rows, 3 * own}), given(back.data(), {rows, own});
  for (idx_t t = 0; t < mine.size(); ++t) {
    for (idx_t c = 0; c < 3 * all; ++c) slab(t, c) = Cell(mine.begin + t, c);
  }
  std::vector<std::uint64_t> sent;
  groups.Run<float, float>(context, 1.0, 3, slab, in, 1, given, out, [&](idx_t g) {
    sent.push_back(group.bytes_sent());
    const HeadShare share = groups.Share(g);
    const idx_t width = share.count * kSize;
    const View<float, 2> got = groups.Part(in, 3, g), gives = groups.Part(given, 1, g);
    for (idx_t t = 0; t < rows; ++t) {
      for (idx_t c = 0; c < width; ++c) {
        gives(t, c) = 0.0f;
        for (idx_t p = 0; p < 3; ++p) {
          ASSERT_EQ(got(t, p * width + c), Cell(t, p * all + share.first * kSize + c));
          gives(t, c) += got(t, p * width + c);
        }
      }
    }
  });
  for (idx_t t = 0; t < mine.size(); ++t) {
    for (idx_t c = 0; c < all; ++c) ASSERT_EQ(out(t, c), 3 * Cell(mine.begin + t, c + all));
  }
  // The next one is on its way before the first one is computed; then the one before goes back.
  std::uint64_t ahead = 0;
  for (idx_t g = 0; g < std::min<idx_t>(2, groups.count()); ++g) {
    for (int r = 0; r < ranks; ++r) {
      const HeadShare share = HeadsOf(r, ranks, heads, {g, groups.count()});
      const auto cells = static_cast<std::uint64_t>(mine.size() * 3 * share.count * kSize);
      if (r != world.rank()) ahead += cells * sizeof(float);
    }
  }
  ASSERT_EQ(std::ssize(sent), groups.count());
  EXPECT_EQ(sent[0], ahead);
  for (std::size_t g = 1; g < sent.size(); ++g) EXPECT_GT(sent[g], sent[g - 1]);
}

TEST(HeadsInGroups, OneTravelsWhileAnotherIsComputed) {
  for (const int ranks : {2, 3}) {
    for (const idx_t heads : {3, 4, 7, 12}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, " << heads << " heads");
      OnRanks(ranks, [&](World& world) { CheckGroupsOfHeads(world, ranks, 11, heads); });
    }
  }
}

TEST(HeadsInGroups, CutsTheHeadsOfAllRanks) {
  const auto count = [](int ranks, idx_t heads) {
    RowGroup group(0, ranks);
    return HeadsInGroups(&group, 16, {1, heads, 1}, 1.0).count();
  };
  EXPECT_EQ(count(2, 12), 4);
  EXPECT_EQ(count(4, 12), 3);
  EXPECT_EQ(count(5, 12), 2);
  EXPECT_EQ(count(7, 12), 1);
  EXPECT_EQ(HeadsInGroups(nullptr, 16, {1, 12, 1}, 1.0).count(), 1);
  EXPECT_EQ(HeadsInGroups(nullptr, 16, {1, 12, 1}, 1.0).Share(0).count, 12);
}

// All but the first group's way there and the last one's way back, beside the work of all.
TEST(HeadsInGroups, ARehearsalTellsWhatTravelsBesideAttention) {
  RowGroup group(1, 2);
  Context context = Context::Rehearsal(1);
  Arena::Frame frame(context.arena(), 1 << 20);
  const auto take = [&](idx_t rows, idx_t columns) {
    return View<float, 2>(frame.Take<float>(rows * columns), {rows, columns});
  };
  const HeadsInGroups groups(&group, 16, {1, 8, 2}, 1000.0);
  groups.Run<float, float>(context, 4.0, 3, take(8, 48), take(16, 24), 1, take(16, 8), take(8, 16),
                           [](idx_t) {});
  // Half of three columns there and one back of eight tokens.
  EXPECT_EQ(group.bytes_sent(), 4 * 8 * 8 * sizeof(float));
  EXPECT_EQ(group.bytes_beside(), 3 * 8 * 8 * sizeof(float));
  EXPECT_EQ(group.flop_beside(), 4.0 * 1000.0 * 4 * 2);
}

}  // namespace
}  // namespace longspan
