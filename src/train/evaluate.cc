#include "train/evaluate.h"

#include <algorithm>
#include <numbers>

#include "base/errors.h"
#include "base/math.h"
#include "families/families.h"
#include "families/model_inside.h"
#include "families/reformer/reformer_files.h"
#include "io/checksum.h"
#include "model/head_kind.h"
#include "model/model_options.h"
#include "text/bytes_tokenizer.h"
#include "train/eval_batches.h"
#include "train/text_data.h"
#include "train/text_task.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

// Inputs and targets of windows of equal length.
struct Windows {
  std::vector<std::int32_t> ids, targets;
};

// Window w reads inputs [w*stride, w*stride + tokens) and predicts the token after each of them.
// Only predictions that no earlier window made count.
template <class IdAt>
void AddWindow(const IdAt& id_at, idx_t begin, idx_t tokens, idx_t counted_from, Windows* windows) {
  for (idx_t t = 0; t < tokens; ++t) {
    windows->ids.push_back(id_at(begin + t));
    const bool counts = begin + t + 1 >= counted_from;
    windows->targets.push_back(counts ? id_at(begin + t + 1) : kIgnoreLabel);
  }
}

// id_at(i): the id of token i of `size`.
template <class IdAt>
EvalResult Evaluate(Context& context, const Reformer& model, const IdAt& id_at, idx_t size,
                    idx_t tokens, idx_t stride, const EvalHooks& hooks) {
  tokens = std::min(tokens, size - 1);
  if (stride == 0) stride = std::max<idx_t>(1, tokens / 2);
  Check(stride >= 1 && stride <= tokens, ErrorCode::kUsage,
        "eval: stride {} is not from 1 to the window's {} tokens", stride, tokens);
  const idx_t rows = std::max<idx_t>(1, hooks.batch_tokens / tokens);
  const idx_t last = size - 1 - tokens;  // the last window ends at the end
  const idx_t windows = CeilDiv(last, stride) + 1;
  const auto begin = [&](idx_t window) { return std::min(window * stride, last); };
  // The first token that no window before this one has predicted.
  const auto next = [&](idx_t window) { return window == 0 ? 1 : begin(window - 1) + tokens + 1; };
  HeadLoss total;
  ForEachBatch<HeadLoss>(
      context, hooks, {CeilDiv(windows, rows), size},
      [&](idx_t batch) {
        const idx_t first = batch * rows, end = std::min(first + rows, windows);
        Windows own;
        for (idx_t w = first; w < end; ++w) AddWindow(id_at, begin(w), tokens, next(w), &own);
        return std::vector{WithinLimit(context, "evaluate", [&](Context& c) {
          return model.Loss(c, {end - first, tokens, own.ids, own.targets, {}});
        })};
      },
      [&](idx_t batch, std::span<const HeadLoss> found) {
        total.Add(found.front());
        return next(std::min((batch + 1) * rows, windows));
      });
  return ResultOf(total);
}

}  // namespace

EvalResult EvaluateTokens(Context& context, const Reformer& model, const TokenIds& ids,
                          idx_t tokens, idx_t stride, const EvalHooks& hooks) {
  const auto size = static_cast<idx_t>(ids.size());
  Check(size >= 2, ErrorCode::kUsage, "eval: the text has {} tokens, need at least 2", size);
  const auto id_at = [&](idx_t i) { return ids[static_cast<std::size_t>(i)]; };
  return Evaluate(context, model, id_at, size, tokens, stride, hooks);
}

EvalResult EvaluateText(Context& context, const Reformer& model, std::span<const std::uint8_t> text,
                        idx_t tokens, idx_t stride, const EvalHooks& hooks) {
  const auto size = static_cast<idx_t>(text.size());
  Check(size >= 2, ErrorCode::kUsage, "eval: the text has {} bytes, need at least 2", size);
  const auto id_at = [&](idx_t i) {
    return text[static_cast<std::size_t>(i)] + text::BytesTokenizer::kOffset;
  };
  return Evaluate(context, model, id_at, size, tokens, stride, hooks);
}

EvalResult ResultOf(const HeadLoss& total) {
  Check(total.counted > 0, ErrorCode::kUsage, "eval: the text has nothing to predict");
  EvalResult result;
  result.counted = total.counted;
  result.loss = total.sum / static_cast<double>(total.counted);
  result.bits_per_byte = result.loss / std::numbers::ln2;
  result.accuracy = static_cast<double>(total.correct) / static_cast<double>(total.counted);
  return result;
}

EvalResult EvaluateLanguageModel(Context& context, const EvalOptions& o) {
  CheckEvaluatedShare(o.held_out);
  LoadOptions load;
  load.family = OptionsOf(o.reformer);
  std::vector<std::string> notes;
  Reformer model = LoadReformer(OpenModelFolder(o.model), load, &notes);
  const auto tokenizer = OpenModelTokenizer(o.model);
  CheckLanguageModel(model.config(), tokenizer->vocabulary(), o.tokens);
  const bool of_bytes = tokenizer->kind() == "bytes";
  const LastText last(o.text, o.data, of_bytes, o.held_out);
  notes.insert(notes.end(), last.corpus.notes.begin(), last.corpus.notes.end());
  // Of one process nobody needs it.
  const std::string sum = context.world() == nullptr ? "" : io::ChecksumOf(last.text);
  const EvalHooks hooks = AgreedHooks(context, model.parameters(), sum);
  if (of_bytes) {
    EvalResult result = EvaluateText(context, model, last.bytes(), o.tokens, o.stride, hooks);
    result.bytes = static_cast<idx_t>(last.text.size());
    result.notes = std::move(notes);
    return result;
  }
  TokenStream stream;
  stream.Append(context, *tokenizer, std::span(&last.text, 1), std::nullopt);
  EvalResult result = EvaluateTokens(context, model, stream.ids(), o.tokens, o.stride, hooks);
  result.bytes = static_cast<idx_t>(last.text.size());
  result.bits_per_byte *=
      static_cast<double>(stream.ids().size()) / static_cast<double>(result.bytes);
  result.notes = std::move(notes);
  return result;
}

void CheckLanguageModel(const ReformerConfig& config, idx_t vocabulary, idx_t tokens) {
  Check(config.head == HeadKind::kCausalLm, ErrorCode::kFormat,
        "model: its head is {}, and a language model's is {}; {} make one", NameOf(config.head),
        NameOf(HeadKind::kCausalLm), WayTo(HeadKind::kCausalLm));
  CheckVocabulary(vocabulary, config.vocab_size);
  Check(tokens >= 1 && tokens <= config.longest(), ErrorCode::kUsage,
        "tokens: {} is not from 1 to the model's {} positions", tokens, config.longest());
}

}  // namespace longspan
