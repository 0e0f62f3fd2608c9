#include "train/evaluate.h"

#include <algorithm>
#include <numbers>

#include "base/errors.h"
#include "model/model_files.h"
#include "text/bytes_tokenizer.h"
#include "train/text_data.h"

namespace longspan {
namespace {

// Inputs and targets of windows [first, first + rows) of equal length.
struct Windows {
  std::vector<std::int32_t> ids, targets;
};

// Window w reads inputs [w*stride, w*stride + tokens) and predicts the byte behind each of them;
// only predictions that no earlier window made count.
void AddWindow(std::span<const std::uint8_t> text, idx_t begin, idx_t tokens, idx_t counted_from,
               Windows* windows) {
  for (idx_t t = 0; t < tokens; ++t) {
    const auto at = static_cast<std::size_t>(begin + t);
    windows->ids.push_back(text[at] + text::BytesTokenizer::kOffset);
    const bool counts = begin + t + 1 >= counted_from;
    windows->targets.push_back(counts ? text[at + 1] + text::BytesTokenizer::kOffset
                                      : kIgnoreLabel);
  }
}

}  // namespace

EvalResult EvaluateText(Context& context, Reformer& model, std::span<const std::uint8_t> text,
                        idx_t tokens, idx_t stride, idx_t batch_tokens) {
  const auto size = static_cast<idx_t>(text.size());
  Check(size >= 2, ErrorCode::kUsage, "eval: the text has {} bytes, need at least 2", size);
  tokens = std::min(tokens, size - 1);
  if (stride == 0) stride = std::max<idx_t>(1, tokens / 2);
  Check(stride >= 1 && stride <= tokens, ErrorCode::kUsage,
        "eval: stride {} is not from 1 to the window's {} tokens", stride, tokens);
  const idx_t rows = std::max<idx_t>(1, batch_tokens / tokens);

  CrossEntropyResult total;
  idx_t next_byte = 1;  // the first byte that no window has predicted
  for (idx_t begin = 0; next_byte < size;) {
    Windows windows;
    idx_t count = 0;
    for (; count < rows && next_byte < size; ++count) {
      const idx_t start = std::min(begin, size - 1 - tokens);  // the last window ends at the end
      AddWindow(text, start, tokens, next_byte, &windows);
      next_byte = start + tokens + 1;
      begin = start + stride;
    }
    TokenBatch batch{count, tokens, windows.ids, windows.targets, {}};
    const HeadLoss part = model.Loss(context, batch);
    total.sum += part.sum;
    total.counted += part.counted;
    total.correct += part.correct;
  }
  EvalResult result;
  result.counted = total.counted;
  result.loss = total.sum / static_cast<double>(total.counted);
  result.bits_per_byte = result.loss / std::numbers::ln2;
  result.accuracy = static_cast<double>(total.correct) / static_cast<double>(total.counted);
  return result;
}

EvalResult EvaluateLanguageModel(Context& context, const EvalOptions& o) {
  Check(o.held_out > 0.0 && o.held_out <= 1.0, ErrorCode::kUsage,
        "eval: held-out fraction {} is not above 0 and at most 1", o.held_out);
  LoadOptions load;
  load.attention = o.attention;
  load.num_hashes = o.num_hashes;
  load.strict = o.strict;
  if (o.no_lm_bias) load.lm_bias = false;
  Reformer model = LoadReformer(o.model, load);
  CheckByteLanguageModel(model.config(), o.tokens);
  const text::MappedFile file = text::MappedFile::Open(o.text);
  return EvaluateText(context, model, HeldOutPart(file.bytes(), o.held_out), o.tokens, o.stride);
}

void CheckByteLanguageModel(const ReformerConfig& config, idx_t tokens) {
  Check(config.head == ReformerHead::kLanguageModel, ErrorCode::kFormat,
        "model: not a language model (ReformerModelWithLMHead)");
  Check(config.vocab_size >= text::BytesTokenizer::kVocabulary, ErrorCode::kFormat,
        "model: vocab_size {} is too small for bytes, need {}", config.vocab_size,
        text::BytesTokenizer::kVocabulary);
  Check(tokens >= 1 && tokens <= config.longest(), ErrorCode::kUsage,
        "tokens: {} is not from 1 to the model's {} positions", tokens, config.longest());
}

}  // namespace longspan
