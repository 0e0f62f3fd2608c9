#include "inspect/decode_agreement.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "families/reformer/reformer.h"
#include "generate/text_decoder.h"

namespace longspan {
namespace {

// -log softmax(logits)[target].
double Loss(std::span<const float> logits, std::int32_t target) {
  const double most = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(target)]);
}

idx_t First(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

void AddToken(std::span<const float> full, std::span<const float> cached, std::int32_t target,
              DecodeAgreement* a) {
  ++a->tokens;
  a->full_loss += Loss(full, target);
  a->cached_loss += Loss(cached, target);
  const idx_t full_first = First(full), cached_first = First(cached);
  a->full_correct += full_first == target ? 1 : 0;
  a->cached_correct += cached_first == target ? 1 : 0;
  a->same_first += full_first == cached_first ? 1 : 0;
  for (std::size_t v = 0; v < full.size(); ++v) {
    const double difference =
        std::abs(static_cast<double>(full[v]) - static_cast<double>(cached[v]));
    a->sum_difference += difference;
    a->most_difference = std::max(a->most_difference, difference);
  }
}

}  // namespace

void DecodeAgreement::Add(const DecodeAgreement& other) {
  tokens += other.tokens;
  full_loss += other.full_loss;
  cached_loss += other.cached_loss;
  full_correct += other.full_correct;
  cached_correct += other.cached_correct;
  same_first += other.same_first;
  sum_difference += other.sum_difference;
  most_difference = std::max(most_difference, other.most_difference);
  vocabulary = other.vocabulary;
}

void CheckDecoding(idx_t prompt, idx_t tokens) {
  Check(prompt >= 1 && prompt + 2 <= tokens, ErrorCode::kUsage,
        "decoding: a prompt of {} tokens is not from 1 to the text's {} less 2", prompt, tokens);
}

DecodeAgreement CompareDecoding(Context& context, const Reformer& model,
                                std::span<const std::int32_t> ids, idx_t prompt) {
  const ReformerConfig& config = model.config();
  const auto n = static_cast<idx_t>(ids.size());
  const idx_t channels = config.hidden_size, vocabulary = config.vocab_size;
  CheckDecoding(prompt, n);
  const auto decoder = model.MakeDecoder(true);
  decoder->Add(context, ids.first(static_cast<std::size_t>(prompt)), n);
  Tensor y1({n, channels}), y2({n, channels}), h({1, 2 * channels}), full({1, vocabulary});
  model.Encode(context, {1, n, ids, {}, {}}, y1.view<2>(), y2.view<2>());
  DecodeAgreement agreement;
  agreement.vocabulary = vocabulary;
  const idx_t text = 0;
  for (idx_t t = prompt; t + 1 < n; ++t) {
    const auto at = static_cast<std::size_t>(t);
    decoder->Step(context, {&text, 1}, ids.subspan(at, 1));
    model.Normalise(context, y1.view<2>().Rows(t, 1), y2.view<2>().Rows(t, 1), h.view<2>());
    model.Logits(context, h.view<2>(), full.view<2>());
    AddToken({full.data<float>(), static_cast<std::size_t>(vocabulary)}, decoder->logits(0),
             ids[at + 1], &agreement);
  }
  return agreement;
}

}  // namespace longspan
