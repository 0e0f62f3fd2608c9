// Random tensors for the rows of global tokens in window attention.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "catalogue/problem_base.h"

namespace longspan::catalogue {

// What the rows of the G global tokens need beside the window's tensors. Letters as in
// longspan/attention.h; C = H D. The rows are computed in the re-associated form from random
// activations where that is the cheaper one, else from projected keys and values.
class GlobalTensors {
 public:
  // draw(purpose, deviation, count) makes the random values.
  template <class Draw>
  GlobalTensors(const ProblemOptions& o, const WindowSpec& spec, const TokenRoles& roles,
                const Draw& draw)
      : spec_(spec),
        roles_(roles),
        B_(o.batch),
        H_(o.heads),
        T_(o.tokens),
        D_(o.head_size),
        G_(o.spec.globals),
        C_(H_ * D_) {
    if (G_ == 0) return;
    reassociated_ = CountGlobalFlops(T_, C_, H_, D_, G_, true).ReassociatedWins();
    qg_ = draw(11, 1.0f, B_ * H_ * G_ * D_);
    if (!reassociated_) {
      kg_ = draw(12, 1.0f, B_ * H_ * T_ * D_);
      vg_ = draw(13, 1.0f, B_ * H_ * T_ * D_);
    } else {
      const float deviation = 1.0f / std::sqrt(static_cast<float>(C_));
      x_ = draw(12, 1.0f, B_ * T_ * C_);
      wk_ = draw(13, deviation, C_ * C_);
      wv_ = draw(14, deviation, C_ * C_);
      bk_ = draw(15, 1.0f, C_);
      bv_ = draw(16, 1.0f, C_);
    }
    Prepare(o.bf16);
  }

  // Of float or bfloat16 tensors.
  template <class T>
  void Forward(Context& context, const AttentionSavedOf<T>& saved) const {
    if (G_ == 0) return;
    if (reassociated_) return GlobalReassociatedForward(context, spec_, Input<T>(), roles_, saved);
    GlobalForward(context, spec_, Projected<T>(), roles_, saved);
  }
  template <class T>
  void Backward(Context& context, const AttentionSavedOf<T>& saved, const View<const T, 4>& dout) {
    if (G_ == 0) return;
    if (reassociated_) {
      return GlobalReassociatedBackward(context, spec_, Input<T>(), roles_, saved, dout,
                                        {{dx_.data(), {B_, T_, C_}},
                                         {dqg_.data(), {B_, H_, G_, D_}},
                                         {dwk_.data(), {C_, C_}},
                                         {dwv_.data(), {C_, C_}},
                                         {dbv_.data(), {C_}}});
    }
    GlobalBackward(context, spec_, Projected<T>(), roles_, saved, dout,
                   {{dqg_.data(), {B_, H_, G_, D_}},
                    {dkg_.data(), {B_, H_, T_, D_}},
                    {dvg_.data(), {B_, H_, T_, D_}}});
  }
  void ZeroGradients();
  void AppendGradients(std::vector<float>* results) const;

  bool reassociated() const { return reassociated_; }
  bool empty() const { return G_ == 0; }
  idx_t channels() const { return C_; }

  // The head's queries at their tokens' places, (T, D), and its keys or values, which the
  // re-associated form never computes: here they are, in that arithmetic.
  Values Queries(idx_t head) const;
  Values Keys(idx_t head, Arithmetic arithmetic) const {
    return Projection(head, kg_, wk_, bk_, arithmetic);
  }
  Values OfValues(idx_t head, Arithmetic arithmetic) const {
    return Projection(head, vg_, wv_, bv_, arithmetic);
  }

  std::span<const float> QueryGradient(idx_t head, idx_t g) const {
    return {dqg_.data() + (head * G_ + g) * D_, static_cast<std::size_t>(D_)};
  }
  std::span<const float> KeyGradient(idx_t head, idx_t t) const {
    return {dkg_.data() + (head * T_ + t) * D_, static_cast<std::size_t>(D_)};
  }
  std::span<const float> ValueGradient(idx_t head, idx_t t) const {
    return {dvg_.data() + (head * T_ + t) * D_, static_cast<std::size_t>(D_)};
  }
  std::span<const float> InputGradient(idx_t b, idx_t t) const {
    return {dx_.data() + (b * T_ + t) * C_, static_cast<std::size_t>(C_)};
  }
  // What dk and dv (D) of a token in one head give to dx (C).
  void AddInputGradient(idx_t head, const std::vector<double>& dk, const std::vector<double>& dv,
                        std::vector<double>* dx) const;

 private:
  // Zeroed gradients, and with bf16 the rounded copies.
  void Prepare(bool bf16);
  // The fp32 tensor, or its bf16 copy.
  template <class T>
  static const T* Of(const Values& values, const Bf16Values& rounded) {
    if constexpr (sizeof(T) == 2) return rounded.data();
    if constexpr (sizeof(T) == 4) return values.data();
  }
  template <class T>
  GlobalProjectionOf<T> Input() const {
    return {{Of<T>(x_, bf16_x_), {B_, T_, C_}},
            {Of<T>(qg_, bf16_qg_), {B_, H_, G_, D_}},
            {wk_.data(), {C_, C_}},
            {wv_.data(), {C_, C_}},
            {bk_.data(), {C_}},
            {bv_.data(), {C_}}};
  }
  template <class T>
  GlobalQkvOf<T> Projected() const {
    return {{Of<T>(qg_, bf16_qg_), {B_, H_, G_, D_}},
            {Of<T>(kg_, bf16_kg_), {B_, H_, T_, D_}},
            {Of<T>(vg_, bf16_vg_), {B_, H_, T_, D_}}};
  }
  // (T, D): the head's part of `given`, or of x w^T + bias.
  Values Projection(idx_t head, const Values& given, const Values& w, const Values& bias,
                    Arithmetic arithmetic) const;

  WindowSpec spec_;
  TokenRoles roles_;
  idx_t B_, H_, T_, D_, G_, C_;
  bool reassociated_ = false;
  Bf16Values bf16_qg_, bf16_kg_, bf16_vg_, bf16_x_;
  Values qg_, dqg_, kg_, vg_, dkg_, dvg_;
  Values x_, wk_, wv_, bk_, bv_, dx_, dwk_, dwv_, dbv_;
};

}  // namespace longspan::catalogue
