#include "tests/toys/mean_attention/row.h"

#include "tests/toys/mean_attention/mean_attention.h"

namespace longspan::toys {
namespace {

using catalogue::AttentionRelation;
using catalogue::Mechanism;
using catalogue::MechanismSpec;
using catalogue::UpTo;

class MeanRelation final : public AttentionRelation {
 public:
  MeanRelation(bool causal, idx_t tokens) : causal_(causal), tokens_(tokens) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    return UpTo(causal_ ? query + 1 : tokens_);
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> queries;
    for (idx_t query = causal_ ? key : 0; query < tokens_; ++query) queries.push_back(query);
    return queries;
  }

 private:
  bool causal_;
  idx_t tokens_;
};

MeanSpec SpecOf(const MechanismSpec& spec) { return {spec.causal, spec.dropout}; }

}  // namespace

const Mechanism& MeanMechanism() {
  static const Mechanism kRow = [] {
    Mechanism row;
    row.name = "mean";
    row.summary = "mean attention: every token takes the mean of what it may see";
    // A running sum: what the kernel does is one pair for each query.
    row.pairs = [](const MechanismSpec&, idx_t tokens) { return static_cast<double>(tokens); };
    row.relation = [](const MechanismSpec& spec, idx_t tokens) {
      return std::unique_ptr<AttentionRelation>(new MeanRelation(spec.causal, tokens));
    };
    row.scale = 0.0f;
    row.separate.forward = [](Context& context, const MechanismSpec& spec, const Qkv& qkv,
                              const KeyMask& mask, const AttentionSaved& saved) {
      MeanForward(context, SpecOf(spec), qkv, mask, saved);
    };
    row.separate.backward = [](Context& context, const MechanismSpec& spec, const Qkv& qkv,
                               const KeyMask& mask, const AttentionSaved& saved,
                               const View<const float, 4>& dout, const DQkv& gradients) {
      MeanBackward(context, SpecOf(spec), qkv, mask, saved, dout, gradients);
    };
    return row;
  }();
  return kRow;
}

}  // namespace longspan::toys
