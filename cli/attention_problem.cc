#include "cli/attention_problem.h"

#include <string_view>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/memory_limit.h"
#include "base/rng.h"
#include "cli/attention_problem_base.h"
#include "cli/attention_relation.h"
#include "cli/window_problem.h"
#include "io/escape.h"

namespace longspan::cli {
namespace {

class FullProblem final : public SeparateProblem {
 public:
  explicit FullProblem(const AttentionProblemOptions& o) : SeparateProblem(o) {
    spec_.causal = o.causal;
  }
  void Forward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto&) {
      FullForward(context, spec_, inputs, {}, saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto& dout) {
      FullBackward(context, spec_, inputs, {}, saved, dout, Gradients());
    });
  }
  double Pairs() const override {
    const auto n = static_cast<double>(options_.tokens);
    return static_cast<double>(heads()) * (options_.causal ? n * (n + 1.0) / 2.0 : n * n);
  }

 protected:
  std::unique_ptr<AttentionRelation> Relation(idx_t) const override {
    return FullAttentionRelation(options_.tokens, options_.causal);
  }
  idx_t KeyHeads() const override { return 1; }

 private:
  FullSpec spec_;
};

class ChunkedProblem final : public SeparateProblem {
 public:
  explicit ChunkedProblem(const AttentionProblemOptions& o) : SeparateProblem(o) {
    spec_.chunk = o.chunk;
    spec_.before = o.before;
    spec_.after = o.after;
    spec_.causal = o.causal;
  }
  void Forward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto&) {
      ChunkedForward(context, spec_, inputs, {}, saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto& dout) {
      ChunkedBackward(context, spec_, inputs, {}, saved, dout, Gradients());
    });
  }
  double Pairs() const override {
    const idx_t slots = spec_.chunk * (1 + spec_.before + spec_.after);
    return Rows() * static_cast<double>(options_.tokens > spec_.chunk ? slots : options_.tokens);
  }

 protected:
  std::unique_ptr<AttentionRelation> Relation(idx_t) const override {
    return ChunkedAttentionRelation(spec_, options_.tokens);
  }

 private:
  ChunkedSpec spec_;
};

// Hash, sort and attention; the hash counts as no work.
class LshProblem final : public ProblemBase {
 public:
  explicit LshProblem(const AttentionProblemOptions& o) : ProblemBase(o) {
    spec_.chunk = o.chunk;
    spec_.before = o.before;
    spec_.after = o.after;
    spec_.rounds = o.rounds;
    spec_.causal = o.causal;
    spec_.buckets = o.buckets > 0 ? std::vector<idx_t>{o.buckets}
                                  : LshBucketFactors(o.tokens, o.chunk, o.tokens);
    max_.resize(static_cast<std::size_t>(heads() * o.tokens));
    sum_.resize(max_.size());
    buckets_.resize(max_.size() * static_cast<std::size_t>(o.rounds));
    rotations_.resize(
        static_cast<std::size_t>(o.heads * o.head_size * o.rounds * spec_.RotationColumns()));
    FillNormal(9, 1.0f, rotations_.data(), static_cast<idx_t>(rotations_.size()));
    if (!o.bf16) return;
    bf16_qk_ = RoundValues(&qk_);
    bf16_v_ = RoundValues(&v_);
    bf16_dout_ = RoundValues(&dout_);
    bf16_out_.resize(Size());
  }
  void Forward(Context& context) override {
    const LshRotations rotations(rotations_.data(), {options_.heads, options_.head_size,
                                                     spec_.rounds, spec_.RotationColumns()});
    WithTensors([&](const auto& inputs, const auto& saved, const auto&) {
      if (spec_.Hashes(options_.tokens)) {
        LshHash(context, spec_, inputs.qk, {}, rotations, Buckets());
      }
      LshForward(context, spec_, inputs, {}, View<const std::uint16_t, 4>(Buckets()), saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto& dout) {
      LshBackward(context, spec_, inputs, {}, View<const std::uint16_t, 4>(Buckets()), saved, dout,
                  {Out(dq_), Out(dv_)});
    });
  }
  std::vector<io::TensorEntry> Tensors() const override {
    auto tensors = ProblemBase::Tensors();
    tensors.push_back(Entry("qk", qk_));
    tensors.push_back(Entry("dqk", dq_));
    if (!spec_.Hashes(options_.tokens)) return tensors;
    wide_buckets_.assign(buckets_.begin(), buckets_.end());
    tensors.push_back({"rotations",
                       DType::kF32,
                       {options_.heads, options_.head_size, spec_.rounds, spec_.RotationColumns()},
                       rotations_.data()});
    tensors.push_back({"buckets",
                       DType::kI32,
                       {shape_[0], shape_[1], spec_.rounds, shape_[2]},
                       wide_buckets_.data()});
    return tensors;
  }
  double Pairs() const override {
    const idx_t slots = spec_.rounds * spec_.WindowSlots();
    return Rows() * static_cast<double>(spec_.Hashes(options_.tokens) ? slots : options_.tokens);
  }

 protected:
  HeadTensors Head(idx_t head) const override {
    HeadTensors tensors{HeadOf(qk_, head),   nullptr,         HeadOf(v_, head),
                        HeadOf(dout_, head), options_.tokens, options_.head_size};
    tensors.shared = true;
    return tensors;
  }
  std::unique_ptr<AttentionRelation> Relation(idx_t head) const override {
    return LshAttentionRelation(spec_, options_.tokens,
                                buckets_.data() + head * spec_.rounds * options_.tokens);
  }

 private:
  // Calls run(inputs, saved, dout) with tensors of one element type.
  template <class Run>
  void WithTensors(const Run& run) {
    if (!options_.bf16) {
      run(SharedQkv{In(qk_), In(v_)}, SharedSaved{Out(out_), PerRow(max_), PerRow(sum_)},
          In(dout_));
      return;
    }
    run(Bf16SharedQkv{In(bf16_qk_), In(bf16_v_)},
        Bf16SharedSaved{{bf16_out_.data(), shape_}, PerRow(max_), PerRow(sum_)}, In(bf16_dout_));
  }
  LshBuckets Buckets() {
    return {buckets_.data(), {shape_[0], shape_[1], spec_.rounds, shape_[2]}};
  }
  LshSpec spec_;
  Values qk_ = Drawn(1), max_, sum_, rotations_;
  std::vector<std::uint16_t> buckets_;
  mutable std::vector<std::int32_t> wide_buckets_;  // for Tensors
  Bf16Values bf16_qk_, bf16_v_, bf16_dout_;
};

template <class Problem>
std::unique_ptr<AttentionProblem> Make(const AttentionProblemOptions& options) {
  return std::make_unique<Problem>(options);
}

struct ProblemKind {
  std::string_view name;
  std::unique_ptr<AttentionProblem> (*make)(const AttentionProblemOptions& options);
};
constexpr ProblemKind kKinds[] = {{"full", Make<FullProblem>},
                                  {"window", MakeWindowProblem},
                                  {"chunked", Make<ChunkedProblem>},
                                  {"lsh", Make<LshProblem>}};

}  // namespace

std::unique_ptr<AttentionProblem> MakeAttentionProblem(const AttentionProblemOptions& options) {
  for (const auto& [what, value] : {std::pair{"batch", options.batch},
                                    {"tokens", options.tokens},
                                    {"heads", options.heads},
                                    {"head-dim", options.head_size},
                                    {"chunk", options.chunk},
                                    {"rounds", options.rounds}}) {
    Check(value >= 1, ErrorCode::kUsage, "bench: --{} {}, need at least 1", what, value);
  }
  // Eight fp32 tensors, inputs, outputs and gradients; in bf16 five more.
  const idx_t bytes = options.bf16 ? 8 * 4 + 5 * 2 : 8 * 4;
  CheckMemory(
      fmt::format("bench: {} x {} heads x {} tokens x {}", options.batch, options.heads,
                  options.tokens, options.head_size),
      SaturatingProduct({options.batch, options.heads, options.tokens, options.head_size, bytes}));
  for (const ProblemKind& kind : kKinds) {
    if (kind.name == options.kind) return kind.make(options);
  }
  std::string names;
  for (const ProblemKind& kind : kKinds) {
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  }
  Fail(ErrorCode::kUsage, "bench: --kind '{}' is unknown; use one of {}", io::Escape(options.kind),
       names);
}

}  // namespace longspan::cli
