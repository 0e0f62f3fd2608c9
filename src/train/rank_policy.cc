#include "train/rank_policy.h"

#include "model/optimizers.h"
#include "train/gradient_sum.h"

namespace longspan {

void AddRankNeeds(idx_t micros, idx_t rows, const TextModel& model, StepPolicy* policy) {
  // Several rows may have several lengths, and vectors several passes: then gradients stay.
  const HeadKind head = model.info().head;
  const bool one_pass = rows == 1 || head == HeadKind::kCausalLm;
  policy->releases_gradients = policy->ranks > 1 && micros * policy->row_ranks == policy->ranks &&
                               one_pass && head != HeadKind::kNone;
  policy->sums = GradientSumBytes(
      micros, SharesOf(policy->optimizer, model.parameters(), policy->ranks), policy->row_ranks);
}

}  // namespace longspan
