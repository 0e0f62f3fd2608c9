#include "families/reformer/reformer.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "families/reformer/attention_layer.h"
#include "families/reformer/feed_forward_layer.h"
#include "families/reformer/original_rules.h"
#include "families/reformer/reformer_head_rows.h"
#include "families/reformer/reformer_heads.h"
#include "families/reformer/reformer_sites.h"
#include "families/reformer/residual_branch.h"
#include "families/reformer/shared_mechanism.h"
#include "gemm/gemm.h"
#include "model/row_slab.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/reversible/reversible.h"
#include "streams/residual_stream.h"

namespace longspan {
namespace {

// Steps of the grids on which a training step's streams are exact, the first that has room for
// them: values below 128, 32,768, ... An error of 2^-25 a sum is that of fp32 between 1/4 and 1/2.
// Streams beyond the last, or NaN, fall back to fp32 (0), whose rounding depends on what is kept.
constexpr float kStreamSteps[] = {0x1p-24f, 0x1p-16f, 0x1p-8f, 0.0f};
// Tokens whose gradients are joined at once after the first layer's backward.
constexpr idx_t kGradientRows = 4096;

// Whether a mark is set on any of the ranks that share rows. Together.
bool OfAnyRank(Context& context, bool mark) {
  std::array<double, 1> marks = {mark ? 1.0 : 0.0};
  if (context.row_group() != nullptr && !context.rehearsal()) context.row_group()->Sum(marks);
  return marks[0] > 0.0;
}

}  // namespace

// A reversible layer, and what it stores from a training step's forward pass to its backward.
struct Reformer::Layer {
  std::unique_ptr<AttentionLayer> attention;
  std::unique_ptr<ResidualBranch> feed_forward;
  std::size_t after_attention = 0;  // the part of the parameters that begins with feed_forward
  LshMechanism* hashing = nullptr;  // the attention's mechanism; null: it is another one
  std::unique_ptr<MechanismState> state;  // of that mechanism; null if it needs none
  std::array<std::byte*, 2> saved{};      // room for activations of both branches, or null

  // Branch 0 is the attention, 1 the feed-forward block.
  const ResidualBranch& Branch(std::size_t branch) const {
    return branch == 0 ? *attention : *feed_forward;
  }
};

// One block for all layers, which grows to what the largest step needs; addresses only in a
// rehearsal.
struct Reformer::ActivationMemory {
  ActivationMemory(Arena::Pages pages, std::size_t size)
      : bytes(size),
        arena(pages),
        frame(arena, size),
        data(static_cast<std::byte*>(frame.TakeBytes(size))) {}
  std::size_t bytes;
  Arena arena;
  Arena::Frame frame;
  std::byte* data;
};

// The two streams and their gradients, each (N, C).
struct Reformer::Streams {
  ResidualStream y1, y2, dy1, dy2;
};

Reformer::Reformer(ReformerConfig config, ParameterMemory memory) : config_(std::move(config)) {
  const idx_t channels = config_.hidden_size;
  const std::string embeddings = Name("embeddings.");
  words_.emplace(embeddings + "word_embeddings.weight", config_.vocab_size, channels, parameters_);
  if (config_.axial) {
    positions_[0] = parameters_.Add(embeddings + "position_embeddings.weights.0",
                                    {config_.axial_shape[0], 1, config_.axial_dims[0]},
                                    ParameterKind::kPosition);
    positions_[1] = parameters_.Add(embeddings + "position_embeddings.weights.1",
                                    {1, config_.axial_shape[1], config_.axial_dims[1]},
                                    ParameterKind::kPosition);
  } else {
    positions_[0] = parameters_.Add(embeddings + "position_embeddings.embedding.weight",
                                    {config_.max_positions, channels}, ParameterKind::kEmbedding);
  }
  for (std::size_t i = 0; i < config_.layers.size(); ++i) {
    const std::string prefix = LayerPrefix(i);
    auto layer = std::make_unique<Layer>();
    parameters_.BeginStage();
    layer->attention =
        MakeAttention(config_, config_.layers[i], prefix + "attention.", parameters_);
    layer->after_attention = parameters_.BeginPart();
    layer->feed_forward = MakeFeedForward(config_, prefix + "feed_forward.", parameters_);
    layer->hashing = dynamic_cast<LshMechanism*>(&layer->attention->mechanism());
    layer->state = layer->attention->mechanism().NewState();
    layers_.push_back(std::move(layer));
  }
  parameters_.BeginStage();
  norm_.emplace(Name("encoder.layer_norm."), 2 * channels, config_.layer_norm_eps, parameters_);
  head_ = MakeReformerHead(config_, parameters_);
  if (memory == ParameterMemory::kOwn) parameters_.Allocate();
}

Reformer::~Reformer() = default;
Reformer::Reformer(Reformer&&) noexcept = default;
Reformer& Reformer::operator=(Reformer&&) noexcept = default;

std::string Reformer::Name(std::string_view rest) const {
  return (config_.head == HeadKind::kNone ? "" : "reformer.") + std::string(rest);
}

std::string Reformer::LayerPrefix(std::size_t layer) const {
  return Name("encoder.layers.") + std::to_string(layer) + ".";
}

void Reformer::Initialise(std::uint64_t seed,
                          const std::function<bool(std::string_view name)>& which) {
  parameters_.Draw(seed, config_.initializer_range, config_.axial_norm_std, which);
}

// ---- layers -------------------------------------------------------------------------------------

namespace {

ReversibleBranch Bind(Context& context, const ResidualBranch& branch, const BranchCall& call) {
  return {[&context, &branch, call](const ResidualStream& x, const ResidualStream& y) {
            branch.Add(context, call, x, y);
          },
          [&context, &branch, call](const ResidualStream& x, const ResidualStream& y,
                                    const ResidualStream& dy, const ResidualStream& dx) {
            branch.Reverse(context, call, x, y, dy, dx);
          }};
}

// The key of a layer's mechanism in a training step with the key `step`.
std::uint64_t MechanismKey(std::uint64_t step, std::size_t layer) {
  return DeriveKey(DeriveKey(step, kMechanisms), layer);
}

}  // namespace

void Reformer::ComputeIn(DType dtype) {
  Check(dtype == DType::kF32 || dtype == DType::kBF16, ErrorCode::kUsage,
        "model: computing in {} is not there; use F32 or BF16", DTypeName(dtype));
  if (dtype == computes_in()) return;
  bf16_.reset();
  if (dtype == DType::kF32) return;
  const std::string layers = Name("encoder.layers.");
  bf16_ = std::make_unique<Bf16Weights>(
      parameters_, LayerCopies::kKept, [&](const ParameterInfo& info) {
        const bool in_layer = info.name.starts_with(layers);
        if (info.kind != ParameterKind::kMatrix) return Bf16Weights::kNotCopied;
        // The head's, which come last of all weights, are as a layer behind the others.
        return in_layer ? std::stoi(info.name.substr(layers.size()))
                        : static_cast<int>(config_.layers.size());
      });
}

const Bf16Weights* Reformer::FreshBf16(Context& context) const {
  if (bf16_ != nullptr) bf16_->Refresh(context, parameters_);
  return bf16_.get();
}

// The call of branch 0 (attention) or 1 (feed-forward) of a layer. `keep`: a backward pass follows,
// or is under way.
BranchCall Reformer::CallOf(const ReformerBatch& batch, const StepDropout& dropout,
                            std::size_t layer, std::uint64_t branch, bool keep,
                            RowGroup* ranks) const {
  BranchCall call{parameters_,
                  bf16_.get(),
                  batch.rows,
                  batch.tokens,
                  batch.roles,
                  dropout.active,
                  DeriveKey(dropout.key, kFirstLayer + 2 * layer + branch)};
  const bool evaluation = !dropout.active && dropout.key == 0;
  call.key = evaluation ? EvaluationKey(config_, layer) : MechanismKey(dropout.key, layer);
  call.layer = layer;
  call.ranks = ranks;
  call.documents = batch.documents;
  if (batch.num_hashes > 0) call.setting = LshMechanism::Rounds{batch.num_hashes};
  if (keep) {
    call.state = layers_[layer]->state.get();
    call.saved = layers_[layer]->saved[branch];
  }
  return call;
}

std::uint64_t Reformer::EvaluationKey(const ReformerConfig& config, std::size_t layer) {
  return MechanismKey(static_cast<std::uint64_t>(config.rotation_seed), layer);
}

const AttentionMechanism& Reformer::Mechanism(std::size_t layer) const {
  return layers_[layer]->attention->mechanism();
}

void Reformer::GiveRotations(std::size_t layer, Tensor rotations) {
  Check(layer < layers_.size() && config_.layers[layer] == LayerKind::kLsh, ErrorCode::kUsage,
        "model: layer {} does not hash, it has no rotations", layer);
  // With full attention the layer has no use for them.
  LshMechanism* hashing = layers_[layer]->hashing;
  if (hashing != nullptr) hashing->GiveRotations(std::move(rotations));
}

Tensor Reformer::Rotations(std::size_t layer, const LshSpec& spec) const {
  const LshMechanism* hashing = layers_[layer]->hashing;
  if (hashing == nullptr || !hashing->hashes()) return {};
  Tensor rotations({config_.heads, config_.head_size, spec.rounds, spec.RotationColumns()});
  const Tensor& given = hashing->given_rotations();
  if (given.empty()) {
    DrawRotations(config_, EvaluationKey(config_, layer), rotations.view<4>());
  } else {
    Check(given.shape() == rotations.shape(), ErrorCode::kUsage,
          "model: rotations of layer {} are {}, need {}", layer, ShapeText(given.shape()),
          ShapeText(rotations.shape()));
    std::copy_n(given.data<float>(), given.size(), rotations.data<float>());
  }
  return rotations;
}

std::span<const std::uint16_t> Reformer::Buckets(std::size_t layer) const {
  const Layer& l = *layers_[layer];
  return l.hashing == nullptr ? std::span<const std::uint16_t>() : l.hashing->Buckets(*l.state);
}

// place(layer, branch, bytes) for the branches whose activations the limit has room for, from the
// last layer to the first.
template <class Place>
void Reformer::EachSaved(idx_t rows, idx_t tokens, RowGroup* ranks, const Place& place) const {
  std::size_t limit = keep_limit_;
  ReformerBatch batch;
  batch.rows = rows;
  batch.tokens = tokens;
  for (std::size_t i = layers_.size(); i-- > FirstTrained();) {
    for (const std::size_t branch : {std::size_t{1}, std::size_t{0}}) {
      const std::size_t bytes =
          layers_[i]->Branch(branch).SavedBytes(CallOf(batch, {}, i, branch, true, ranks));
      if (bytes > limit) continue;
      limit -= bytes;
      place(i, branch, bytes);
    }
  }
}

std::size_t Reformer::ActivationBytes(idx_t rows, idx_t tokens, RowGroup* ranks) const {
  std::size_t total = 0;
  EachSaved(rows, tokens, ranks,
            [&](std::size_t, std::size_t, std::size_t bytes) { total += bytes; });
  return total;
}

void Reformer::AgreeOnSteps(RowGroup& group) {
  constexpr std::size_t kMost = std::size_t{1} << 52;  // more than any machine has; doubles hold it
  const auto own = static_cast<double>(std::min(keep_limit_, kMost));
  KeepUpTo(static_cast<std::size_t>(-group.Max(-own)));
}

void Reformer::PlaceActivations(const Context& context, const ReformerBatch& batch) {
  for (const auto& layer : layers_) layer->saved = {};
  RowGroup* const ranks = context.row_group();
  const std::size_t total = ActivationBytes(batch.rows, batch.tokens, ranks);
  if (total == 0) return;
  if (activations_ == nullptr || activations_->bytes < total) {
    activations_.reset();
    const auto pages = context.rehearsal() ? Arena::Pages::kReserved : Arena::Pages::kReal;
    activations_ = std::make_unique<ActivationMemory>(pages, total);
  }
  std::byte* at = activations_->data;
  EachSaved(batch.rows, batch.tokens, ranks,
            [&](std::size_t layer, std::size_t branch, std::size_t bytes) {
              layers_[layer]->saved[branch] = at;
              at += bytes;
            });
}

std::size_t Reformer::FirstTrained() const {
  const std::size_t stage = parameters_.first_stage();
  return stage == 0 ? 0 : stage - 1;
}

std::size_t Reformer::StateBytes() const {
  std::size_t bytes = 0;
  for (const auto& layer : layers_) bytes += layer->state == nullptr ? 0 : layer->state->Bytes();
  return bytes;
}

void Reformer::ForwardThroughLayers(Context& context, const ReformerBatch& batch,
                                    const StepDropout& dropout, bool keep, const ResidualStream& y1,
                                    const ResidualStream& y2, const Shown& shown) const {
  FreshBf16(context);
  RowGroup* const ranks = context.row_group();
  const View<float, 2> embedded(static_cast<float*>(y1.data), y1.extent);
  Embed(context, batch, dropout, embedded);
  WriteRows(context, embedded, y2);
  if (y1.cells != StreamCells::kF32) CopyStream(context, y2, y1);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (shown.hidden_states != nullptr)
      shown.hidden_states->push_back(CopyOf(context, y2.Floats()));
    if (bf16_ != nullptr) bf16_->Enter(context, parameters_, i);
    const bool differentiated = keep && i >= FirstTrained();
    BranchCall attention = CallOf(batch, dropout, i, 0, differentiated, ranks);
    attention.observer = shown.attention;
    ReversibleForward(Bind(context, *layers_[i]->attention, attention),
                      Bind(context, *layers_[i]->feed_forward,
                           CallOf(batch, dropout, i, 1, differentiated, ranks)),
                      y1, y2);
  }
  if (shown.hidden_states != nullptr) shown.hidden_states->push_back(CopyOf(context, y2.Floats()));
}

// From the gradients of the last layer's outputs to those of every parameter below the head, down
// to the first stage that is trained.
void Reformer::BackwardThroughLayers(Context& context, const ReformerBatch& batch,
                                     const StepDropout& dropout, const Streams& s) {
  const auto call_of = [&](std::size_t layer, std::uint64_t branch) {
    return CallOf(batch, dropout, layer, branch, true, context.row_group());
  };
  for (std::size_t i = layers_.size(); i-- > FirstTrained();) {
    ReversibleBranch feed_forward = Bind(context, *layers_[i]->feed_forward, call_of(i, 1));
    feed_forward.reverse = [&, reverse = std::move(feed_forward.reverse)](
                               const ResidualStream& x, const ResidualStream& y,
                               const ResidualStream& dy, const ResidualStream& dx) {
      reverse(x, y, dy, dx);
      parameters_.EndPart(context, layers_[i]->after_attention);
    };
    ReversibleBackward(Bind(context, *layers_[i]->attention, call_of(i, 0)), feed_forward, s.y1,
                       s.y2, s.dy1, s.dy2);
    parameters_.EndStage(context, i + 1);
  }
  if (parameters_.first_stage() > 0) return;
  // Both streams began as the embeddings. Their gradient overwrites the first stream, which is no
  // longer needed.
  const View<float, 2> dx(static_cast<float*>(s.y1.data), s.y1.extent);
  ReadRows(context, s.dy1, dx);
  const idx_t rows = std::min(dx.extent[0], kGradientRows);
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(rows * dx.extent[1]));
  float* room = frame.Take<float>(rows * dx.extent[1]);
  for (idx_t begin = 0; begin < dx.extent[0]; begin += rows) {
    const idx_t count = std::min(rows, dx.extent[0] - begin);
    AddRows(context, FloatRows(context, s.dy2.Rows(begin, count), room), dx.Rows(begin, count));
  }
  EmbedBackward(context, batch, dropout, dx);
  parameters_.EndStage(context, 0);
}

void Reformer::Encode(Context& context, const ReformerBatch& batch, const View<float, 2>& y1,
                      const View<float, 2>& y2, std::vector<Tensor>* hidden_states,
                      const AttentionObserver* observer) const {
  CheckNotSplit(context);
  CheckBatch(batch, Pass::kEvaluation);
  const idx_t padded = strict_ ? PaddedTokens(config_, batch.tokens) : batch.tokens;
  if (padded == batch.tokens) {
    return ForwardThroughLayers(context, batch, {}, false, y1, y2, {hidden_states, observer});
  }
  const View<const float, 2> words = parameters_.matrix(words_->id());
  const PaddedBatch longer(batch, padded, static_cast<std::int32_t>(config_.pad_token),
                           {&words(config_.pad_token, 0), {config_.hidden_size}});
  const idx_t n = batch.rows * padded, channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  const View<float, 2> longer1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> longer2(frame.Take<float>(n * channels), {n, channels});
  ForwardThroughLayers(context, longer.batch(), {}, false, longer1, longer2,
                       {hidden_states, observer});
  CutRows(longer1, batch.rows, y1);
  CutRows(longer2, batch.rows, y2);
}

void Reformer::Observe(Context& context, const ReformerBatch& batch,
                       const AttentionObserver& observer) const {
  CheckNotSplit(context);
  CheckBatch(batch, Pass::kEvaluation);
  const idx_t n = batch.rows * batch.tokens, channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  ForwardThroughLayers(context, batch, {}, false, y1, y2, {nullptr, &observer});
}

// ---- steps --------------------------------------------------------------------------------------

std::size_t Reformer::StreamBytes(const ReformerConfig& config, idx_t rows, idx_t tokens,
                                  DType gradients) {
  const idx_t count = rows * tokens * config.hidden_size;
  const std::size_t gradient =
      gradients == DType::kBF16 ? Arena::Bytes<bfloat16>(count) : Arena::Bytes<float>(count);
  return 2 * Arena::Bytes<float>(count) + 2 * gradient;
}

void Reformer::GradientStreamsIn(DType dtype) {
  Check(dtype == DType::kF32 || dtype == DType::kBF16, ErrorCode::kUsage,
        "model: gradients of streams in {} are not there; use F32 or BF16", DTypeName(dtype));
  gradient_streams_ = dtype;
}

void Reformer::ForwardInStep(Context& context, const ReformerBatch& batch,
                             const StepDropout& dropout, bool keep, Streams& s) const {
  for (const float step : kStreamSteps) {
    std::atomic<bool> out_of_range = false;
    for (ResidualStream* stream : {&s.y1, &s.y2}) {
      stream->cells = step > 0.0f ? StreamCells::kGrid : StreamCells::kF32;
      stream->step = step;
      stream->out_of_range = &out_of_range;
    }
    ForwardThroughLayers(context, batch, dropout, keep, s.y1, s.y2, {});
    if (!OfAnyRank(context, out_of_range)) break;
  }
}

void Reformer::EncodeInStep(Context& context, const ReformerBatch& batch,
                            const StepDropout& dropout, const View<float, 2>& h) const {
  CheckBatch(batch, Pass::kTraining);
  CheckShared(context, batch);
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  const idx_t n = own.size(), channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  Streams s;
  for (ResidualStream* stream : {&s.y1, &s.y2}) {
    *stream = View<float, 2>(frame.Take<float>(n * channels), {n, channels});
  }
  ForwardInStep(context, batch, dropout, false, s);
  const FinalNorm norm{
      norm_->Weights(parameters_), {}, SiteOf(dropout, config_.hidden_dropout, kFinal)};
  StreamRows(context, norm, {s.y1, s.y2}, own.begin)
      .Read([&](idx_t begin, const View<const float, 2>& rows) {
        CopyRows(context, rows, h.Rows(begin, rows.extent[0]));
      });
  GatherRowsOfAll(context, h);
}

Tensor Reformer::LogitsInStep(Context& context, const ReformerBatch& batch,
                              const StepDropout& dropout) const {
  CheckBatch(batch, Pass::kTraining);
  CheckShared(context, batch);
  const HeadLayer& head = Head();
  if (!ReadsTexts(head.reads())) RefuseTextLogits();
  const idx_t own = OwnTokens(context, batch.rows * batch.tokens).size();
  const idx_t channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(own * channels));
  Streams s;
  for (ResidualStream* stream : {&s.y1, &s.y2}) {
    *stream = View<float, 2>(frame.Take<float>(own * channels), {own, channels});
  }
  ForwardInStep(context, batch, dropout, false, s);
  const auto read = RowsOf(context, batch, {s.y1, s.y2}, dropout);
  Tensor logits({read->count(), head.outputs()});
  read->Read([&](idx_t begin, const View<const float, 2>& h) {
    Tensor own_rows = CopyOf(context, h);  // which dropout overwrites
    head.LogitsInStep(context, parameters_, dropout, own_rows.view<2>(),
                      logits.view<2>().Rows(begin, h.extent[0]));
  });
  return logits;
}

// Forward, the head's gradient, backward: what every training loss has in common.
void Reformer::Differentiate(Context& context, const ReformerBatch& batch,
                             const StepDropout& dropout, const HeadGradient& head_gradient) {
  const idx_t n = OwnTokens(context, batch.rows * batch.tokens).size();
  const idx_t count = n * config_.hidden_size;
  Arena::Frame frame(context.arena(), StreamBytes(config_, 1, n, gradient_streams_));
  const auto take = [&](StreamCells cells) {
    ResidualStream stream;
    stream.data = cells == StreamCells::kBF16 ? static_cast<void*>(frame.Take<bfloat16>(count))
                                              : frame.Take<float>(count);
    stream.extent = {n, config_.hidden_size};
    stream.stride = config_.hidden_size;
    stream.cells = cells;
    return stream;
  };
  const auto gradients = gradient_streams_ == DType::kBF16 ? StreamCells::kBF16 : StreamCells::kF32;
  Streams s = {take(StreamCells::kGrid), take(StreamCells::kGrid), take(gradients),
               take(gradients)};
  PlaceActivations(context, batch);
  ForwardInStep(context, batch, dropout, true, s);
  head_gradient(*RowsOf(context, batch,
                        {s.y1, s.y2, s.dy1, s.dy2, DeriveKey(dropout.key, kRounding)}, dropout));
  parameters_.EndStage(context, layers_.size() + 1);
  BackwardThroughLayers(context, batch, dropout, s);
}

HeadLoss Reformer::LossAndGradients(Context& context, const ReformerBatch& batch,
                                    std::optional<float> scale, const StepDropout& dropout) {
  CheckBatch(batch, Pass::kTraining);
  CheckShared(context, batch);
  Head().CheckTargets(batch);
  HeadLoss loss;
  Differentiate(context, batch, dropout, [&](HeadRows& rows) {
    loss = HeadLossOf(context, {parameters_, nullptr, batch, scale, dropout}, rows, true);
  });
  return loss;
}

double Reformer::CotangentGradients(Context& context, const ReformerBatch& batch,
                                    const View<const float, 2>& cotangent,
                                    const StepDropout& dropout) {
  CheckBatch(batch, Pass::kTraining);
  CheckShared(context, batch);
  double total = 0.0;
  Differentiate(context, batch, dropout, [&](HeadRows& rows) {
    rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      if (context.rehearsal()) return;
      const View<const float, 2> c = cotangent.Rows(begin, h.extent[0]);
      for (idx_t t = 0; t < h.extent[0]; ++t) {
        for (idx_t i = 0; i < h.extent[1]; ++i) {
          total += static_cast<double>(h(t, i)) * static_cast<double>(c(t, i));
          dh(t, i) = c(t, i);
        }
      }
    });
  });
  return total;
}

namespace {

double HeadFlop(const HeadLayer* head, idx_t rows, idx_t tokens) {
  return head == nullptr ? 0.0 : head->ForwardFlop(rows, rows * tokens);
}

}  // namespace

double Reformer::ForwardGflop(idx_t rows, idx_t tokens) const {
  double flop = HeadFlop(head_.get(), rows, tokens);
  for (const auto& layer : layers_) {
    flop += layer->attention->ForwardFlop(rows, tokens);
    flop += layer->feed_forward->ForwardFlop(rows, tokens);
  }
  return flop * 1e-9;
}

double Reformer::StepGflop(idx_t rows, idx_t tokens) const {
  double flop = 2.0 * HeadFlop(head_.get(), rows, tokens);
  for (std::size_t i = FirstTrained(); i < layers_.size(); ++i) {
    flop += layers_[i]->attention->BackwardFlop(rows, tokens);
    flop += layers_[i]->feed_forward->BackwardFlop(rows, tokens);
    flop -= 2.0 * static_cast<double>(rows * tokens) *
            static_cast<double>(layers_[i]->attention->FrozenNumbers(parameters_) +
                                layers_[i]->feed_forward->FrozenNumbers(parameters_));
  }
  return flop * 1e-9 + ForwardGflop(rows, tokens);
}

}  // namespace longspan
