#include "families/longformer/longformer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/arena.h"
#include "base/errors.h"
#include "families/longformer/longformer_heads.h"
#include "model/hidden_rows.h"
#include "model/layer_stack.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/dropout/dropout.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {
namespace {

// Random sites of the model; the head owns 1 and 2, layer i derives its key from kFirstLayer + i.
enum LongformerSite : std::uint64_t { kEmbeddings = 0, kFirstLayer = 16 };

}  // namespace

std::vector<std::int32_t> PositionIds(std::span<const std::int32_t> ids, idx_t rows, idx_t tokens,
                                      std::int32_t pad) {
  std::vector<std::int32_t> positions;
  for (idx_t b = 0; b < rows; ++b) {
    std::int32_t last = pad;
    for (idx_t t = 0; t < tokens; ++t) {
      const bool real = ids[static_cast<std::size_t>(b * tokens + t)] != pad;
      positions.push_back(real ? ++last : pad);
    }
  }
  return positions;
}

// ---- parameters ---------------------------------------------------------------------------------

Longformer::Longformer(LongformerConfig config, ParameterMemory memory)
    : config_(std::move(config)), prefix_(config_.head == HeadKind::kNone ? "" : "longformer.") {
  const idx_t channels = config_.hidden_size;
  const auto add = [&](std::optional<EmbeddingTable>& table, const char* name, idx_t rows) {
    table.emplace(Name("embeddings.") + name, rows, channels, parameters_);
  };
  add(words_, "word_embeddings.weight", config_.vocab_size);
  add(positions_, "position_embeddings.weight", config_.max_positions);
  add(types_, "token_type_embeddings.weight", config_.token_types);
  norm_.emplace(Name("embeddings.LayerNorm."), channels, config_.layer_norm_eps, parameters_);
  for (std::size_t i = 0; i < config_.layers(); ++i) {
    layers_.emplace_back(config_, i, Name("encoder.layer.") + std::to_string(i) + ".", parameters_);
  }
  if (config_.head == HeadKind::kNone && config_.has_pooler()) {
    pooler_.emplace("pooler.dense.", channels, channels, parameters_);
  }
  head_ = MakeLongformerHead(config_, prefix_, parameters_);
  if (memory == ParameterMemory::kOwn) parameters_.Allocate();
}

Longformer::~Longformer() = default;
Longformer::Longformer(Longformer&&) noexcept = default;
Longformer& Longformer::operator=(Longformer&&) noexcept = default;

std::string Longformer::Name(std::string_view rest) const { return prefix_ + std::string(rest); }

void Longformer::Initialise(std::uint64_t seed,
                            const std::function<bool(std::string_view name)>& which) {
  parameters_.Draw(seed, config_.initializer_range, config_.initializer_range, which);
  const ParameterWriter writer = parameters_.Write();
  for (const ParameterId table : {words_->id(), positions_->id()}) {
    if (which && !which(parameters_.at(table).name)) continue;
    std::fill_n(writer.vector(table).data + config_.pad_token * config_.hidden_size,
                config_.hidden_size, 0.0f);
  }
}

const HeadLayer& Longformer::Head() const {
  Check(head_ != nullptr, ErrorCode::kUsage,
        "model: a bare LongformerModel has no head, so no logits and no loss");
  return *head_;
}

void Longformer::CheckBatch(const BatchView& batch) const {
  CheckBatchShape(batch);
  Check(batch.token_types.empty() || batch.token_types.size() == batch.ids.size(),
        ErrorCode::kUsage, "batch: {} token types for {} rows of {} tokens",
        batch.token_types.size(), batch.rows, batch.tokens);
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t length) {
    if (length <= config_.longest()) return;
    const auto row = batch.ids.begin() + begin;
    const idx_t real = length - std::count(row, row + length, config_.pad_token);
    Check(real <= config_.longest(), ErrorCode::kUsage,
          "batch: row {} has {} tokens, but the model has positions for {}", begin / batch.tokens,
          real, config_.longest());
  });
}

// Position ids (B, T). Each document begins again.
std::vector<std::int32_t> Longformer::PositionsOf(const BatchView& batch) const {
  std::vector<std::int32_t> positions;
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t length) {
    const auto own = PositionIds(
        batch.ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length)), 1,
        length, static_cast<std::int32_t>(config_.pad_token));
    positions.insert(positions.end(), own.begin(), own.end());
  });
  return positions;
}

// ---- embeddings ---------------------------------------------------------------------------------

// sum (N, C) = words + positions + token types.
void Longformer::SumOfEmbeddings(Context& context, const BatchView& batch,
                                 const View<float, 2>& sum) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(sum.size()));
  const View<float, 2> rows(frame.Take<float>(sum.size()), sum.extent);
  words_->Forward(context, parameters_, batch.ids, sum);
  positions_->Forward(context, parameters_, PositionsOf(batch), rows);
  AddDropout(context, {}, rows, sum);
  const std::vector<std::int32_t> none(batch.token_types.empty() ? batch.ids.size() : 0, 0);
  types_->Forward(context, parameters_, batch.token_types.empty() ? none : batch.token_types, rows);
  AddDropout(context, {}, rows, sum);
}

void Longformer::Embed(Context& context, const BatchView& batch, const StepDropout& dropout,
                       const View<float, 2>& x) const {
  SumOfEmbeddings(context, batch, x);
  LayerNormForward(context, norm_->Weights(parameters_), x, x);
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kEmbeddings), x);
}

// dx (N, C) is scratch afterwards. Rows of padding in the tables of words and positions get nothing
// (torch's padding_idx); the masked LM's decoder adds to the word table on its own.
void Longformer::EmbedBackward(Context& context, const BatchView& batch, const StepDropout& dropout,
                               const View<float, 2>& dx) {
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(dx.size()));
  const View<float, 2> sum(frame.Take<float>(dx.size()), dx.extent);
  const View<float, 2> dsum(frame.Take<float>(dx.size()), dx.extent);
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kEmbeddings), dx);
  SumOfEmbeddings(context, batch, sum);
  ZeroRows(context, dsum);
  LayerNormBackward(context, norm_->Weights(parameters_), sum, dx, dsum,
                    norm_->Gradients(parameters_));
  const std::vector<std::int32_t> none(batch.token_types.empty() ? batch.ids.size() : 0, 0);
  types_->Backward(context, parameters_, batch.token_types.empty() ? none : batch.token_types,
                   dsum);
  const auto pad = static_cast<std::int32_t>(config_.pad_token);
  const auto bytes = static_cast<std::size_t>(config_.hidden_size) * sizeof(float);
  ForEachRow(context, dsum.extent[0], [&](idx_t t) {
    if (batch.ids[static_cast<std::size_t>(t)] == pad) std::memset(&dsum(t, 0), 0, bytes);
  });
  words_->Backward(context, parameters_, batch.ids, dsum);
  positions_->Backward(context, parameters_, PositionsOf(batch), dsum);
}

// ---- evaluation ---------------------------------------------------------------------------------

void Longformer::ComputeIn(DType dtype, LayerCopies copies) {
  Check(dtype == DType::kF32 || dtype == DType::kBF16, ErrorCode::kUsage,
        "model: computing in {} is not there; use F32 or BF16", DTypeName(dtype));
  if (dtype == computes_in() && (bf16_ == nullptr || bf16_->copies() == copies)) return;
  bf16_.reset();
  if (dtype == DType::kF32) return;
  const ParameterId tall = head_ == nullptr ? kNoParameter : head_->TallMatrix();
  bf16_ = EncoderBf16Weights(parameters_, copies, Name("encoder.layer."), tall);
}

const Bf16Weights* Longformer::FreshBf16(Context& context) const {
  if (bf16_ != nullptr) bf16_->Refresh(context, parameters_);
  return bf16_.get();
}

void Longformer::EnterLayer(Context& context, std::size_t i) const {
  if (bf16_ != nullptr) bf16_->Enter(context, parameters_, i);
}

LongformerCall Longformer::CallOf(const LongformerTexts& texts, const StepDropout& dropout,
                                  std::size_t layer, bool backward) const {
  LongformerCall call{parameters_, bf16_.get(), texts, dropout};
  call.dropout.key = DeriveKey(dropout.key, kFirstLayer + layer);
  call.backward = backward;
  call.layer = layer;
  return call;
}

void Longformer::Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden,
                        const LongformerShown& shown, const StepDropout& dropout) const {
  CheckBatch(batch);
  if (FreshBf16(context) == nullptr) return EncodeIn<float>(context, batch, hidden, shown, dropout);
  EncodeIn<bfloat16>(context, batch, hidden, shown, dropout);
}

template <class T>
void Longformer::EncodeIn(Context& context, const BatchView& batch, const View<float, 2>& hidden,
                          const LongformerShown& shown, const StepDropout& dropout) const {
  Check(shown.attention == nullptr || batch.documents.empty(), ErrorCode::kUsage,
        "batch: attention is shown of whole rows, not of documents side by side in them");
  const LongformerTexts texts(config_, batch, dropout.active);
  const auto show = [&](std::size_t) {
    if (shown.hidden_states != nullptr) shown.hidden_states->push_back(CopyOf(context, hidden));
  };
  const LayerStack stack(
      context, layers_,
      [&](std::size_t i) {
        LongformerCall call = CallOf(texts, dropout, i, false);
        call.observer = shown.attention;
        return call;
      },
      [&](std::size_t i) { EnterLayer(context, i); });
  Embed(context, batch, dropout, hidden);
  stack.template Encode<T>(hidden, show);
  show(layers_.size());
}

void Longformer::Pool(Context& context, const BatchView& batch, const View<const float, 2>& hidden,
                      const View<float, 2>& pooled) const {
  Check(config_.has_pooler(), ErrorCode::kUsage, "model: this {} has no pooler",
        LongformerClass(config_.head));
  const Linear& pooler = pooler_ ? *pooler_ : *Head().pooler();
  PoolFirstTokens(context, parameters_, pooler, batch, hidden, pooled);
}

Tensor Longformer::Logits(Context& context, const BatchView& batch,
                          const View<const float, 2>& hidden) const {
  return LogitsOf(context, Head(), parameters_, FreshBf16(context), batch, hidden);
}

HeadLoss Longformer::Loss(Context& context, const BatchView& batch) const {
  CheckBatch(batch);
  Head().CheckTargets(batch);
  const idx_t n = batch.rows * batch.tokens, channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * channels));
  const View<float, 2> hidden(frame.Take<float>(n * channels), {n, channels});
  Encode(context, batch, hidden);
  HiddenRows rows(context, Head().reads(), batch, hidden, {});
  return Head().Loss(context, {parameters_, FreshBf16(context), batch}, rows, false);
}

// ---- training -----------------------------------------------------------------------------------

// Forward, the head's gradient, backward: what every training loss has in common.
void Longformer::Differentiate(Context& context, const BatchView& batch, const LongformerStep& step,
                               const HeadGradient& head_gradient) {
  const std::size_t layers = layers_.size();
  Check(step.recompute.empty() || step.recompute.size() == layers, ErrorCode::kUsage,
        "step: {} choices of what to recompute for {} layers", step.recompute.size(), layers);
  if (FreshBf16(context) == nullptr)
    return DifferentiateIn<float>(context, batch, step, head_gradient);
  DifferentiateIn<bfloat16>(context, batch, step, head_gradient);
}

template <class T>
void Longformer::DifferentiateIn(Context& context, const BatchView& batch,
                                 const LongformerStep& step, const HeadGradient& head_gradient) {
  const LongformerTexts texts(config_, batch, true);
  const LayerStack stack(
      context, layers_, [&](std::size_t i) { return CallOf(texts, step.dropout, i, true); },
      [&](std::size_t i) { EnterLayer(context, i); });
  stack.template Differentiate<T>(
      {batch.rows * batch.tokens, config_.hidden_size}, step.recompute,
      [&](const View<float, 2>& stream) { Embed(context, batch, step.dropout, stream); },
      head_gradient,
      [&](const View<float, 2>& d) { EmbedBackward(context, batch, step.dropout, d); });
}

HeadLoss Longformer::LossAndGradients(Context& context, const BatchView& batch,
                                      const LongformerStep& step) {
  CheckBatch(batch);
  Head().CheckTargets(batch);
  HeadLoss loss;
  Differentiate(
      context, batch, step, [&](const View<float, 2>& hidden, const View<float, 2>& dhidden) {
        HiddenRows rows(context, Head().reads(), batch, hidden, dhidden);
        loss = Head().Loss(context, {parameters_, bf16_.get(), batch, step.scale, step.dropout},
                           rows, true);
      });
  return loss;
}

double Longformer::CotangentGradients(Context& context, const BatchView& batch,
                                      const View<const float, 2>& cotangent,
                                      const LongformerStep& step) {
  CheckBatch(batch);
  double total = 0.0;
  Differentiate(
      context, batch, step, [&](const View<float, 2>& hidden, const View<float, 2>& dhidden) {
        CopyRows(context, cotangent, dhidden);
        for (idx_t t = 0; t < hidden.extent[0]; ++t) {
          for (idx_t c = 0; c < hidden.extent[1]; ++c) {
            total += static_cast<double>(hidden(t, c)) * static_cast<double>(cotangent(t, c));
          }
        }
      });
  return total;
}

// ---- work ---------------------------------------------------------------------------------------

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

double Longformer::DenseGflop(const BatchView& batch) const {
  const auto n = static_cast<double>(batch.rows * batch.tokens);
  const auto c = static_cast<double>(config_.hidden_size);
  const auto f = static_cast<double>(config_.feed_forward_size);
  double flop = 2.0 * n * static_cast<double>(layers_.size()) * (4.0 * c * c + 2.0 * c * f);
  if (head_ != nullptr) {
    idx_t counted = batch.rows * batch.tokens;
    counted -= std::count(batch.labels.begin(), batch.labels.end(), kIgnoreLabel);
    flop += head_->ForwardFlop(TextCount(batch), counted);
  }
  return flop * 1e-9;
}

double Longformer::AttentionGflop(const BatchView& batch, bool with_backward) const {
  const double each = with_backward ? 14.0 : 4.0;  // times D, for a pair
  const auto width = static_cast<double>(config_.hidden_size);
  const FoundGlobals found(batch);
  const GlobalTokenRows& globals = found.get();
  double global = 0.0;  // of a layer
  const auto add = [&](idx_t rows, idx_t tokens, idx_t most) {
    const GlobalFlops one = GlobalFlopsOf(config_, tokens, most, with_backward);
    if (most > 0) global += static_cast<double>(rows) * std::min(one.projected, one.reassociated);
  };
  if (batch.documents.empty()) add(batch.rows, batch.tokens, globals.most);
  ForEachDocument(batch.documents,
                  [&](idx_t d, idx_t, idx_t length) { add(1, length, globals.tokens.Count(d)); });
  double flop = 0.0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    flop += each * width * LocalPairs(batch, config_.window(i)) + global;
  }
  return flop * 1e-9;
}

double Longformer::ForwardGflop(const BatchView& batch) const {
  return DenseGflop(batch) + AttentionGflop(batch, false);
}

double Longformer::StepGflop(const BatchView& batch) const {
  return 3.0 * DenseGflop(batch) + AttentionGflop(batch, true);
}

}  // namespace longspan
