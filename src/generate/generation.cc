#include "generate/generation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "generate/text_decoder.h"

namespace longspan {
namespace {

// A text on its way.
struct GrowingText {
  std::vector<std::int32_t> ids;  // what the model may look back on: prompt and new tokens
  std::uint64_t draw_key = 0;
  Continuation result;
};

class Writer {
 public:
  Writer(Context& context, const GenerativeModel& model, const TokenGeneration& options)
      : context_(context),
        model_(model),
        options_(options),
        decoder_(model.MakeDecoder(options.cache)) {}

  void Begin(std::span<const std::int32_t> prompt) {
    CheckGeneration(model_, prompt.size(), options_);
    const auto size = static_cast<idx_t>(prompt.size());
    const idx_t capacity = RoomFor(model_, prompt.size(), options_);
    GrowingText text;
    text.ids.assign(prompt.end() - std::min(size, capacity), prompt.end());
    text.draw_key = DeriveKey(options_.sampling.seed, options_.first_text + texts_.size());
    if (options_.tokens > 0) {
      decoder_->Add(context_, text.ids, capacity);
      live_.push_back(texts_.size());
    }
    texts_.push_back(std::move(text));
  }

  std::vector<Continuation> Run(const std::function<bool(std::size_t, std::int32_t)>& on_token) {
    while (!live_.empty()) {
      std::vector<idx_t> going;  // places in the decoder
      for (std::size_t place = 0; place < live_.size(); ++place) {
        if (!Draw(place, on_token)) going.push_back(static_cast<idx_t>(place));
      }
      if (going.size() < live_.size()) Keep(going);
      Advance();
    }
    std::vector<Continuation> results;
    for (GrowingText& text : texts_) results.push_back(std::move(text.result));
    return results;
  }

 private:
  // Draws the next token of the text in a place of the decoder; true when the text has ended.
  bool Draw(std::size_t place, const std::function<bool(std::size_t, std::int32_t)>& on_token) {
    GrowingText& text = texts_[live_[place]];
    Continuation& result = text.result;
    const std::span<const float> logits = decoder_->logits(static_cast<idx_t>(place));
    scores_.assign(logits.begin(), logits.end());
    PenaliseRepetition(text.ids, options_.sampling.repetition_penalty, &seen_, scores_);
    Ban(options_.banned, scores_);
    Rng rng(text.draw_key, result.tokens.size());
    const std::int32_t id = SampleToken(scores_, options_.sampling, rng);
    if (EndsText(model_, options_, id)) {
      result.ending = Ending::kEndOfText;
      return true;
    }
    result.tokens.push_back(id);
    text.ids.push_back(id);
    const bool caller = on_token && !on_token(live_[place], id);
    const bool stop = options_.stop && options_.stop(result.tokens);
    result.ending = caller ? Ending::kCaller : stop ? Ending::kStopRule : Ending::kTokens;
    return caller || stop || static_cast<idx_t>(result.tokens.size()) == options_.tokens;
  }

  void Keep(const std::vector<idx_t>& places) {
    std::vector<std::size_t> left;
    for (const idx_t place : places) left.push_back(live_[static_cast<std::size_t>(place)]);
    live_ = std::move(left);
    decoder_->Select(places);
  }

  // Gives every text its new token; one that is full goes on from its last half.
  void Advance() {
    std::vector<idx_t> places;
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < live_.size(); ++i) {
      const auto place = static_cast<idx_t>(i);
      GrowingText& text = texts_[live_[i]];
      if (decoder_->tokens(place) < decoder_->capacity(place)) {
        places.push_back(place);
        ids.push_back(text.ids.back());
        continue;
      }
      const idx_t half = std::max<idx_t>(1, decoder_->capacity(place) / 2);
      text.ids.erase(text.ids.begin(), text.ids.end() - half);
      decoder_->Replace(context_, place, text.ids);
    }
    decoder_->Step(context_, places, ids);
  }

  Context& context_;
  const GenerativeModel& model_;
  const TokenGeneration& options_;
  std::unique_ptr<TextDecoder> decoder_;
  std::vector<GrowingText> texts_;
  std::vector<std::size_t> live_;  // texts that go on, by their place in the decoder
  std::vector<float> scores_;
  std::vector<bool> seen_;
};

}  // namespace

void CheckGeneration(const GenerativeModel& model, std::size_t prompt,
                     const TokenGeneration& options) {
  model.CheckContinues();
  Check(prompt > 0, ErrorCode::kUsage, "generate: the prompt is empty, need at least 1 token");
  Check(options.tokens >= 0, ErrorCode::kUsage, "tokens: {} is negative", options.tokens);
  Check(options.context >= 0 && options.context <= model.LongestText(), ErrorCode::kUsage,
        "context: {} is not from 1 to the model's {} positions, or 0 for all", options.context,
        model.LongestText());
  Check(options.context > 0 || static_cast<idx_t>(prompt) <= model.LongestText(), ErrorCode::kUsage,
        "generate: the prompt has {} tokens, the model positions for {}; cut it, or let the model "
        "go on from its end with context (--context {})",
        prompt, model.LongestText(), model.LongestText());
  CheckSampling(options.sampling);
}

idx_t RoomFor(const GenerativeModel& model, std::size_t prompt, const TokenGeneration& options) {
  const idx_t limit = options.context > 0 ? options.context : model.LongestText();
  const auto size = static_cast<idx_t>(prompt);
  return options.tokens >= limit - size ? limit : size + options.tokens;  // a sum could overflow
}

bool EndsText(const GenerativeModel& model, const TokenGeneration& options, std::int32_t id) {
  return model.EndsText(id) ||
         std::find(options.ends.begin(), options.ends.end(), id) != options.ends.end();
}

void Ban(std::span<const std::int32_t> banned, std::span<float> scores) {
  for (const std::int32_t id : banned) {
    if (id >= 0 && static_cast<std::size_t>(id) < scores.size()) {
      scores[static_cast<std::size_t>(id)] = -INFINITY;
    }
  }
}

const char* EndingName(Ending ending) {
  switch (ending) {
    case Ending::kTokens:
      return "length";
    case Ending::kEndOfText:
      return "end-of-text";
    case Ending::kStopRule:
      return "stop";
    case Ending::kCaller:
      return "caller";
  }
  return "length";
}

std::vector<Continuation> GenerateTexts(
    Context& context, const GenerativeModel& model,
    std::span<const std::vector<std::int32_t>> prompts, const TokenGeneration& options,
    const std::function<bool(std::size_t text, std::int32_t id)>& on_token) {
  Writer writer(context, model, options);
  for (const auto& prompt : prompts) writer.Begin(prompt);
  return writer.Run(on_token);
}

}  // namespace longspan
