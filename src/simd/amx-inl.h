// The tile unit of Intel's AMX (Intel SDM volume 1, chapter 18) and a twin of it in plain C++.
// Eight tiles of 16 lines of 64 bytes; a product is
//
//   c[m][n] += sum over k < 16 of a[m][2k] b[k][2n] + a[m][2k+1] b[k][2n+1]
//
// with c of fp32, a and b of bf16: a holds 16 rows of 32 terms, b the terms in pairs, pair k of 16
// columns in line k. 16,384 flop; the unit takes 16 cycles for it and runs beside the vector units.
//
// The twin gives the same bits. What a product does, found by comparing bits:
//   - Two sums run side by side, of even and of odd terms, each from +0 by fused multiply-adds in
//     the order of k. Then even + odd, then c + that, all rounded to nearest even.
//   - Subnormal numbers are zeros on the way in and after every step. MXCSR is not read.
//
// A kernel is a template over AmxTiles or TwinTiles. Tile numbers are template arguments, because
// the instructions have them in their code. What the unit likes:
//   - A chain of products into one tile runs at full rate.
//   - A load takes 8 cycles of both load ports, a store 16 cycles of port 5 and of the store port.
//   A
//     tile that is stored right after its last product makes the unit wait; two products later the
//     store costs nothing.
//   - What streams past should be loaded with Stream, which leaves the L1 cache to others.

// Included once for every target.
#if defined(LONGSPAN_SIMD_AMX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_AMX_INL_H_
#undef LONGSPAN_SIMD_AMX_INL_H_
#else
#define LONGSPAN_SIMD_AMX_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "longspan/types.h"
#include "simd/tile_config.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr idx_t kTileBytes = 1024;
inline constexpr idx_t kTileLine = 64;  // bytes

// Configures the thread's tiles while it lives: all eight in full size.
template <class Tiles>
struct TileSession {
  TileSession() { Tiles::Configure(); }
  ~TileSession() { Tiles::Release(); }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
};

#if HWY_TARGET == HWY_AVX3_DL

struct AmxTiles {
  // PermitTiles() (base/isa.h) comes first, once a process.
  static void Configure() {
    const TileConfig config;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  static void Release() { asm volatile("tilerelease"); }

  template <int T>
  static HWY_INLINE void Zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  // Lines are `stride` bytes apart; 0 repeats one line.
  template <int T>
  static HWY_INLINE void Load(const void* from, idx_t stride = kTileLine) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(from), "r"(stride) : "memory");
  }
  template <int T>
  static HWY_INLINE void Stream(const void* from, idx_t stride = kTileLine) {
    asm volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(from), "r"(stride) : "memory");
  }
  template <int T>
  static HWY_INLINE void Store(void* to, idx_t stride = kTileLine) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(T), "r"(to), "r"(stride) : "memory");
  }
  template <int C, int A, int B>
  static HWY_INLINE void Product() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

#endif

class TwinTiles {
 public:
  static void Configure() { std::memset(tile_, 0, sizeof(tile_)); }
  static void Release() {}
  template <int T>
  static void Zero() {
    std::memset(tile_[T], 0, sizeof(tile_[T]));
  }
  template <int T>
  static void Load(const void* from, idx_t stride = kTileLine) {
    for (int m = 0; m < 16; ++m) {
      std::memcpy(tile_[T][m], static_cast<const char*>(from) + m * stride, 64);
    }
  }
  template <int T>
  static void Stream(const void* from, idx_t stride = kTileLine) {
    Load<T>(from, stride);
  }
  template <int T>
  static void Store(void* to, idx_t stride = kTileLine) {
    for (int m = 0; m < 16; ++m) {
      std::memcpy(static_cast<char*>(to) + m * stride, tile_[T][m], 64);
    }
  }
  template <int C, int A, int B>
  static void Product() {
    Multiply(tile_[A], tile_[B], tile_[C]);
  }

 private:
  using Tile = std::uint32_t[16][16];
  using Tag = hn::CappedTag<float, 16>;
  using Bits = hn::RebindToUnsigned<Tag>;

  // Subnormal numbers become zeros of their sign.
  static HWY_INLINE hn::Vec<Tag> Flush(hn::Vec<Tag> x) {
    const Bits du;
    const auto bits = hn::BitCast(du, x);
    const auto sign = hn::And(bits, hn::Set(du, 0x80000000u));
    const auto exponent = hn::And(bits, hn::Set(du, 0x7f800000u));
    return hn::BitCast(Tag(), hn::IfThenElse(hn::Eq(exponent, hn::Zero(du)), sign, bits));
  }
  // a b + c with one rounding on every target; a and b are bf16 numbers, so that their product, if
  // it is a normal number or has a factor of zero, is exact, and the sum alone rounds. Whatever
  // else it is, std::fma knows; it takes a call for each lane.
  static HWY_INLINE hn::Vec<Tag> Fma(hn::Vec<Tag> a, hn::Vec<Tag> b, hn::Vec<Tag> c) {
#if HWY_NATIVE_FMA
    return hn::MulAdd(a, b, c);
#else
    const Tag d;
    const Bits du;
    const auto product = hn::Mul(a, b), none = hn::Zero(d);
    const auto highest = hn::Set(du, 0x7f800000u);
    const auto exponent = hn::And(hn::BitCast(du, product), highest);
    const auto zero = hn::RebindMask(du, hn::Or(hn::Eq(a, none), hn::Eq(b, none)));
    const auto large = hn::Or(zero, hn::Ne(exponent, hn::Zero(du)));
    if (hn::AllTrue(du, hn::And(large, hn::Ne(exponent, highest)))) {
      return hn::Add(product, c);
    }
    alignas(64) float x[16], y[16], z[16];
    hn::Store(a, d, x);
    hn::Store(b, d, y);
    hn::Store(c, d, z);
    for (std::size_t i = 0; i < hn::Lanes(d); ++i) z[i] = std::fma(x[i], y[i], z[i]);
    return hn::Load(d, z);
#endif
  }
  static void Multiply(const Tile& a, const Tile& b, Tile& c) {
    const Tag d;
    const Bits du;
    const auto high_word = hn::Set(du, 0xffff0000u);
    // Each number is taken apart once, and meets 16 others. The even ones first.
    alignas(64) float left[2][16][16], right[2][16][16];
    const auto take_apart = [&](const Tile& words, float(&to)[2][16][16]) HWY_ATTR {
      for (int line = 0; line < 16; ++line) {
        for (std::size_t n = 0; n < 16; n += hn::Lanes(d)) {
          const auto x = hn::LoadU(du, words[line] + n);
          hn::Store(Flush(hn::BitCast(d, hn::ShiftLeft<16>(x))), d, to[0][line] + n);
          hn::Store(Flush(hn::BitCast(d, hn::And(x, high_word))), d, to[1][line] + n);
        }
      }
    };
    take_apart(a, left);
    take_apart(b, right);
    for (int m = 0; m < 16; ++m) {
      for (std::size_t n = 0; n < 16; n += hn::Lanes(d)) {
        auto even = hn::Zero(d), odd = even;
        for (int k = 0; k < 16; ++k) {
          even = Flush(Fma(hn::Set(d, left[0][m][k]), hn::Load(d, right[0][k] + n), even));
          odd = Flush(Fma(hn::Set(d, left[1][m][k]), hn::Load(d, right[1][k] + n), odd));
        }
        const auto sum = Flush(hn::Add(even, odd));
        const auto before = Flush(hn::BitCast(d, hn::LoadU(du, c[m] + n)));
        hn::StoreU(hn::BitCast(du, Flush(hn::Add(before, sum))), du, c[m] + n);
      }
    }
  }

  alignas(64) static inline thread_local Tile tile_[8];
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_AMX_INL_H_
