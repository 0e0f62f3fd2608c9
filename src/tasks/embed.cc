#include "tasks/embed.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace longspan {
namespace {

// How each token of a row takes part.
struct RowTokens {
  std::vector<std::uint8_t> own;     // 1: not a neighbouring window's
  std::vector<std::uint8_t> prompt;  // 1: left out
};

// Pools the tokens of a text as they come, window by window, in double.
class Pool {
 public:
  Pool(PoolingMode mode, idx_t channels)
      : mode_(mode),
        sum_(static_cast<std::size_t>(channels),
             mode == PoolingMode::kMax ? -std::numeric_limits<double>::infinity() : 0.0) {}

  void Add(const View<const float, 2>& hidden, const RowTokens& row) {
    const auto size = static_cast<idx_t>(row.own.size());
    if (mode_ == PoolingMode::kCls) {
      const auto first = std::find(row.prompt.begin(), row.prompt.end(), 0) - row.prompt.begin();
      if (first < size) AddToken(hidden, first, 1.0);
      return;
    }
    if (mode_ == PoolingMode::kLastToken) {
      std::fill(sum_.begin(), sum_.end(), 0.0);
      weight_ = 0.0;
      return AddToken(hidden, size - 1, 1.0);
    }
    for (idx_t t = 0; t < size; ++t) {
      if (row.own[static_cast<std::size_t>(t)] == 0) continue;
      ++tokens_;  // a prompt that is left out keeps its places
      if (row.prompt[static_cast<std::size_t>(t)] != 0) continue;
      AddToken(hidden, t, mode_ == PoolingMode::kWeightedMean ? static_cast<double>(tokens_) : 1.0);
    }
  }

  void Write(float* out) const {
    if (weight_ == 0.0) {
      std::fill_n(out, sum_.size(), 0.0f);
      return;
    }
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

// How many tokens a text and the prompt begin with alike.
idx_t PromptLength(std::span<const text::Encoding> windows, const PromptTokens& prompt) {
  idx_t next = 0;
  for (const text::Encoding& row : windows) {
    idx_t token = row.first_token[0];  // of the text
    for (std::size_t t = 0; t < row.ids.size(); ++t) {
      if (row.sequence[t] != 0) continue;
      if (token++ < next) continue;  // the window before had it
      if (next == static_cast<idx_t>(prompt.ids.size())) return next;
      if (row.ids[t] != prompt.ids[static_cast<std::size_t>(next)]) return next;
      ++next;
    }
  }
  return next;
}

std::vector<RowTokens> TokensOf(std::span<const text::Encoding> windows,
                                const PromptTokens& prompt) {
  const idx_t length = prompt.none() ? 0 : PromptLength(windows, prompt);
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
        row.prompt[t] = at < prompt.before;
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

}  // namespace

PromptTokens TokensOfPrompt(const text::Tokenizer& tokenizer, const std::string& prompt) {
  PromptTokens tokens;
  if (prompt.empty()) return tokens;
  const text::Encoding row = tokenizer.Encode(prompt).at(0);
  const auto own = std::find(row.sequence.begin(), row.sequence.end(), 0);
  tokens.before = own - row.sequence.begin();
  // Nothing but a frame: its end belongs to the text.
  if (own == row.sequence.end()) tokens.before = std::max<idx_t>(tokens.before - 1, 0);
  for (std::size_t t = 0; t < row.ids.size(); ++t) {
    if (row.sequence[t] == 0) tokens.ids.push_back(row.ids[t]);
  }
  return tokens;
}

Tensor EmbedRows(Context& context, const TaskModel& model, const TaskRows& rows,
                 const VectorPlan& plan) {
  CheckRows(rows);
  const Pooling& pooling = plan.pooling;
  const PromptTokens prompt = pooling.include_prompt ? PromptTokens() : plan.prompt;
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
    const std::vector<RowTokens> tokens = TokensOf(rows.of(text), prompt);
    float* out = vectors.data<float>() + text * modes * channels;
    for (idx_t m = 0; m < modes; ++m) {
      Pool pool(pooling.modes[static_cast<std::size_t>(m)], channels);
      for (std::size_t w = 0; w < tokens.size(); ++w) {
        const Tensor& states = hidden[static_cast<std::size_t>(rows.begin(text)) + w];
        pool.Add(states.view<2>(), tokens[w]);
      }
      pool.Write(out + m * channels);
    }
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      hidden[static_cast<std::size_t>(row)] = Tensor();
    }
  };
  RunRows(context, model, rows.rows, [&](const TaskBatch& batch) {
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const auto row = static_cast<std::size_t>(batch.rows[b]);
      hidden[row] = Tensor({rows.rows[row].size(), channels});
      std::copy_n(&batch.hidden(batch.begins[b], 0), hidden[row].size(), hidden[row].data<float>());
      idx_t& left = missing[static_cast<std::size_t>(text_of[row])];
      if (--left == 0) finish(text_of[row]);
    }
  });
  for (const auto& module : plan.modules) vectors = module->Apply(context, std::move(vectors));
  CheckNumbers(model, vectors, "its vectors");
  return vectors;
}

}  // namespace longspan
