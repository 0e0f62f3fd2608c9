#include "model/reformer.h"

#include <algorithm>
#include <cstring>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "model/attention_layer.h"
#include "model/residual_branch.h"
#include "model/rows.h"
#include "ops/axial_position/axial_position.h"
#include "ops/dropout/dropout.h"
#include "ops/embedding/embedding.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/reversible/reversible.h"

namespace longspan {
namespace {

// Random sites of the model; layer i owns the sites from kFirstLayer + 2 i on.
enum Site : std::uint64_t {
  kWords = 0,
  kPositions = 1,
  kFinal = 2,
  kRotations = 3,
  kFirstLayer = 16
};

// The head works through the text in chunks of this many tokens: (chunk, 2C) and (chunk, V) live.
constexpr idx_t kHeadChunk = 4096;

// joined (N, 2C) = a ++ b.
void Join(Context& context, const View<const float, 2>& a, const View<const float, 2>& b,
          const View<float, 2>& joined) {
  const idx_t channels = a.extent[1];
  const auto bytes = static_cast<std::size_t>(channels) * sizeof(float);
  ForEachRow(context, a.extent[0], [&](idx_t t) {
    std::memcpy(&joined(t, 0), &a(t, 0), bytes);
    std::memcpy(&joined(t, channels), &b(t, 0), bytes);
  });
}

// a and b (N, C) = the halves of joined (N, 2C).
void Part(Context& context, const View<const float, 2>& joined, const View<float, 2>& a,
          const View<float, 2>& b) {
  const idx_t channels = a.extent[1];
  const auto bytes = static_cast<std::size_t>(channels) * sizeof(float);
  ForEachRow(context, a.extent[0], [&](idx_t t) {
    std::memcpy(&a(t, 0), &joined(t, 0), bytes);
    std::memcpy(&b(t, 0), &joined(t, channels), bytes);
  });
}

}  // namespace

struct Reformer::Layer {
  std::unique_ptr<ResidualBranch> attention, feed_forward;
  Tensor rotations;                    // given from outside, or empty
  std::vector<std::uint16_t> buckets;  // from a training step's forward pass to its backward
};

// The two streams and their gradients, each (N, C).
struct Reformer::Streams {
  View<float, 2> y1, y2, dy1, dy2;
};

Reformer::Reformer(ReformerConfig config, Memory memory) : config_(std::move(config)) {
  const idx_t channels = config_.hidden_size;
  const std::string embeddings = Name("embeddings.");
  parameters_.Add(embeddings + "word_embeddings.weight", {config_.vocab_size, channels},
                  ParameterKind::kEmbedding);
  if (config_.axial) {
    parameters_.Add(embeddings + "position_embeddings.weights.0",
                    {config_.axial_shape[0], 1, config_.axial_dims[0]}, ParameterKind::kPosition);
    parameters_.Add(embeddings + "position_embeddings.weights.1",
                    {1, config_.axial_shape[1], config_.axial_dims[1]}, ParameterKind::kPosition);
  } else {
    parameters_.Add(embeddings + "position_embeddings.embedding.weight",
                    {config_.max_positions, channels}, ParameterKind::kEmbedding);
  }
  for (std::size_t i = 0; i < config_.layers.size(); ++i) {
    const std::string prefix = LayerPrefix(i);
    auto layer = std::make_unique<Layer>();
    layer->attention =
        MakeAttention(config_, config_.layers[i], prefix + "attention.", parameters_);
    layer->feed_forward = MakeFeedForward(config_, prefix + "feed_forward.", parameters_);
    layers_.push_back(std::move(layer));
  }
  parameters_.Add(Name("encoder.layer_norm.weight"), {2 * channels}, ParameterKind::kNormWeight);
  parameters_.Add(Name("encoder.layer_norm.bias"), {2 * channels}, ParameterKind::kNormBias);
  if (config_.head != ReformerHead::kNone) {
    parameters_.Add("lm_head.decoder.weight", {config_.vocab_size, 2 * channels},
                    ParameterKind::kMatrix);
    parameters_.Add("lm_head.bias", {config_.vocab_size}, ParameterKind::kBias);
  }
  if (memory == Memory::kOwn) parameters_.Allocate();
}

Reformer::~Reformer() = default;
Reformer::Reformer(Reformer&&) noexcept = default;
Reformer& Reformer::operator=(Reformer&&) noexcept = default;

std::string Reformer::Name(std::string_view rest) const {
  return (config_.head == ReformerHead::kNone ? "" : "reformer.") + std::string(rest);
}

std::string Reformer::LayerPrefix(std::size_t layer) const {
  return Name("encoder.layers.") + std::to_string(layer) + ".";
}

void Reformer::Initialise(std::uint64_t seed) {
  parameters_.Draw(seed, config_.initializer_range, config_.axial_norm_std);
}

void Reformer::CheckBatch(const TokenBatch& batch) const {
  const idx_t n = batch.rows * batch.tokens;
  Check(batch.rows >= 1 && batch.tokens >= 1, ErrorCode::kUsage,
        "batch: {} rows of {} tokens, need at least 1 of 1", batch.rows, batch.tokens);
  Check(batch.tokens <= config_.longest(), ErrorCode::kUsage,
        "batch: {} tokens, but the model has positions for {}", batch.tokens, config_.longest());
  Check(static_cast<idx_t>(batch.ids.size()) == n, ErrorCode::kUsage,
        "batch: {} ids for {} rows of {} tokens", batch.ids.size(), batch.rows, batch.tokens);
  Check(batch.targets.empty() || static_cast<idx_t>(batch.targets.size()) == n, ErrorCode::kUsage,
        "batch: {} targets for {} rows of {} tokens", batch.targets.size(), batch.rows,
        batch.tokens);
  Check(batch.mask.empty() ||
            (batch.mask.extent[0] == batch.rows && batch.mask.extent[1] == batch.tokens),
        ErrorCode::kUsage, "batch: mask is {}, need ({}, {})", ShapeText(batch.mask), batch.rows,
        batch.tokens);
}

// ---- embeddings ---------------------------------------------------------------------------------

// x (N, C) = dropout(words[ids]) + positions.
void Reformer::Embed(Context& context, const TokenBatch& batch, const StepDropout& dropout,
                     const View<float, 2>& x) {
  EmbeddingForward(context, batch.ids,
                   parameters_.matrix(Name("embeddings.word_embeddings.weight")), x);
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kWords), x);
  AddPositions(context, batch.rows, 0, SiteOf(dropout, config_.hidden_dropout, kPositions), x);
}

void Reformer::EmbedAt(Context& context, std::span<const std::int32_t> ids, idx_t start,
                       const View<float, 2>& x) {
  EmbeddingForward(context, ids, parameters_.matrix(Name("embeddings.word_embeddings.weight")), x);
  AddPositions(context, 1, start, {}, x);
}

// x (B*T, C) += positions start, start + 1, ... in each of the rows.
void Reformer::AddPositions(Context& context, idx_t rows, idx_t start, const Dropout& dropout,
                            const View<float, 2>& x) {
  if (config_.axial) {
    AxialForward(context,
                 {parameters_.matrix(Name("embeddings.position_embeddings.weights.0")),
                  parameters_.matrix(Name("embeddings.position_embeddings.weights.1"))},
                 dropout, rows, start, x);
    return;
  }
  const View<float, 2> table =
      parameters_.matrix(Name("embeddings.position_embeddings.embedding.weight"));
  const idx_t tokens = x.extent[0] / rows;
  for (idx_t b = 0; b < rows; ++b) {
    AddDropout(context, dropout, table.Rows(start, tokens), x.Rows(b * tokens, tokens),
               b * tokens * config_.hidden_size);
  }
}

// dx (N, C) is scratch afterwards.
void Reformer::EmbedBackward(Context& context, const TokenBatch& batch, const StepDropout& dropout,
                             const View<float, 2>& dx) {
  const Dropout positions = SiteOf(dropout, config_.hidden_dropout, kPositions);
  if (config_.axial) {
    AxialBackward(context,
                  {parameters_.matrix(Name("embeddings.position_embeddings.weights.0")),
                   parameters_.matrix(Name("embeddings.position_embeddings.weights.1"))},
                  positions, batch.rows, 0, dx,
                  {parameters_.matrix_gradient(Name("embeddings.position_embeddings.weights.0")),
                   parameters_.matrix_gradient(Name("embeddings.position_embeddings.weights.1"))});
  } else {
    const View<float, 2> dtable =
        parameters_.matrix_gradient(Name("embeddings.position_embeddings.embedding.weight"));
    for (idx_t b = 0; b < batch.rows; ++b) {
      AddDropout(context, positions, dx.Rows(b * batch.tokens, batch.tokens),
                 dtable.Rows(0, batch.tokens), b * batch.tokens * config_.hidden_size);
    }
  }
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kWords), dx);
  EmbeddingBackward(context, batch.ids, dx,
                    parameters_.matrix_gradient(Name("embeddings.word_embeddings.weight")));
}

// ---- layers -------------------------------------------------------------------------------------

namespace {

ReversibleBranch Bind(Context& context, const ResidualBranch& branch, const BranchCall& call) {
  return {[&context, &branch, call](const View<const float, 2>& x, const View<float, 2>& y) {
            branch.Add(context, call, x, y);
          },
          [&context, &branch, call](const View<const float, 2>& x, const View<float, 2>& y,
                                    const View<const float, 2>& dy, const View<float, 2>& dx) {
            branch.Reverse(context, call, x, y, dy, dx);
          }};
}

}  // namespace

// The call of branch 0 (attention) or 1 (feed-forward) of a layer. `keep`: a backward pass follows,
// or is under way.
BranchCall Reformer::CallOf(const TokenBatch& batch, const StepDropout& dropout, std::size_t layer,
                            std::uint64_t branch, bool keep) {
  BranchCall call{parameters_,    batch.rows,
                  batch.tokens,   batch.mask,
                  dropout.active, DeriveKey(dropout.key, kFirstLayer + 2 * layer + branch)};
  call.rotation_key = RotationKey(dropout.key, layer);
  if (!layers_[layer]->rotations.empty()) call.rotations = &layers_[layer]->rotations;
  if (keep) call.buckets = &layers_[layer]->buckets;
  return call;
}

std::uint64_t Reformer::RotationKey(std::uint64_t key, std::size_t layer) {
  return DeriveKey(DeriveKey(key, kRotations), layer);
}

void Reformer::GiveRotations(std::size_t layer, Tensor rotations) {
  Check(layer < layers_.size() && config_.layers[layer] == LayerKind::kLsh, ErrorCode::kUsage,
        "model: layer {} does not hash, it has no rotations", layer);
  layers_[layer]->rotations = std::move(rotations);
}

Tensor Reformer::Rotations(std::size_t layer, const LshSpec& spec) const {
  if (config_.attention != AttentionChoice::kConfigured) return {};
  Tensor rotations({config_.heads, config_.head_size, spec.rounds, spec.RotationColumns()});
  const Tensor& given = layers_[layer]->rotations;
  if (given.empty()) {
    DrawRotations(config_, RotationKey(0, layer), rotations.view<4>());
  } else {
    Check(given.shape() == rotations.shape(), ErrorCode::kUsage,
          "model: rotations of layer {} are {}, need {}", layer, ShapeText(given.shape()),
          ShapeText(rotations.shape()));
    std::copy_n(given.data<float>(), given.size(), rotations.data<float>());
  }
  return rotations;
}

std::span<const std::uint16_t> Reformer::Buckets(std::size_t layer) const {
  return layers_[layer]->buckets;
}

std::size_t Reformer::KeptBytes() const {
  std::size_t bytes = 0;
  for (const auto& layer : layers_) bytes += layer->buckets.capacity() * sizeof(std::uint16_t);
  return bytes;
}

void Reformer::ForwardThroughLayers(Context& context, const TokenBatch& batch,
                                    const StepDropout& dropout, bool keep, const View<float, 2>& y1,
                                    const View<float, 2>& y2, const Shown& shown) {
  Embed(context, batch, dropout, y1);
  CopyRows(context, y1, y2);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (shown.hidden_states != nullptr) shown.hidden_states->push_back(CopyOf(context, y2));
    BranchCall attention = CallOf(batch, dropout, i, 0, keep);
    attention.observer = shown.attention;
    attention.layer = i;
    ReversibleForward(Bind(context, *layers_[i]->attention, attention),
                      Bind(context, *layers_[i]->feed_forward, CallOf(batch, dropout, i, 1, keep)),
                      y1, y2);
  }
  if (shown.hidden_states != nullptr) shown.hidden_states->push_back(CopyOf(context, y2));
}

// From the gradients of the last layer's outputs to those of every parameter below the head.
void Reformer::BackwardThroughLayers(Context& context, const TokenBatch& batch,
                                     const StepDropout& dropout, const Streams& s) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    ReversibleBackward(Bind(context, *layers_[i]->attention, CallOf(batch, dropout, i, 0, true)),
                       Bind(context, *layers_[i]->feed_forward, CallOf(batch, dropout, i, 1, true)),
                       s.y1, s.y2, s.dy1, s.dy2);
  }
  AddDropout(context, {}, s.dy2, s.dy1);  // both streams started as the embeddings
  EmbedBackward(context, batch, dropout, s.dy1);
}

void Reformer::Encode(Context& context, const TokenBatch& batch, const View<float, 2>& y1,
                      const View<float, 2>& y2, std::vector<Tensor>* hidden_states) {
  CheckBatch(batch);
  ForwardThroughLayers(context, batch, {}, false, y1, y2, {hidden_states, nullptr});
}

void Reformer::Observe(Context& context, const TokenBatch& batch,
                       const AttentionObserver& observer) {
  CheckBatch(batch);
  const idx_t n = batch.rows * batch.tokens, channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  ForwardThroughLayers(context, batch, {}, false, y1, y2, {nullptr, &observer});
}

// ---- head ---------------------------------------------------------------------------------------

namespace {

LayerNormWeights FinalNorm(ParameterTable& parameters, const std::string& name, double eps) {
  return {parameters.vector(name + "weight"), parameters.vector(name + "bias"),
          static_cast<float>(eps)};
}

ClassifierWeights Decoder(ParameterTable& parameters) {
  return {parameters.matrix("lm_head.decoder.weight"), parameters.vector("lm_head.bias")};
}

double HeadFlop(const ReformerConfig& config, idx_t rows, idx_t tokens) {
  if (config.head == ReformerHead::kNone) return 0.0;
  return 2.0 * static_cast<double>(rows * tokens) *
         static_cast<double>(config.vocab_size * 2 * config.hidden_size);
}

void Accumulate(const CrossEntropyResult& part, CrossEntropyResult* total) {
  total->sum += part.sum;
  total->counted += part.counted;
  total->correct += part.correct;
}

}  // namespace

void Reformer::Normalise(Context& context, const View<const float, 2>& y1,
                         const View<const float, 2>& y2, const View<float, 2>& h) {
  Join(context, y1, y2, h);
  LayerNormForward(
      context, FinalNorm(parameters_, Name("encoder.layer_norm."), config_.layer_norm_eps), h, h);
}

void Reformer::Logits(Context& context, const View<const float, 2>& h,
                      const View<float, 2>& logits) {
  Check(config_.head != ReformerHead::kNone, ErrorCode::kUsage,
        "model: a bare ReformerModel has no logits");
  const ClassifierWeights decoder = Decoder(parameters_);
  gemm::Forward(context, h, decoder.w, decoder.b.data, logits);
}

CrossEntropyResult Reformer::Loss(Context& context, const TokenBatch& batch) {
  CheckBatch(batch);
  const idx_t n = batch.rows * batch.tokens, channels = config_.hidden_size;
  const idx_t chunk = std::min(n, kHeadChunk);
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels) +
                                          Arena::Bytes<float>(chunk * 2 * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  float* normed = frame.Take<float>(chunk * 2 * channels);
  ForwardThroughLayers(context, batch, {}, false, y1, y2, {});
  CrossEntropyResult total;
  for (idx_t begin = 0; begin < n; begin += chunk) {
    const idx_t rows = std::min(chunk, n - begin);
    const View<float, 2> h(normed, {rows, 2 * channels});
    Normalise(context, y1.Rows(begin, rows), y2.Rows(begin, rows), h);
    Accumulate(CrossEntropyForward(context, Decoder(parameters_), h,
                                   batch.targets.subspan(static_cast<std::size_t>(begin),
                                                         static_cast<std::size_t>(rows))),
               &total);
  }
  return total;
}

// Runs head_gradient(begin, h (rows, 2C), dh) for each chunk of the text, h behind norm and
// dropout, and takes dh back to s.dy1 and s.dy2.
void Reformer::HeadBackward(Context& context, const Streams& s, const StepDropout& dropout,
                            const HeadGradient& head_gradient) {
  const idx_t n = s.y1.extent[0], width = 2 * config_.hidden_size;
  const idx_t chunk = std::min(n, kHeadChunk);
  Arena::Frame frame(context.arena(), 4 * Arena::Bytes<float>(chunk * width));
  float* buffers[4];
  for (float*& buffer : buffers) buffer = frame.Take<float>(chunk * width);
  const std::string name = Name("encoder.layer_norm.");
  const LayerNormWeights norm = FinalNorm(parameters_, name, config_.layer_norm_eps);
  const Dropout site = SiteOf(dropout, config_.hidden_dropout, kFinal);
  for (idx_t begin = 0; begin < n; begin += chunk) {
    const idx_t rows = std::min(chunk, n - begin);
    const View<float, 2> joined(buffers[0], {rows, width}), h(buffers[1], {rows, width});
    const View<float, 2> dh(buffers[2], {rows, width}), djoined(buffers[3], {rows, width});
    Join(context, s.y1.Rows(begin, rows), s.y2.Rows(begin, rows), joined);
    LayerNormForward(context, norm, joined, h);
    ApplyDropout(context, site, h, begin * width);
    head_gradient(begin, h, dh);
    ApplyDropout(context, site, dh, begin * width);
    ZeroRows(context, djoined);
    LayerNormBackward(
        context, norm, joined, dh, djoined,
        {parameters_.vector_gradient(name + "weight"), parameters_.vector_gradient(name + "bias")});
    Part(context, djoined, s.dy1.Rows(begin, rows), s.dy2.Rows(begin, rows));
  }
}

std::size_t Reformer::StreamBytes(const ReformerConfig& config, idx_t rows, idx_t tokens) {
  return 4 * Arena::Bytes<float>(rows * tokens * config.hidden_size);
}

// Forward, the head's gradient, backward: what every training loss has in common.
void Reformer::Differentiate(Context& context, const TokenBatch& batch, const StepDropout& dropout,
                             const HeadGradient& head_gradient) {
  const idx_t n = batch.rows * batch.tokens, channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), StreamBytes(config_, batch.rows, batch.tokens));
  Streams s;
  for (View<float, 2>* stream : {&s.y1, &s.y2, &s.dy1, &s.dy2}) {
    *stream = {frame.Take<float>(n * channels), {n, channels}};
  }
  ForwardThroughLayers(context, batch, dropout, true, s.y1, s.y2, {});
  HeadBackward(context, s, dropout, head_gradient);
  BackwardThroughLayers(context, batch, dropout, s);
}

CrossEntropyResult Reformer::LossAndGradients(Context& context, const TokenBatch& batch,
                                              float scale, const StepDropout& dropout) {
  CheckBatch(batch);
  Check(config_.head != ReformerHead::kNone, ErrorCode::kUsage,
        "model: a bare ReformerModel has no loss");
  Check(!batch.targets.empty(), ErrorCode::kUsage, "batch: a loss needs targets");
  CrossEntropyResult total;
  Differentiate(context, batch, dropout,
                [&](idx_t begin, const View<const float, 2>& h, const View<float, 2>& dh) {
                  const auto targets = batch.targets.subspan(static_cast<std::size_t>(begin),
                                                             static_cast<std::size_t>(h.extent[0]));
                  Accumulate(CrossEntropyForwardBackward(
                                 context, Decoder(parameters_), h, targets, scale, dh,
                                 {parameters_.matrix_gradient("lm_head.decoder.weight"),
                                  parameters_.vector_gradient("lm_head.bias")}),
                             &total);
                });
  return total;
}

double Reformer::CotangentGradients(Context& context, const TokenBatch& batch,
                                    const View<const float, 2>& cotangent,
                                    const StepDropout& dropout) {
  CheckBatch(batch);
  double total = 0.0;
  Differentiate(context, batch, dropout,
                [&](idx_t begin, const View<const float, 2>& h, const View<float, 2>& dh) {
                  const View<const float, 2> c = cotangent.Rows(begin, h.extent[0]);
                  for (idx_t t = 0; t < h.extent[0]; ++t) {
                    for (idx_t i = 0; i < h.extent[1]; ++i) {
                      total += static_cast<double>(h(t, i)) * static_cast<double>(c(t, i));
                      dh(t, i) = c(t, i);
                    }
                  }
                });
  return total;
}

double Reformer::ForwardGflop(idx_t rows, idx_t tokens) const {
  double flop = HeadFlop(config_, rows, tokens);
  for (const auto& layer : layers_) {
    flop += layer->attention->ForwardFlop(rows, tokens);
    flop += layer->feed_forward->ForwardFlop(rows, tokens);
  }
  return flop * 1e-9;
}

double Reformer::StepGflop(idx_t rows, idx_t tokens) const {
  double flop = 2.0 * HeadFlop(config_, rows, tokens);
  for (const auto& layer : layers_) {
    flop += layer->attention->BackwardFlop(rows, tokens);
    flop += layer->feed_forward->BackwardFlop(rows, tokens);
  }
  return flop * 1e-9 + ForwardGflop(rows, tokens);
}

}  // namespace longspan
