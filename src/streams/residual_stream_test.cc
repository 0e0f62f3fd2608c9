#include "streams/residual_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "longspan/error.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;
using testing::HasSubstr;

constexpr float kStep = 0x1p-20f;

// A stream of `rows` x `width` cells, rows `width` + 3 apart: what lies between them stays what it
// is.
class Stream {
 public:
  Stream(StreamCells cells, idx_t rows, idx_t width, float step = kStep)
      : memory_(static_cast<std::size_t>(rows * (width + 3)), 0x7f7f7f7f) {
    stream_.data = memory_.data();
    stream_.extent = {rows, width};
    stream_.stride = width + 3;
    stream_.cells = cells;
    stream_.step = cells == StreamCells::kGrid ? step : 0.0f;
    stream_.out_of_range = &out_of_range_;
    ClearRows(context_, stream_);
  }
  const ResidualStream& operator()() const { return stream_; }
  bool out_of_range() const { return out_of_range_; }
  const std::vector<std::uint32_t>& memory() const { return memory_; }
  std::vector<float> Values() {
    std::vector<float> values(static_cast<std::size_t>(stream_.extent[0] * stream_.extent[1]));
    ReadRows(context_, stream_, {values.data(), stream_.extent});
    return values;
  }

 private:
  Context context_{2};
  std::vector<std::uint32_t> memory_;
  std::atomic<bool> out_of_range_ = false;
  ResidualStream stream_;
};

View<const float, 2> Rows(const std::vector<float>& values, idx_t rows) {
  return {values.data(), {rows, static_cast<idx_t>(values.size()) / rows}};
}

TEST(ResidualStream, GridSumsAreUndoneBitForBit) {
  Context context(2);
  for (const idx_t width : {1, 15, 16, 33, 512}) {
    Stream stream(StreamCells::kGrid, 7, width);
    std::vector<std::vector<float>> terms;
    std::vector<std::vector<std::uint32_t>> states;
    for (std::uint64_t i = 0; i < 40; ++i) {
      terms.push_back(
          RandomNormal(i, 7 * width, std::pow(10.0f, static_cast<float>(i % 9) - 6.0f)));
      states.push_back(stream.memory());
      AddRows(context, Rows(terms.back(), 7), stream());
    }
    EXPECT_FALSE(stream.out_of_range());
    while (!terms.empty()) {
      SubtractRows(context, Rows(terms.back(), 7), stream());
      EXPECT_EQ(stream.memory(), states.back()) << width << " " << terms.size();
      terms.pop_back();
      states.pop_back();
    }
  }
}

// The counterpart: without a grid the same sums do not come back.
TEST(ResidualStream, SumsOfFloatsDoNotComeBack) {
  Context context(1);
  Stream stream(StreamCells::kF32, 7, 33);
  const std::vector<float> start = RandomNormal(1, 7 * 33, 1.0f), f = RandomNormal(2, 7 * 33, 1.0f);
  WriteRows(context, Rows(start, 7), stream());
  AddRows(context, Rows(f, 7), stream());
  SubtractRows(context, Rows(f, 7), stream());
  const std::vector<float> back = stream.Values();
  EXPECT_NE(back, start);
  for (std::size_t i = 0; i < back.size(); ++i) EXPECT_NEAR(back[i], start[i], 1e-6);
}

TEST(ResidualStream, GridHoldsTheNearestMultiple) {
  Context context(1);
  Stream stream(StreamCells::kGrid, 3, 20);
  const std::vector<float> f = RandomNormal(3, 60, 2.0f);
  WriteRows(context, Rows(f, 3), stream());
  const std::vector<float> values = stream.Values();
  for (std::size_t i = 0; i < f.size(); ++i) {
    EXPECT_EQ(values[i], std::nearbyint(f[i] / kStep) * kStep) << i;
  }
}

TEST(ResidualStream, SaysWhatLeavesTheRange) {
  Context context(1);
  const float most = 2147483520.0f * kStep, nan = std::numeric_limits<float>::quiet_NaN();
  const auto left = [&](float start, float term, idx_t width) {
    for (idx_t at = 0; at < width; ++at) {
      Stream stream(StreamCells::kGrid, 2, width);
      std::vector<float> f(static_cast<std::size_t>(2 * width), 0.5f);
      const auto place = static_cast<std::size_t>(width + at);
      f[place] = start;
      AddRows(context, Rows(f, 2), stream());
      if (stream.out_of_range()) ADD_FAILURE() << "the first term alone: " << start;
      f[place] = term;
      AddRows(context, Rows(f, 2), stream());
      if (!stream.out_of_range()) return false;
    }
    return true;
  };
  for (const idx_t width : {1, 19}) {
    EXPECT_TRUE(left(most, 200.0f * kStep, width));
    EXPECT_TRUE(left(-most, -200.0f * kStep, width));
    EXPECT_TRUE(left(0.0f, 2.0f * most, width));
    EXPECT_TRUE(left(0.0f, -3.0f * most, width));
    EXPECT_TRUE(left(0.0f, nan, width));
    EXPECT_TRUE(left(0.0f, std::numeric_limits<float>::infinity(), width));
    EXPECT_FALSE(left(most, -most, width));
    EXPECT_FALSE(left(0.5f * most, 0.4f * most, width));
  }
}

// bf16: one of the two neighbours, each as likely as it is near.
TEST(ResidualStream, HalvesAreRightOnAverage) {
  Context context(2);
  constexpr idx_t kRows = 64, kWidth = 512;
  for (const float value : {1.001f, -3.3e-5f, 255.9f, 1.5f}) {
    Stream stream(StreamCells::kBF16, kRows, kWidth);
    const std::vector<float> f(kRows * kWidth, value);
    WriteRows(context, Rows(f, kRows), stream(), {77, 0});
    double sum = 0.0;
    for (const float rounded : stream.Values()) {
      EXPECT_LE(std::abs(rounded - value), std::abs(value) / 128.0f);
      sum += static_cast<double>(rounded);
    }
    // The standard deviation of a rounding is at most half a spacing, 2^-8 of the value or less.
    const double deviation = std::abs(static_cast<double>(value)) / 256.0 / std::sqrt(f.size());
    EXPECT_NEAR(sum / static_cast<double>(f.size()), static_cast<double>(value), 5.0 * deviation);
  }
}

// Small terms are not swallowed: 1 + 4096 times 2^-12 is 2 on average, by rounding to nearest 1.
TEST(ResidualStream, HalvesGatherSmallTerms) {
  Context context(2);
  constexpr idx_t kRows = 8, kWidth = 64;
  Stream stream(StreamCells::kBF16, kRows, kWidth);
  WriteRows(context, Rows(std::vector<float>(kRows * kWidth, 1.0f), kRows), stream());
  const std::vector<float> small(kRows * kWidth, 0x1p-12f);
  for (std::uint64_t i = 0; i < 4096; ++i) {
    AddRows(context, Rows(small, kRows), stream(), {DeriveKey(5, i), 0});
  }
  double mean = 0.0;
  for (const float value : stream.Values()) mean += static_cast<double>(value) / (kRows * kWidth);
  EXPECT_NEAR(mean, 2.0, 0.02);
}

TEST(ResidualStream, HalvesKeepNaNAndInfinity) {
  Context context(1);
  Stream stream(StreamCells::kBF16, 1, 40);
  std::vector<float> f(40, std::numeric_limits<float>::infinity());
  f[7] = std::numeric_limits<float>::quiet_NaN();
  f[33] = std::bit_cast<float>(0x7fffffffu);
  WriteRows(context, Rows(f, 1), stream(), {3, 0});
  const std::vector<float> values = stream.Values();
  for (std::size_t i = 0; i < f.size(); ++i) {
    EXPECT_EQ(std::isnan(values[i]), i == 7 || i == 33) << i;
    EXPECT_EQ(std::isinf(values[i]), i != 7 && i != 33) << i;
  }
}

// An element's chance is that of its number in the site, however the rows are cut.
TEST(ResidualStream, ChanceBelongsToTheElement) {
  Context context(2);
  const std::vector<float> f = RandomNormal(9, 40 * 50);
  Stream whole(StreamCells::kBF16, 40, 50), parts(StreamCells::kBF16, 40, 50);
  WriteRows(context, Rows(f, 40), whole(), {123, 1000});
  for (const auto& [begin, count] : {std::pair<idx_t, idx_t>{0, 17}, {17, 1}, {18, 22}}) {
    WriteRows(context, Rows(f, 40).Rows(begin, count), parts().Rows(begin, count),
              {123, 1000 + begin * 50});
  }
  EXPECT_EQ(whole.memory(), parts.memory());
  Stream other(StreamCells::kBF16, 40, 50);
  WriteRows(context, Rows(f, 40), other(), {124, 1000});
  EXPECT_NE(whole.memory(), other.memory());
}

TEST(ResidualStream, SameBitsForAnyNumberOfThreads) {
  for (const StreamCells cells : {StreamCells::kF32, StreamCells::kGrid, StreamCells::kBF16}) {
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      Stream stream(cells, 300, 130);
      for (std::uint64_t i = 0; i < 3; ++i) {
        AddRows(context, Rows(RandomNormal(i, 300 * 130), 300), stream(), {i, 0});
      }
      return stream.Values();
    });
  }
}

TEST(ResidualStream, BadArguments) {
  Context context(1);
  const std::vector<float> f(12);
  Stream half(StreamCells::kBF16, 3, 4), grid(StreamCells::kGrid, 3, 4);
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing thrown";
  };
  EXPECT_THAT(message([&] { SubtractRows(context, Rows(f, 3), half()); }), HasSubstr("taken back"));
  EXPECT_THAT(message([&] { AddRows(context, Rows(f, 4), grid()); }), HasSubstr("(4, 3)"));
  EXPECT_THAT(message([&] { CopyStream(context, half(), grid()); }), HasSubstr("same kind"));
  EXPECT_THAT(message([&] { (void)grid().Floats(); }), HasSubstr("not fp32"));
}

}  // namespace
}  // namespace longspan
