// The whole ModernBERT in plain loops on float, double or std::complex<double>: what the model is
// compared with. Shares no code with it but the activation's formula. Nothing is removed: every
// query asks of every key of its row whether it sees it. Rows of hidden tokens are worth nothing.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <string>
#include <vector>

#include "families/modernbert/modernbert_config.h"
#include "model/batch.h"
#include "ops/feed_forward/feed_forward_ref.h"
#include "ops/rotary/rotary_ref.h"

namespace longspan::ref {

template <class T>
class ModernBertReference {
 public:
  using Vector = std::vector<T>;  // matrices row by row

  ModernBertReference(const ModernBertConfig& config, std::map<std::string, Vector> parameters)
      : c_(config), p_(std::move(parameters)) {}

  std::map<std::string, Vector>& parameters() { return p_; }

  // L + 1 of (B*T, C): the embeddings, each layer's output but the last one's, and that after the
  // final norm.
  std::vector<Vector> HiddenStates(const BatchView& b) {
    std::vector<Vector> states;
    Vector x = Norm(Words(b), Prefix() + "embeddings.norm.");
    for (std::size_t i = 0; i < c_.layers(); ++i) {
      states.push_back(x);
      x = Layer(b, i, x);
    }
    states.push_back(Norm(x, Prefix() + "final_norm."));
    return states;
  }

  // In the shapes of LogitsOf (model/hidden_rows.h).
  Vector Logits(const BatchView& b, const Vector& hidden) {
    if (c_.head == HeadKind::kNone) return {};
    const bool rows = c_.head == HeadKind::kSequence || c_.head == HeadKind::kChoice;
    Vector z = Dense(rows ? Pooled(b, hidden) : hidden, "head.dense.");
    const Activation activation = ParseActivation(c_.classifier_activation);
    for (T& v : z) v = ActivationReference(activation, v);
    z = Norm(z, "head.norm.");
    if (c_.head != HeadKind::kMaskedLm) return Dense(z, "classifier.");
    const Vector& decoder =
        p_.at(c_.tied ? "model.embeddings.tok_embeddings.weight" : "decoder.weight");
    return Product(z, decoder, Size(c_.vocab_size), Bias("decoder.bias"));
  }

  // Hugging Face's mean; answers compete with the tokens from the first to the last visible one.
  T Loss(const BatchView& b) {
    const Vector logits = Logits(b, HiddenStates(b).back());
    switch (c_.head) {
      case HeadKind::kMaskedLm:
        return Classes(logits, c_.vocab_size, b.labels);
      case HeadKind::kToken:
        return Classes(logits, c_.label_count(), b.labels);
      case HeadKind::kChoice:
        return Classes(logits, b.choices, b.labels);
      case HeadKind::kSequence:
        return SequenceLoss(logits, b);
      case HeadKind::kQuestion:
        return (Side(logits, b, 0, b.starts) + Side(logits, b, 1, b.ends)) * T(0.5);
      default:
        return T(0);
    }
  }

  static bool Visible(const BatchView& b, idx_t row, idx_t t) {
    return b.roles.empty() || b.roles(row, t) != kHiddenToken;
  }

 private:
  static std::size_t Size(idx_t n) { return static_cast<std::size_t>(n); }
  static double Real(const T& x) { return static_cast<double>(std::real(x)); }
  static T Number(double x) { return T(x); }
  std::string Prefix() const { return c_.head == HeadKind::kNone ? "" : "model."; }

  const Vector* Bias(const std::string& name) const {
    const auto found = p_.find(name);
    return found == p_.end() ? nullptr : &found->second;
  }
  static Vector Product(const Vector& x, const Vector& w, std::size_t out, const Vector* bias) {
    const std::size_t in = w.size() / out, rows = x.size() / in;
    Vector y(rows * out);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t o = 0; o < out; ++o) {
        T sum = bias == nullptr ? T(0) : (*bias)[o];
        for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[o * in + i];
        y[r * out + o] = sum;
      }
    }
    return y;
  }
  // Rows of the output follow from the width of x, which is C or F.
  Vector Dense(const Vector& x, const std::string& name) {
    const Vector& w = p_.at(name + "weight");
    const bool wide = name.ends_with("mlp.Wo.");
    const std::size_t in = Size(wide ? c_.feed_forward_size : c_.hidden_size);
    return Product(x, w, w.size() / in, Bias(name + "bias"));
  }

  Vector Norm(Vector x, const std::string& name) {
    const Vector& gamma = p_.at(name + "weight");
    const Vector* beta = Bias(name + "bias");
    const std::size_t C = gamma.size();
    for (std::size_t r = 0; r < x.size() / C; ++r) {
      T mean(0), variance(0);
      const T count = Number(static_cast<double>(C));
      for (std::size_t i = 0; i < C; ++i) mean += x[r * C + i] / count;
      for (std::size_t i = 0; i < C; ++i) {
        variance += (x[r * C + i] - mean) * (x[r * C + i] - mean) / count;
      }
      const T deviation = std::sqrt(variance + Number(c_.norm_eps));
      for (std::size_t i = 0; i < C; ++i) {
        x[r * C + i] = (x[r * C + i] - mean) / deviation * gamma[i];
        if (beta != nullptr) x[r * C + i] += (*beta)[i];
      }
    }
    return x;
  }

  Vector Words(const BatchView& b) {
    const Vector& table = p_.at(Prefix() + "embeddings.tok_embeddings.weight");
    Vector x;
    for (const std::int32_t id : b.ids) {
      const auto row = table.begin() + static_cast<std::ptrdiff_t>(id) * c_.hidden_size;
      x.insert(x.end(), row, row + c_.hidden_size);
    }
    return x;
  }

  // ---- attention

  bool Sees(const BatchView& b, std::size_t layer, idx_t row, idx_t i, idx_t j) const {
    return Visible(b, row, j) && (!c_.windowed(layer) || std::abs(i - j) <= c_.local_attention / 2);
  }

  // Part `part` of qkv (B*T, 3C): (B*T, C), turned by each token's index in its row.
  Vector Part(const BatchView& b, const Vector& qkv, idx_t part, double theta, bool turned) {
    const idx_t C = c_.hidden_size;
    Vector x;
    std::vector<std::int32_t> positions;
    for (idx_t n = 0; n < b.rows * b.tokens; ++n) {
      const auto at = qkv.begin() + n * 3 * C + part * C;
      x.insert(x.end(), at, at + C);
      positions.push_back(static_cast<std::int32_t>(n % b.tokens));
    }
    return turned ? Rotary(x, positions, c_.heads, c_.head_size(), theta, 1.0) : x;
  }

  // All heads side by side (B*T, C).
  Vector Attend(const BatchView& b, std::size_t layer, const Vector& qkv) {
    const double theta = c_.full[layer] ? c_.full_rotary.theta : c_.window_rotary.theta;
    const Vector q = Part(b, qkv, 0, theta, true), k = Part(b, qkv, 1, theta, true);
    const Vector v = Part(b, qkv, 2, theta, false);
    const idx_t C = c_.hidden_size, D = c_.head_size();
    Vector out(q.size(), T(0));
    for (idx_t n = 0; n < b.rows * b.tokens * c_.heads; ++n) {
      const idx_t h = n % c_.heads, i = n / c_.heads % b.tokens, row = n / c_.heads / b.tokens;
      if (!Visible(b, row, i)) continue;
      const auto place = [&](idx_t t) { return Size((row * b.tokens + t) * C + h * D); };
      std::vector<idx_t> keys;
      Vector p;
      double most = -1e300;
      for (idx_t j = 0; j < b.tokens; ++j) {
        if (!Sees(b, layer, row, i, j)) continue;
        T score(0);
        for (std::size_t d = 0; d < Size(D); ++d) score += q[place(i) + d] * k[place(j) + d];
        score /= Number(std::sqrt(static_cast<double>(D)));
        most = std::max(most, Real(score));
        keys.push_back(j);
        p.push_back(score);
      }
      T sum(0);
      for (T& weight : p) sum += weight = std::exp(weight - Number(most));
      for (std::size_t m = 0; m < keys.size(); ++m) {
        for (std::size_t d = 0; d < Size(D); ++d) {
          out[place(i) + d] += p[m] / sum * v[place(keys[m]) + d];
        }
      }
    }
    return out;
  }

  Vector Layer(const BatchView& b, std::size_t layer, Vector x) {
    const std::string at = Prefix() + "layers." + std::to_string(layer) + ".";
    const Vector y = layer == 0 ? x : Norm(x, at + "attn_norm.");
    const Vector attended = Attend(b, layer, Dense(y, at + "attn.Wqkv."));
    Add(Dense(attended, at + "attn.Wo."), &x);
    const Vector wide = Dense(Norm(x, at + "mlp_norm."), at + "mlp.Wi.");
    const std::size_t F = Size(c_.feed_forward_size);
    const Activation activation = ParseActivation(c_.activation);
    Vector gated(wide.size() / 2);
    for (std::size_t n = 0; n < gated.size(); ++n) {
      const std::size_t u = n / F * 2 * F + n % F;
      gated[n] = ActivationReference(activation, wide[u]) * wide[u + F];
    }
    Add(Dense(gated, at + "mlp.Wo."), &x);
    return x;
  }
  static void Add(const Vector& y, Vector* x) {
    for (std::size_t i = 0; i < y.size(); ++i) (*x)[i] += y[i];
  }

  // ---- heads

  // [first, last] visible token of a row; its first one if none is.
  static std::pair<idx_t, idx_t> Span(const BatchView& b, idx_t row) {
    idx_t first = 0, last = b.tokens - 1;
    while (first < b.tokens && !Visible(b, row, first)) ++first;
    if (first == b.tokens) return {0, 0};
    while (!Visible(b, row, last)) --last;
    return {first, last};
  }

  Vector Pooled(const BatchView& b, const Vector& hidden) {
    const std::size_t C = Size(c_.hidden_size);
    Vector pooled(Size(b.rows) * C, T(0));
    for (idx_t row = 0; row < b.rows; ++row) {
      double counted = 0.0;
      for (idx_t t = 0; t < b.tokens; ++t) {
        const bool reads = c_.mean_pooling ? Visible(b, row, t) : t == Span(b, row).first;
        if (!reads) continue;
        counted += 1.0;
        for (std::size_t i = 0; i < C; ++i) {
          pooled[Size(row) * C + i] += hidden[Size(row * b.tokens + t) * C + i];
        }
      }
      for (std::size_t i = 0; i < C; ++i) pooled[Size(row) * C + i] /= Number(counted);
    }
    return pooled;
  }

  // logsumexp - logit of `label`, over `count` logits that lie `stride` apart.
  static T Surprise(const T* logits, idx_t count, idx_t stride, idx_t label) {
    double most = Real(logits[0]);
    for (idx_t i = 0; i < count; ++i) most = std::max(most, Real(logits[i * stride]));
    T sum(0);
    for (idx_t i = 0; i < count; ++i) sum += std::exp(logits[i * stride] - Number(most));
    return std::log(sum) + Number(most) - logits[label * stride];
  }
  static T Classes(const Vector& logits, idx_t count, std::span<const std::int32_t> labels) {
    T sum(0);
    double counted = 0.0;
    for (std::size_t n = 0; n < labels.size(); ++n) {
      if (labels[n] == -100) continue;
      sum += Surprise(logits.data() + n * Size(count), count, 1, labels[n]);
      counted += 1.0;
    }
    return sum / Number(counted);
  }
  T SequenceLoss(const Vector& logits, const BatchView& b) const {
    if (!b.labels.empty()) return Classes(logits, c_.label_count(), b.labels);
    T sum(0);
    for (std::size_t n = 0; n < logits.size(); ++n) {
      const T value(b.values[n]), z = logits[n];
      sum += c_.label_count() == 1 ? (z - value) * (z - value)
                                   : std::log(T(1) + std::exp(z)) - value * z;
    }
    return sum / Number(static_cast<double>(logits.size()));
  }
  static T Side(const Vector& logits, const BatchView& b, idx_t side,
                std::span<const std::int32_t> targets) {
    T sum(0);
    double counted = 0.0;
    for (idx_t row = 0; row < b.rows; ++row) {
      const auto [first, last] = Span(b, row);
      const idx_t target = std::max<idx_t>(0, targets[Size(row)]);
      if (target < first || target > last) continue;
      const T* from = logits.data() + (row * b.tokens + first) * 2 + side;
      sum += Surprise(from, last - first + 1, 2, target - first);
      counted += 1.0;
    }
    return sum / Number(counted);
  }

  ModernBertConfig c_;
  std::map<std::string, Vector> p_;
};

}  // namespace longspan::ref
