#include "families/longformer/longformer.h"

#include <algorithm>
#include <vector>

#include "model/documents.h"
#include "model/joined_texts.h"
#include "model/post_norm_encoder_impl.h"

namespace longspan {
namespace {

// Pairs of a local query and a key that it sees, over a batch.
double LocalPairs(const BatchView& batch, idx_t window) {
  double pairs = 0.0;
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t tokens) {
    const auto role = [&](idx_t t) {
      const idx_t at = begin + t;
      return batch.roles.empty() ? kLocalToken : batch.roles(at / batch.tokens, at % batch.tokens);
    };
    std::vector<idx_t> locals(static_cast<std::size_t>(tokens) + 1, 0);  // before each token
    idx_t globals = 0;
    for (idx_t t = 0; t < tokens; ++t) {
      const bool local = role(t) != kHiddenToken && role(t) != kGlobalToken;
      locals[static_cast<std::size_t>(t) + 1] =
          locals[static_cast<std::size_t>(t)] + (local ? 1 : 0);
      globals += role(t) == kGlobalToken ? 1 : 0;
    }
    for (idx_t t = 0; t < tokens; ++t) {
      if (role(t) == kHiddenToken || role(t) == kGlobalToken) continue;
      const auto first = static_cast<std::size_t>(std::max<idx_t>(0, t - window));
      const auto last = static_cast<std::size_t>(std::min(tokens, t + window + 1));
      pairs += static_cast<double>(locals[last] - locals[first] + globals);
    }
  });
  return pairs;
}

}  // namespace

double LongformerKind::AttentionFlop(const LongformerConfig& config, const BatchView& batch,
                                     std::size_t backward_from) {
  const auto width = static_cast<double>(config.hidden_size);
  const FoundGlobals found(batch);
  const GlobalTokenRows& globals = found.get();
  double global[2] = {};  // of a layer, without and with its backward
  const auto add = [&](idx_t rows, idx_t tokens, idx_t most) {
    for (const bool backward : {false, true}) {
      const GlobalFlops one = GlobalFlopsOf(config, tokens, most, backward);
      const double least = std::min(one.projected, one.reassociated);
      if (most > 0) global[backward ? 1 : 0] += static_cast<double>(rows) * least;
    }
  };
  if (batch.documents.empty()) add(batch.rows, batch.tokens, globals.most);
  ForEachDocument(batch.documents,
                  [&](idx_t d, idx_t, idx_t length) { add(1, length, globals.tokens.Count(d)); });
  double flop = 0.0;
  for (std::size_t i = 0; i < config.layers(); ++i) {
    const bool backward = i >= backward_from;
    const double each = backward ? 14.0 : 4.0;  // times D, for a pair
    flop += each * width * LocalPairs(batch, config.window(i)) + global[backward ? 1 : 0];
  }
  return flop;
}

template class PostNormEncoder<LongformerKind>;

}  // namespace longspan
