// What the problems of all mechanisms share: (B, H, T, D) tensors of random values, and rows of
// them that are compared with the definition.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bfloat16.h"
#include "base/huge_pages.h"
#include "base/rng.h"
#include "catalogue/mechanism.h"

namespace longspan::catalogue {

using Values = std::vector<float, PageAllocator<float>>;
using Bf16Values = std::vector<bfloat16, PageAllocator<bfloat16>>;

// Rounds `values` to bf16, in place, and returns them as bf16.
Bf16Values RoundValues(Values* values);

class ProblemBase : public AttentionProblem {
 public:
  ProblemBase(const Mechanism& mechanism, const ProblemOptions& o)
      : mechanism_(mechanism), options_(o), shape_{o.batch, o.heads, o.tokens, o.head_size} {}

  void ZeroGradients() override {
    for (Values* gradient : {&dq_, &dk_, &dv_}) std::fill(gradient->begin(), gradient->end(), 0.0f);
  }
  double Pairs() const override {
    return static_cast<double>(heads()) * mechanism_.pairs(options_.spec, options_.tokens);
  }
  void CompareRows(Context& context, const RowsToCompare& which,
                   const std::function<void(const ComparedRow&)>& take) override;
  std::vector<NamedTensor> Tensors() const override {
    return {Entry("v", v_), Entry("dout", dout_), Entry("out", out_), Entry("dv", dv_)};
  }
  std::vector<float> Results() override;

 protected:
  static constexpr idx_t kRowsCompared = 64;

  virtual HeadTensors Head(idx_t head) const = 0;
  virtual std::unique_ptr<AttentionRelation> Relation(idx_t head) const = 0;
  // Heads whose key rows are compared, if not all rows are. Each costs the softmax of all queries
  // that see the key.
  virtual idx_t KeyHeads() const { return heads(); }
  // Query rows are compared from this token on.
  virtual idx_t FirstQuery() const { return 0; }

  idx_t heads() const { return options_.batch * options_.heads; }
  std::size_t Size() const {
    return static_cast<std::size_t>(heads() * options_.tokens * options_.head_size);
  }
  Arithmetic NaiveArithmetic() const {
    return options_.bf16 ? Arithmetic::kBf16 : Arithmetic::kFloat;
  }
  // `count` values, N(0, deviation^2), for one purpose.
  Values Normal(std::uint64_t purpose, float deviation, idx_t count) const {
    Values values(static_cast<std::size_t>(count));
    const std::uint64_t seed = options_.seed;
    FillNormal(seed == 0 ? purpose : DeriveKey(seed, purpose), deviation, values.data(), count);
    return values;
  }
  Values Drawn(std::uint64_t purpose) const {
    return Normal(purpose, 1.0f, static_cast<idx_t>(Size()));
  }
  View<const float, 4> In(const Values& values) const { return {values.data(), shape_}; }
  View<const bfloat16, 4> In(const Bf16Values& rounded) const { return {rounded.data(), shape_}; }
  View<float, 4> Out(Values& values) const { return {values.data(), shape_}; }
  View<float, 3> PerRow(Values& values) const {
    return {values.data(), {shape_[0], shape_[1], shape_[2]}};
  }
  const float* HeadOf(const Values& values, idx_t head) const {
    return values.data() + head * options_.tokens * options_.head_size;
  }
  std::span<const float> RowOf(const Values& values, idx_t head, idx_t token) const {
    const idx_t size = options_.head_size;
    return {HeadOf(values, head) + token * size, static_cast<std::size_t>(size)};
  }
  NamedTensor Entry(std::string name, const Values& values) const {
    return {std::move(name), DType::kF32, {shape_.begin(), shape_.end()}, values.data()};
  }

  const Mechanism& mechanism_;
  ProblemOptions options_;
  std::array<idx_t, 4> shape_;
  // The shared form has dqk in dq_ and no dk_.
  Values v_ = Drawn(3), dout_ = Drawn(4), out_ = Values(Size()), dq_ = Values(Size()), dk_,
         dv_ = Values(Size());
  Bf16Values bf16_out_;  // what a pass in bf16 writes instead of out_

 private:
  struct Lists;  // of the tokens that are compared, by head
  Lists TokensToCompare(const RowsToCompare& which) const;
  // Brings bf16_out_ to out_.
  void CollectOutput() {
    for (std::size_t i = 0; i < bf16_out_.size(); ++i) out_[i] = ToFloat(bf16_out_[i]);
  }
};

// Queries and keys of their own. With bf16 the mechanism gets bf16 copies, and the fp32 tensors
// hold the same values for the comparison.
class SeparateProblem : public ProblemBase {
 public:
  SeparateProblem(const Mechanism& mechanism, const ProblemOptions& o);

  void Forward(Context& context) override {
    WithTensors([&](const auto& form, const auto& inputs, const auto& saved, const auto&) {
      form.forward(context, options_.spec, inputs, {}, saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto& form, const auto& inputs, const auto& saved, const auto& dout) {
      form.backward(context, options_.spec, inputs, {}, saved, dout, Gradients());
    });
  }
  std::vector<NamedTensor> Tensors() const override;

 protected:
  // Calls run(form, inputs, saved, dout) with tensors of one element type.
  template <class Run>
  void WithTensors(const Run& run) {
    if (!options_.bf16) {
      run(mechanism_.separate, Qkv{In(q_), In(k_), In(v_)}, AttentionSaved{Out(out_), PerRow(lse_)},
          In(dout_));
      return;
    }
    run(mechanism_.separate_bf16, Bf16Qkv{In(bf16_q_), In(bf16_k_), In(bf16_v_)},
        Bf16AttentionSaved{{bf16_out_.data(), shape_}, PerRow(lse_)}, In(bf16_dout_));
  }
  DQkv Gradients() { return {Out(dq_), Out(dk_), Out(dv_)}; }
  HeadTensors Head(idx_t head) const override;
  std::unique_ptr<AttentionRelation> Relation(idx_t /*head*/) const override {
    return mechanism_.relation(options_.spec, options_.tokens);
  }

  Values q_ = Drawn(1), k_ = Drawn(2), lse_;
  Bf16Values bf16_q_, bf16_k_, bf16_v_, bf16_dout_;
};

}  // namespace longspan::catalogue
