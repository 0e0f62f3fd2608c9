#include <algorithm>
#include <span>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/shared_mechanism.h"
#include "inspect/decode_agreement.h"
#include "inspect/lsh_recall.h"
#include "model/model_options.h"
#include "text/bytes_tokenizer.h"
#include "text/witten_bell.h"
#include "train/evaluate.h"
#include "train/text_data.h"
#include "train/token_stream.h"

namespace longspan {
namespace {

constexpr idx_t kMostLshTokens = 4096, kDecodeTokens = 1024;   // of a window, unless more is asked
constexpr std::size_t kMostTextBytes = std::size_t{16} << 20;  // that a subword tokenizer reads

LoadOptions LoadWith(const ReformerOptions& reformer) {
  LoadOptions load;
  load.family = OptionsOf(reformer);
  return load;
}

// Where window w of so many begins, spread over `size` tokens.
idx_t WindowBegin(idx_t w, idx_t windows, idx_t tokens, idx_t size) {
  return w * (size - tokens) / std::max<idx_t>(1, windows - 1);
}

// The length of a window: what was asked for, or as much as model and text have.
idx_t LshWindow(idx_t wanted, const ReformerConfig& config, idx_t size) {
  const idx_t asked = wanted > 0 ? wanted : std::min(kMostLshTokens, config.longest());
  const idx_t tokens = wanted > 0 ? asked : std::min(asked, size);
  Check(tokens <= size, ErrorCode::kUsage, "text: {} tokens are less than one window of {} tokens",
        size, tokens);
  Check(tokens > config.lsh_chunk, ErrorCode::kUsage,
        "text: windows of {} tokens fit one chunk of {}, so nothing is hashed; {}", tokens,
        config.lsh_chunk,
        wanted > 0 ? fmt::format("give --tokens above {}", config.lsh_chunk)
                   : fmt::format("give a text of more than {} tokens, or a larger --held-out",
                                 config.lsh_chunk));
  return tokens;
}

// What the report says of the model.
void Describe(const ReformerConfig& config, LshReport* report) {
  ReformerConfig hashing = config;
  hashing.attention = AttentionChoice::kConfigured;
  report->heads = config.heads;
  report->causal = config.is_decoder;
  report->attention = AttentionName(config.attention);
  report->model_rounds = config.num_hashes;
  report->chunk = config.lsh_chunk;
  report->before = config.lsh_before;
  report->after = config.lsh_after;
  report->buckets = SharedSpec(hashing, report->tokens).buckets;
}

std::vector<std::int32_t> IdsOf(const text::Tokenizer& tokenizer, std::string_view bytes) {
  if (tokenizer.kind() == "bytes") return text::BytesTokenizer::Encode(bytes);
  Check(bytes.size() <= kMostTextBytes, ErrorCode::kLimit,
        "text: {} bytes are more than {}; take less of it with --held-out", bytes.size(),
        kMostTextBytes);
  text::EncodeOptions options;
  options.special_tokens = false;
  return tokenizer.Encode(bytes, options).front().ids;
}

}  // namespace

LshReport ReportLsh(Context& context, const std::filesystem::path& directory,
                    const WindowOptions& w, const LshRecallOptions& options,
                    const ReformerOptions& reformer) {
  Check(w.windows >= 1, ErrorCode::kUsage, "windows: {} is not at least 1", w.windows);
  const ReformerConfig config = LoadReformerConfig(OpenModelFolder(directory));
  LshRecall recall(config, options);  // refuses before the weights are read
  const auto tokenizer = OpenModelTokenizer(directory);
  CheckLanguageModel(config, tokenizer->vocabulary(), w.tokens > 0 ? w.tokens : 1);
  const LastText last(w.text, w.data, tokenizer->kind() == "bytes", w.held_out);
  LshReport report;
  report.notes = last.corpus.notes;
  report.text_bytes = static_cast<idx_t>(last.text.size());
  TokenStream stream;
  stream.Append(context, *tokenizer, std::span(&last.text, 1), std::nullopt);
  const auto size = static_cast<idx_t>(stream.ids().size());
  report.tokens = LshWindow(w.tokens, config, size);
  report.windows = std::min(w.windows, size / report.tokens);
  report.rows = std::min(options.rows, report.tokens - (config.is_decoder ? 1 : 0));
  const Reformer model = LoadReformer(OpenModelFolder(directory), LoadWith(reformer));
  Describe(model.config(), &report);
  for (idx_t i = 0; i < report.windows; ++i) {
    const idx_t begin = WindowBegin(i, report.windows, report.tokens, size);
    recall.Add(
        context, model,
        stream.ids()
            .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(report.tokens))
            .ToVector());
    context.TellProgress(i + 1, report.windows);
  }
  report.layers = recall.Result();
  return report;
}

DecodeReport ReportDecoding(Context& context, const std::filesystem::path& directory,
                            const WindowOptions& w, idx_t prompt, const ReformerOptions& reformer) {
  Check(w.windows >= 1, ErrorCode::kUsage, "windows: {} is not at least 1", w.windows);
  const auto tokenizer = OpenModelTokenizer(directory);
  const LastText last(w.text, w.data, tokenizer->kind() == "bytes", w.held_out);
  DecodeReport report;
  report.notes = last.corpus.notes;
  report.tokens = w.tokens > 0 ? w.tokens : kDecodeTokens;
  const std::vector<std::int32_t> ids = IdsOf(*tokenizer, last.text);
  const auto size = static_cast<idx_t>(ids.size());
  Check(report.tokens >= 3 && report.tokens <= size, ErrorCode::kUsage,
        "tokens: a window of {} is not from 3 to the text's {} tokens", report.tokens, size);
  report.prompt = prompt != 0 ? prompt : report.tokens / 2;
  CheckDecoding(report.prompt, report.tokens);
  const Reformer model = LoadReformer(OpenModelFolder(directory), LoadWith(reformer));
  report.windows = std::min(w.windows, size / report.tokens);
  for (idx_t i = 0; i < report.windows; ++i) {
    const idx_t begin = WindowBegin(i, report.windows, report.tokens, size);
    report.agreement.Add(
        CompareDecoding(context, model,
                        std::span(ids).subspan(static_cast<std::size_t>(begin),
                                               static_cast<std::size_t>(report.tokens)),
                        report.prompt));
    context.TellProgress(i + 1, report.windows);
  }
  return report;
}

double WittenBellBitsPerByte(const std::filesystem::path& text, double held_out, int order,
                             const DataOptions& data) {
  const LastText last(text, data, true, held_out);
  text::WittenBell model(order);
  model.Train(last.all.substr(0, last.all.size() - last.text.size()));
  return model.BitsPerByte(last.text);
}

}  // namespace longspan
