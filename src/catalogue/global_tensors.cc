#include "catalogue/global_tensors.h"

#include <algorithm>

namespace longspan::catalogue {
namespace {

// x . w + bias in double or float.
template <class T>
float ProjectOne(const float* x, const float* w, float bias, idx_t channels) {
  T sum = static_cast<T>(bias);
  for (idx_t c = 0; c < channels; ++c) sum += static_cast<T>(x[c]) * static_cast<T>(w[c]);
  return static_cast<float>(sum);
}

}  // namespace

void GlobalTensors::Prepare(bool bf16) {
  dqg_.resize(qg_.size());
  dkg_.resize(kg_.size());
  dvg_.resize(vg_.size());
  dx_.resize(x_.size());
  dwk_.resize(wk_.size());
  dwv_.resize(wv_.size());
  dbv_.resize(bv_.size());
  if (!bf16) return;
  bf16_qg_ = RoundValues(&qg_);
  bf16_kg_ = RoundValues(&kg_);
  bf16_vg_ = RoundValues(&vg_);
  bf16_x_ = RoundValues(&x_);
}

void GlobalTensors::ZeroGradients() {
  for (Values* gradient : {&dqg_, &dkg_, &dvg_, &dx_, &dwk_, &dwv_, &dbv_}) {
    std::fill(gradient->begin(), gradient->end(), 0.0f);
  }
}

void GlobalTensors::AppendGradients(std::vector<float>* results) const {
  for (const Values* gradient : {&dqg_, &dkg_, &dvg_, &dx_, &dwk_, &dwv_, &dbv_}) {
    results->insert(results->end(), gradient->begin(), gradient->end());
  }
}

Values GlobalTensors::Queries(idx_t head) const {
  Values q(static_cast<std::size_t>(T_ * D_));
  std::copy_n(qg_.begin() + head * G_ * D_, G_ * D_, q.begin());
  return q;
}

Values GlobalTensors::Projection(idx_t head, const Values& given, const Values& w,
                                 const Values& bias, Arithmetic arithmetic) const {
  Values out(static_cast<std::size_t>(T_ * D_));
  if (!reassociated_) {
    std::copy_n(given.begin() + head * T_ * D_, T_ * D_, out.begin());
    return out;
  }
  const idx_t b = head / H_, first = head % H_ * D_;
  for (idx_t t = 0; t < T_; ++t) {
    const float* x = x_.data() + (b * T_ + t) * C_;
    for (idx_t d = 0; d < D_; ++d) {
      const float* row = w.data() + (first + d) * C_;
      const float from = bias[static_cast<std::size_t>(first + d)];
      float& value = out[static_cast<std::size_t>(t * D_ + d)];
      value = arithmetic == Arithmetic::kDouble ? ProjectOne<double>(x, row, from, C_)
                                                : ProjectOne<float>(x, row, from, C_);
      if (arithmetic == Arithmetic::kBf16) value = ToFloat(ToBfloat16(value));
    }
  }
  return out;
}

void GlobalTensors::AddInputGradient(idx_t head, const std::vector<double>& dk,
                                     const std::vector<double>& dv, std::vector<double>* dx) const {
  for (idx_t d = 0; d < D_; ++d) {
    const auto at = static_cast<std::size_t>(d);
    const float* wk = wk_.data() + (head % H_ * D_ + d) * C_;
    const float* wv = wv_.data() + (head % H_ * D_ + d) * C_;
    for (idx_t c = 0; c < C_; ++c) {
      (*dx)[static_cast<std::size_t>(c)] +=
          dk[at] * static_cast<double>(wk[c]) + dv[at] * static_cast<double>(wv[c]);
    }
  }
}

}  // namespace longspan::catalogue
