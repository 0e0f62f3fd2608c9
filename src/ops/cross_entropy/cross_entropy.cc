#include "ops/cross_entropy/cross_entropy.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cross_entropy/cross_entropy.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ops/cross_entropy/cross_entropy-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cstring>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(CrossEntropyRows);
HWY_EXPORT(CrossEntropyRowsGradient);

// Logits that exist at once: 4 MiB stay in the last cache between the product, the softmax and the
// products of the backward pass.
constexpr idx_t kChunkElements = idx_t{1} << 20;

// But no fewer rows than this, where the vocabulary is large: the dense products run at half of
// their speed below it (measured with 768 x 30000 weights on AVX2).
constexpr idx_t kChunkRows = 512;

// Logits, or copied elements, of one task: 64 KiB.
constexpr idx_t kTaskElements = 16384;

// What the backward pass writes.
struct Backward {
  float dloss_scale;
  View<float, 2> dh;
  ClassifierGradients gradients;
};

// One call: shapes, and scratch for a chunk of counted tokens.
struct Job {
  Context& context;
  gemm::ConstMatrix w;
  const float* bias;
  const View<const float, 2>& h;
  std::span<const std::int32_t> labels;
  const float* label_weights;  // (V), or null
  idx_t vocabulary, width, counted, chunk, logit_stride;
  bool dense;  // no label is ignored: rows of h are used where they lie
  bool bf16;   // products are of bf16

  idx_t* tokens = nullptr;               // (counted): which tokens count
  std::int32_t* chunk_labels = nullptr;  // (chunk)
  float* logits = nullptr;               // (chunk, V), row stride logit_stride
  float* rows = nullptr;                 // (chunk, C): gathered h, then dh; null when dense
  bfloat16* bf16_rows = nullptr;         // (chunk, C): h rounded; bf16 only
  bfloat16* bf16_logits = nullptr;       // (chunk, V): their gradient rounded; backward, bf16 only
  double* losses = nullptr;              // (chunk)
  std::uint8_t* correct = nullptr;       // (chunk)
};

template <class T>
void CheckArguments(const ClassifierWeightsOf<T>& weights, const View<const float, 2>& h,
                    std::span<const std::int32_t> labels, std::span<const float> label_weights) {
  const idx_t vocabulary = weights.w.extent[0];
  Check(label_weights.empty() || static_cast<idx_t>(label_weights.size()) == vocabulary,
        ErrorCode::kUsage, "cross-entropy: {} weights of labels for a vocabulary of {}",
        label_weights.size(), vocabulary);
  Check(weights.w.extent[1] == h.extent[1], ErrorCode::kUsage,
        "cross-entropy: the weights are {} wide, the hidden vectors {}", weights.w.extent[1],
        h.extent[1]);
  Check(weights.b.empty() || (weights.b.extent[0] == vocabulary && weights.b.contiguous()),
        ErrorCode::kUsage, "cross-entropy: {} biases for a vocabulary of {}", weights.b.extent[0],
        vocabulary);
  Check(static_cast<idx_t>(labels.size()) == h.extent[0], ErrorCode::kUsage,
        "cross-entropy: {} labels for {} hidden vectors", labels.size(), h.extent[0]);
  for (std::size_t t = 0; t < labels.size(); ++t) {
    Check(labels[t] == kIgnoreLabel || (labels[t] >= 0 && labels[t] < vocabulary),
          ErrorCode::kFormat,
          "cross-entropy: label {} at position {} is neither {} nor in the vocabulary of {}",
          labels[t], t, kIgnoreLabel, vocabulary);
  }
}

template <class T>
void CheckBackward(const ClassifierWeightsOf<T>& weights, const View<const float, 2>& h,
                   const Backward& backward) {
  Check(backward.dh.extent == h.extent, ErrorCode::kUsage,
        "cross-entropy: the hidden vectors have shape {}, their gradient {}", ShapeText(h),
        ShapeText(backward.dh));
  Check(backward.gradients.dw.extent == weights.w.extent, ErrorCode::kUsage,
        "cross-entropy: the weights have shape {}, their gradient {}", ShapeText(weights.w),
        ShapeText(backward.gradients.dw));
  const View<float, 1>& db = backward.gradients.db;
  Check(db.empty() || (db.extent[0] == weights.w.extent[0] && db.contiguous()), ErrorCode::kUsage,
        "cross-entropy: {} bias gradients for a vocabulary of {}", db.extent[0],
        weights.w.extent[0]);
}

// Chunks of nearly equal size: no short last one.
idx_t ChunkRows(idx_t counted, idx_t vocabulary) {
  const idx_t most = std::max(kChunkRows, kChunkElements / vocabulary);
  const idx_t chunks = CeilDiv(counted, most);
  return std::min(counted, RoundUp(CeilDiv(counted, chunks), 16));
}

// Copies `count` rows between a packed matrix and the rows tokens[0 .. count) of a strided one.
template <class Copy>
void ForGatheredRows(const Job& job, idx_t count, const Copy& copy) {
  const idx_t rows = CeilDiv(kTaskElements, std::max(idx_t{1}, job.width));
  ParallelFor(job.context, CeilDiv(count, rows), [&](idx_t task, int) {
    for (idx_t r = task * rows; r < std::min((task + 1) * rows, count); ++r) copy(r);
  });
}

// The chunk's hidden vectors: in place when they lie side by side, else gathered.
View<const float, 2> ChunkHidden(const Job& job, idx_t first, idx_t count) {
  if (job.dense) return job.h.Rows(first, count);
  const auto bytes = static_cast<std::size_t>(job.width) * sizeof(float);
  ForGatheredRows(job, count, [&](idx_t r) {
    std::memcpy(job.rows + r * job.width, job.h.data + job.tokens[first + r] * job.h.stride[0],
                bytes);
  });
  return {job.rows, {count, job.width}};
}

// Losses, hits and, with `scale`, the logits' gradient of the chunk.
void ChunkRowsLoss(const Job& job, idx_t count, const float* scale) {
  const idx_t rows = std::max(idx_t{1}, kTaskElements / job.vocabulary);
  ParallelFor(job.context, CeilDiv(count, rows), [&](idx_t task, int) {
    const idx_t begin = task * rows, n = std::min(rows, count - begin);
    float* logits = job.logits + begin * job.logit_stride;
    if (scale == nullptr) {
      HWY_DYNAMIC_DISPATCH(CrossEntropyRows)
      (logits, job.logit_stride, n, job.vocabulary, job.chunk_labels + begin, job.label_weights,
       job.losses + begin, job.correct + begin);
    } else {
      HWY_DYNAMIC_DISPATCH(CrossEntropyRowsGradient)
      (logits, job.logit_stride, n, job.vocabulary, job.chunk_labels + begin, job.label_weights,
       job.losses + begin, job.correct + begin, *scale);
    }
  });
}

// The chunk's hidden vectors as the products take them.
gemm::ConstMatrix ChunkTerms(const Job& job, const View<const float, 2>& hidden) {
  if (!job.bf16) return hidden;
  const View<bfloat16, 2> rounded(job.bf16_rows, hidden.extent);
  gemm::Round(job.context, hidden, rounded);
  return rounded;
}

// The products of the backward pass. The weights' gradient comes first: dh may be h itself.
void ChunkGradients(const Job& job, const Backward& backward, idx_t first,
                    const gemm::ConstMatrix& hidden) {
  const idx_t count = hidden.rows;
  const View<const float, 2> dlogits(job.logits, {count, job.vocabulary}, {job.logit_stride, 1});
  gemm::ConstMatrix terms = dlogits;
  if (job.bf16) {
    const View<bfloat16, 2> rounded(job.bf16_logits, dlogits.extent, dlogits.stride);
    gemm::Round(job.context, dlogits, rounded);
    terms = rounded;
  }
  gemm::BackwardWeights(job.context, terms, hidden, backward.gradients.dw);
  if (!backward.gradients.db.empty()) {
    gemm::BackwardBias(job.context, dlogits, backward.gradients.db.data);
  }
  const View<float, 2>& dh = backward.dh;
  if (job.dense) {
    gemm::BackwardData(job.context, terms, job.w, dh.Rows(first, count));
    return;
  }
  // The gathered h is no longer needed: its gradient takes the place.
  gemm::BackwardData(job.context, terms, job.w, View<float, 2>(job.rows, {count, job.width}));
  const auto bytes = static_cast<std::size_t>(job.width) * sizeof(float);
  ForGatheredRows(job, count, [&](idx_t r) {
    std::memcpy(dh.data + job.tokens[first + r] * dh.stride[0], job.rows + r * job.width, bytes);
  });
}

void ZeroIgnored(const Job& job, const View<float, 2>& dh) {
  const auto bytes = static_cast<std::size_t>(job.width) * sizeof(float);
  ForGatheredRows(job, dh.extent[0], [&](idx_t t) {
    if (job.labels[static_cast<std::size_t>(t)] == kIgnoreLabel) {
      std::memset(dh.data + t * dh.stride[0], 0, bytes);
    }
  });
}

CrossEntropyResult RunChunks(const Job& job, const Backward* backward) {
  CrossEntropyResult result;
  result.counted = job.counted;
  for (idx_t first = 0; first < job.counted; first += job.chunk) {
    const idx_t count = std::min(job.chunk, job.counted - first);
    for (idx_t r = 0; r < count; ++r) {
      job.chunk_labels[r] = job.labels[static_cast<std::size_t>(job.tokens[first + r])];
    }
    const gemm::ConstMatrix hidden = ChunkTerms(job, ChunkHidden(job, first, count));
    gemm::Forward(job.context, hidden, job.w, job.bias,
                  View<float, 2>(job.logits, {count, job.vocabulary}, {job.logit_stride, 1}));
    ChunkRowsLoss(job, count, backward == nullptr ? nullptr : &backward->dloss_scale);
    if (backward != nullptr) ChunkGradients(job, *backward, first, hidden);
    for (idx_t r = 0; r < count; ++r) {
      result.sum += job.losses[r];
      result.correct += job.correct[r];
    }
  }
  return result;
}

template <class T>
CrossEntropyResult Run(Context& context, const ClassifierWeightsOf<T>& weights,
                       const View<const float, 2>& h, std::span<const std::int32_t> labels,
                       std::span<const float> label_weights, const Backward* backward) {
  CheckArguments(weights, h, labels, label_weights);
  if (backward != nullptr) CheckBackward(weights, h, *backward);
  const idx_t ignored = std::count(labels.begin(), labels.end(), kIgnoreLabel);
  const idx_t counted = h.extent[0] - ignored;
  const idx_t vocabulary = weights.w.extent[0], width = h.extent[1];
  const idx_t chunk = counted == 0 ? 0 : ChunkRows(counted, vocabulary);
  Job job{context,
          weights.w,
          weights.b.empty() ? nullptr : weights.b.data,
          h,
          labels,
          label_weights.empty() ? nullptr : label_weights.data(),
          vocabulary,
          width,
          counted,
          chunk,
          RoundUp(vocabulary, 16),
          ignored == 0,
          sizeof(T) == 2};
  const idx_t bf16_logits = job.bf16 && backward != nullptr ? chunk * job.logit_stride : 0;
  const idx_t bf16_rows = job.bf16 ? chunk * width : 0;
  Arena::Frame frame(context.arena(),
                     Arena::Bytes<idx_t>(counted) + Arena::Bytes<std::int32_t>(chunk) +
                         Arena::Bytes<float>(chunk * job.logit_stride) +
                         Arena::Bytes<float>(job.dense ? 0 : chunk * width) +
                         Arena::Bytes<bfloat16>(bf16_logits) + Arena::Bytes<bfloat16>(bf16_rows) +
                         Arena::Bytes<double>(chunk) + Arena::Bytes<std::uint8_t>(chunk));
  job.tokens = frame.Take<idx_t>(counted);
  job.chunk_labels = frame.Take<std::int32_t>(chunk);
  job.logits = frame.Take<float>(chunk * job.logit_stride);
  if (!job.dense) job.rows = frame.Take<float>(chunk * width);
  job.bf16_rows = frame.Take<bfloat16>(bf16_rows);
  job.bf16_logits = frame.Take<bfloat16>(bf16_logits);
  job.losses = frame.Take<double>(chunk);
  job.correct = frame.Take<std::uint8_t>(chunk);
  idx_t next = 0;
  for (idx_t t = 0; t < h.extent[0]; ++t) {
    if (labels[static_cast<std::size_t>(t)] != kIgnoreLabel) job.tokens[next++] = t;
  }
  const CrossEntropyResult result = RunChunks(job, backward);
  if (backward != nullptr && ignored > 0) ZeroIgnored(job, backward->dh);
  return result;
}

}  // namespace

CrossEntropyResult CrossEntropyForward(Context& context, const ClassifierWeights& weights,
                                       const View<const float, 2>& h,
                                       std::span<const std::int32_t> labels,
                                       std::span<const float> label_weights) {
  return Run(context, weights, h, labels, label_weights, nullptr);
}

CrossEntropyResult CrossEntropyForwardBackward(Context& context, const ClassifierWeights& weights,
                                               const View<const float, 2>& h,
                                               std::span<const std::int32_t> labels,
                                               float dloss_scale, const View<float, 2>& dh,
                                               const ClassifierGradients& gradients,
                                               std::span<const float> label_weights) {
  const Backward backward{dloss_scale, dh, gradients};
  return Run(context, weights, h, labels, label_weights, &backward);
}

CrossEntropyResult CrossEntropyForward(Context& context, const Bf16ClassifierWeights& weights,
                                       const View<const float, 2>& h,
                                       std::span<const std::int32_t> labels,
                                       std::span<const float> label_weights) {
  return Run(context, weights, h, labels, label_weights, nullptr);
}

CrossEntropyResult CrossEntropyForwardBackward(
    Context& context, const Bf16ClassifierWeights& weights, const View<const float, 2>& h,
    std::span<const std::int32_t> labels, float dloss_scale, const View<float, 2>& dh,
    const ClassifierGradients& gradients, std::span<const float> label_weights) {
  const Backward backward{dloss_scale, dh, gradients};
  return Run(context, weights, h, labels, label_weights, &backward);
}

}  // namespace longspan
#endif  // HWY_ONCE
