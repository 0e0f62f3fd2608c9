#include "tests/toys/mean_attention/mean_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/arena.h"
#include "base/errors.h"
#include "base/scratch_layout.h"
#include "ops/attention_call.h"
#include "parallel/parallel_for.h"

namespace longspan::toys {
namespace {

constexpr AttentionCheck CheckCall{{"mean attention"}};

// A thread's scratch.
struct MeanScratch {
  float* sum = nullptr;  // (D): of the rows so far
};

auto LayoutOf(idx_t size) {
  return ScratchLayout(MeanScratch{},
                       [size](MeanScratch& s, const auto& take) { take(s.sum, size); });
}

void CheckArguments(const MeanSpec& spec, const Qkv& qkv, const KeyMask& mask,
                    const AttentionSaved& saved) {
  CheckCall.Separate(qkv, mask, saved);
  Check(spec.dropout.p == 0.0f, ErrorCode::kUsage, "mean attention: dropout {}, need 0",
        spec.dropout.p);
}

bool Exists(const KeyMask& mask, idx_t b, idx_t t) { return mask.empty() || mask(b, t) != 0; }

// Calls task(b, h, sum) for every head, on zeroed sums (D). A head is a task: its rows follow one
// another in one order, whatever the number of threads.
template <class Task>
void EachHead(Context& context, const std::array<idx_t, 4>& shape, const Task& task) {
  const auto layout = LayoutOf(shape[3]);
  Arena::Frame frame(context.arena(), layout.Bytes() * static_cast<std::size_t>(context.threads()));
  const auto scratch = layout.TakeEach(frame, context.threads());
  ParallelFor(context, shape[0] * shape[1], [&](idx_t head, int thread) {
    float* sum = scratch[static_cast<std::size_t>(thread)].sum;
    std::fill_n(sum, shape[3], 0.0f);
    task(head / shape[1], head % shape[1], sum);
  });
}

}  // namespace

void MeanForward(Context& context, const MeanSpec& spec, const Qkv& qkv, const KeyMask& mask,
                 const AttentionSaved& saved) {
  CheckArguments(spec, qkv, mask, saved);
  const idx_t T = qkv.v.extent[2], D = qkv.v.extent[3];
  EachHead(context, qkv.v.extent, [&](idx_t b, idx_t h, float* sum) {
    idx_t count = 0;
    const auto add = [&](idx_t t) {
      if (!Exists(mask, b, t)) return;
      for (idx_t d = 0; d < D; ++d) sum[d] += qkv.v(b, h, t, d);
      ++count;
    };
    for (idx_t t = 0; t < T && !spec.causal; ++t) add(t);
    for (idx_t t = 0; t < T; ++t) {
      if (spec.causal) add(t);
      const float divisor = static_cast<float>(std::max<idx_t>(count, 1));
      for (idx_t d = 0; d < D; ++d) saved.out(b, h, t, d) = sum[d] / divisor;
      saved.lse(b, h, t) = count > 0 ? std::log(divisor) : -std::numeric_limits<float>::infinity();
    }
  });
}

// d loss / d v_j = the sum of dout_t / n_t over the queries t that see j, where n_t is how many
// keys t sees. Causal: those are the queries from j on, so the sum grows from the last query
// backwards.
void MeanBackward(Context& context, const MeanSpec& spec, const Qkv& qkv, const KeyMask& mask,
                  const AttentionSaved& saved, const View<const float, 4>& dout,
                  const DQkv& gradients) {
  CheckArguments(spec, qkv, mask, saved);
  CheckCall.Backward(dout, gradients, qkv.v.extent);
  const idx_t T = qkv.v.extent[2], D = qkv.v.extent[3];
  EachHead(context, qkv.v.extent, [&](idx_t b, idx_t h, float* sum) {
    idx_t count = 0;  // n_t
    for (idx_t t = 0; t < T; ++t) count += Exists(mask, b, t) ? 1 : 0;
    const auto add_query = [&](idx_t t) {
      if (count == 0) return;
      const auto n = static_cast<float>(count);
      for (idx_t d = 0; d < D; ++d) sum[d] += dout(b, h, t, d) / n;
    };
    for (idx_t t = 0; t < T && !spec.causal; ++t) add_query(t);
    for (idx_t t = T - 1; t >= 0; --t) {
      if (spec.causal) add_query(t);
      if (!Exists(mask, b, t)) continue;
      for (idx_t d = 0; d < D; ++d) gradients.dv(b, h, t, d) += sum[d];
      if (spec.causal) --count;
    }
  });
}

}  // namespace longspan::toys
