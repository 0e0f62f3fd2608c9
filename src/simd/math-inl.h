// Elementary functions on vectors of floats: exponentials, Log, Tanh, Sigmoid, Erf, NormalCdf.
// D is a full or smaller float tag. Coefficients are weighted minimax fits, rounded to fp32 one
// after another (each rounding is absorbed by the coefficients behind it).
//
//   function            largest error               special values
//   Exp                 2 ulp, subnormals included  -inf -> 0, large -> inf, NaN stays
//   ExpNonPositive      2 ulp above 2^-126          below 2^-126 -> 0, -inf -> 0, NaN stays
//   ExpWeight           2e-7 + 1.4e-8 |x| of it     as ExpNonPositive
//   Exp2Weight          2e-7 of it                  below -126 -> 0, -inf -> 0, NaN stays
//   Exp2Small           2e-7 of it                  NaN stays
//   Log                 2 ulp, subnormals included  0 -> -inf, negative -> NaN, inf, NaN stay
//   Tanh                3 ulp                       +-inf -> +-1, NaN stays
//   Sigmoid             4 ulp above 2^-126          -inf -> 0, inf -> 1, NaN stays
//   Erf                 2 ulp (1.3e-7 absolute)     +-inf -> +-1, NaN stays
//   NormalCdf           1.3e-7 absolute             -inf -> 0, inf -> 1, NaN stays

// Included once for every target.
#if defined(LONGSPAN_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_MATH_INL_H_
#undef LONGSPAN_SIMD_MATH_INL_H_
#else
#define LONGSPAN_SIMD_MATH_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace math_internal {

// y where x is a number, x where x is NaN. Clamping as Max(low, Min(high, x)) lets a NaN in x pass
// on every target but the portable ones, whose Min and Max prefer numbers.
template <class D, class V>
HWY_INLINE V KeepNan(D /*d*/, V x, V y) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  return hn::IfThenElse(hn::Eq(x, x), y, x);
#else
  (void)x;
  return y;
#endif
}

// x = n ln 2 + r with |r| <= ln 2 / 2. Returns e^r and, in `shifted`, n + offset in the low bits of
// a float near 1.5 * 2^23: the addition rounds to the nearest integer, no conversion is needed.
template <class D, class V>
HWY_INLINE V ExpReduced(D d, V x, float offset, V& shifted) {
  const V kLog2E = hn::Set(d, 1.44269504f);
  const V kMagic = hn::Set(d, 12582912.0f + offset);  // 1.5 * 2^23
  // ln 2 in two parts; the first has 12 bits, so n times it is exact without a fused multiply.
  const V kLn2High = hn::Set(d, 0.693145751953125f);
  const V kLn2Low = hn::Set(d, 1.428606765330187e-6f);
  shifted = hn::MulAdd(x, kLog2E, kMagic);
  const V n = hn::Sub(shifted, kMagic);
  V r = hn::NegMulAdd(n, kLn2High, x);
  r = hn::NegMulAdd(n, kLn2Low, r);
  // 1 + r + r^2 P(r), relative error 3.1e-9.
  V p = hn::MulAdd(hn::Set(d, 0x1.6a4efp-10f), r, hn::Set(d, 0x1.12397cp-7f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.5558aep-5f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.555492p-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.fffffcp-2f));
  return hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
}

}  // namespace math_internal

// e^x over the whole range. About 20 instructions.
template <class D, class V>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  using VI = hn::Vec<decltype(di)>;
  // Beyond these the result is inf, or 0 after rounding.
  const V clamped = hn::Max(hn::Set(d, -104.0f), hn::Min(hn::Set(d, 89.0f), x));
  V shifted;
  const V p = math_internal::ExpReduced(d, clamped, 0.0f, shifted);
  const VI n = hn::Sub(hn::BitCast(di, shifted), hn::Set(di, 0x4B400000));
  // 2^n leaves the range of normal numbers at both ends: multiply by two halves of it.
  const VI half = hn::ShiftRight<1>(n);
  const VI bias = hn::Set(di, 127);
  const V scale0 = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const V scale1 = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(n, half), bias)));
  return math_internal::KeepNan(d, x, hn::Mul(hn::Mul(p, scale0), scale1));
}

// e^x for x <= 0 (or NaN), the softmax case: results below 2^-126 become exactly 0. Three quarters
// of the cost of Exp.
template <class D, class V>
HWY_INLINE V ExpNonPositive(D d, V x) {
  const hn::RebindToSigned<D> di;
  V shifted;
  // The low bits of `shifted` are n + 127, the biased exponent itself.
  const V p = math_internal::ExpReduced(d, x, 127.0f, shifted);
  const V scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.336544f)), hn::Mul(p, scale));
}

namespace math_internal {

// 2^f for |f| <= 1/2 as 1 + f P(f), relative error 3.0e-9.
template <class D, class V>
HWY_INLINE V Exp2Fraction(D d, V f) {
  V p = hn::MulAdd(hn::Set(d, 0x1.416b52p-13f), f, hn::Set(d, 0x1.5f082ep-10f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.3b2de0p-7f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.c6af7cp-5f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.ebfbdcp-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.62e430p-1f));
  return hn::MulAdd(p, f, hn::Set(d, 1.0f));
}

// 1.5 * 2^23: a number that is added to it is rounded to an integer, which stands in the low bits.
// 127 more, and it is the biased exponent of a power of 2.
inline constexpr float kExponentMagic = 12582912.0f + 127.0f;

// a b, but 0 where x < limit.
template <class D, class V>
HWY_INLINE V MulUnlessBelow(D d, V x, float limit, V a, V b) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  if constexpr (hn::MaxLanes(D()) == 16) {  // Highway has no product that a mask makes zero
    const __mmask16 keep = _mm512_cmp_ps_mask(x.raw, hn::Set(d, limit).raw, _CMP_NLT_UQ);
    return V{_mm512_maskz_mul_ps(keep, a.raw, b.raw)};
  }
#endif
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, limit)), hn::Mul(a, b));
}

}  // namespace math_internal

// e^x for x <= 80 (or NaN) as a softmax weighs keys, two multiply-adds cheaper than ExpNonPositive:
// log2 e is not corrected for its rounding, which is a temperature off by 1.3e-8. Without fused
// multiply-adds the product would be rounded too.
template <class D, class V>
HWY_INLINE V ExpWeight(D d, V x) {
#if HWY_NATIVE_FMA
  const hn::RebindToSigned<D> di;
  const V kLog2E = hn::Set(d, 1.44269504f), kMagic = hn::Set(d, math_internal::kExponentMagic);
  const V shifted = hn::MulAdd(x, kLog2E, kMagic);
  const V f = hn::MulSub(x, kLog2E, hn::Sub(shifted, kMagic));  // in [-1/2, 1/2]
  const V scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return math_internal::MulUnlessBelow(d, x, -87.336544f, math_internal::Exp2Fraction(d, f), scale);
#else
  return ExpNonPositive(d, x);
#endif
}

namespace math_internal {

// 2^x = 2^f scale, |f| <= 1/2: returns 2^f.
template <class D, class V>
HWY_INLINE V Exp2Parts(D d, V x, V& scale) {
  const hn::RebindToSigned<D> di;
  const V kMagic = hn::Set(d, kExponentMagic);
  const V shifted = hn::Add(x, kMagic);
  scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return Exp2Fraction(d, hn::Sub(x, hn::Sub(shifted, kMagic)));  // exact
}

}  // namespace math_internal

// 2^x for |x| <= 126 (or NaN).
template <class D, class V>
HWY_INLINE V Exp2Small(D d, V x) {
  V scale;
  const V p = math_internal::Exp2Parts(d, x, scale);
  return hn::Mul(p, scale);
}

// 2^x for x <= 126 (or NaN): results below 2^-126 become exactly 0.
template <class D, class V>
HWY_INLINE V Exp2Weight(D d, V x) {
  V scale;
  const V p = math_internal::Exp2Parts(d, x, scale);
  return math_internal::MulUnlessBelow(d, x, -126.0f, p, scale);
}

// Natural logarithm.
template <class D, class V>
HWY_INLINE V Log(D d, V x) {
  const hn::RebindToSigned<D> di;
  using VI = hn::Vec<decltype(di)>;
  const V kInf = hn::Set(d, 3.402823466e38f);
  const auto tiny = hn::Lt(x, hn::Set(d, 1.17549435e-38f));
  const V normal = hn::IfThenElse(tiny, hn::Mul(x, hn::Set(d, 0x1p25f)), x);
  // normal = 2^e m with m in [sqrt(1/2), sqrt(2)).
  const VI kRootHalf = hn::Set(di, 0x3F3504F3);
  const VI bits = hn::Sub(hn::BitCast(di, normal), kRootHalf);
  const V m = hn::BitCast(d, hn::Add(hn::And(bits, hn::Set(di, 0x7FFFFF)), kRootHalf));
  V e = hn::ConvertTo(d, hn::ShiftRight<23>(bits));
  e = hn::Sub(e, hn::IfThenElseZero(tiny, hn::Set(d, 25.0f)));
  const V f = hn::Sub(m, hn::Set(d, 1.0f));
  const V f2 = hn::Mul(f, f);
  // log(1 + f) = f - f^2 / 2 + f^3 P(f), relative error 6e-9.
  V p = hn::MulAdd(hn::Set(d, -0x1.391c24p-4f), f, hn::Set(d, 0x1.05b112p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.0d9aecp-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.22d04ep-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.546f34p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.99a054p-3f));
  p = hn::MulAdd(p, f, hn::Set(d, -0x1.000232p-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 0x1.555554p-2f));
  // Smallest terms first; e times the high part of ln 2 is exact.
  V low = hn::Mul(hn::Mul(p, f2), f);
  low = hn::MulAdd(e, hn::Set(d, 1.428606765330187e-6f), low);
  low = hn::NegMulAdd(hn::Set(d, 0.5f), f2, low);
  V y = hn::MulAdd(e, hn::Set(d, 0.693145751953125f), hn::Add(low, f));
  y = hn::IfThenElse(hn::Gt(x, kInf), x, y);
  const V kMinusInf = hn::BitCast(d, hn::Set(di, static_cast<std::int32_t>(0xFF800000)));
  const V kNan = hn::BitCast(d, hn::Set(di, 0x7FC00000));
  y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), kMinusInf, y);
  y = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), kNan, y);
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

// Hyperbolic tangent.
template <class D, class V>
HWY_INLINE V Tanh(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V a = hn::Abs(x);
  // |x| < 0.625: x + x^3 P(x^2), relative error 4.8e-9.
  const V s = hn::Mul(x, x);
  V p = hn::MulAdd(hn::Set(d, -0x1.734eeap-8f), s, hn::Set(d, 0x1.519718p-6f));
  p = hn::MulAdd(p, s, hn::Set(d, -0x1.b826fep-5f));
  p = hn::MulAdd(p, s, hn::Set(d, 0x1.110688p-3f));
  p = hn::MulAdd(p, s, hn::Set(d, -0x1.55553p-2f));
  const V small = hn::MulAdd(hn::Mul(p, s), x, x);
  // Else 1 - 2 q / (1 + q) with q = e^(-2 |x|): no overflow.
  const V q = ExpNonPositive(d, hn::Mul(hn::Set(d, -2.0f), a));
  const V large = hn::Sub(one, hn::Div(hn::Add(q, q), hn::Add(one, q)));
  const V y = hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), small, large);
  return hn::CopySign(y, x);  // also for -0
}

// 1 / (1 + e^-x).
template <class D, class V>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V q = ExpNonPositive(d, hn::Neg(hn::Abs(x)));
  const V numerator = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), q, one);
  return hn::Div(numerator, hn::Add(one, q));
}

// Error function.
template <class D, class V>
HWY_INLINE V Erf(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V a = hn::Abs(x);
  // |x| < 1: x + x P(x^2), relative error 1.4e-9.
  const V s = hn::Mul(x, x);
  V p = hn::MulAdd(hn::Set(d, 0x1.477e8ep-14f), s, hn::Set(d, -0x1.a354bcp-11f));
  p = hn::MulAdd(p, s, hn::Set(d, 0x1.53f26ep-8f));
  p = hn::MulAdd(p, s, hn::Set(d, -0x1.b7f71ep-6f));
  p = hn::MulAdd(p, s, hn::Set(d, 0x1.ce2ce6p-4f));
  p = hn::MulAdd(p, s, hn::Set(d, -0x1.81273ep-2f));
  p = hn::MulAdd(p, s, hn::Set(d, 0x1.06eba8p-3f));
  const V small = hn::MulAdd(p, x, x);
  // Else 1 - e^Q(|x|), absolute error 1e-9; erf(3.95) rounds to 1.
  const V t = hn::Min(hn::Set(d, 3.95f), a);
  V q = hn::MulAdd(hn::Set(d, 0x1.857574p-13f), t, hn::Set(d, -0x1.817abap-9f));
  q = hn::MulAdd(q, t, hn::Set(d, 0x1.6559dep-6f));
  q = hn::MulAdd(q, t, hn::Set(d, -0x1.a61754p-4f));
  q = hn::MulAdd(q, t, hn::Set(d, -0x1.46c39cp-1f));
  q = hn::MulAdd(q, t, hn::Set(d, -0x1.20864ap+0f));
  q = hn::MulAdd(q, t, hn::Set(d, -0x1.707c88p-12f));
  const V large = hn::Sub(one, ExpNonPositive(d, q));
  const V y = hn::IfThenElse(hn::Lt(a, one), small, hn::CopySign(large, x));
  return math_internal::KeepNan(d, x, y);
}

// Phi(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution's, in two thirds of the instructions
// that it takes by way of Erf. Exactly 0 below -5.6, where it is 1.1e-8.
template <class D, class V>
HWY_INLINE V NormalCdf(D d, V x) {
  // The tail Phi(-|x|) is 2^Q(|x|), absolute error 4e-9.
  const V a = hn::Abs(x);
  V q = hn::MulAdd(hn::Set(d, 0x1.101c26p-21f), a, hn::Set(d, -0x1.3dda52p-17f));
  q = hn::MulAdd(q, a, hn::Set(d, 0x1.384702p-14f));
  q = hn::MulAdd(q, a, hn::Set(d, -0x1.286e2cp-12f));
  q = hn::MulAdd(q, a, hn::Set(d, 0x1.91fb2p-17f));
  q = hn::MulAdd(q, a, hn::Set(d, 0x1.c672d8p-8f));
  q = hn::MulAdd(q, a, hn::Set(d, -0x1.ad8fc2p-5f));
  q = hn::MulAdd(q, a, hn::Set(d, -0x1.d63dfcp-2f));
  q = hn::MulAdd(q, a, hn::Set(d, -0x1.26aec6p+0f));
  q = hn::MulAdd(q, a, hn::Set(d, -1.0f));
  V scale;
  const V p = math_internal::Exp2Parts(d, q, scale);
  const V tail = math_internal::MulUnlessBelow(d, hn::Neg(a), -5.6f, p, scale);
  const V y = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail));
  return math_internal::KeepNan(d, x, y);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_MATH_INL_H_
