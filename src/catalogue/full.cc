// Full attention's row.

#include "catalogue/full.h"

#include "catalogue/problem_base.h"

namespace longspan::catalogue {
namespace {

class FullRelation final : public AttentionRelation {
 public:
  FullRelation(idx_t tokens, bool causal) : tokens_(tokens), causal_(causal) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    return UpTo(causal_ ? query + 1 : tokens_);
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> all = UpTo(tokens_);
    if (causal_) all.erase(all.begin(), all.begin() + key);
    return all;
  }
  idx_t Times(idx_t query, idx_t key) const override { return causal_ && key > query ? 0 : 1; }

 private:
  idx_t tokens_;
  bool causal_;
};

std::unique_ptr<AttentionRelation> MakeFullRelation(const MechanismSpec& spec, idx_t tokens) {
  return std::make_unique<FullRelation>(tokens, spec.causal);
}

// Every key is seen by so many queries that one head's keys are enough.
class FullProblem final : public SeparateProblem {
 public:
  using SeparateProblem::SeparateProblem;

 protected:
  idx_t KeyHeads() const override { return 1; }
};

std::unique_ptr<AttentionProblem> MakeFullProblem(const Mechanism& mechanism,
                                                  const ProblemOptions& options) {
  return std::make_unique<FullProblem>(mechanism, options);
}

double FullPairs(const MechanismSpec& spec, idx_t tokens) {
  const auto n = static_cast<double>(tokens);
  return spec.causal ? n * (n + 1.0) / 2.0 : n * n;
}

FullSpec FullSpecOf(const MechanismSpec& spec) {
  FullSpec full;
  full.causal = spec.causal;
  full.dropout = spec.dropout;
  return full;
}

template <class T>
SeparateForm<T> FullForm() {
  return {
      [](Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
         const AttentionSavedOf<T>& saved) {
        FullForward(context, FullSpecOf(spec), qkv, mask, saved);
      },
      [](Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout, const DQkv& gradients) {
        FullBackward(context, FullSpecOf(spec), qkv, mask, saved, dout, gradients);
      }};
}

}  // namespace

std::vector<float> FullWeights(Context& context, const PatternOptions& options) {
  if (!options.shared) return SeparateWeights(context, FullMechanism(), options);
  PatternProblem problem(options);
  FullSharedForward(context, FullSpecOf(PatternSpec(options)), {problem.Zeros(), problem.Values()},
                    problem.Mask(),
                    {problem.Out(), problem.Row(problem.max), problem.Row(problem.sum)});
  return problem.out;
}

const Mechanism& FullMechanism() {
  static const Mechanism kRow = [] {
    Mechanism row;
    row.name = "full";
    row.summary = "full attention: every token sees every other";
    row.picture_options = {"--shared"};
    row.pairs = FullPairs;
    row.relation = MakeFullRelation;
    row.separate = FullForm<float>();
    row.separate_bf16 = FullForm<bfloat16>();
    row.bf16 = true;
    row.problem = MakeFullProblem;
    row.weights = [](Context& context, const Mechanism&, const PatternOptions& options) {
      return FullWeights(context, options);
    };
    return row;
  }();
  return kRow;
}

}  // namespace longspan::catalogue
