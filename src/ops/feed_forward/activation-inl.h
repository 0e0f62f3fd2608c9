// Activations on vectors with their derivatives. Each functor returns the value at h and, when
// asked, the slope there; the value's bits do not depend on whether the slope was asked for.

// Included once for every target.
#if defined(LONGSPAN_OPS_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_ACTIVATION_INL_H_
#undef LONGSPAN_OPS_ACTIVATION_INL_H_
#else
#define LONGSPAN_OPS_ACTIVATION_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/feed_forward/feed_forward.h"
#include "simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

struct IdentityActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    if (kSlope) slope = hn::Set(d, 1.0f);
    return h;
  }
};

// max(h, 0), written so that NaN passes on every target. The slope at 0 is 0.
struct ReluActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    if (kSlope) slope = hn::IfThenElseZero(hn::Gt(h, hn::Zero(d)), hn::Set(d, 1.0f));
    return hn::IfThenZeroElse(hn::Lt(h, hn::Zero(d)), h);
  }
};

// max(h, 0)^2.
struct Relu2Activation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V r = hn::IfThenZeroElse(hn::Lt(h, hn::Zero(d)), h);
    if (kSlope) slope = hn::Add(r, r);
    return hn::Mul(r, r);
  }
};

// h Phi(h), Phi(h) = (1 + erf(h / sqrt 2)) / 2; slope Phi(h) + h phi(h).
struct GeluActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V cumulative = NormalCdf(d, h);
    if (kSlope) {
      const V density = hn::Mul(hn::Set(d, 0.398942280f),  // 1 / sqrt(2 pi)
                                ExpNonPositive(d, hn::Mul(hn::Mul(h, h), hn::Set(d, -0.5f))));
      slope = hn::MulAdd(h, density, cumulative);
    }
    return hn::Mul(h, cumulative);
  }
};

// Logistic function s(z) and its derivative s (1 - s), which keeps its digits in both tails because
// 1 - s is never computed.
template <class D, class V>
HWY_INLINE V Logistic(D d, V z, V& slope) {
  const V one = hn::Set(d, 1.0f);
  const V q = ExpNonPositive(d, hn::Neg(hn::Abs(z)));
  const V inverse = hn::Div(one, hn::Add(one, q));
  const V small = hn::Mul(q, inverse);
  slope = hn::Mul(small, inverse);
  return hn::IfThenElse(hn::Lt(z, hn::Zero(d)), small, inverse);
}

// h (1 + tanh u) / 2 with u = sqrt(2 / pi) (h + 0.044715 h^3), which is h sigmoid(2 u): no
// cancellation where h is far below 0.
struct GeluNewActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V linear = hn::Set(d, 1.59576912f), cubic = hn::Set(d, 0.0713548162726f);  // of 2 u
    const V h2 = hn::Mul(h, h);
    V ds;
    const V s = Logistic(d, hn::Mul(h, hn::MulAdd(cubic, h2, linear)), ds);
    if (kSlope) {
      const V du = hn::MulAdd(hn::Mul(hn::Set(d, 3.0f), cubic), h2, linear);
      // du overflows for huge h, where ds is 0.
      const V tail = hn::IfThenZeroElse(hn::Eq(ds, hn::Zero(d)), hn::Mul(hn::Mul(h, ds), du));
      slope = hn::Add(s, tail);
    }
    return hn::Mul(h, s);
  }
};

// h sigmoid(h).
struct SiluActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    V ds;
    const V s = Logistic(d, h, ds);
    if (kSlope) slope = hn::MulAdd(h, ds, s);
    return hn::Mul(h, s);
  }
};

struct TanhActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V t = Tanh(d, h);
    if (kSlope) slope = hn::NegMulAdd(t, t, hn::Set(d, 1.0f));
    return t;
  }
};

struct SigmoidActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    V ds;
    const V s = Logistic(d, h, ds);
    if (kSlope) slope = ds;
    return s;
  }
};

// h sigmoid(1.702 h).
struct QuickGeluActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V z = hn::Mul(h, hn::Set(d, 1.702f));
    V ds;
    const V s = Logistic(d, z, ds);
    if (kSlope) slope = hn::MulAdd(z, ds, s);
    return hn::Mul(h, s);
  }
};

// h tanh(log(1 + e^h)). With q = e^-|h|, tanh(log(1 + n)) = (n^2 + 2n) / (n^2 + 2n + 2) has no
// cancellation in either tail:
//   h < 0:  w / (w + 2), w = q (q + 2);      slope of tanh(..) 4 q (1 + q) / (w + 2)^2
//   else    (1 + 2q) / e, e = 1 + 2q + 2q^2;                   4 q^2 (1 + q) / e^2
struct MishActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f);
    const V q = ExpNonPositive(d, hn::Neg(hn::Abs(h)));
    const V w = hn::Mul(q, hn::Add(q, two));
    const auto below = hn::Lt(h, hn::Zero(d));
    const V twice = hn::Add(q, q);
    const V inverse = hn::Div(
        one, hn::IfThenElse(below, hn::Add(w, two), hn::MulAdd(twice, q, hn::Add(one, twice))));
    const V t = hn::Mul(hn::IfThenElse(below, w, hn::Add(one, twice)), inverse);
    if (kSlope) {
      const V power = hn::IfThenElse(below, q, hn::Mul(q, q));
      const V four = hn::Mul(hn::Set(d, 4.0f), hn::Mul(power, hn::Add(one, q)));
      slope = hn::MulAdd(hn::Mul(h, four), hn::Mul(inverse, inverse), t);
    }
    return hn::Mul(h, t);
  }
};

// min(max(h, 0), 6); the slope is 0 at both kinks.
struct Relu6Activation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V zero = hn::Zero(d), six = hn::Set(d, 6.0f);
    if (kSlope) {
      const auto inside = hn::And(hn::Gt(h, zero), hn::Lt(h, six));
      slope = hn::IfThenElseZero(inside, hn::Set(d, 1.0f));
    }
    const V low = hn::IfThenZeroElse(hn::Lt(h, zero), h);
    return hn::IfThenElse(hn::Gt(low, six), six, low);
  }
};

// h above 0, 0.01 h elsewhere; the slope at 0 is 0.01.
struct LeakyReluActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V leak = hn::Set(d, 0.01f);
    const auto above = hn::Gt(h, hn::Zero(d));
    if (kSlope) slope = hn::IfThenElse(above, hn::Set(d, 1.0f), leak);
    return hn::IfThenElse(above, h, hn::Mul(h, leak));
  }
};

// (1 + erf(z)) / 2, z = (h - mu) / (sigma sqrt 2), mu = 0.707107, sigma = 0.282095 (Ma et al. 2022,
// "Mega": near relu^2, but bounded); slope e^(-z^2) / (sigma sqrt(2 pi)).
struct LaplaceActivation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V half = hn::Set(d, 0.5f);
    const V z = hn::Mul(hn::Sub(h, hn::Set(d, 0.707107f)), hn::Set(d, 2.50662642f));
    if (kSlope) {
      slope = hn::Mul(hn::Set(d, 1.41421252f), ExpNonPositive(d, hn::Neg(hn::Mul(z, z))));
    }
    return hn::MulAdd(half, Erf(d, z), half);
  }
};

// gelu, cut at -10 (which it never reaches) and 10; beyond 10 the slope is 0, at 10 it is gelu's.
struct Gelu10Activation {
  template <bool kSlope, class D, class V>
  static HWY_INLINE V Apply(D d, V h, V& slope) {
    const V most = hn::Set(d, 10.0f);
    const V value = GeluActivation::Apply<kSlope>(d, h, slope);
    const auto beyond = hn::Gt(value, most);
    if (kSlope) slope = hn::IfThenZeroElse(beyond, slope);
    return hn::IfThenElse(beyond, most, value);
  }
};

// Calls run(functor) with the functor of `activation`. Write `run` with HWY_ATTR.
template <class Run>
HWY_INLINE void WithActivation(Activation activation, const Run& run) {
  switch (activation) {
    case Activation::kRelu:
      return run(ReluActivation());
    case Activation::kRelu2:
      return run(Relu2Activation());
    case Activation::kGelu:
      return run(GeluActivation());
    case Activation::kGeluNew:
      return run(GeluNewActivation());
    case Activation::kSilu:
      return run(SiluActivation());
    case Activation::kTanh:
      return run(TanhActivation());
    case Activation::kSigmoid:
      return run(SigmoidActivation());
    case Activation::kIdentity:
      return run(IdentityActivation());
    case Activation::kMish:
      return run(MishActivation());
    case Activation::kQuickGelu:
      return run(QuickGeluActivation());
    case Activation::kRelu6:
      return run(Relu6Activation());
    case Activation::kLeakyRelu:
      return run(LeakyReluActivation());
    case Activation::kLaplace:
      return run(LaplaceActivation());
    case Activation::kGelu10:
      return run(Gelu10Activation());
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_ACTIVATION_INL_H_
