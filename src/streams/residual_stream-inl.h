// Rows of residual streams: fp32, multiples of a step, bf16 rounded by chance.

// Included once for every target.
#if defined(LONGSPAN_STREAMS_RESIDUAL_STREAM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_STREAMS_RESIDUAL_STREAM_INL_H_
#undef LONGSPAN_STREAMS_RESIDUAL_STREAM_INL_H_
#else
#define LONGSPAN_STREAMS_RESIDUAL_STREAM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "simd/lanes-inl.h"
#include "simd/philox-inl.h"
#include "streams/residual_stream.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y[i] += sign f[i], sign 1 or -1.
void AddFloats(const float* HWY_RESTRICT f, float sign, idx_t count, float* HWY_RESTRICT y) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    const auto term = hn::Mul(hn::LoadU(d, f + i), hn::Set(d, sign));
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), term), d, y + i);
  });
}

// Rounds f / step to the grid. Sign bits in `wrong` mark values that are out of range.
template <class D, class I = hn::RebindToSigned<D>>
HWY_INLINE hn::Vec<I> ToGrid(D d, const float* f, float inverse_step, hn::Vec<I>* wrong) {
  const I di;
  const auto steps = hn::Mul(hn::LoadU(d, f), hn::Set(d, inverse_step));
  const auto fits = hn::Lt(hn::Abs(steps), hn::Set(d, 2147483648.0f));  // NaN does not
  *wrong = hn::Or(*wrong, hn::IfThenElse(hn::RebindMask(di, fits), hn::Zero(di), hn::Set(di, -1)));
  return hn::NearestInt(hn::IfThenElseZero(fits, steps));
}

// y[i] += round(f[i] / step); whether all went well.
bool AddToGrid(const float* HWY_RESTRICT f, float inverse_step, idx_t count,
               std::int32_t* HWY_RESTRICT y) {
  bool right = true;
  ForLanes(count, [&](auto d, idx_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    auto wrong = hn::Zero(di);
    const auto term = ToGrid(d, f + i, inverse_step, &wrong), before = hn::LoadU(di, y + i);
    const auto sum = hn::Add(before, term);
    // A sum overflows when its sign is that of neither term.
    wrong = hn::Or(wrong, hn::And(hn::Xor(before, sum), hn::Xor(term, sum)));
    right = right && hn::AllFalse(di, hn::Lt(wrong, hn::Zero(di)));
    hn::StoreU(sum, di, y + i);
  });
  return right;
}

// y[i] -= round(f[i] / step), where f was added before.
void SubtractFromGrid(const float* HWY_RESTRICT f, float inverse_step, idx_t count,
                      std::int32_t* HWY_RESTRICT y) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    auto wrong = hn::Zero(di);
    const auto term = ToGrid(d, f + i, inverse_step, &wrong);
    hn::StoreU(hn::Sub(hn::LoadU(di, y + i), term), di, y + i);
  });
}

void GridToFloats(const std::int32_t* HWY_RESTRICT x, float step, idx_t count,
                  float* HWY_RESTRICT f) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::LoadU(di, x + i)), hn::Set(d, step)), d, f + i);
  });
}

void HalvesToFloats(const std::uint16_t* HWY_RESTRICT x, idx_t count, float* HWY_RESTRICT f) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const hn::Rebind<std::uint16_t, decltype(d)> dh;
    const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, x + i)));
    hn::StoreU(hn::BitCast(d, bits), d, f + i);
  });
}

// y[i] = y[i] + f[i] (or f[i] alone), rounded to one of its neighbours in bf16, the nearer the
// likelier: the lower 16 bits of the sum's word plus 16 random bits carry into the upper ones.
// Element i is element first + i of the site.
void AddToHalves(const float* HWY_RESTRICT f, const RoundingSite& site, bool overwrite, idx_t count,
                 std::uint16_t* HWY_RESTRICT y) {
  alignas(64) std::uint32_t words[kDropoutGroup];
  for (idx_t offset = 0; offset < count;) {
    const idx_t element = site.first + offset, skip = element % kDropoutGroup;
    const idx_t n = std::min(kDropoutGroup - skip, count - offset);
    PhiloxGroup(site.key, static_cast<std::uint64_t>(element / kDropoutGroup), words);
    const std::uint32_t* HWY_RESTRICT chance = words + skip;
    const float* HWY_RESTRICT from = f + offset;
    std::uint16_t* HWY_RESTRICT to = y + offset;
    ForLanes(n, [=](auto d, idx_t i) HWY_ATTR {
      const hn::RebindToUnsigned<decltype(d)> du;
      const hn::RebindToSigned<decltype(d)> di;
      const hn::Rebind<std::uint16_t, decltype(d)> dh;
      auto sum = hn::LoadU(d, from + i);
      if (!overwrite) {
        const auto before = hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, to + i)));
        sum = hn::Add(hn::BitCast(d, before), sum);
      }
      const auto bits = hn::BitCast(du, sum);
      const auto random = hn::And(hn::LoadU(du, chance + i), hn::Set(du, 0xffffu));
      const auto number = hn::RebindMask(du, hn::Eq(sum, sum));
      const auto rounded =
          hn::IfThenElse(number, hn::Add(bits, random), hn::Or(bits, hn::Set(du, 0x400000u)));
      hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, hn::ShiftRight<16>(rounded))), dh, to + i);
    });
    offset += n;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_STREAMS_RESIDUAL_STREAM_INL_H_
