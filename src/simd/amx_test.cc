// Lines of 64 bytes and the tile unit: each operation against plain loops, the twin against a
// computation in double, and the hardware, where there is one, against the twin bit by bit.
#include <gtest/gtest.h>

#define HWY_WANT_AVX3_DL  // AVX-512 with VBMI, which every CPU with a tile unit has
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/amx_test.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/bfloat16.h"
#include "base/isa.h"
#include "base/rng.h"
#include "simd/amx-inl.h"
#include "simd/line-inl.h"

#ifndef LONGSPAN_AMX_TEST_DATA
#define LONGSPAN_AMX_TEST_DATA
namespace longspan {
using Words = std::array<std::uint16_t, 32>;
using Ints = std::array<std::uint32_t, 16>;
// What RunLineOps writes, one line of 16 ints after another.
inline constexpr int kLineOps = 25;
}  // namespace longspan
#endif

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// All operations on two lines and a third, masks of 32 and 16 bits.
inline void RunLineOps(const std::uint32_t* a_bits, const std::uint32_t* b_bits,
                       const std::uint32_t* c_bits, std::uint32_t mask, std::uint32_t* to) {
  const Line a = LoadLine(a_bits), b = LoadLine(b_bits), c = LoadLine(c_bits);
  const Line results[kLineOps] = {
      AddFloats(a, b),
      MulFloats(a, b),
      FmaFloats(a, b, c),
      MaxFloats(a, b),
      AddInts(a, b),
      AndBits(a, b),
      LowToHigh(a),
      JoinLowWords(a, b),
      JoinHighWords(a, b),
      AverageWithTable(a, b),
      KeepWords(a, mask),
      KeepFloats(a, mask & 0xffff),
      ChooseFloats(a, mask & 0xffff, b),
      UnpackLowWords(a, b),
      UnpackHighWords(a, b),
      UnpackLowInts(a, b),
      UnpackHighInts(a, b),
      UnpackLowLongs(a, b),
      UnpackHighLongs(a, b),
      ZipFirstWords(a, b),
      ZipLastWords(a, b),
      ToBf16Line(a, b),
      EachFloat(1.5f),
      EachInt(0x12345678u),
      ZeroLine(),
  };
  for (int i = 0; i < kLineOps; ++i) StoreLine(results[i], to + 16 * i);
}

// A lane each from four places, a transposed block, and the sums of a line.
inline void RunLineMoves(const std::uint32_t* from, std::uint32_t* lanes, std::uint32_t* turned,
                         float* sum, float* most) {
  StoreLine(FourLanes(reinterpret_cast<const char*>(from), 80), lanes);
  TransposeLines(reinterpret_cast<const char*>(from), 80, reinterpret_cast<char*>(turned));
  *sum = SumOfLine(LoadLine(from));
  *most = MaxOfLine(LoadLine(from));
}

inline void RunAddPairs(const float* sum, const std::uint16_t* a, const std::uint16_t* b,
                        float* to) {
  StoreLine(AddPairs(LoadLine(sum), LoadLine(a), LoadLine(b)), to);
}

// c += a b on tiles, through every instruction; c (16, 16), a (16, 32), b in pairs (16, 16, 2).
template <class T>
void MultiplyOn(const std::uint16_t* a, const std::uint16_t* b, std::uint32_t* c) {
  const TileSession<T> session;
  T::template Load<3>(c);
  T::template Load<5>(a);
  T::template Stream<6>(b);
  T::template Product<3, 5, 6>();
  T::template Store<3>(c);
}
inline void MultiplyOnTwin(const std::uint16_t* a, const std::uint16_t* b, std::uint32_t* c) {
  MultiplyOn<TwinTiles>(a, b, c);
}
inline bool MultiplyOnUnit(const std::uint16_t* a, const std::uint16_t* b, std::uint32_t* c) {
#if HWY_TARGET == HWY_AVX3_DL
  MultiplyOn<AmxTiles>(a, b, c);
  return true;
#else
  (void)a, (void)b, (void)c;
  return false;
#endif
}
// One line for all rows by a stride of 0, then zeros.
inline void RepeatAndZero(const std::uint32_t* line, std::uint32_t* repeated,
                          std::uint32_t* zeroed) {
  const TileSession<TwinTiles> session;
  TwinTiles::Load<2>(line, 0);
  TwinTiles::Store<2>(repeated);
  TwinTiles::Zero<2>();
  TwinTiles::Store<2>(zeroed);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longspan {
HWY_EXPORT(RunLineOps);
HWY_EXPORT(RunLineMoves);
HWY_EXPORT(RunAddPairs);
HWY_EXPORT(MultiplyOnTwin);
HWY_EXPORT(MultiplyOnUnit);
HWY_EXPORT(RepeatAndZero);

namespace test {
namespace {

float AsFloat(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t AsBits(float x) { return std::bit_cast<std::uint32_t>(x); }

// Numbers of every kind; `special` also with infinities, NaN and subnormal ones.
std::uint32_t DrawBits(Rng* rng, bool special) {
  const std::uint64_t bits = rng->Bits64();
  const auto number = static_cast<float>(rng->Uniform() * 4.0 - 2.0);
  if (!special || bits % 4 != 0) return AsBits(number);
  const std::uint32_t kinds[] = {0x7f800000u, 0xff800000u,       0x7fc12345u, 0x00000000u,
                                 0x80000000u, 0x00012345u,       0x807fffffu, 0x00800000u,
                                 0x7f7fffffu, AsBits(number) / 2};
  return kinds[bits / 4 % std::size(kinds)];
}

std::uint16_t WordOf(const std::uint32_t* line, int i) {
  return static_cast<std::uint16_t>(line[i / 2] >> (i % 2 * 16));
}
Ints OfWords(const Words& words) {
  Ints y{};
  for (std::size_t i = 0; i < 32; ++i) y[i / 2] |= std::uint32_t{words[i]} << (i % 2 * 16);
  return y;
}

// The same operations by the words of their comments, in the same order.
std::vector<Ints> PlainLineOps(const std::uint32_t* a, const std::uint32_t* b,
                               const std::uint32_t* c, std::uint32_t mask) {
  std::vector<Ints> y;
  const auto ints = [&](const auto& f) {
    Ints line;
    for (std::size_t i = 0; i < 16; ++i) line[i] = f(i);
    y.push_back(line);
  };
  const auto words = [&](const auto& f) {
    Words line;
    for (int i = 0; i < 32; ++i) line[static_cast<std::size_t>(i)] = f(i);
    y.push_back(OfWords(line));
  };
  ints([&](std::size_t i) { return AsBits(AsFloat(a[i]) + AsFloat(b[i])); });
  ints([&](std::size_t i) { return AsBits(AsFloat(a[i]) * AsFloat(b[i])); });
  ints(
      [&](std::size_t i) { return AsBits(std::fma(AsFloat(a[i]), AsFloat(b[i]), AsFloat(c[i]))); });
  ints([&](std::size_t i) { return AsFloat(a[i]) > AsFloat(b[i]) ? a[i] : b[i]; });
  ints([&](std::size_t i) { return a[i] + b[i]; });
  ints([&](std::size_t i) { return a[i] & b[i]; });
  ints([&](std::size_t i) { return a[i] << 16; });
  words([&](int i) { return i % 2 == 0 ? WordOf(a, i) : WordOf(b, i - 1); });
  words([&](int i) { return i % 2 == 0 ? WordOf(a, i + 1) : WordOf(b, i); });
  words([&](int i) {
    const int word = WordOf(a, i), entry = word / 4 % 64;
    const int byte = static_cast<int>(b[entry / 4] >> (entry % 4 * 8) & 0xff);
    return static_cast<std::uint16_t>((word + byte + 1) / 2);
  });
  words([&](int i) { return (mask >> i & 1) != 0 ? WordOf(a, i) : std::uint16_t{0}; });
  ints([&](std::size_t i) { return (mask >> i & 1) != 0 ? a[i] : 0u; });
  ints([&](std::size_t i) { return (mask >> i & 1) != 0 ? a[i] : b[i]; });
  for (const int size : {1, 2, 4}) {  // words of an element
    for (const int from : {0, 4}) {
      words([&](int i) {
        const int place = i % 8 / size;
        const int word = i / 8 * 8 + from + place / 2 * size + i % size;
        return WordOf(place % 2 == 0 ? a : b, word);
      });
    }
  }
  for (const int from : {0, 16}) {
    words([&](int i) { return WordOf(i % 2 == 0 ? a : b, from + i / 2); });
  }
  words([&](int i) { return ToBfloat16(AsFloat(i < 16 ? a[i] : b[i - 16])).bits; });
  ints([&](std::size_t) { return AsBits(1.5f); });
  ints([&](std::size_t) { return 0x12345678u; });
  ints([&](std::size_t) { return 0u; });
  return y;
}

const char* const kOpNames[kLineOps] = {
    "AddFloats",     "MulFloats",      "FmaFloats",      "MaxFloats",       "AddInts",
    "AndBits",       "LowToHigh",      "JoinLowWords",   "JoinHighWords",   "AverageWithTable",
    "KeepWords",     "KeepFloats",     "ChooseFloats",   "UnpackLowWords",  "UnpackHighWords",
    "UnpackLowInts", "UnpackHighInts", "UnpackLowLongs", "UnpackHighLongs", "ZipFirstWords",
    "ZipLastWords",  "ToBf16Line",     "EachFloat",      "EachInt",         "ZeroLine"};

TEST(Line, RunsInstructionsOfBf16OnlyWhereTheyAre) {
  ApplyIsaCap();
  if (ActiveIsa() >= Isa::kAvx512Bf16) GTEST_SKIP() << "they are here";
  EXPECT_EQ(hwy::SupportedTargets() & HWY_AVX3_DL, 0);
}

TEST(Line, EachOperationIsWhatItsCommentSays) {
  ApplyIsaCap();
  Rng rng(11);
  for (int round = 0; round < 200; ++round) {
    alignas(64) std::uint32_t a[16], b[16], c[16], y[16 * kLineOps];
    for (std::uint32_t* line : {a, b, c}) {
      for (int i = 0; i < 16; ++i) {
        line[i] = round % 2 == 0 ? DrawBits(&rng, false) : static_cast<std::uint32_t>(rng.Bits64());
      }
    }
    // Rounding to bf16 must see ties and infinities, but subnormal numbers may become zeros.
    const auto mask = static_cast<std::uint32_t>(rng.Bits64());
    HWY_DYNAMIC_DISPATCH(RunLineOps)(a, b, c, mask, y);
    const std::vector<Ints> expected = PlainLineOps(a, b, c, mask);
    ASSERT_EQ(expected.size(), std::size_t{kLineOps});
    for (std::size_t op = 0; op < expected.size(); ++op) {
      for (std::size_t i = 0; i < 16; ++i) {
        const std::uint32_t got = y[op * 16 + i], want = expected[op][i];
        const bool nans = std::isnan(AsFloat(got)) && std::isnan(AsFloat(want));
        const bool floats = op < 4;
        const bool rounds = std::string(kOpNames[op]) == "ToBf16Line";
        if ((floats && nans) || (rounds && round % 2 != 0)) continue;
        ASSERT_EQ(got, want) << kOpNames[op] << " lane " << i << " of round " << round;
      }
    }
  }
}

TEST(Line, MovesAndSums) {
  ApplyIsaCap();
  Rng rng(12);
  std::vector<std::uint32_t> from(16 * 20);
  for (std::uint32_t& x : from) x = DrawBits(&rng, false);
  alignas(64) std::uint32_t lanes[16], turned[256];
  float sum = 0, most = 0;
  HWY_DYNAMIC_DISPATCH(RunLineMoves)(from.data(), lanes, turned, &sum, &most);
  double exact = 0;
  float largest = AsFloat(from[0]);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(lanes[i], from[static_cast<std::size_t>(i / 4 * 20 + i % 4)]);
    exact += static_cast<double>(AsFloat(from[static_cast<std::size_t>(i)]));
    largest = std::max(largest, AsFloat(from[static_cast<std::size_t>(i)]));
    for (int j = 0; j < 16; ++j) {
      EXPECT_EQ(turned[i * 16 + j], from[static_cast<std::size_t>(j * 20 + i)]);
    }
  }
  EXPECT_NEAR(static_cast<double>(sum), exact, 1e-5);
  EXPECT_EQ(most, largest);
}

TEST(Line, AddPairsAddsBothProducts) {
  ApplyIsaCap();
  Rng rng(13);
  for (int round = 0; round < 50; ++round) {
    std::array<float, 16> sum, y;
    Words a, b;
    for (float& x : sum) x = AsFloat(DrawBits(&rng, false));
    for (Words* words : {&a, &b}) {
      for (std::uint16_t& x : *words) x = ToBfloat16(AsFloat(DrawBits(&rng, false))).bits;
    }
    HWY_DYNAMIC_DISPATCH(RunAddPairs)(sum.data(), a.data(), b.data(), y.data());
    for (std::size_t i = 0; i < 16; ++i) {
      double exact = static_cast<double>(sum[i]);
      for (const std::size_t j : {2 * i, 2 * i + 1}) {
        exact += static_cast<double>(ToFloat(bfloat16{a[j]})) *
                 static_cast<double>(ToFloat(bfloat16{b[j]}));
      }
      EXPECT_NEAR(static_cast<double>(y[i]), exact, 2e-6);
    }
  }
}

// ---- tiles --------------------------------------------------------------------------------------

struct TileData {
  alignas(64) std::uint16_t a[16 * 32], b[16 * 32];
  alignas(64) std::uint32_t c[256];
};

void DrawTiles(Rng* rng, bool special, TileData* x) {
  for (auto* operand : {x->a, x->b}) {
    for (int i = 0; i < 16 * 32; ++i) {
      operand[i] = static_cast<std::uint16_t>(DrawBits(rng, special) >> 16);
    }
  }
  for (std::uint32_t& c : x->c) c = DrawBits(rng, special);
}

TEST(Tiles, TheTwinMultiplies) {
  ApplyIsaCap();
  Rng rng(14);
  TileData x;
  DrawTiles(&rng, false, &x);
  std::array<double, 256> exact;
  for (std::size_t m = 0; m < 16; ++m) {
    for (std::size_t n = 0; n < 16; ++n) {
      double sum = static_cast<double>(AsFloat(x.c[m * 16 + n]));
      for (std::size_t k = 0; k < 32; ++k) {
        sum += static_cast<double>(ToFloat(bfloat16{x.a[m * 32 + k]})) *
               static_cast<double>(ToFloat(bfloat16{x.b[k / 2 * 32 + 2 * n + k % 2]}));
      }
      exact[m * 16 + n] = sum;
    }
  }
  HWY_DYNAMIC_DISPATCH(MultiplyOnTwin)(x.a, x.b, x.c);
  // 34 roundings of sums below 64.
  for (std::size_t i = 0; i < 256; ++i) {
    EXPECT_NEAR(static_cast<double>(AsFloat(x.c[i])), exact[i], 34 * 64 * 0x1p-25);
  }
}

float Flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// The words of amx-inl.h in plain loops: element (m, n) of c after the product.
float PlainProduct(const TileData& x, std::size_t m, std::size_t n) {
  float sums[2] = {};
  for (std::size_t k = 0; k < 32; ++k) {
    const float a = Flushed(ToFloat(bfloat16{x.a[m * 32 + k]}));
    const float b = Flushed(ToFloat(bfloat16{x.b[k / 2 * 32 + 2 * n + k % 2]}));
    sums[k % 2] = Flushed(std::fma(a, b, sums[k % 2]));
  }
  return Flushed(Flushed(AsFloat(x.c[m * 16 + n])) + Flushed(sums[0] + sums[1]));
}

// Bit by bit on every target, also where products are too small or too large for a float: there a
// product that is rounded before it is added gives other sums.
TEST(Tiles, TheTwinRoundsOnce) {
  ApplyIsaCap();
  Rng rng(16);
  for (int round = 0; round < 30; ++round) {
    TileData x;
    DrawTiles(&rng, round % 3 != 0, &x);
    if (round % 3 == 2) {  // products lie around the least or the largest normal number
      const int least = rng.Bits64() % 2 == 0 ? 58 : 183;
      for (std::size_t i = 0; i < std::size(x.a); ++i) {
        for (std::uint16_t* word : {&x.a[i], &x.b[i]}) {
          const std::uint64_t exponent = static_cast<std::uint64_t>(least) + rng.Bits64() % 12;
          *word = static_cast<std::uint16_t>((*word & 0x807fu) | exponent << 7);
        }
      }
    }
    TileData y = x;
    HWY_DYNAMIC_DISPATCH(MultiplyOnTwin)(y.a, y.b, y.c);
    for (std::size_t i = 0; i < 256; ++i) {
      const float expected = PlainProduct(x, i / 16, i % 16);
      if (std::isnan(expected) && std::isnan(AsFloat(y.c[i]))) continue;
      ASSERT_EQ(y.c[i], AsBits(expected)) << "element " << i << " of round " << round;
    }
  }
}

TEST(Tiles, SubnormalNumbersAreZeros) {
  ApplyIsaCap();
  TileData x{};
  x.a[0] = 0x0001;  // subnormal times 2^100
  x.b[0] = ToBfloat16(0x1p100f).bits;
  x.a[32] = x.b[2] = ToBfloat16(0x1p-70f).bits;  // a product below all normal numbers
  x.c[5] = 0x80000001u;                          // a subnormal sum
  HWY_DYNAMIC_DISPATCH(MultiplyOnTwin)(x.a, x.b, x.c);
  EXPECT_EQ(x.c[0], 0u);
  EXPECT_EQ(x.c[17], 0u);
  EXPECT_EQ(x.c[5] & 0x7fffffffu, 0u);
}

TEST(Tiles, OneLineForAllRowsAndZeros) {
  ApplyIsaCap();
  alignas(64) std::uint32_t line[16], repeated[256], zeroed[256];
  for (std::uint32_t i = 0; i < 16; ++i) line[i] = 3 * i + 1;
  HWY_DYNAMIC_DISPATCH(RepeatAndZero)(line, repeated, zeroed);
  for (std::size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(repeated[i], line[i % 16]);
    EXPECT_EQ(zeroed[i], 0u);
  }
}

TEST(Tiles, TheUnitGivesTheTwinsBits) {
  ApplyIsaCap();
  if (ActiveIsa() < Isa::kAmx || !PermitTiles()) GTEST_SKIP() << "this machine has no tile unit";
  Rng rng(15);
  for (int round = 0; round < 2000; ++round) {
    TileData x, y;
    DrawTiles(&rng, round % 2 != 0, &x);
    y = x;
    HWY_DYNAMIC_DISPATCH(MultiplyOnTwin)(x.a, x.b, x.c);
    ASSERT_TRUE(HWY_DYNAMIC_DISPATCH(MultiplyOnUnit)(y.a, y.b, y.c));
    for (std::size_t i = 0; i < 256; ++i) {
      if (std::isnan(AsFloat(x.c[i])) && std::isnan(AsFloat(y.c[i]))) continue;
      ASSERT_EQ(x.c[i], y.c[i]) << "element " << i << " of round " << round;
    }
  }
}

}  // namespace
}  // namespace test
}  // namespace longspan
#endif  // HWY_ONCE
