#include "train/rank_policy.h"

#include "model/optimizers.h"
#include "train/gradient_sum.h"
#include "train/trained_parameters.h"

namespace longspan {
namespace {

// Whether each rank computes one micro-batch of an update, and that in one pass: several rows may
// have several lengths, and vectors several passes. Otherwise gradients stay.
bool ReleasesGradients(const StepPolicy& policy, idx_t micros, idx_t rows, HeadKind head) {
  const bool one_pass = (rows == 1 || head == HeadKind::kCausalLm) && head != HeadKind::kNone;
  return policy.ranks > 1 && micros * policy.row_ranks == policy.ranks && one_pass;
}

}  // namespace

StepPolicy PolicyOf(const TrainOptions& options, idx_t rows, HeadKind head) {
  StepPolicy policy{options.compute.dtype, options.compute.gradient_streams};
  policy.optimizer = options.optimizer;
  policy.row_ranks = options.row_ranks;
  policy.ranks = options.compute.ranks;
  policy.sums = options.compute.sums;
  policy.program = options.compute.program;
  policy.frozen = FrozenBy(options.trained);
  policy.releases_gradients = ReleasesGradients(policy, options.accumulate, rows, head);
  return policy;
}

void AddRankNeeds(idx_t micros, idx_t rows, const TextModel& model, StepPolicy* policy) {
  policy->releases_gradients = ReleasesGradients(*policy, micros, rows, model.info().head);
  policy->sums = GradientSumBytes(
      micros, SharesOf(policy->optimizer, model.parameters(), policy->ranks), policy->row_ranks);
}

}  // namespace longspan
