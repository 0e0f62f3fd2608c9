// The plain way to go on with a text: the forward pass over all of it, for every token.

#include <algorithm>
#include <vector>

#include "base/errors.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_decoder.h"

namespace longspan {
namespace {

class RecomputingDecoder final : public TextDecoder {
 public:
  explicit RecomputingDecoder(const Reformer& model) : model_(model) { model.CheckContinues(); }

  idx_t texts() const override { return static_cast<idx_t>(texts_.size()); }
  idx_t tokens(idx_t text) const override { return static_cast<idx_t>(At(text).ids.size()); }
  idx_t capacity(idx_t text) const override { return At(text).capacity; }

  void Add(Context& context, std::span<const std::int32_t> ids, idx_t capacity) override {
    CheckRoom(model_.config(), ids.size(), capacity);
    texts_.push_back({{ids.begin(), ids.end()}, capacity, {}});
    Compute(context, &texts_.back());
  }
  void Replace(Context& context, idx_t text, std::span<const std::int32_t> ids) override {
    Text& place = texts_[static_cast<std::size_t>(text)];
    CheckRoom(model_.config(), ids.size(), place.capacity);
    place.ids.assign(ids.begin(), ids.end());
    Compute(context, &place);
  }
  void Step(Context& context, std::span<const idx_t> texts,
            std::span<const std::int32_t> ids) override {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Text& text = texts_[static_cast<std::size_t>(texts[i])];
      CheckRoom(model_.config(), text.ids.size() + 1, text.capacity);
      text.ids.push_back(ids[i]);
      Compute(context, &text);
    }
  }
  void Select(std::span<const idx_t> from) override {
    std::vector<Text> selected;
    for (const idx_t text : from) selected.push_back(At(text));
    texts_ = std::move(selected);
  }

  std::span<const float> logits(idx_t text) const override { return At(text).logits; }
  std::size_t CacheBytes() const override { return 0; }

 private:
  struct Text {
    std::vector<std::int32_t> ids;
    idx_t capacity;
    std::vector<float> logits;
  };
  const Text& At(idx_t text) const { return texts_[static_cast<std::size_t>(text)]; }

  void Compute(Context& context, Text* text) {
    const ReformerConfig& config = model_.config();
    const auto n = static_cast<idx_t>(text->ids.size());
    const idx_t channels = config.hidden_size;
    Tensor y1({n, channels}), y2({n, channels}), h({1, 2 * channels});
    model_.Encode(context, {1, n, text->ids, {}, {}}, y1.view<2>(), y2.view<2>());
    text->logits.resize(static_cast<std::size_t>(config.vocab_size));
    model_.Normalise(context, y1.view<2>().Rows(n - 1, 1), y2.view<2>().Rows(n - 1, 1),
                     h.view<2>());
    model_.Logits(context, h.view<2>(), {text->logits.data(), {1, config.vocab_size}});
  }

  const Reformer& model_;
  std::vector<Text> texts_;
};

}  // namespace

bool Reformer::EndsText(std::int32_t id) const {
  const auto& more = config_.more_eos_tokens;
  return id == config_.eos_token || std::find(more.begin(), more.end(), id) != more.end();
}

void Reformer::CheckContinues() const {
  Check(config_.head == HeadKind::kCausalLm, ErrorCode::kUsage,
        "generate: needs a language model (ReformerModelWithLMHead)");
  Check(config_.is_decoder, ErrorCode::kUsage,
        "generate: the model's tokens see those behind them (is_decoder is false); it cannot "
        "go on with a text");
}

std::unique_ptr<TextDecoder> Reformer::MakeDecoder(bool cache) const {
  if (cache) return std::make_unique<ReformerDecoder>(*this);
  return std::make_unique<RecomputingDecoder>(*this);
}

void CheckRoom(const ReformerConfig& config, std::size_t tokens, idx_t capacity) {
  Check(tokens >= 1, ErrorCode::kUsage, "generate: the prompt is empty, need at least 1 token");
  Check(capacity >= 1 && capacity <= config.longest(), ErrorCode::kUsage,
        "generate: room for {} tokens is not from 1 to the model's {} positions", capacity,
        config.longest());
  Check(static_cast<idx_t>(tokens) <= capacity, ErrorCode::kUsage,
        "generate: a text of {} tokens is longer than its room for {}", tokens, capacity);
}

}  // namespace longspan
