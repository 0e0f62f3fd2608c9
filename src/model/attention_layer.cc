#include "model/attention_layer.h"

#include <algorithm>
#include <vector>

#include "base/arena.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "model/branch_weights.h"
#include "model/document_mechanism.h"
#include "model/norm_layer.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"
#include "ops/head_dots/head_dots.h"

namespace longspan {
namespace {

// Dropout sites of the layer.
// Each group of heads rounds with its own key: kAttentionRounding + its first head.
enum AttentionSite : std::uint64_t {
  kProbabilitySite = 0,
  kAttentionOutputSite = 1,
  kAttentionRounding = 2
};

// A layer that does not fit is computed in groups of heads. A group's buffers are at most as large
// as the two residual streams, so they do not decide the peak, unless products would then have less
// than kNarrowGroup columns. For very long texts they take at most kLargeGroup bytes. Each group
// reads and normalizes the stream again.
constexpr idx_t kNarrowGroup = 128;
constexpr idx_t kLargeGroup = idx_t{3} << 29;

// The projections of a kind of layer, in the order of their rows.
std::vector<std::string> ProjectionNames(LayerKind kind) {
  if (kind == LayerKind::kLocal) return {"query", "key", "value"};
  return {"query_key", "value"};
}

// The attention's tensors of a group of heads.
template <class T>
struct Group {
  template <class Memory>
  static AttentionTensorsOf<T> Take(Memory& memory, const ReformerConfig& config, idx_t projections,
                                    const BranchCall& call, idx_t first, idx_t heads) {
    AttentionTensorsOf<T> t;
    t.rows = call.rows;
    t.tokens = call.tokens;
    t.heads = heads;
    t.head_size = config.head_size;
    t.first_head = first;
    t.layer_heads = config.heads;
    const idx_t n = t.n(), width = t.width();
    const std::array<idx_t, 3> row = {t.rows, heads, t.tokens};
    t.projected = {memory.template Take<T>(n * projections * width), {n, projections * width}};
    t.out = {memory.template Take<T>(n * width), {n, width}};
    t.first = {memory.template Take<float>(n * heads), row};
    t.second = {memory.template Take<float>(n * heads), row};
    t.delta = {memory.template Take<float>(n * heads), row};
    return t;
  }
  static std::size_t Bytes(const ReformerConfig& config, idx_t projections, idx_t n, idx_t heads) {
    const idx_t width = heads * config.head_size;
    return Arena::Bytes<T>(n * projections * width) + Arena::Bytes<T>(n * width) +
           3 * Arena::Bytes<float>(n * heads);
  }
};

// y (rows, K) in T of x: x itself, or rounded into `room`.
template <class T>
gemm::ConstMatrix Terms(Context& context, const View<const float, 2>& x, T* room) {
  if constexpr (sizeof(T) == 4) {
    (void)room;
    return x;
  } else {
    const View<bfloat16, 2> rounded(room, x.extent);
    gemm::Round(context, x, rounded);
    return rounded;
  }
}
template <class T>
idx_t TermsCount(idx_t count) {
  return sizeof(T) == 4 ? 0 : count;
}

class AttentionLayer final : public ResidualBranch {
 public:
  AttentionLayer(const ReformerConfig& config, LayerKind kind, const std::string& prefix,
                 std::unique_ptr<AttentionMechanism> mechanism, ParameterTable& parameters)
      : config_(config),
        kind_(kind),
        mechanism_(std::move(mechanism)),
        projections_(static_cast<idx_t>(ProjectionNames(kind).size())),
        norm_(prefix + "layer_norm.", config.hidden_size, config.layer_norm_eps, parameters) {
    const idx_t channels = config.hidden_size, width = config.width();
    for (const std::string& name : ProjectionNames(kind)) {
      const bool first = name == ProjectionNames(kind).front();
      const ParameterId id = parameters.Add(prefix + "self_attention." + name + ".weight",
                                            {width, channels}, ParameterKind::kMatrix, first);
      if (first) first_projection_ = id;
    }
    output_ =
        parameters.Add(prefix + "output.dense.weight", {channels, width}, ParameterKind::kMatrix);
  }

  void Add(Context& context, const BranchCall& call, const ResidualStream& x,
           const ResidualStream& y) const override {
    if (call.bf16 == nullptr) return AddIn<float>(context, call, x, y);
    AddIn<bfloat16>(context, call, x, y);
  }
  void Reverse(Context& context, const BranchCall& call, const ResidualStream& x,
               const ResidualStream& y, const ResidualStream& dy,
               const ResidualStream& dx) const override {
    if (call.bf16 == nullptr) return ReverseIn<float>(context, call, x, y, dy, dx);
    ReverseIn<bfloat16>(context, call, x, y, dy, dx);
  }
  std::size_t KeptBytes(const BranchCall& call) const override {
    return call.bf16 == nullptr ? KeptBytesIn<float>(call) : KeptBytesIn<bfloat16>(call);
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return ProjectionFlop(rows, tokens) + 4.0 * PairsTimesSize(rows, tokens);
  }
  double BackwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * ProjectionFlop(rows, tokens) + 10.0 * PairsTimesSize(rows, tokens);
  }

 private:
  // ---- groups and slabs

  // Heads of a group: a rule on shapes and type alone, for the order of additions follows it.
  template <class T>
  idx_t GroupHeads(const BranchCall& call) const {
    if (call.observer != nullptr) return config_.heads;  // which looks at all of them
    // Bytes of a token: projected and out, and the gradient of projected.
    const idx_t element = (projections_ + 1) * idx_t{sizeof(T)} + projections_ * 4;
    const idx_t head_bytes = call.n() * config_.head_size * element;
    if (config_.heads * head_bytes <= call.one_piece) return config_.heads;
    const idx_t streams = 2 * call.n() * config_.hidden_size * 4;
    const idx_t most = std::min(std::max(streams / head_bytes, kNarrowGroup / config_.head_size),
                                kLargeGroup / head_bytes);
    const idx_t groups = CeilDiv(config_.heads, std::max<idx_t>(most, 1));
    return CeilDiv(config_.heads, groups);  // groups of like size
  }
  // work(first head, heads) of each group; backwards for the way back, so that what was added last
  // is taken away first.
  template <class T, class Work>
  void EachGroup(const BranchCall& call, bool backwards, const Work& work) const {
    const idx_t size = GroupHeads<T>(call), count = CeilDiv(config_.heads, size);
    for (idx_t i = 0; i < count; ++i) {
      const idx_t first = (backwards ? count - 1 - i : i) * size;
      work(first, std::min(size, config_.heads - first));
    }
  }
  idx_t SlabRows(const BranchCall& call) const {
    return longspan::SlabRows(call.n(), std::max(config_.hidden_size, config_.width()));
  }
  template <class Work>
  void EachSlab(const BranchCall& call, const Work& work) const {
    longspan::EachSlab(call.n(), SlabRows(call), work);
  }

  // Scratch of a slab. On the way back also of what products take of gradients.
  template <class T>
  struct Slab {
    T* normed = nullptr;     // (slab, C)
    float* mixed = nullptr;  // (slab, C); before that what is read of a stream
    // The way back only.
    float* dx = nullptr;       // (slab, C), where the gradient stream is not fp32
    float* dnormed = nullptr;  // (slab, C), once dout is no longer wanted
    T* dout = nullptr;         // (slab, H D), in the same place
    T* dmixed = nullptr;       // (slab, C), bf16
    T* dprojected = nullptr;   // (slab, P H D), bf16

    // `projected`, `width`: P H D and H D; 0 where there is no way back.
    static std::size_t Bytes(idx_t rows, idx_t channels, idx_t projected, idx_t width) {
      const std::size_t forward =
          Arena::Bytes<T>(rows * channels) + Arena::Bytes<float>(rows * channels);
      if (width == 0) return forward;
      return forward + Arena::Bytes<float>(rows * std::max(channels, width)) +
             Arena::Bytes<T>(TermsCount<T>(rows * channels)) +
             Arena::Bytes<T>(TermsCount<T>(rows * projected));
    }
    Slab(Arena::Frame& frame, idx_t rows, idx_t channels, idx_t projected, idx_t width)
        : normed(frame.Take<T>(rows * channels)), mixed(frame.Take<float>(rows * channels)) {
      if (width == 0) return;
      dnormed = frame.Take<float>(rows * std::max(channels, width));
      dout = reinterpret_cast<T*>(dnormed);
      dmixed = frame.Take<T>(TermsCount<T>(rows * channels));
      dprojected = frame.Take<T>(TermsCount<T>(rows * projected));
    }
  };

  // ---- weights of a group

  // work(weight rows (H D, C), column of `projected`) for the parts of a group, joined when it has
  // all heads.
  template <class M, class Tensors, class Work>
  void EachProjection(const View<M, 2>& all, const Tensors& t, const Work& work) const {
    if (t.heads == config_.heads) return work(all, 0, projections_ * t.width());
    for (idx_t p = 0; p < projections_; ++p) {
      work(all.Rows(p * config_.width() + t.first_head * t.head_size, t.width()), p * t.width(),
           t.width());
    }
  }
  template <class M, class Tensors>
  View<M, 2> OutputColumns(const View<M, 2>& all, const Tensors& t) const {
    return Columns(all, t.first_head * t.head_size, t.width());
  }

  Dropout ProbabilitySite(const BranchCall& call) const {
    if (!call.training) return {};
    const double p = kind_ == LayerKind::kLocal ? config_.local_dropout : config_.lsh_dropout;
    return {static_cast<float>(p), DeriveKey(call.dropout_key, kProbabilitySite)};
  }
  Dropout OutputSite(const BranchCall& call) const {
    if (!call.training) return {};
    return {static_cast<float>(config_.hidden_dropout),
            DeriveKey(call.dropout_key, kAttentionOutputSite)};
  }

  // ---- forward

  template <class T>
  void AddIn(Context& context, const BranchCall& call, const ResidualStream& x,
             const ResidualStream& y) const {
    KeptMemory kept(call.kept);
    EachGroup<T>(call, false, [&](idx_t first, idx_t heads) {
      const idx_t rows = SlabRows(call), channels = config_.hidden_size;
      const bool keeps = call.kept != nullptr;
      Arena::Frame frame(context.arena(),
                         (keeps ? 0 : Group<T>::Bytes(config_, projections_, call.n(), heads)) +
                             Slab<T>::Bytes(rows, channels, 0, 0));
      const auto t = keeps ? Group<T>::Take(kept, config_, projections_, call, first, heads)
                           : Group<T>::Take(frame, config_, projections_, call, first, heads);
      const Slab<T> slab(frame, rows, channels, 0, 0);
      Attend<T>(context, call, x, false, t, slab);
      if (call.observer != nullptr) Show(context, call, t);
      Mix<T>(context, call, t, slab, [&](const View<const float, 2>& mixed, idx_t begin) {
        AddRows(context, mixed, y.Rows(begin, mixed.extent[0]));
      });
    });
  }

  // t.out = attention(LayerNorm(x)).
  template <class T>
  void Attend(Context& context, const BranchCall& call, const ResidualStream& x, bool again,
              const AttentionTensorsOf<T>& t, const Slab<T>& slab) const {
    const auto weights = WeightOf<T>(call, first_projection_, projections_ * config_.width());
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<T, 2> normed(slab.normed, {rows, config_.hidden_size});
      LayerNormForward(context, norm_.Weights(call.parameters),
                       FloatRows(context, x.Rows(begin, rows), slab.mixed), normed);
      EachProjection(weights, t, [&](const auto& w, idx_t column, idx_t width) {
        gemm::Forward(context, normed, w, nullptr,
                      Columns(t.projected.Rows(begin, rows), column, width));
      });
    });
    mechanism_->Forward(context, call, ProbabilitySite(call), again, t);
  }

  // use(mixed (rows, C) = dropout(out Wo^T), first token) for each slab.
  template <class T, class Use>
  void Mix(Context& context, const BranchCall& call, const AttentionTensorsOf<T>& t,
           const Slab<T>& slab, const Use& use) const {
    const auto weight = OutputColumns(WeightOf<T>(call, output_), t);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<float, 2> mixed(slab.mixed, {rows, config_.hidden_size});
      gemm::Forward(context, t.out.Rows(begin, rows), weight, nullptr, mixed);
      ApplyDropout(context, OutputSite(call), mixed, begin * config_.hidden_size);
      use(mixed, begin);
    });
  }

  void Show(Context& /*context*/, const BranchCall& call, const AttentionTensors& t) const {
    (*call.observer)(call.layer, t);
  }
  void Show(Context& context, const BranchCall& call, const Bf16AttentionTensors& t) const {
    Arena::Frame frame(context.arena(), Group<float>::Bytes(config_, projections_, t.n(), t.heads));
    AttentionTensors wide =
        Group<float>::Take(frame, config_, projections_, call, t.first_head, t.heads);
    gemm::Widen(context, t.projected, wide.projected);
    gemm::Widen(context, t.out, wide.out);
    wide.first = t.first;
    wide.second = t.second;
    (*call.observer)(call.layer, wide);
  }

  // ---- backward

  template <class T>
  void ReverseIn(Context& context, const BranchCall& call, const ResidualStream& x,
                 const ResidualStream& y, const ResidualStream& dy,
                 const ResidualStream& dx) const {
    const idx_t n = call.n(), rows = SlabRows(call), channels = config_.hidden_size;
    EachGroup<T>(call, true, [&](idx_t first, idx_t heads) {
      const idx_t width = heads * config_.head_size, projected = projections_ * width;
      const bool keeps = call.kept != nullptr;
      const std::size_t group = Group<T>::Bytes(config_, projections_, n, heads);
      const idx_t rounded = dx.cells == StreamCells::kF32 ? 0 : rows * channels;
      Arena::Frame frame(context.arena(),
                         (keeps ? 0 : group) + Slab<T>::Bytes(rows, channels, projected, width) +
                             Arena::Bytes<float>(n * projected) + Arena::Bytes<float>(rounded));
      // All groups but the last, which is the first here, are of one size.
      KeptMemory kept(keeps ? call.kept + first / GroupHeads<T>(call) * FullGroupBytes<T>(call)
                            : nullptr);
      const auto t = keeps ? Group<T>::Take(kept, config_, projections_, call, first, heads)
                           : Group<T>::Take(frame, config_, projections_, call, first, heads);
      Slab<T> slab(frame, rows, channels, projected, width);
      slab.dx = frame.Take<float>(rounded);
      const View<float, 2> dprojected(frame.Take<float>(n * projected), {n, projected});
      if (!keeps) Attend<T>(context, call, x, true, t, slab);
      Mix<T>(context, call, t, slab, [&](const View<const float, 2>& mixed, idx_t begin) {
        SubtractRows(context, mixed, y.Rows(begin, mixed.extent[0]));
      });
      OutputBackward<T>(context, call, t, dy, slab);
      ZeroRows(context, dprojected);
      mechanism_->Backward(context, call, ProbabilitySite(call), t, dprojected);
      InputBackward<T>(context, call, x, t, dprojected, slab, dx);
    });
  }
  template <class T>
  std::size_t FullGroupBytes(const BranchCall& call) const {
    return Group<T>::Bytes(config_, projections_, call.n(), GroupHeads<T>(call));
  }
  template <class T>
  std::size_t KeptBytesIn(const BranchCall& call) const {
    std::size_t bytes = 0;
    EachGroup<T>(call, false, [&](idx_t, idx_t heads) {
      bytes += Group<T>::Bytes(config_, projections_, call.n(), heads);
    });
    return bytes;
  }

  // mixed = out Wo^T backward: dout from dy. It takes the place of out, whose products with it are
  // kept: a text of a million tokens has no room for both.
  template <class T>
  void OutputBackward(Context& context, const BranchCall& call, const AttentionTensorsOf<T>& t,
                      const ResidualStream& dy, const Slab<T>& slab) const {
    const auto weight = OutputColumns(WeightOf<T>(call, output_), t);
    const View<float, 2> dweight = OutputColumns(call.parameters.matrix_gradient(output_), t);
    const Dropout site = OutputSite(call);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      View<const float, 2> dmixed = FloatRows(context, dy.Rows(begin, rows), slab.mixed);
      if (site.active()) {
        const View<float, 2> dropped(slab.mixed, dmixed.extent);
        if (dmixed.data != dropped.data) CopyRows(context, dmixed, dropped);
        ApplyDropout(context, site, dropped, begin * config_.hidden_size);
        dmixed = dropped;
      }
      const gemm::ConstMatrix terms = Terms<T>(context, dmixed, slab.dmixed);
      const View<T, 2> out = t.out.Rows(begin, rows), dout(slab.dout, out.extent);
      gemm::BackwardWeights(context, terms, out, dweight);
      gemm::BackwardData(context, terms, weight, dout);
      Dots<T>(context, t, out, dout, begin);
      CopyRows(context, View<const T, 2>(dout), out);
    });
  }

  // t.delta of a slab whose first token is `begin`; it may touch several rows of the batch.
  template <class T>
  void Dots(Context& context, const AttentionTensorsOf<T>& t, const View<const T, 2>& out,
            const View<const T, 2>& dout, idx_t begin) const {
    for (idx_t first = 0; first < out.extent[0];) {
      const idx_t b = (begin + first) / t.tokens, from = (begin + first) % t.tokens;
      const idx_t count = std::min(t.tokens - from, out.extent[0] - first);
      const std::array<idx_t, 4> shape = {1, t.heads, count, t.head_size};
      const std::array<idx_t, 4> steps = {0, t.head_size, t.width(), 1};
      HeadDots(context, View<const T, 4>(&out(first, 0), shape, steps),
               View<const T, 4>(&dout(first, 0), shape, steps),
               {&t.delta(b, 0, from), {1, t.heads, count}, t.delta.stride});
      first += count;
    }
  }

  template <class T>
  void InputBackward(Context& context, const BranchCall& call, const ResidualStream& x,
                     const AttentionTensorsOf<T>& t, const View<const float, 2>& dprojected,
                     const Slab<T>& slab, const ResidualStream& dx) const {
    const idx_t all = projections_ * config_.width();
    const auto weights = WeightOf<T>(call, first_projection_, all);
    const View<float, 2> dweights = call.parameters.matrix_gradient(first_projection_, all);
    const LayerNormGradients dnorm = norm_.Gradients(call.parameters);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<const float, 2> part = FloatRows(context, x.Rows(begin, rows), slab.mixed);
      const View<T, 2> normed(slab.normed, part.extent);
      const View<float, 2> dnormed(slab.dnormed, part.extent);
      LayerNormForward(context, norm_.Weights(call.parameters), part, normed);
      gemm::ConstMatrix terms = Terms<T>(context, dprojected.Rows(begin, rows), slab.dprojected);
      const auto columns = [&](idx_t column, idx_t width) {
        gemm::ConstMatrix cut = terms;
        const idx_t bytes = sizeof(T) == 2 ? 2 : 4;
        cut.data = static_cast<const std::byte*>(terms.data) + column * bytes;
        cut.cols = width;
        return cut;
      };
      EachProjection(dweights, t, [&](const auto& dw, idx_t column, idx_t width) {
        gemm::BackwardWeights(context, columns(column, width), normed, dw);
      });
      EachProjection(weights, t, [&](const auto& w, idx_t column, idx_t width) {
        gemm::BackwardData(context, columns(column, width), w, dnormed,
                           column == 0 ? gemm::Store::kOverwrite : gemm::Store::kAccumulate);
      });
      const RoundingSite site = {
          DeriveKey(call.dropout_key,
                    kAttentionRounding + static_cast<std::uint64_t>(t.first_head)),
          begin * config_.hidden_size};
      AddToGradient(context, dx.Rows(begin, rows), slab.dx, site, [&](const View<float, 2>& to) {
        LayerNormBackward(context, norm_.Weights(call.parameters), part, dnormed, to, dnorm);
      });
    });
  }

  double ProjectionFlop(idx_t rows, idx_t tokens) const {
    return 2.0 * static_cast<double>(projections_ + 1) * static_cast<double>(rows * tokens) *
           static_cast<double>(config_.hidden_size * config_.width());
  }
  // Pairs times D, over all heads and rows.
  double PairsTimesSize(idx_t rows, idx_t tokens) const {
    return static_cast<double>(rows * config_.width()) * mechanism_->Pairs(tokens);
  }

  ReformerConfig config_;
  LayerKind kind_;
  std::unique_ptr<AttentionMechanism> mechanism_;
  idx_t projections_;
  NormLayer norm_;
  ParameterId first_projection_ = kNoParameter;  // the others follow it
  ParameterId output_ = kNoParameter;
};

}  // namespace

AttentionWeights AttentionLayerWeights(const ReformerConfig& config, LayerKind kind,
                                       const std::string& prefix,
                                       const ParameterTable& parameters) {
  const auto names = ProjectionNames(kind);
  return {
      {parameters.vector(prefix + "layer_norm.weight"),
       parameters.vector(prefix + "layer_norm.bias"), static_cast<float>(config.layer_norm_eps)},
      parameters.matrix(parameters.Find(prefix + "self_attention." + names.front() + ".weight"),
                        static_cast<idx_t>(names.size()) * config.width()),
      parameters.matrix(prefix + "output.dense.weight")};
}

std::unique_ptr<ResidualBranch> MakeAttention(const ReformerConfig& config, LayerKind kind,
                                              const std::string& prefix,
                                              ParameterTable& parameters) {
  return std::make_unique<AttentionLayer>(
      config, kind, prefix,
      ByDocument(kind == LayerKind::kLocal ? MakeSeparateMechanism(config)
                                           : MakeSharedMechanism(config)),
      parameters);
}

}  // namespace longspan
