// What the kinds of attention problems share: (B, H, T, D) tensors of random values, and rows of
// them that are compared with double.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bfloat16.h"
#include "base/huge_pages.h"
#include "base/rng.h"
#include "cli/attention_oracle.h"
#include "cli/attention_problem.h"

namespace longspan::cli {

using Values = std::vector<float, PageAllocator<float>>;

// `count` values, N(0, deviation^2).
inline Values NormalValues(std::uint64_t seed, float deviation, idx_t count) {
  Values values(static_cast<std::size_t>(count));
  FillNormal(seed, deviation, values.data(), count);
  return values;
}

using Bf16Values = std::vector<bfloat16, PageAllocator<bfloat16>>;

// Rounds `values` to bf16, in place, and returns them as bf16.
inline Bf16Values RoundValues(Values* values) {
  Bf16Values rounded(values->size());
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    rounded[i] = ToBfloat16((*values)[i]);
    (*values)[i] = ToFloat(rounded[i]);
  }
  return rounded;
}

// What all kinds have: (B, H, T, D) tensors, and the comparison of rows.
class ProblemBase : public AttentionProblem {
 public:
  explicit ProblemBase(const AttentionProblemOptions& o)
      : options_(o), shape_{o.batch, o.heads, o.tokens, o.head_size} {}

  void ZeroGradients() override {
    for (Values* gradient : {&dq_, &dk_, &dv_}) std::fill(gradient->begin(), gradient->end(), 0.0f);
  }
  double CheckRows(Context& context, bool backward) override;
  std::vector<io::TensorEntry> Tensors() const override {
    return {Entry("v", v_), Entry("dout", dout_), Entry("out", out_), Entry("dv", dv_)};
  }

 protected:
  io::TensorEntry Entry(std::string name, const Values& values) const {
    return {std::move(name), DType::kF32, {shape_.begin(), shape_.end()}, values.data()};
  }
  virtual HeadTensors Head(idx_t head) const = 0;
  virtual std::unique_ptr<AttentionRelation> Relation(idx_t head) const = 0;
  // Heads whose key rows are checked. Each costs the softmax of all queries that see them.
  virtual idx_t KeyHeads() const { return heads(); }
  // Query rows are checked from this token on.
  virtual idx_t FirstQuery() const { return 0; }

  idx_t heads() const { return options_.batch * options_.heads; }
  double Rows() const { return static_cast<double>(heads() * options_.tokens); }
  Values Drawn(std::uint64_t seed) const {
    return NormalValues(seed, 1.0f, static_cast<idx_t>(Size()));
  }
  std::size_t Size() const {
    return static_cast<std::size_t>(heads() * options_.tokens * options_.head_size);
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

  // The relative error of one row. kNumeric when rounding does not explain it.
  double RowError(const char* what, idx_t head, idx_t token, const float* row,
                  const std::vector<double>& expected) const;
  const float* RowOf(const Values& values, idx_t head, idx_t token) const {
    return HeadOf(values, head) + token * options_.head_size;
  }

  static constexpr idx_t kRowsChecked = 64;
  AttentionProblemOptions options_;
  std::array<idx_t, 4> shape_;
  // The shared form has dqk in dq_ and no dk_.
  Values v_ = Drawn(3), dout_ = Drawn(4), out_ = Values(Size()), dq_ = Values(Size()), dk_,
         dv_ = Values(Size());
  Bf16Values bf16_out_;  // what a pass in bf16 writes instead of out_

 private:
  // Brings it to out_.
  void CollectOutput() {
    for (std::size_t i = 0; i < bf16_out_.size(); ++i) out_[i] = ToFloat(bf16_out_[i]);
  }
};

// Queries and keys of their own. With bf16 the mechanism gets bf16 copies, and the fp32 tensors
// hold the same values for the check.
class SeparateProblem : public ProblemBase {
 public:
  explicit SeparateProblem(const AttentionProblemOptions& o) : ProblemBase(o) {
    dk_.resize(Size());
    lse_.resize(static_cast<std::size_t>(heads() * o.tokens));
    if (!o.bf16) return;
    bf16_q_ = RoundValues(&q_);
    bf16_k_ = RoundValues(&k_);
    bf16_v_ = RoundValues(&v_);
    bf16_dout_ = RoundValues(&dout_);
    bf16_out_.resize(Size());
  }

 protected:
  // Calls run(inputs, saved, dout) with tensors of one element type.
  template <class Run>
  void WithTensors(const Run& run) {
    if (!options_.bf16) {
      run(Qkv{In(q_), In(k_), In(v_)}, AttentionSaved{Out(out_), PerRow(lse_)}, In(dout_));
      return;
    }
    run(Bf16Qkv{In(bf16_q_), In(bf16_k_), In(bf16_v_)},
        Bf16AttentionSaved{{bf16_out_.data(), shape_}, PerRow(lse_)}, In(bf16_dout_));
  }
  std::vector<io::TensorEntry> Tensors() const override {
    auto tensors = ProblemBase::Tensors();
    for (const auto& [name, values] :
         {std::pair<const char*, const Values&>{"q", q_}, {"k", k_}, {"dq", dq_}, {"dk", dk_}}) {
      tensors.push_back(Entry(name, values));
    }
    return tensors;
  }
  AttentionSaved Saved() { return {Out(out_), PerRow(lse_)}; }
  DQkv Gradients() { return {Out(dq_), Out(dk_), Out(dv_)}; }
  HeadTensors Head(idx_t head) const override {
    HeadTensors tensors{HeadOf(q_, head),    HeadOf(k_, head), HeadOf(v_, head),
                        HeadOf(dout_, head), options_.tokens,  options_.head_size};
    tensors.scale = 1.0f / std::sqrt(static_cast<float>(options_.head_size));
    return tensors;
  }
  Values q_ = Drawn(1), k_ = Drawn(2), lse_;
  Bf16Values bf16_q_, bf16_k_, bf16_v_, bf16_dout_;
};

}  // namespace longspan::cli
