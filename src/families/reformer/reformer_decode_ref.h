// Generation with a cache as docs/reference/generation.md has it, one text in plain loops in
// double. What is kept of a layer is what it says there: the inputs behind the layer norm and the
// buckets. Shares no code with the decoder, whose cells, pages and sorted rounds are another way to
// the same numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "families/reformer/reformer.h"
#include "families/reformer/shared_mechanism.h"

namespace longspan::ref {

using Row = std::vector<double>;

class DecodeReference {
 public:
  // Activation "relu", the config's own attention, windows of local layers that do not reach back
  // beyond the first chunk of the prompt.
  DecodeReference(const Reformer& model, idx_t capacity) : model_(model), config_(model.config()) {
    for (std::size_t i = 0; i < config_.layers.size(); ++i) {
      Layer layer;
      layer.kind = config_.layers[i];
      layer.spec = SharedSpec(config_, capacity);
      layer.can_hash = layer.kind == LayerKind::kLsh && capacity > config_.lsh_chunk;
      layers_.push_back(std::move(layer));
    }
  }

  // The forward pass over the prompt; logits behind its last token.
  Row Prefill(std::span<const std::int32_t> ids) {
    std::vector<Row> y1, y2;
    for (std::size_t t = 0; t < ids.size(); ++t) y1.push_back(Embedding(ids[t], t));
    y2 = y1;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Layer& layer = layers_[i];
      layer.states.clear();
      for (const Row& x : y2) layer.states.push_back(Norm(Attention(i) + "layer_norm.", x));
      const std::vector<Row> out =
          layer.kind == LayerKind::kLocal ? LocalForward(i) : LshForward(i);
      for (std::size_t t = 0; t < ids.size(); ++t) FinishLayer(i, out[t], &y1[t], &y2[t]);
      layer.bucketed = layer.can_hash && static_cast<idx_t>(ids.size()) > config_.lsh_chunk;
      if (layer.bucketed) layer.buckets = Buckets(i, layer.spec, layer.states);
    }
    return Logits(y1.back(), y2.back());
  }

  Row Step(std::int32_t id) {
    Row y1 = Embedding(id, layers_[0].states.size()), y2 = y1;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      Layer& layer = layers_[i];
      layer.states.push_back(Norm(Attention(i) + "layer_norm.", y2));
      const Row out = layer.kind == LayerKind::kLocal ? LocalStep(i) : LshStep(i);
      FinishLayer(i, out, &y1, &y2);
    }
    return Logits(y1, y2);
  }

 private:
  using RoundBuckets = std::vector<std::vector<idx_t>>;  // [h R + r][token]
  struct Layer {
    LayerKind kind = LayerKind::kLocal;
    LshSpec spec;
    bool can_hash = false, bucketed = false;
    std::vector<Row> states;
    RoundBuckets buckets;
  };
  // A window's keys, in one round.
  struct Entry {
    idx_t token;
    bool itself;
  };

  // ---- the model around attention ---------------------------------------------------------------

  std::string Attention(std::size_t i) const { return model_.LayerPrefix(i) + "attention."; }

  Row Times(const std::string& name, const Row& x) const {
    return Multiply(model_.parameters().matrix(name), x);
  }
  static Row Multiply(const View<const float, 2>& w, const Row& x) {
    Row y;
    for (idx_t n = 0; n < w.extent[0]; ++n) {
      double sum = 0.0;
      for (idx_t k = 0; k < w.extent[1]; ++k) sum += static_cast<double>(w(n, k)) * At(x, k);
      y.push_back(sum);
    }
    return y;
  }
  Row Plus(Row x, const std::string& bias) const {
    const View<const float, 1> b = model_.parameters().vector(bias);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += static_cast<double>(b.data[i]);
    return x;
  }
  static double At(const Row& row, idx_t i) { return row[static_cast<std::size_t>(i)]; }

  Row Norm(const std::string& prefix, const Row& x) const {
    const double n = static_cast<double>(x.size());
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
    double variance = 0.0;
    for (const double value : x) variance += (value - mean) * (value - mean) / n;
    Row y;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double gamma =
          static_cast<double>(model_.parameters().vector(prefix + "weight").data[i]);
      const double beta = static_cast<double>(model_.parameters().vector(prefix + "bias").data[i]);
      y.push_back((x[i] - mean) / std::sqrt(variance + config_.layer_norm_eps) * gamma + beta);
    }
    return y;
  }

  Row Embedding(std::int32_t id, std::size_t position) const {
    const auto p = static_cast<idx_t>(position);
    const auto words = model_.parameters().matrix("reformer.embeddings.word_embeddings.weight");
    const std::string name = "reformer.embeddings.position_embeddings.weights.";
    const auto t0 = model_.parameters().matrix(name + "0");
    const auto t1 = model_.parameters().matrix(name + "1");
    const idx_t columns = config_.axial_shape[1], d0 = config_.axial_dims[0];
    Row x;
    for (idx_t c = 0; c < config_.hidden_size; ++c) {
      const float axial = c < d0 ? t0(p / columns, c) : t1(p % columns, c - d0);
      x.push_back(static_cast<double>(words(id, c)) + static_cast<double>(axial));
    }
    return x;
  }

  // y1 += out Wo^T; y2 += FeedForward(y1).
  void FinishLayer(std::size_t i, const Row& out, Row* y1, Row* y2) const {
    const Row mixed = Times(Attention(i) + "output.dense.weight", out);
    for (std::size_t c = 0; c < y1->size(); ++c) (*y1)[c] += mixed[c];
    const std::string prefix = model_.LayerPrefix(i) + "feed_forward.";
    Row hidden = Plus(Times(prefix + "dense.dense.weight", Norm(prefix + "layer_norm.", *y1)),
                      prefix + "dense.dense.bias");
    for (double& value : hidden) value = std::max(value, 0.0);
    const Row f = Plus(Times(prefix + "output.dense.weight", hidden), prefix + "output.dense.bias");
    for (std::size_t c = 0; c < y2->size(); ++c) (*y2)[c] += f[c];
  }

  Row Logits(Row y1, const Row& y2) const {
    y1.insert(y1.end(), y2.begin(), y2.end());
    return Plus(Times("lm_head.decoder.weight", Norm("reformer.encoder.layer_norm.", y1)),
                "lm_head.bias");
  }

  // ---- attention --------------------------------------------------------------------------------

  // Head h of a projection (A, C) of a state.
  Row Projection(std::size_t i, const char* name, const Row& state, idx_t h) const {
    const View<const float, 2> w =
        model_.parameters().matrix(Attention(i) + "self_attention." + name + ".weight");
    return Multiply(w.Rows(h * config_.head_size, config_.head_size), state);
  }

  // out, lse of one head's query over keys and values.
  static double Softmax(const Row& scores, const std::vector<Row>& values, Row* out) {
    const double most = *std::max_element(scores.begin(), scores.end());
    double sum = 0.0;
    out->assign(values[0].size(), 0.0);
    for (std::size_t j = 0; j < scores.size(); ++j) sum += std::exp(scores[j] - most);
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const double p = std::exp(scores[j] - most) / sum;
      for (std::size_t d = 0; d < out->size(); ++d) (*out)[d] += p * values[j][d];
    }
    return most + std::log(sum);
  }

  // One head's query at state `query` over tokens [first, last] with keys of their own.
  Row LocalHead(std::size_t i, idx_t h, idx_t query, idx_t first) const {
    const auto& states = layers_[i].states;
    const Row q = Projection(i, "query", states[static_cast<std::size_t>(query)], h);
    Row scores;
    std::vector<Row> values;
    for (idx_t t = first; t <= query; ++t) {
      const Row& state = states[static_cast<std::size_t>(t)];
      const Row k = Projection(i, "key", state, h);
      scores.push_back(std::inner_product(q.begin(), q.end(), k.begin(), 0.0) /
                       std::sqrt(static_cast<double>(config_.head_size)));
      values.push_back(Projection(i, "value", state, h));
    }
    Row out;
    Softmax(scores, values, &out);
    return out;
  }

  Row LocalToken(std::size_t i, idx_t t) const {
    const idx_t first =
        std::max<idx_t>(0, t / config_.local_chunk - config_.local_before) * config_.local_chunk;
    Row all;
    for (idx_t h = 0; h < config_.heads; ++h) {
      const Row out = LocalHead(i, h, t, first);
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }
  std::vector<Row> LocalForward(std::size_t i) const {
    std::vector<Row> out;
    for (std::size_t t = 0; t < layers_[i].states.size(); ++t) {
      out.push_back(LocalToken(i, static_cast<idx_t>(t)));
    }
    return out;
  }
  Row LocalStep(std::size_t i) const {
    return LocalToken(i, static_cast<idx_t>(layers_[i].states.size()) - 1);
  }

  // One head of token `query` in one round: out and lse.
  double LshRound(std::size_t i, idx_t h, idx_t query, const std::vector<Entry>& window,
                  Row* out) const {
    const auto& states = layers_[i].states;
    const Row q = Projection(i, "query_key", states[static_cast<std::size_t>(query)], h);
    const double size = static_cast<double>(config_.head_size);
    Row scores;
    std::vector<Row> values;
    for (const Entry& entry : window) {
      const Row& state = states[static_cast<std::size_t>(entry.token)];
      const Row x = Projection(i, "query_key", state, h);
      const double squares = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
      const double dot = std::inner_product(q.begin(), q.end(), x.begin(), 0.0);
      scores.push_back(entry.itself ? -1e5
                                    : dot / std::sqrt(squares / size + 1e-6) / std::sqrt(size));
      values.push_back(Projection(i, "value", state, h));
    }
    return Softmax(scores, values, out);
  }

  // Rounds combined by their logsumexp: what one head of token `query` becomes.
  Row Combined(std::size_t i, idx_t h, idx_t query,
               const std::vector<std::vector<Entry>>& windows) const {
    std::vector<Row> outs(windows.size());
    Row lses;
    for (std::size_t r = 0; r < windows.size(); ++r) {
      lses.push_back(LshRound(i, h, query, windows[r], &outs[r]));
    }
    Row out;
    Softmax(lses, outs, &out);
    return out;
  }

  // Buckets of `states` in every head and round.
  RoundBuckets Buckets(std::size_t i, const LshSpec& spec, const std::vector<Row>& states) const {
    const Tensor tensor = model_.Rotations(i, spec);
    const View<const float, 4> rotations = tensor.view<4>();
    RoundBuckets buckets(static_cast<std::size_t>(config_.heads * spec.rounds));
    for (const Row& state : states) {
      for (idx_t h = 0; h < config_.heads; ++h) {
        const Row x = Projection(i, "query_key", state, h);
        for (idx_t r = 0; r < spec.rounds; ++r) {
          idx_t bucket = 0, place = 1, column = 0;
          for (const idx_t factor : spec.buckets) {
            bucket += place * Nearest(rotations, x, h, r, column, factor / 2);
            place *= factor;
            column += factor / 2;
          }
          buckets[static_cast<std::size_t>(h * spec.rounds + r)].push_back(bucket);
        }
      }
    }
    return buckets;
  }
  // argmax of p ++ -p over `half` rotations from `column` on.
  static idx_t Nearest(const View<const float, 4>& rotations, const Row& x, idx_t h, idx_t r,
                       idx_t column, idx_t half) {
    Row p;
    for (idx_t j = 0; j < half; ++j) {
      double sum = 0.0;
      for (std::size_t c = 0; c < x.size(); ++c) {
        sum += x[c] * static_cast<double>(rotations(h, c, r, column + j));
      }
      p.push_back(sum);
    }
    for (idx_t j = 0; j < half; ++j) p.push_back(-At(p, j));
    return std::max_element(p.begin(), p.end()) - p.begin();
  }
  static std::vector<idx_t> Sorted(const std::vector<idx_t>& buckets) {
    std::vector<idx_t> order(buckets.size());
    std::iota(order.begin(), order.end(), idx_t{0});
    std::stable_sort(order.begin(), order.end(), [&](idx_t a, idx_t b) {
      return buckets[static_cast<std::size_t>(a)] < buckets[static_cast<std::size_t>(b)];
    });
    return order;
  }
  static std::vector<Entry> Everybody(idx_t last) {
    std::vector<Entry> window;
    for (idx_t t = 0; t <= last; ++t) window.push_back({t, t == last});
    return window;
  }

  // The forward pass over the states: chunks of all rounds form one circle, the last one of a round
  // may be short.
  std::vector<Row> LshForward(std::size_t i) const {
    const auto T = static_cast<idx_t>(layers_[i].states.size());
    const LshSpec spec = SharedSpec(config_, T);
    const bool hashes = T > spec.chunk;
    const RoundBuckets buckets = hashes ? Buckets(i, spec, layers_[i].states) : RoundBuckets();
    std::vector<Row> all(static_cast<std::size_t>(T));
    for (idx_t h = 0; h < config_.heads; ++h) {
      std::vector<std::vector<idx_t>> orders;
      for (idx_t r = 0; hashes && r < spec.rounds; ++r) {
        orders.push_back(Sorted(buckets[static_cast<std::size_t>(h * spec.rounds + r)]));
      }
      for (idx_t t = 0; t < T; ++t) {
        std::vector<std::vector<Entry>> windows;
        if (!hashes) windows.push_back(Everybody(t));
        for (idx_t r = 0; r < static_cast<idx_t>(orders.size()); ++r) {
          windows.push_back(ForwardWindow(spec, orders, r, t));
        }
        const Row out = Combined(i, h, t, windows);
        Row& row = all[static_cast<std::size_t>(t)];
        row.insert(row.end(), out.begin(), out.end());
      }
    }
    return all;
  }
  static std::vector<Entry> ForwardWindow(const LshSpec& spec,
                                          const std::vector<std::vector<idx_t>>& orders, idx_t r,
                                          idx_t t) {
    const auto& own = orders[static_cast<std::size_t>(r)];
    const auto T = static_cast<idx_t>(own.size());
    const idx_t n = (T + spec.chunk - 1) / spec.chunk, circle = n * spec.rounds;
    const idx_t chunk = r * n + (std::find(own.begin(), own.end(), t) - own.begin()) / spec.chunk;
    std::vector<Entry> window;
    for (idx_t off = -spec.before; off <= spec.after; ++off) {
      const idx_t c = std::abs(off) >= circle ? chunk : (chunk + off + circle) % circle;
      for (idx_t j = c % n * spec.chunk; j < std::min(T, (c % n + 1) * spec.chunk); ++j) {
        const idx_t token = orders[static_cast<std::size_t>(c / n)][static_cast<std::size_t>(j)];
        if (token <= t) window.push_back({token, token == t});
      }
    }
    return window;
  }

  Row LshStep(std::size_t i) {
    Layer& layer = layers_[i];
    const auto position = static_cast<idx_t>(layer.states.size()) - 1;
    const idx_t rounds = layer.spec.rounds;
    if (layer.bucketed) {
      const RoundBuckets own = Buckets(i, layer.spec, {layer.states.back()});
      for (std::size_t l = 0; l < own.size(); ++l) layer.buckets[l].push_back(own[l][0]);
    }
    Row all;
    for (idx_t h = 0; h < config_.heads; ++h) {
      std::vector<std::vector<Entry>> windows;
      if (!layer.bucketed) windows.push_back(Everybody(position));
      for (idx_t r = 0; layer.bucketed && r < rounds; ++r) {
        windows.push_back(
            StepWindow(layer.spec, layer.buckets[static_cast<std::size_t>(h * rounds + r)]));
      }
      const Row out = Combined(i, h, position, windows);
      all.insert(all.end(), out.begin(), out.end());
    }
    if (!layer.bucketed && layer.can_hash && position + 1 >= layer.spec.chunk) {
      layer.bucketed = true;
      layer.buckets = Buckets(i, layer.spec, layer.states);
    }
    return all;
  }
  // The ranks (rank / chunk - before) chunk and on, modulo the tokens; repeats count.
  static std::vector<Entry> StepWindow(const LshSpec& spec, const std::vector<idx_t>& buckets) {
    const std::vector<idx_t> order = Sorted(buckets);
    const auto n = static_cast<idx_t>(order.size());
    const idx_t rank = std::find(order.begin(), order.end(), n - 1) - order.begin();
    const idx_t start = (rank / spec.chunk - spec.before) * spec.chunk;
    std::vector<Entry> window;
    for (idx_t j = 0; j < spec.chunk * (1 + spec.before + spec.after); ++j) {
      const idx_t place = ((start + j) % n + n) % n;
      const idx_t token = order[static_cast<std::size_t>(place)];
      window.push_back({token, token == n - 1});
    }
    return window;
  }

  const Reformer& model_;
  const ReformerConfig& config_;
  std::vector<Layer> layers_;
};

}  // namespace longspan::ref
