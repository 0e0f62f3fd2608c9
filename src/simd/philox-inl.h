// Philox 4x32-10 on vectors, and the dropout factors made of it: bit for bit those of base/rng.h
// (Philox, Dropout::Factor), on every target.

// Included once for every target.
#if defined(LONGSPAN_SIMD_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_PHILOX_INL_H_
#undef LONGSPAN_SIMD_PHILOX_INL_H_
#else
#define LONGSPAN_SIMD_PHILOX_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "base/rng.h"
#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Elements of a dropout site come in groups of this many: 16 counters of 4 words.
inline constexpr idx_t kDropoutGroup = 64;

// The 4 * 16 random words of counters 16 group ... 16 group + 15, ordered as the elements of a
// dropout group are: words[16 w + l] is word w of counter 16 group + l. `words` is 64-byte aligned.
// A counter occupies one 64-bit lane, so that the 32x32 -> 64 multiplies need no shuffles; the
// upper halves of c1 and c3 hold what nobody reads. About 110 cycles a group on AVX2.
HWY_INLINE void PhiloxGroup(std::uint64_t key, std::uint64_t group,
                            std::uint32_t* HWY_RESTRICT words) {
#if HWY_TARGET == HWY_SCALAR  // one 32-bit lane cannot be seen as a 64-bit one
  for (std::uint64_t l = 0; l < 16; ++l) {
    const auto counter_words = Philox(key, group * 16 + l);
    for (std::uint64_t w = 0; w < 4; ++w) words[16 * w + l] = counter_words[w];
  }
#else
  const hn::CappedTag<std::uint32_t, 16> du;
  const hn::RepartitionToWide<decltype(du)> dw;
  using VU = hn::Vec<decltype(du)>;
  using VW = hn::Vec<decltype(dw)>;
  const auto lanes = hn::Lanes(du);
  const VU multiplier0 = hn::Set(du, 0xD2511F53u), multiplier1 = hn::Set(du, 0xCD9E8D57u);
  const std::uint64_t first = group * 16;  // its low four bits are zero: no carry beyond them
  const VW high = hn::Set(dw, first >> 32);
  for (std::size_t l = 0; l < 16; l += lanes) {
    const VU low =
        hn::Add(hn::Set(du, static_cast<std::uint32_t>(first + l)), hn::Iota(du, std::uint32_t{0}));
    // Even and odd counters. Odd ones move down to the low half of their lane.
    VW even0 = hn::BitCast(dw, low), odd0 = hn::ShiftRight<32>(even0);
    VW even1 = high, odd1 = high;
    VW even2 = hn::Zero(dw), odd2 = even2, even3 = even2, odd3 = even2;
    auto key0 = static_cast<std::uint32_t>(key), key1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const VW k0 = hn::Set(dw, std::uint64_t{key0}), k1 = hn::Set(dw, std::uint64_t{key1});
      const VW even_p0 = hn::MulEven(hn::BitCast(du, even0), multiplier0);
      const VW even_p1 = hn::MulEven(hn::BitCast(du, even2), multiplier1);
      const VW odd_p0 = hn::MulEven(hn::BitCast(du, odd0), multiplier0);
      const VW odd_p1 = hn::MulEven(hn::BitCast(du, odd2), multiplier1);
      even0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(even_p1), even1), k0);
      odd0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(odd_p1), odd1), k0);
      even2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(even_p0), even3), k1);
      odd2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(odd_p0), odd3), k1);
      even1 = even_p1;
      odd1 = odd_p1;
      even3 = even_p0;
      odd3 = odd_p0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const auto store = [&](VW even, VW odd, std::size_t w) HWY_ATTR {
      const VU odd_up = hn::BitCast(du, hn::ShiftLeft<32>(odd));
      hn::Store(hn::OddEven(odd_up, hn::BitCast(du, even)), du, words + 16 * w + l);
    };
    store(even0, odd0, 0);
    store(even1, odd1, 1);
    store(even2, odd2, 2);
    store(even3, odd3, 3);
  }
#endif
}

// factors[i] = dropout.Factor(64 group + i) for i in [0, 64): 0 or scale(). 64-byte aligned.
HWY_INLINE void DropoutFactorsGroup(const Dropout& dropout, std::uint64_t group,
                                    float* HWY_RESTRICT factors) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  alignas(64) std::uint32_t words[kDropoutGroup];
  PhiloxGroup(dropout.key, group, words);
  const auto threshold = hn::Set(du, dropout.threshold());
  const auto scale = hn::Set(d, dropout.scale());
  for (std::size_t i = 0; i < kDropoutGroup; i += hn::Lanes(d)) {
    const auto word = hn::Load(du, words + i);
    // Unsigned word >= threshold without a sign flip.
    const auto kept = hn::RebindMask(d, hn::Eq(hn::Max(word, threshold), word));
    hn::Store(hn::IfThenElseZero(kept, scale), d, factors + i);
  }
}

// Calls use(offset, count, factors) over pieces of a row whose first element is element `first` of
// the site: factors[j], j < count <= 64, belongs to element first + offset + j. Pieces end where
// groups end, so a row that starts at a multiple of 64 has whole aligned groups; `factors` itself
// is 64-byte aligned only in pieces of a whole group. Write `use` with HWY_ATTR.
template <class Use>
HWY_INLINE void ForDropoutFactors(const Dropout& dropout, idx_t first, idx_t count,
                                  const Use& use) {
  alignas(64) float factors[kDropoutGroup];
  for (idx_t offset = 0; offset < count;) {
    const idx_t element = first + offset;
    const idx_t skip = element % kDropoutGroup;
    const idx_t n = std::min(kDropoutGroup - skip, count - offset);
    DropoutFactorsGroup(dropout, static_cast<std::uint64_t>(element / kDropoutGroup), factors);
    use(offset, n, static_cast<const float*>(factors + skip));
    offset += n;
  }
}

// factors[i] = dropout.Factor(first + i) for i in [0, count), any alignment, any start.
HWY_INLINE void DropoutFactors(const Dropout& dropout, idx_t first, idx_t count,
                               float* HWY_RESTRICT factors) {
  ForDropoutFactors(dropout, first, count, [=](idx_t offset, idx_t n, const float* piece) HWY_ATTR {
    std::copy(piece, piece + n, factors + offset);
  });
}

// row[i] *= dropout.Factor(first + i) for i in [0, count), any alignment, any start.
HWY_INLINE void ApplyDropoutRow(const Dropout& dropout, idx_t first, float* HWY_RESTRICT row,
                                idx_t count) {
  const auto apply = [=](idx_t offset, idx_t n, const float* piece) HWY_ATTR {
    const hn::CappedTag<float, 16> d;
    const auto lanes = static_cast<idx_t>(hn::Lanes(d));
    float* HWY_RESTRICT x = row + offset;
    idx_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, piece + i)), d, x + i);
    }
    for (; i < n; ++i) x[i] *= piece[i];
  };
  ForDropoutFactors(dropout, first, count, apply);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_PHILOX_INL_H_
