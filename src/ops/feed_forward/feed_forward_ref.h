// The feed-forward block in plain loops, on float, double or std::complex<double>.
#pragma once

#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "ops/feed_forward/feed_forward.h"

namespace longspan {

// erf has no complex version in the library. To first order in a tiny imaginary part, which is
// what a complex step needs, erf(a + ib) = erf(a) + ib erf'(a).
template <class T>
T ErfReference(T x) {
  return std::erf(x);
}
inline std::complex<double> ErfReference(std::complex<double> x) {
  const double slope = 2.0 / std::sqrt(std::numbers::pi) * std::exp(-x.real() * x.real());
  return {std::erf(x.real()), x.imag() * slope};
}

template <class T>
T ActivationReference(Activation activation, T h) {
  using std::exp, std::log, std::tanh, std::real;
  switch (activation) {
    case Activation::kRelu:
      return real(h) > 0 ? h : T(0);
    case Activation::kRelu2:
      return real(h) > 0 ? h * h : T(0);
    case Activation::kGelu:
      return T(0.5) * h * (T(1) + ErfReference(h / T(std::numbers::sqrt2)));
    case Activation::kGeluNew:
      return T(0.5) * h *
             (T(1) + tanh(T(std::sqrt(2.0 / std::numbers::pi)) * (h + T(0.044715) * h * h * h)));
    case Activation::kSilu:
      return h / (T(1) + exp(-h));
    case Activation::kTanh:
      return tanh(h);
    case Activation::kSigmoid:
      return T(1) / (T(1) + exp(-h));
    case Activation::kIdentity:
      return h;
    case Activation::kMish:
      return h * tanh(log(T(1) + exp(h)));
    case Activation::kQuickGelu:
      return h / (T(1) + exp(T(-1.702) * h));
    case Activation::kRelu6:
      return real(h) > 6 ? T(6) : (real(h) > 0 ? h : T(0));
    case Activation::kLeakyRelu:
      return real(h) > 0 ? h : T(0.01) * h;
    case Activation::kLaplace:
      return T(0.5) * (T(1) + ErfReference((h - T(0.707107)) / T(0.282095 * std::numbers::sqrt2)));
    case Activation::kGelu10: {
      const T value = ActivationReference(Activation::kGelu, h);
      return real(value) > 10 ? T(10) : value;
    }
  }
  return T(0);
}

template <class T>
T ActivationSlopeReference(Activation activation, T h) {
  using std::exp, std::tanh, std::real;
  const T one(1);
  switch (activation) {
    case Activation::kRelu:
      return real(h) > 0 ? one : T(0);
    case Activation::kRelu2:
      return real(h) > 0 ? T(2) * h : T(0);
    case Activation::kGelu:
      return T(0.5) * (one + ErfReference(h / T(std::numbers::sqrt2))) +
             h * exp(T(-0.5) * h * h) / T(std::sqrt(2.0 * std::numbers::pi));
    case Activation::kGeluNew: {
      const T root(std::sqrt(2.0 / std::numbers::pi));
      const T t = tanh(root * (h + T(0.044715) * h * h * h));
      return T(0.5) * (one + t) +
             T(0.5) * h * (one - t * t) * root * (one + T(3 * 0.044715) * h * h);
    }
    case Activation::kSilu: {
      const T s = one / (one + exp(-h));
      return s + h * s * (one - s);
    }
    case Activation::kTanh:
      return one - tanh(h) * tanh(h);
    case Activation::kSigmoid: {
      const T s = one / (one + exp(-h));
      return s * (one - s);
    }
    case Activation::kIdentity:
      return one;
    case Activation::kMish: {
      const T t = tanh(log(one + exp(h)));
      return t + h * (one - t * t) / (one + exp(-h));
    }
    case Activation::kQuickGelu: {
      const T s = one / (one + exp(T(-1.702) * h));
      return s + T(1.702) * h * s * (one - s);
    }
    case Activation::kRelu6:
      return real(h) > 0 && real(h) < 6 ? one : T(0);
    case Activation::kLeakyRelu:
      return real(h) > 0 ? one : T(0.01);
    case Activation::kLaplace: {
      const T z = (h - T(0.707107)) / T(0.282095 * std::numbers::sqrt2);
      return exp(-z * z) / T(0.282095 * std::sqrt(2.0 * std::numbers::pi));
    }
    case Activation::kGelu10:
      return real(ActivationReference(Activation::kGelu, h)) > 10
                 ? T(0)
                 : ActivationSlopeReference(Activation::kGelu, h);
  }
  return T(0);
}

// x (T, C), w1 (W, C), b1 (W), w2 (C, F), b2 (C), all row-major without gaps; W is F, or 2F of a
// gated block.
template <class T>
struct FeedForwardReferenceInputs {
  std::vector<T> x, w1, b1, w2, b2;
};

template <class T>
T DropoutFactorReference(const Dropout& site, std::size_t element) {
  return site.active() ? T(site.Factor(static_cast<idx_t>(element))) : T(1);
}

// The hidden layer before its activation and its dropout: (T, W).
template <class T>
std::vector<T> FeedForwardHiddenReference(const FeedForwardReferenceInputs<T>& in) {
  const std::size_t C = in.b2.size(), F = in.b1.size(), tokens = in.x.size() / C;
  std::vector<T> pre(tokens * F);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t f = 0; f < F; ++f) {
      T sum = in.b1[f];
      for (std::size_t c = 0; c < C; ++c) sum += in.x[t * C + c] * in.w1[f * C + c];
      pre[t * F + f] = sum;
    }
  }
  return pre;
}

// f(x), (T, C).
template <class T>
std::vector<T> FeedForwardReference(const FeedForwardSpec& spec,
                                    const FeedForwardReferenceInputs<T>& in) {
  const std::size_t C = in.b2.size(), F = in.b1.size(), tokens = in.x.size() / C;
  const std::vector<T> pre = FeedForwardHiddenReference(in);
  std::vector<T> out(tokens * C), a(F);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t f = 0; f < F; ++f) {
      const T h = pre[t * F + f] * DropoutFactorReference<T>(spec.hidden, t * F + f);
      a[f] = ActivationReference(spec.activation, h);
    }
    for (std::size_t c = 0; c < C; ++c) {
      T sum = in.b2[c];
      for (std::size_t f = 0; f < F; ++f) sum += a[f] * in.w2[c * F + f];
      out[t * C + c] = sum * DropoutFactorReference<T>(spec.output, t * C + c);
    }
  }
  return out;
}

// The gated form of f(x), (T, C): w1 has the rows of u, then those of the gate.
template <class T>
std::vector<T> GatedReference(const FeedForwardSpec& spec,
                              const FeedForwardReferenceInputs<T>& in) {
  const std::size_t C = in.b2.size(), F = in.b1.size() / 2, tokens = in.x.size() / C;
  const std::vector<T> pre = FeedForwardHiddenReference(in);
  std::vector<T> out(tokens * C), gated(F);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t f = 0; f < F; ++f) {
      const T u = pre[t * 2 * F + f], g = pre[t * 2 * F + F + f];
      gated[f] = ActivationReference(spec.activation, u) * g *
                 DropoutFactorReference<T>(spec.hidden, t * F + f);
    }
    for (std::size_t c = 0; c < C; ++c) {
      T sum = in.b2[c];
      for (std::size_t f = 0; f < F; ++f) sum += gated[f] * in.w2[c * F + f];
      out[t * C + c] = sum * DropoutFactorReference<T>(spec.output, t * C + c);
    }
  }
  return out;
}

// Gradients of sum(f * dy) of the gated form, in the places of the inputs.
template <class T>
FeedForwardReferenceInputs<T> GatedReferenceBackward(const FeedForwardSpec& spec,
                                                     const FeedForwardReferenceInputs<T>& in,
                                                     const std::vector<T>& dy) {
  const std::size_t C = in.b2.size(), F = in.b1.size() / 2, tokens = in.x.size() / C;
  const std::vector<T> pre = FeedForwardHiddenReference(in);
  FeedForwardReferenceInputs<T> d;
  d.x.assign(in.x.size(), T(0));
  d.w1.assign(in.w1.size(), T(0));
  d.b1.assign(2 * F, T(0));
  d.w2.assign(in.w2.size(), T(0));
  d.b2.assign(C, T(0));
  std::vector<T> dout(C);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 0; c < C; ++c) {
      dout[c] = dy[t * C + c] * DropoutFactorReference<T>(spec.output, t * C + c);
      d.b2[c] += dout[c];
    }
    for (std::size_t f = 0; f < F; ++f) {
      const T u = pre[t * 2 * F + f], g = pre[t * 2 * F + F + f];
      const T factor = DropoutFactorReference<T>(spec.hidden, t * F + f);
      const T a = ActivationReference(spec.activation, u);
      T dm(0);
      for (std::size_t c = 0; c < C; ++c) {
        d.w2[c * F + f] += dout[c] * a * g * factor;
        dm += dout[c] * in.w2[c * F + f];
      }
      const T du = dm * factor * g * ActivationSlopeReference(spec.activation, u);
      const T dg = dm * factor * a;
      d.b1[f] += du;
      d.b1[F + f] += dg;
      for (std::size_t c = 0; c < C; ++c) {
        d.w1[f * C + c] += du * in.x[t * C + c];
        d.w1[(F + f) * C + c] += dg * in.x[t * C + c];
        d.x[t * C + c] += du * in.w1[f * C + c] + dg * in.w1[(F + f) * C + c];
      }
    }
  }
  return d;
}

// Gradients of sum(f * dy), in the places of the inputs.
template <class T>
FeedForwardReferenceInputs<T> FeedForwardReferenceBackward(const FeedForwardSpec& spec,
                                                           const FeedForwardReferenceInputs<T>& in,
                                                           const std::vector<T>& dy) {
  const std::size_t C = in.b2.size(), F = in.b1.size(), tokens = in.x.size() / C;
  const std::vector<T> pre = FeedForwardHiddenReference(in);
  FeedForwardReferenceInputs<T> d;
  d.x.assign(in.x.size(), T(0));
  d.w1.assign(in.w1.size(), T(0));
  d.b1.assign(F, T(0));
  d.w2.assign(in.w2.size(), T(0));
  d.b2.assign(C, T(0));
  std::vector<T> dout(C);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 0; c < C; ++c) {
      dout[c] = dy[t * C + c] * DropoutFactorReference<T>(spec.output, t * C + c);
      d.b2[c] += dout[c];
    }
    for (std::size_t f = 0; f < F; ++f) {
      const T factor = DropoutFactorReference<T>(spec.hidden, t * F + f);
      const T h = pre[t * F + f] * factor, a = ActivationReference(spec.activation, h);
      T da(0);
      for (std::size_t c = 0; c < C; ++c) {
        d.w2[c * F + f] += dout[c] * a;
        da += dout[c] * in.w2[c * F + f];
      }
      const T dpre = da * ActivationSlopeReference(spec.activation, h) * factor;
      d.b1[f] += dpre;
      for (std::size_t c = 0; c < C; ++c) {
        d.w1[f * C + c] += dpre * in.x[t * C + c];
        d.x[t * C + c] += dpre * in.w1[f * C + c];
      }
    }
  }
  return d;
}

}  // namespace longspan
