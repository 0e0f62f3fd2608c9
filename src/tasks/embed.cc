#include "tasks/embed.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace longspan {
namespace {

// Pools the tokens of a text as they come, window by window, in double.
class Pool {
 public:
  Pool(PoolingMode mode, idx_t channels)
      : mode_(mode),
        sum_(static_cast<std::size_t>(channels),
             mode == PoolingMode::kMax ? -std::numeric_limits<double>::infinity() : 0.0) {}

  // The row's tokens [own) and its special ones; `position` of the first own token in the text.
  void Add(const View<const float, 2>& hidden, const text::Encoding& row, TokenRange own) {
    if (mode_ == PoolingMode::kCls) return AddToken(hidden, 0, 1.0);
    if (mode_ == PoolingMode::kLastToken) {
      std::fill(sum_.begin(), sum_.end(), 0.0);
      weight_ = 0.0;
      return AddToken(hidden, row.size() - 1, 1.0);
    }
    for (idx_t t = 0; t < row.size(); ++t) {
      const bool special = row.special[static_cast<std::size_t>(t)] != 0;
      if (!special && (t < own.begin || t >= own.end)) continue;
      ++tokens_;
      AddToken(hidden, t, mode_ == PoolingMode::kWeightedMean ? static_cast<double>(tokens_) : 1.0);
    }
  }

  void Write(float* out) const {
    double scale = 1.0;
    if (mode_ == PoolingMode::kMeanSqrtLen)
      scale = 1.0 / std::sqrt(weight_);
    else if (mode_ != PoolingMode::kMax)
      scale = 1.0 / weight_;
    for (std::size_t c = 0; c < sum_.size(); ++c) out[c] = static_cast<float>(sum_[c] * scale);
  }

 private:
  void AddToken(const View<const float, 2>& hidden, idx_t t, double weight) {
    weight_ += weight;
    for (std::size_t c = 0; c < sum_.size(); ++c) {
      const double value = hidden(t, c);
      if (mode_ == PoolingMode::kMax)
        sum_[c] = std::max(sum_[c], value);
      else
        sum_[c] += weight * value;
    }
  }

  PoolingMode mode_;
  std::vector<double> sum_;
  double weight_ = 0.0;
  idx_t tokens_ = 0;
};

void Normalize(std::span<float> vector) {
  double squares = 0.0;
  for (const float x : vector) squares += double{x} * x;
  if (squares == 0.0) return;  // a vector without direction stays zero
  const double scale = 1.0 / std::sqrt(squares);
  for (float& x : vector) x = static_cast<float>(x * scale);
}

}  // namespace

Tensor Embed(Context& context, TaskModel& model, const TaskRows& rows, const Pooling& pooling) {
  const idx_t channels = model.info().width;
  const auto modes = static_cast<idx_t>(pooling.modes.size());
  std::vector<Tensor> hidden(rows.rows.size());  // of rows whose text is not whole yet
  std::vector<idx_t> text_of(rows.rows.size());
  std::vector<idx_t> missing(static_cast<std::size_t>(rows.texts()));
  for (idx_t text = 0; text < rows.texts(); ++text) {
    missing[static_cast<std::size_t>(text)] = static_cast<idx_t>(rows.of(text).size());
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      text_of[static_cast<std::size_t>(row)] = text;
    }
  }
  Tensor vectors({rows.texts(), modes * channels});
  const auto finish = [&](idx_t text) {
    const auto windows = rows.of(text);
    const auto own = OwnTokens(windows, 0);
    float* out = vectors.data<float>() + text * modes * channels;
    for (idx_t m = 0; m < modes; ++m) {
      Pool pool(pooling.modes[static_cast<std::size_t>(m)], channels);
      for (std::size_t w = 0; w < windows.size(); ++w) {
        const Tensor& states = hidden[static_cast<std::size_t>(rows.begin(text)) + w];
        pool.Add(states.view<2>(), windows[w], own[w]);
      }
      pool.Write(out + m * channels);
    }
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      hidden[static_cast<std::size_t>(row)] = Tensor();
    }
    if (pooling.normalize) Normalize({out, static_cast<std::size_t>(modes * channels)});
  };
  model.Run(context, rows.rows, [&](const TaskBatch& batch) {
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const auto row = static_cast<std::size_t>(batch.rows[b]);
      const View<const float, 2> states = batch.Hidden(static_cast<idx_t>(b));
      hidden[row] = Tensor({rows.rows[row].size(), channels});
      std::copy_n(states.data, hidden[row].size(), hidden[row].data<float>());
      idx_t& left = missing[static_cast<std::size_t>(text_of[row])];
      if (--left == 0) finish(text_of[row]);
    }
  });
  return vectors;
}

}  // namespace longspan
