// Vectors of 64 bytes: a row of a matrix tile (simd/amx-inl.h), 16 floats or 32 bf16. Two forms of
// one set of operations: AVX-512 with VBMI, which every CPU with a tile unit has, and plain C++ for
// all others. Kernels around the tile unit are written once over a Line, so their logic is tested
// on any machine. Both forms give the same bits, but for AddPairs and sums of lanes, whose order
// differs.
//
// Words are 16 bits, ints 32 bits; word 2 i is the low half of int i. "Lanes" in comments are the
// four groups of 16 bytes in which AVX-512 shuffles.

// Included once for every target.
#if defined(LONGSPAN_SIMD_LINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_LINE_INL_H_
#undef LONGSPAN_SIMD_LINE_INL_H_
#else
#define LONGSPAN_SIMD_LINE_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3_DL

struct Line {
  __m512i bits;
  __m512 floats() const { return _mm512_castsi512_ps(bits); }
};
HWY_INLINE Line FloatsLine(__m512 v) { return {_mm512_castps_si512(v)}; }

HWY_INLINE Line LoadLine(const void* from) { return {_mm512_loadu_si512(from)}; }
HWY_INLINE void StoreLine(Line x, void* to) { _mm512_storeu_si512(to, x.bits); }
HWY_INLINE Line ZeroLine() { return {_mm512_setzero_si512()}; }
HWY_INLINE Line EachFloat(float x) { return FloatsLine(_mm512_set1_ps(x)); }
HWY_INLINE Line EachInt(std::uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }

HWY_INLINE Line AddFloats(Line a, Line b) {
  return FloatsLine(_mm512_add_ps(a.floats(), b.floats()));
}
HWY_INLINE Line MulFloats(Line a, Line b) {
  return FloatsLine(_mm512_mul_ps(a.floats(), b.floats()));
}
// a b + c with one rounding.
HWY_INLINE Line FmaFloats(Line a, Line b, Line c) {
  return FloatsLine(_mm512_fmadd_ps(a.floats(), b.floats(), c.floats()));
}
// The larger of two floats, b if one is NaN.
HWY_INLINE Line MaxFloats(Line a, Line b) {
  return FloatsLine(_mm512_max_ps(a.floats(), b.floats()));
}
HWY_INLINE Line AddInts(Line a, Line b) { return {_mm512_add_epi32(a.bits, b.bits)}; }
HWY_INLINE Line AndBits(Line a, Line b) { return {_mm512_and_si512(a.bits, b.bits)}; }
// The low word of each int, moved to the high one.
HWY_INLINE Line LowToHigh(Line a) { return {_mm512_slli_epi32(a.bits, 16)}; }

// Int i: (low word of a's, low word of b's).
HWY_INLINE Line JoinLowWords(Line a, Line b) {
  const __m512i low_to_high = _mm512_broadcast_i32x4(
      _mm_set_epi8(13, 12, -128, -128, 9, 8, -128, -128, 5, 4, -128, -128, 1, 0, -128, -128));
  return {_mm512_mask_shuffle_epi8(a.bits, 0xccccccccccccccccull, b.bits, low_to_high)};
}
// Int i: (high word of a's, high word of b's).
HWY_INLINE Line JoinHighWords(Line a, Line b) {
  const __m512i high_to_low = _mm512_broadcast_i32x4(
      _mm_set_epi8(-128, -128, 15, 14, -128, -128, 11, 10, -128, -128, 7, 6, -128, -128, 3, 2));
  return {_mm512_mask_shuffle_epi8(b.bits, 0x3333333333333333ull, a.bits, high_to_low)};
}
// Word i := (word i + byte number (word i >> 2) % 64 of the table + 1) >> 1.
HWY_INLINE Line AverageWithTable(Line words, Line table) {
  const __m512i bytes = _mm512_maskz_permutexvar_epi8(0x5555555555555555ull,
                                                      _mm512_srli_epi16(words.bits, 2), table.bits);
  return {_mm512_avg_epu16(words.bits, bytes)};
}
// Words whose bit is 0 := 0.
HWY_INLINE Line KeepWords(Line a, std::uint32_t mask) {
  return {_mm512_maskz_mov_epi16(mask, a.bits)};
}
// Floats whose bit is 0 := +0, or another line's.
HWY_INLINE Line KeepFloats(Line a, std::uint32_t mask) {
  return {_mm512_maskz_mov_epi32(static_cast<__mmask16>(mask), a.bits)};
}
HWY_INLINE Line ChooseFloats(Line a, std::uint32_t mask, Line otherwise) {
  return {_mm512_mask_mov_epi32(otherwise.bits, static_cast<__mmask16>(mask), a.bits)};
}

// In each lane, words 0 .. 3 (high: 4 .. 7) of a and b alternating.
HWY_INLINE Line UnpackLowWords(Line a, Line b) { return {_mm512_unpacklo_epi16(a.bits, b.bits)}; }
HWY_INLINE Line UnpackHighWords(Line a, Line b) { return {_mm512_unpackhi_epi16(a.bits, b.bits)}; }
HWY_INLINE Line UnpackLowInts(Line a, Line b) { return {_mm512_unpacklo_epi32(a.bits, b.bits)}; }
HWY_INLINE Line UnpackHighInts(Line a, Line b) { return {_mm512_unpackhi_epi32(a.bits, b.bits)}; }
HWY_INLINE Line UnpackLowLongs(Line a, Line b) { return {_mm512_unpacklo_epi64(a.bits, b.bits)}; }
HWY_INLINE Line UnpackHighLongs(Line a, Line b) { return {_mm512_unpackhi_epi64(a.bits, b.bits)}; }
// Words (a[0], b[0], a[1], b[1], ...): the first 16 of each, or the last 16.
HWY_INLINE Line ZipFirstWords(Line a, Line b) {
  const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  return {_mm512_permutex2var_epi16(a.bits, order, b.bits)};
}
HWY_INLINE Line ZipLastWords(Line a, Line b) {
  const __m512i order =
      _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54,
                       22, 53, 21, 52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
  return {_mm512_permutex2var_epi16(a.bits, order, b.bits)};
}
// A lane from each of four places, `stride` bytes apart.
HWY_INLINE Line FourLanes(const char* from, idx_t stride) {
  const auto lane = [=](idx_t i) HWY_ATTR {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * stride));
  };
  __m512i v = _mm512_broadcast_i32x4(lane(0));
  v = _mm512_mask_broadcast_i32x4(v, 0x00f0, lane(1));
  v = _mm512_mask_broadcast_i32x4(v, 0x0f00, lane(2));
  return {_mm512_mask_broadcast_i32x4(v, 0xf000, lane(3))};
}

// Float i of `sum` += the products of words 2 i and of words 2 i + 1 of a and b, which are bf16.
HWY_INLINE Line AddPairs(Line sum, Line a, Line b) {
  __m512 s = sum.floats();
  asm("vdpbf16ps %2, %1, %0" : "+v"(s) : "v"(a.bits), "v"(b.bits));
  return FloatsLine(s);
}
// 32 bf16: those of `first`, then those of `second`. To nearest, ties to even.
HWY_INLINE Line ToBf16Line(Line first, Line second) {
  __m512i both;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first.bits), "v"(second.bits));
  return {both};
}
HWY_INLINE float SumOfLine(Line a) { return _mm512_reduce_add_ps(a.floats()); }
HWY_INLINE float MaxOfLine(Line a) { return _mm512_reduce_max_ps(a.floats()); }

#else  // plain C++

struct Line {
  alignas(64) std::uint32_t bits[16];
  float Float(int i) const {
    float value;
    std::memcpy(&value, &bits[i], 4);
    return value;
  }
  void Put(int i, float value) { std::memcpy(&bits[i], &value, 4); }
  std::uint32_t Word(int i) const { return bits[i / 2] >> (i % 2 * 16) & 0xffff; }
};

// f(i): the bits, or the float, of lane i.
template <class F>
HWY_INLINE Line BitsLine(const F& f) {
  Line y;
  for (int i = 0; i < 16; ++i) y.bits[i] = f(i);
  return y;
}
template <class F>
HWY_INLINE Line FloatsLine(const F& f) {
  Line y;
  for (int i = 0; i < 16; ++i) y.Put(i, f(i));
  return y;
}
template <class F>
HWY_INLINE Line WordsLine(const F& f) {
  return BitsLine([&](int i) { return f(2 * i) | f(2 * i + 1) << 16; });
}

HWY_INLINE Line LoadLine(const void* from) {
  Line y;
  std::memcpy(y.bits, from, 64);
  return y;
}
HWY_INLINE void StoreLine(const Line& x, void* to) { std::memcpy(to, x.bits, 64); }
HWY_INLINE Line ZeroLine() {
  return BitsLine([](int) { return 0u; });
}
HWY_INLINE Line EachFloat(float x) {
  return FloatsLine([=](int) { return x; });
}
HWY_INLINE Line EachInt(std::uint32_t x) {
  return BitsLine([=](int) { return x; });
}

HWY_INLINE Line AddFloats(const Line& a, const Line& b) {
  return FloatsLine([&](int i) { return a.Float(i) + b.Float(i); });
}
HWY_INLINE Line MulFloats(const Line& a, const Line& b) {
  return FloatsLine([&](int i) { return a.Float(i) * b.Float(i); });
}
HWY_INLINE Line FmaFloats(const Line& a, const Line& b, const Line& c) {
  return FloatsLine([&](int i) { return std::fma(a.Float(i), b.Float(i), c.Float(i)); });
}
HWY_INLINE Line MaxFloats(const Line& a, const Line& b) {
  return FloatsLine([&](int i) { return a.Float(i) > b.Float(i) ? a.Float(i) : b.Float(i); });
}
HWY_INLINE Line AddInts(const Line& a, const Line& b) {
  return BitsLine([&](int i) { return a.bits[i] + b.bits[i]; });
}
HWY_INLINE Line AndBits(const Line& a, const Line& b) {
  return BitsLine([&](int i) { return a.bits[i] & b.bits[i]; });
}
HWY_INLINE Line LowToHigh(const Line& a) {
  return BitsLine([&](int i) { return a.bits[i] << 16; });
}

HWY_INLINE Line JoinLowWords(const Line& a, const Line& b) {
  return BitsLine([&](int i) { return (a.bits[i] & 0xffff) | b.bits[i] << 16; });
}
HWY_INLINE Line JoinHighWords(const Line& a, const Line& b) {
  return BitsLine([&](int i) { return a.bits[i] >> 16 | (b.bits[i] & 0xffff0000u); });
}
HWY_INLINE Line AverageWithTable(const Line& words, const Line& table) {
  return WordsLine([&](int i) {
    const std::uint32_t word = words.Word(i), entry = word >> 2 & 63;
    return (word + (table.bits[entry / 4] >> (entry % 4 * 8) & 0xff) + 1) >> 1;
  });
}
HWY_INLINE Line KeepWords(const Line& a, std::uint32_t mask) {
  return WordsLine([&](int i) { return (mask >> i & 1) != 0 ? a.Word(i) : 0u; });
}
HWY_INLINE Line ChooseFloats(const Line& a, std::uint32_t mask, const Line& otherwise) {
  return BitsLine([&](int i) { return (mask >> i & 1) != 0 ? a.bits[i] : otherwise.bits[i]; });
}
HWY_INLINE Line KeepFloats(const Line& a, std::uint32_t mask) {
  return ChooseFloats(a, mask, ZeroLine());
}

// Elements `from` + 0, + 1, ... of each lane of a and b alternating; kWords of an element.
template <int kWords>
HWY_INLINE Line Unpack(const Line& a, const Line& b, int from) {
  return WordsLine([&](int i) {
    const int lane = i / 8 * 8, element = i % 8 / kWords;
    const int word = lane + from + element / 2 * kWords + i % kWords;
    return element % 2 == 0 ? a.Word(word) : b.Word(word);
  });
}
HWY_INLINE Line UnpackLowWords(const Line& a, const Line& b) { return Unpack<1>(a, b, 0); }
HWY_INLINE Line UnpackHighWords(const Line& a, const Line& b) { return Unpack<1>(a, b, 4); }
HWY_INLINE Line UnpackLowInts(const Line& a, const Line& b) { return Unpack<2>(a, b, 0); }
HWY_INLINE Line UnpackHighInts(const Line& a, const Line& b) { return Unpack<2>(a, b, 4); }
HWY_INLINE Line UnpackLowLongs(const Line& a, const Line& b) { return Unpack<4>(a, b, 0); }
HWY_INLINE Line UnpackHighLongs(const Line& a, const Line& b) { return Unpack<4>(a, b, 4); }
HWY_INLINE Line ZipFirstWords(const Line& a, const Line& b) {
  return BitsLine([&](int i) { return a.Word(i) | b.Word(i) << 16; });
}
HWY_INLINE Line ZipLastWords(const Line& a, const Line& b) {
  return BitsLine([&](int i) { return a.Word(16 + i) | b.Word(16 + i) << 16; });
}
HWY_INLINE Line FourLanes(const char* from, idx_t stride) {
  Line y;
  for (int lane = 0; lane < 4; ++lane) std::memcpy(y.bits + 4 * lane, from + lane * stride, 16);
  return y;
}

HWY_INLINE float FloatOfBits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
HWY_INLINE Line AddPairs(const Line& sum, const Line& a, const Line& b) {
  return FloatsLine([&](int i) {
    const auto product = [&](int high, float to) {
      const std::uint32_t mask = 0xffff0000u;
      const std::uint32_t x = high != 0 ? a.bits[i] & mask : a.bits[i] << 16;
      const std::uint32_t y = high != 0 ? b.bits[i] & mask : b.bits[i] << 16;
      return std::fma(FloatOfBits(x), FloatOfBits(y), to);
    };
    return product(0, product(1, sum.Float(i)));
  });
}
HWY_INLINE std::uint32_t Bf16OfFloat(std::uint32_t bits) {
  const bool number = (bits & 0x7fffffffu) <= 0x7f800000u;
  return number ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : (bits | 0x400000u) >> 16;
}
HWY_INLINE Line ToBf16Line(const Line& first, const Line& second) {
  return WordsLine(
      [&](int i) { return Bf16OfFloat(i < 16 ? first.bits[i] : second.bits[i - 16]); });
}
HWY_INLINE float SumOfLine(const Line& a) {
  float sum = 0.0f;
  for (int i = 0; i < 16; ++i) sum += a.Float(i);
  return sum;
}
HWY_INLINE float MaxOfLine(const Line& a) {
  float most = a.Float(0);
  for (int i = 1; i < 16; ++i) most = a.Float(i) > most ? a.Float(i) : most;
  return most;
}

#endif

// Transposes 16 x 16 ints: 16 lines `stride` bytes apart -> 16 lines at `to`, one after another.
// The first of two steps is done by loads that gather lanes.
HWY_INLINE void TransposeLines(const char* from, idx_t stride, char* to) {
  for (int g = 0; g < 4; ++g) {
    Line r[4];
    for (int i = 0; i < 4; ++i) r[i] = FourLanes(from + 16 * g + i * stride, 4 * stride);
    const Line a = UnpackLowInts(r[0], r[1]), b = UnpackHighInts(r[0], r[1]);
    const Line c = UnpackLowInts(r[2], r[3]), d = UnpackHighInts(r[2], r[3]);
    StoreLine(UnpackLowLongs(a, c), to + (4 * g) * 64);
    StoreLine(UnpackHighLongs(a, c), to + (4 * g + 1) * 64);
    StoreLine(UnpackLowLongs(b, d), to + (4 * g + 2) * 64);
    StoreLine(UnpackHighLongs(b, d), to + (4 * g + 3) * 64);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_LINE_INL_H_
