// Losses of vectors of texts, those of sentence-transformers, with their gradients.
//
// u_x is a vector x scaled to length 1 (a vector shorter than 1e-12 is divided by that), cos(x, y)
// = u_x . u_y. Sums over rows i:
//   in-batch  -log(exp(s_ii) / sum_j exp(s_ij)), s_ij = scale cos(anchor_i, candidate_j): the
//             candidates are all positives and negatives of all rows (MultipleNegativesRankingLoss;
//             Henderson et al. 2017, arXiv:1705.00652). A candidate that is another row's and is
//             the same text as the row's own positive or its anchor takes no part.
//   triplet   max(0, d(anchor, positive) - d(anchor, negative) + margin), for each negative of the
//             row: d the Euclidean distance of torch (|x - y + 1e-6|), or 1 - cos (TripletLoss)
//   cosine    (cos(first, second) - score)^2 (CosineSimilarityLoss)
//   cosent    log(1 + sum over pairs i, j with score_i < score_j of
//             exp(scale (cos_i - cos_j))): one number for all rows (CoSENTLoss)
// With widths each loss is summed over the first w numbers of all vectors, scaled to length 1, for
// each width w (MatryoshkaLoss; Kusupati et al. 2022, arXiv:2205.13147).
#pragma once

#include <span>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "longspan/train.h"

namespace longspan {

struct VectorLossSpec {
  EmbedLoss loss = EmbedLoss::kInBatch;  // not kAuto
  double scale = 20.0;                   // of cosines: in-batch, cosent
  double margin = 5.0;                   // of triplets
  bool cosine_distance = false;          // of triplets: 1 - cos instead of Euclidean
  std::vector<idx_t> widths;             // empty: the whole vectors, as they are
};

// Which vectors belong together. Of N rows: vectors 0 to N - 1 are the anchors (or first texts),
// N to 2N - 1 the positives (or second texts), the others negatives.
struct VectorRows {
  idx_t rows = 0;                   // N
  std::vector<idx_t> negatives_of;  // the row of vector 2N, 2N + 1, ...
  std::vector<double> scores;       // (N): cosine, cosent
  std::vector<idx_t> texts;         // of each vector: equal numbers are equal texts

  idx_t vectors() const { return 2 * rows + static_cast<idx_t>(negatives_of.size()); }
};

// What the sum of a loss is divided by to give its mean: rows, triplets, or 1 of cosent.
idx_t CountedOf(const VectorLossSpec& spec, const VectorRows& rows);

struct VectorLoss {
  double sum = 0.0;
  idx_t correct = -1;  // in-batch: rows whose own positive is nearest, by the widest; else -1
};

// The loss of vectors (rows.vectors(), W). `dvectors`, if not null, has their shape and receives +=
// the gradient of scale * sum. Arithmetic is in double; the bits do not depend on the number of
// threads. Cost of in-batch: 6 W multiplications for each pair of an anchor and a candidate.
VectorLoss LossOfVectors(Context& context, const VectorLossSpec& spec, const VectorRows& rows,
                         const View<const float, 2>& vectors, float scale = 0.0f,
                         Tensor* dvectors = nullptr);

}  // namespace longspan
