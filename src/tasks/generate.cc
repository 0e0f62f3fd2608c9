#include "longspan/generate.h"

#include <algorithm>
#include <utility>

#include "base/cancel.h"
#include "base/errors.h"
#include "families/families.h"
#include "families/model_inside.h"
#include "generate/generation.h"
#include "generate/text_decoder.h"
#include "generate/token_rules.h"
#include "generate/written_text.h"
#include "longspan/files.h"
#include "parallel/team.h"
#include "text/bytes_tokenizer.h"

namespace longspan {
namespace {

const GenerativeModel& Generative(const Model& model) {
  const GenerativeModel* generative = model.inside().generative();
  Check(generative != nullptr, ErrorCode::kFormat,
        "{}: is a {}, which does not continue texts; generate needs {}",
        io::EscapeName(model.directory().empty() ? "model" : model.directory().string()),
        model.info().class_name, ClassesFor(HeadKind::kCausalLm));
  generative->CheckContinues();
  return *generative;
}

TokenGeneration TokensOf(const Model& model, const GenerateOptions& options) {
  TokenGeneration tokens;
  tokens.sampling = options.sampling;
  tokens.tokens = options.tokens;
  tokens.context = options.context;
  tokens.cache = options.cache;
  FollowTokenizer(model.tokenizer(), model.info().vocabulary, &tokens);
  return tokens;
}

// kLimit if the caches of so many texts and the pass over the longest prompt are beyond the limit.
void CheckMemoryOf(const Context& context, const Model& model, const GenerativeModel& generative,
                   std::span<const std::vector<std::int32_t>> prompts,
                   const TokenGeneration& tokens) {
  if (context.memory_limit() == 0) return;
  std::size_t cached = 0;
  const std::vector<std::int32_t>* longest = &prompts.front();
  for (const auto& ids : prompts) {
    if (tokens.cache) cached += generative.CacheBytes(RoomFor(generative, ids.size(), tokens));
    if (ids.size() > longest->size()) longest = &ids;
  }
  BatchView batch;
  batch.rows = 1;
  batch.tokens = static_cast<idx_t>(longest->size());
  batch.ids = *longest;
  const std::size_t pass = RehearseCall(context, [&](Context& rehearsal) {
    Tensor hidden({batch.tokens, model.info().width});
    model.inside().Encode(rehearsal, batch, hidden.view<2>());
  });
  context.CheckMemory("generate", cached + pass);
}

// What does not depend on the prompt, before anything is written.
void CheckOptions(const GenerativeModel& generative, const GenerateOptions& options) {
  generative.MakeDecoder(options.cache);  // says what cannot be decoded
  CheckGenerateOptions(options);
}

// Prompts [tokens.first_text, tokens.first_text + prompts.size()) of all, side by side.
void WriteBatch(Context& context, const Model& model, const TokenGeneration& tokens,
                std::span<const std::vector<std::int32_t>> prompts, const GenerateOptions& options,
                const OnText& on_text, std::vector<GeneratedText>* results) {
  const GenerativeModel& generative = Generative(model);
  CheckMemoryOf(context, model, generative, prompts, tokens);
  std::vector<WrittenText> texts;
  for (const auto& ids : prompts) texts.emplace_back(model.tokenizer(), ids, options.stops);
  std::vector<bool> ended(prompts.size(), false);  // by the caller
  const auto show = [&](std::size_t i, const std::string& piece) {
    if (!on_text || piece.empty() || ended[i]) return;
    ended[i] = !on_text(tokens.first_text + i, piece);
  };
  auto written =
      GenerateTexts(context, generative, prompts, tokens, [&](std::size_t i, std::int32_t id) {
        show(i, texts[i].Add(id));
        return !texts[i].stopped() && !ended[i];
      });
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    show(i, texts[i].Finish());
    GeneratedText& result = results->emplace_back();
    result.text = texts[i].text();
    result.ending = texts[i].stopped() ? Ending::kStopRule : written[i].ending;
    result.tokens = std::move(written[i].tokens);
    result.prompt_tokens = static_cast<idx_t>(prompts[i].size());
  }
}

}  // namespace

std::vector<std::int32_t> EncodePrompt(const text::Tokenizer& tokenizer, std::string_view prompt) {
  std::vector<std::int32_t> ids;
  if (tokenizer.kind() == "bytes") {  // any bytes, valid UTF-8 or not
    ids = text::BytesTokenizer::Encode(prompt);
  } else {
    text::EncodeOptions plain;
    plain.special_tokens = false;
    ids = tokenizer.Encode(prompt, plain).front().ids;
  }
  Check(!ids.empty(), ErrorCode::kFormat, "has no token to go on from");
  return ids;
}

void CheckGenerateOptions(const GenerateOptions& options) {
  CheckSampling(options.sampling);
  Check(options.tokens >= 0, ErrorCode::kUsage, "tokens: {} is negative", options.tokens);
  Check(options.context >= 0, ErrorCode::kUsage, "context: {} is negative", options.context);
  Check(options.batch >= 1, ErrorCode::kUsage, "batch: {} is below 1", options.batch);
  CheckStops(options.stops);
}

void CheckGenerates(const Model& model, std::span<const std::int32_t> prompt,
                    const GenerateOptions& options) {
  const GenerativeModel& generative = Generative(model);
  CheckGeneration(generative, prompt.size(), TokensOf(model, options));
  CheckOptions(generative, options);
}

std::vector<GeneratedText> Generate(Context& context, const Model& model,
                                    std::span<const std::string> prompts,
                                    const GenerateOptions& options, const OnText& on_text) {
  if (prompts.empty()) return {};
  const CancelScope scope(CancelFlagOf(context));
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Check(!prompts[i].empty(), ErrorCode::kUsage, "generate: prompt {} is empty", i + 1);
    ids.push_back(EncodePrompt(model.tokenizer(), prompts[i]));
  }
  const GenerativeModel& generative = Generative(model);
  TokenGeneration tokens = TokensOf(model, options);
  for (const auto& prompt : ids) CheckGeneration(generative, prompt.size(), tokens);
  CheckOptions(generative, options);
  std::vector<GeneratedText> results;
  const auto batch = static_cast<std::size_t>(options.batch);
  for (std::size_t begin = 0; begin < ids.size(); begin += batch) {
    const std::size_t count = std::min(batch, ids.size() - begin);
    tokens.first_text = begin;
    WriteBatch(context, model, tokens, std::span(ids).subspan(begin, count), options, on_text,
               &results);
    context.TellProgress(static_cast<idx_t>(results.size()), static_cast<idx_t>(ids.size()));
  }
  return results;
}

GeneratedText Generate(Context& context, const Model& model, const std::string& prompt,
                       const GenerateOptions& options,
                       const std::function<bool(std::string_view piece)>& on_piece) {
  OnText on_text;
  if (on_piece) on_text = [&](std::size_t, std::string_view piece) { return on_piece(piece); };
  return std::move(Generate(context, model, std::span(&prompt, 1), options, on_text).front());
}

std::vector<GeneratedText> SearchBeams(Context& context, const Model& model,
                                       const std::string& prompt, const GenerateOptions& options,
                                       const BeamOptions& beam) {
  Check(!prompt.empty(), ErrorCode::kUsage, "generate: the prompt is empty");
  const CancelScope scope(CancelFlagOf(context));
  const std::vector<std::int32_t> ids = EncodePrompt(model.tokenizer(), prompt);
  CheckGenerates(model, ids, options);
  TokenGeneration tokens = TokensOf(model, options);
  if (!options.stops.empty()) {
    tokens.stop = [&](std::span<const std::int32_t> written) {
      return EndsInStop(model.tokenizer(), written, options.stops);
    };
  }
  std::vector<GeneratedText> found;
  for (Continuation& one : BeamSearch(context, Generative(model), ids, tokens, beam)) {
    WrittenText text(model.tokenizer(), ids, options.stops);
    for (const std::int32_t id : one.tokens) text.Add(id);
    text.Finish();
    found.push_back({text.text(), std::move(one.tokens), static_cast<idx_t>(ids.size()), one.ending,
                     one.score});
  }
  if (found.empty()) {
    found.emplace_back();
    found.back().prompt_tokens = static_cast<idx_t>(ids.size());
  }
  return found;
}

}  // namespace longspan
