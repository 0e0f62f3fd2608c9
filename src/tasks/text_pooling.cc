#include "tasks/text_pooling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "longspan/tokenizer.h"
#include "tasks/task_model.h"

namespace longspan {
namespace {

// What the tokens of a text weigh: its vector is `scale` times the sum of weight times hidden
// state, or of kMax the largest of those that weigh anything.
struct PoolWeights {
  std::vector<std::vector<double>> tokens;  // of each window
  double scale = 0.0;                       // 0: nothing is left to pool
};

// Of a window's tokens; `before`: own tokens of the windows before it, which it adds to.
std::vector<double> WeightsOfWindow(PoolingMode mode, const RowTokens& row, bool last,
                                    idx_t& before) {
  const std::size_t size = row.own.size();
  std::vector<double> weights(size, 0.0);
  if (mode == PoolingMode::kCls) {
    const auto first = std::find(row.prompt.begin(), row.prompt.end(), 0) - row.prompt.begin();
    if (first < static_cast<std::ptrdiff_t>(size)) weights[static_cast<std::size_t>(first)] = 1.0;
    return weights;
  }
  if (mode == PoolingMode::kLastToken) {
    if (last && size > 0 && row.prompt.back() == 0) weights.back() = 1.0;
    return weights;
  }
  for (std::size_t t = 0; t < size; ++t) {
    if (row.own[t] == 0) continue;
    ++before;  // a prompt that is left out keeps its places
    if (row.prompt[t] != 0) continue;
    weights[t] = mode == PoolingMode::kWeightedMean ? static_cast<double>(before) : 1.0;
  }
  return weights;
}

PoolWeights WeightsOf(PoolingMode mode, std::span<const RowTokens> windows) {
  PoolWeights weights;
  idx_t before = 0;
  double sum = 0.0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    weights.tokens.push_back(WeightsOfWindow(mode, windows[w], w + 1 == windows.size(), before));
    for (const double weight : weights.tokens.back()) sum += weight;
  }
  if (sum == 0.0) return weights;
  weights.scale = 1.0 / sum;
  if (mode == PoolingMode::kMeanSqrtLen) weights.scale = 1.0 / std::sqrt(sum);
  if (mode == PoolingMode::kMax) weights.scale = 1.0;
  return weights;
}

}  // namespace

PromptTokens TokensOfPrompt(const text::Tokenizer& tokenizer, const std::string& prompt) {
  PromptTokens tokens;
  if (prompt.empty()) return tokens;
  const text::Encoding row = tokenizer.Encode(prompt).at(0);
  if (row.size() == 0) return tokens;
  tokens.places = row.size() - (row.sequence.back() < 0 ? 1 : 0);
  const auto own = std::find(row.sequence.begin(), row.sequence.end(), 0);
  tokens.special = std::min(static_cast<idx_t>(own - row.sequence.begin()), tokens.places);
  return tokens;
}

std::vector<RowTokens> TokensOfWindows(std::span<const text::Encoding> windows,
                                       const PromptTokens& prompt) {
  const idx_t length = prompt.places - prompt.special;  // in tokens of the text
  const bool alone = windows.size() == 1;
  const std::vector<TokenRange> own[2] = {OwnTokens(windows, 0), OwnTokens(windows, 1)};
  std::vector<RowTokens> tokens;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const text::Encoding& window = windows[w];
    const auto size = static_cast<std::size_t>(window.size());
    RowTokens row{std::vector<std::uint8_t>(size), std::vector<std::uint8_t>(size)};
    idx_t token = window.first_token[0];
    for (std::size_t t = 0; t < size; ++t) {
      const int sequence = window.sequence[t];
      const auto at = static_cast<idx_t>(t);
      if (sequence < 0) {
        row.own[t] = 1;
        row.prompt[t] = at < (alone ? prompt.places : prompt.special);
        continue;
      }
      const TokenRange& range = own[sequence][w];
      row.own[t] = at >= range.begin && at < range.end;
      if (sequence == 0) row.prompt[t] = token++ < length;
    }
    tokens.push_back(std::move(row));
  }
  return tokens;
}

void PoolText(PoolingMode mode, std::span<const RowTokens> windows,
              std::span<const View<const float, 2>> hidden, float* out,
              std::vector<std::int32_t>* largest) {
  const PoolWeights weights = WeightsOf(mode, windows);
  const auto channels = static_cast<std::size_t>(hidden.front().extent[1]);
  const bool most = mode == PoolingMode::kMax;
  if (largest != nullptr) largest->clear();
  if (weights.scale == 0.0) {
    std::fill_n(out, channels, 0.0f);
    return;
  }
  if (most && largest != nullptr) largest->assign(channels, 0);
  std::vector<double> sum(channels, most ? -std::numeric_limits<double>::infinity() : 0.0);
  std::int32_t number = 0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (std::size_t t = 0; t < weights.tokens[w].size(); ++t, ++number) {
      const double weight = weights.tokens[w][t];
      if (weight == 0.0) continue;
      for (std::size_t c = 0; c < channels; ++c) {
        const double value = hidden[w](static_cast<idx_t>(t), static_cast<idx_t>(c));
        if (!most) {
          sum[c] += weight * value;
        } else if (sum[c] < value) {
          sum[c] = value;
          if (largest != nullptr) (*largest)[c] = number;
        }
      }
    }
  }
  for (std::size_t c = 0; c < channels; ++c) out[c] = static_cast<float>(sum[c] * weights.scale);
}

void PoolTextBackward(PoolingMode mode, std::span<const RowTokens> windows, std::size_t window,
                      std::span<const std::int32_t> largest, const float* dvector,
                      const View<float, 2>& dhidden) {
  const idx_t channels = dhidden.extent[1], tokens = dhidden.extent[0];
  if (mode == PoolingMode::kMax) {
    idx_t first = 0;  // the number of the window's first token
    for (std::size_t w = 0; w < window; ++w) first += static_cast<idx_t>(windows[w].own.size());
    for (std::size_t c = 0; c < largest.size(); ++c) {
      const idx_t t = largest[c] - first;
      if (t >= 0 && t < tokens) dhidden(t, static_cast<idx_t>(c)) += dvector[c];
    }
    return;
  }
  const PoolWeights weights = WeightsOf(mode, windows);
  for (idx_t t = 0; t < tokens; ++t) {
    const double weight = weights.tokens[window][static_cast<std::size_t>(t)] * weights.scale;
    if (weight == 0.0) continue;
    for (idx_t c = 0; c < channels; ++c) {
      dhidden(t, c) += static_cast<float>(weight * static_cast<double>(dvector[c]));
    }
  }
}

}  // namespace longspan
