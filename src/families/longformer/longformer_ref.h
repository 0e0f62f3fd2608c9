// The whole Longformer in plain loops on float, double or std::complex<double>: what the model is
// compared with. Shares no code with it but the activation's formula; attention is the dense one,
// every query asking of every key whether it sees it.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <string>
#include <vector>

#include "families/longformer/longformer_config.h"
#include "model/batch.h"
#include "ops/feed_forward/feed_forward_ref.h"

namespace longspan::ref {

struct Exact {
  template <class T>
  T operator()(T value) const {
    return value;
  }
};

// Round is applied to the parameters and to every tensor that one operation hands another: how a
// framework computes in a shorter type.
template <class T, class Round = Exact>
class LongformerReference {
 public:
  using Vector = std::vector<T>;  // matrices row by row

  LongformerReference(const LongformerConfig& config, std::map<std::string, Vector> parameters)
      : c_(config), p_(std::move(parameters)) {
    for (auto& [name, values] : p_) values = Rounded(std::move(values));
  }

  std::map<std::string, Vector>& parameters() { return p_; }

  // L + 1 of (B*T, C): the embeddings, then each layer's output.
  std::vector<Vector> HiddenStates(const BatchView& b) {
    std::vector<Vector> states = {Embeddings(b)};
    for (std::size_t i = 0; i < c_.layers(); ++i) states.push_back(Layer(b, i, states.back()));
    return states;
  }

  // (B, H, T, T) of a layer: what query i thinks of key j.
  Vector Probabilities(const BatchView& b, std::size_t layer, const Vector& x) {
    Vector all(Size(b.rows * c_.heads * b.tokens * b.tokens), T(0));
    Attend(b, layer, x, &all);
    return all;
  }

  Vector Pooled(const BatchView& b, const Vector& hidden) {
    return Tanh(Dense(FirstRows(b, hidden), Prefix() + "pooler.dense."));
  }

  // In the shapes of LogitsOf (model/hidden_rows.h).
  Vector Logits(const BatchView& b, const Vector& hidden) {
    switch (c_.head) {
      case HeadKind::kNone:
      case HeadKind::kCausalLm:  // a Longformer has none
        break;
      case HeadKind::kMaskedLm: {
        Vector u = Dense(hidden, "lm_head.dense.");
        for (T& v : u) v = Round()(ActivationReference(Activation::kGelu, v));
        u = Norm(u, "lm_head.layer_norm.");
        return Product(u,
                       p_.at(c_.tied ? "longformer.embeddings.word_embeddings.weight"
                                     : "lm_head.decoder.weight"),
                       p_.at(c_.tied ? "lm_head.bias" : "lm_head.decoder.bias"));
      }
      case HeadKind::kSequence:
        return Dense(Tanh(Dense(FirstRows(b, hidden), "classifier.dense.")),
                     "classifier.out_proj.");
      case HeadKind::kToken:
        return Dense(hidden, "classifier.");
      case HeadKind::kQuestion:
        return Dense(hidden, "qa_outputs.");
      case HeadKind::kChoice:
        return Dense(Pooled(b, hidden), "classifier.");
    }
    return {};
  }

  // Hugging Face's mean.
  T Loss(const BatchView& b) {
    const Vector logits = Logits(b, HiddenStates(b).back());
    switch (c_.head) {
      case HeadKind::kNone:
      case HeadKind::kCausalLm:  // a Longformer has none
        break;
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
    }
    return T(0);
  }

 private:
  static std::size_t Size(idx_t n) { return static_cast<std::size_t>(n); }
  static double Real(const T& x) { return static_cast<double>(std::real(x)); }
  std::string Prefix() const { return c_.head == HeadKind::kNone ? "" : "longformer."; }
  static int Role(const BatchView& b, idx_t row, idx_t t) {
    return b.roles.empty() ? 1 : b.roles(row, t);
  }

  // ---- pieces

  static Vector Rounded(Vector x) {
    for (T& v : x) v = Round()(v);
    return x;
  }
  static Vector Product(const Vector& x, const Vector& w, const Vector& bias) {
    const std::size_t out = bias.size(), in = w.size() / out, rows = x.size() / in;
    Vector y(rows * out);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t o = 0; o < out; ++o) {
        T sum = bias[o];
        for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[o * in + i];
        y[r * out + o] = Round()(sum);
      }
    }
    return y;
  }
  Vector Dense(const Vector& x, const std::string& name) {
    return Product(x, p_.at(name + "weight"), p_.at(name + "bias"));
  }
  static Vector Tanh(Vector x) {
    for (T& v : x) v = Round()(std::tanh(v));
    return x;
  }
  static Vector Sum(Vector x, const Vector& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = Round()(x[i] + y[i]);
    return x;
  }

  Vector Norm(Vector x, const std::string& name) {
    const Vector &gamma = p_.at(name + "weight"), &beta = p_.at(name + "bias");
    const std::size_t C = gamma.size();
    for (std::size_t r = 0; r < x.size() / C; ++r) {
      T mean(0), variance(0);
      const T count(static_cast<float>(C));
      for (std::size_t i = 0; i < C; ++i) mean += x[r * C + i] / count;
      for (std::size_t i = 0; i < C; ++i) {
        variance += (x[r * C + i] - mean) * (x[r * C + i] - mean) / count;
      }
      const T deviation = std::sqrt(variance + Number(c_.layer_norm_eps));
      for (std::size_t i = 0; i < C; ++i) {
        x[r * C + i] = Round()((x[r * C + i] - mean) / deviation * gamma[i] + beta[i]);
      }
    }
    return x;
  }
  static T Number(double x) {
    if constexpr (std::is_same_v<T, float>) return static_cast<float>(x);
    return T(x);
  }

  Vector FirstRows(const BatchView& b, const Vector& hidden) {
    const std::size_t C = Size(c_.hidden_size);
    Vector first;
    for (idx_t r = 0; r < b.rows; ++r) {
      const auto at = hidden.begin() + r * b.tokens * c_.hidden_size;
      first.insert(first.end(), at, at + static_cast<std::ptrdiff_t>(C));
    }
    return first;
  }

  Vector Embeddings(const BatchView& b) {
    const std::string at = Prefix() + "embeddings.";
    const Vector& words = p_.at(at + "word_embeddings.weight");
    const Vector& positions = p_.at(at + "position_embeddings.weight");
    const Vector& types = p_.at(at + "token_type_embeddings.weight");
    Vector x;
    for (idx_t r = 0; r < b.rows; ++r) {
      idx_t seen = 0;
      for (idx_t t = 0; t < b.tokens; ++t) {
        const std::size_t n = Size(r * b.tokens + t);
        const idx_t id = b.ids[n], type = b.token_types.empty() ? 0 : b.token_types[n];
        const idx_t position = c_.pad_token + (id == c_.pad_token ? 0 : ++seen);
        for (idx_t i = 0; i < c_.hidden_size; ++i) {
          x.push_back(Round()(words[Size(id * c_.hidden_size + i)] +
                              positions[Size(position * c_.hidden_size + i)] +
                              types[Size(type * c_.hidden_size + i)]));
        }
      }
    }
    return Norm(x, at + "LayerNorm.");
  }

  // ---- attention

  static bool Sees(const BatchView& b, idx_t row, idx_t i, idx_t j, idx_t window) {
    const int query = Role(b, row, i), key = Role(b, row, j);
    if (query == 0 || key == 0) return false;
    return query == 2 || key == 2 || std::abs(i - j) <= window;
  }

  // All heads side by side (B*T, C); the probabilities too, where they are wanted.
  Vector Attend(const BatchView& b, std::size_t layer, const Vector& x, Vector* all) {
    const std::string at = Prefix() + "encoder.layer." + std::to_string(layer) + ".attention.self.";
    const Vector q[2] = {Dense(x, at + "query."), Dense(x, at + "query_global.")};
    const Vector k[2] = {Dense(x, at + "key."), Dense(x, at + "key_global.")};
    const Vector v[2] = {Dense(x, at + "value."), Dense(x, at + "value_global.")};
    const idx_t C = c_.hidden_size, D = c_.head_size();
    Vector out(x.size(), T(0));
    for (idx_t row = 0; row < b.rows; ++row) {
      for (idx_t h = 0; h < c_.heads; ++h) {
        for (idx_t i = 0; i < b.tokens; ++i) {
          const int which = Role(b, row, i) == 2 ? 1 : 0;
          const auto place = [&](idx_t t) { return Size((row * b.tokens + t) * C + h * D); };
          std::vector<idx_t> keys;
          Vector p;
          double most = 0.0;
          for (idx_t j = 0; j < b.tokens; ++j) {
            if (!Sees(b, row, i, j, c_.window(layer))) continue;
            T score(0);
            for (std::size_t d = 0; d < Size(D); ++d) {
              score += q[which][place(i) + d] * k[which][place(j) + d];
            }
            score = Round()(score / Number(std::sqrt(static_cast<double>(D))));
            most = keys.empty() ? Real(score) : std::max(most, Real(score));
            keys.push_back(j);
            p.push_back(score);
          }
          T sum(0);
          for (T& weight : p) {
            weight = std::exp(weight - Number(most));
            sum += weight;
          }
          for (std::size_t n = 0; n < keys.size(); ++n) {
            p[n] = Round()(p[n] / sum);
            for (std::size_t d = 0; d < Size(D); ++d) {
              out[place(i) + d] += p[n] * v[which][place(keys[n]) + d];
            }
            if (all == nullptr) continue;
            (*all)[Size(((row * c_.heads + h) * b.tokens + i) * b.tokens + keys[n])] = p[n];
          }
          for (std::size_t d = 0; d < Size(D); ++d) {
            out[place(i) + d] = Round()(out[place(i) + d]);
          }
        }
      }
    }
    return out;
  }

  Vector Layer(const BatchView& b, std::size_t layer, const Vector& x) {
    const std::string at = Prefix() + "encoder.layer." + std::to_string(layer) + ".";
    const Vector attended = Dense(Attend(b, layer, x, nullptr), at + "attention.output.dense.");
    const Vector y = Norm(Sum(attended, x), at + "attention.output.LayerNorm.");
    Vector wide = Dense(y, at + "intermediate.dense.");
    const Activation activation = ParseActivation(c_.activation);
    for (T& u : wide) u = Round()(ActivationReference(activation, u));
    return Norm(Sum(Dense(wide, at + "output.dense."), y), at + "output.LayerNorm.");
  }

  // ---- losses

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
    int counted = 0;
    for (std::size_t n = 0; n < labels.size(); ++n) {
      if (labels[n] == -100) continue;
      sum += Surprise(logits.data() + n * Size(count), count, 1, labels[n]);
      ++counted;
    }
    return sum / T(static_cast<float>(counted));
  }

  T SequenceLoss(const Vector& logits, const BatchView& b) const {
    ProblemType problem = c_.problem;
    if (problem == ProblemType::kInferred) {
      problem = c_.label_count() == 1 ? ProblemType::kRegression
                : !b.labels.empty()   ? ProblemType::kSingleLabel
                                      : ProblemType::kMultiLabel;
    }
    if (problem == ProblemType::kSingleLabel) return Classes(logits, c_.label_count(), b.labels);
    T sum(0);
    for (std::size_t n = 0; n < logits.size(); ++n) {
      const T value(b.values[n]), z = logits[n];
      sum += problem == ProblemType::kRegression ? (z - value) * (z - value)
                                                 : std::log(T(1) + std::exp(z)) - value * z;
    }
    return sum / T(static_cast<float>(logits.size()));
  }

  static T Side(const Vector& logits, const BatchView& b, idx_t side,
                std::span<const std::int32_t> targets) {
    T sum(0);
    int counted = 0;
    for (idx_t r = 0; r < b.rows; ++r) {
      const idx_t target = std::max<idx_t>(0, targets[Size(r)]);
      if (target >= b.tokens) continue;
      sum += Surprise(logits.data() + r * b.tokens * 2 + side, b.tokens, 2, target);
      ++counted;
    }
    return sum / T(static_cast<float>(counted));
  }

  LongformerConfig c_;
  std::map<std::string, Vector> p_;
};

}  // namespace longspan::ref
