#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/errors.h"
#include "base/math.h"
#include "longspan/files.h"
#include "longspan/tasks.h"
#include "longspan/vectors.h"
#include "parallel/parallel_for.h"
#include "tasks/scores.h"

namespace longspan {
namespace {

// Rows of vectors in one task: enough work that handing it out costs nothing beside it.
constexpr idx_t kTaskRows = 256;

template <class T>
double Dot(const T* a, const T* b, idx_t width) {
  double sum = 0.0;
  for (idx_t i = 0; i < width; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double Hamming(const std::uint8_t* a, const std::uint8_t* b, idx_t width) {
  idx_t differ = 0;
  for (idx_t i = 0; i < width; ++i) {
    differ += std::popcount(static_cast<std::uint8_t>(a[i] ^ b[i]));
  }
  return static_cast<double>(differ);
}

// Of a zero vector 0.
double Cosine(double dot, double length, double other_length) {
  const double product = length * other_length;
  return product > 0.0 ? dot / product : 0.0;
}

template <class T>
std::vector<double> LengthsOf(const T* rows, idx_t count, idx_t width) {
  std::vector<double> lengths;
  for (idx_t row = 0; row < count; ++row) {
    const T* x = rows + row * width;
    lengths.push_back(std::sqrt(Dot(x, x, width)));
  }
  return lengths;
}

void CheckPair(const Tensor& queries, const Tensor& vectors, Similarity similarity) {
  const auto is_matrix = [](const Tensor& t) { return t.shape().size() == 2 && t.shape()[1] > 0; };
  Check(is_matrix(queries) && is_matrix(vectors) && queries.shape()[1] == vectors.shape()[1] &&
            queries.dtype() == vectors.dtype(),
        ErrorCode::kUsage,
        "similar: queries {} of {} and vectors {} of {} do not fit; need one width and one type",
        ShapeText(queries.shape()), DTypeName(queries.dtype()), ShapeText(vectors.shape()),
        DTypeName(vectors.dtype()));
  const bool bits = PrecisionOf(vectors) == Precision::kUBinary;
  Check(bits == (similarity == Similarity::kHamming), ErrorCode::kUsage,
        "similar: {} is not for {} vectors; need {}", SimilarityName(similarity),
        PrecisionName(PrecisionOf(vectors)), bits ? "hamming" : "cosine or dot");
}

// The scores of one query.
class Scorer {
 public:
  Scorer(const Tensor& queries, const Tensor& vectors, Similarity similarity)
      : queries_(queries), vectors_(vectors), similarity_(similarity) {
    CheckPair(queries, vectors, similarity);
    if (similarity != Similarity::kCosine) return;
    query_lengths_ = Lengths(queries);
    lengths_ = Lengths(vectors);
  }

  // out[r] for each row of the vectors.
  void Score(const Context& context, idx_t query, double* out) const {
    const idx_t rows = vectors_.shape()[0];
    ParallelFor(context, CeilDiv(rows, kTaskRows), [&](idx_t task, int) {
      const idx_t end = std::min(rows, (task + 1) * kTaskRows);
      for (idx_t row = task * kTaskRows; row < end; ++row) out[row] = One(query, row);
    });
  }

 private:
  template <class T>
  static const T* Row(const Tensor& tensor, idx_t row) {
    return static_cast<const T*>(tensor.raw()) + row * tensor.shape()[1];
  }
  static std::vector<double> Lengths(const Tensor& t) {
    const idx_t rows = t.shape()[0], width = t.shape()[1];
    return t.dtype() == DType::kF32 ? LengthsOf(Row<float>(t, 0), rows, width)
                                    : LengthsOf(Row<std::int8_t>(t, 0), rows, width);
  }

  double One(idx_t query, idx_t row) const {
    const idx_t width = vectors_.shape()[1];
    if (similarity_ == Similarity::kHamming) {
      return Hamming(Row<std::uint8_t>(queries_, query), Row<std::uint8_t>(vectors_, row), width);
    }
    const double dot =
        vectors_.dtype() == DType::kF32
            ? Dot(Row<float>(queries_, query), Row<float>(vectors_, row), width)
            : Dot(Row<std::int8_t>(queries_, query), Row<std::int8_t>(vectors_, row), width);
    if (similarity_ == Similarity::kDot) return dot;
    return Cosine(dot, query_lengths_[static_cast<std::size_t>(query)],
                  lengths_[static_cast<std::size_t>(row)]);
  }

  const Tensor &queries_, &vectors_;
  Similarity similarity_;
  std::vector<double> query_lengths_, lengths_;  // of kCosine
};

// The `most` nearest of all rows, the nearest first; of equal ones the first. The largest score is
// nearest, or with `sign` -1 the smallest.
std::vector<SimilarRow> Best(std::vector<SimilarRow>& all, idx_t most, double sign) {
  const auto count = std::min(static_cast<std::ptrdiff_t>(most), std::ssize(all));
  std::partial_sort(all.begin(), all.begin() + count, all.end(),
                    [&](const SimilarRow& a, const SimilarRow& b) {
                      const double score = RankOf(sign * a.score), other = RankOf(sign * b.score);
                      return score != other ? score > other : a.row < b.row;
                    });
  return {all.begin(), all.begin() + count};
}

}  // namespace

std::vector<Neighbour> Nearest(const Tensor& query, const Tensor& vectors, idx_t most) {
  const std::vector<idx_t>& shape = vectors.shape();
  Check(shape.size() == 2 && query.size() == shape[1] && !query.empty(), ErrorCode::kUsage,
        "nearest: a query {} and vectors {} do not fit; need (1, width) and (N, width)",
        ShapeText(query.shape()), ShapeText(shape));
  Check(most >= 1, ErrorCode::kUsage, "nearest: {} rows, need at least 1", most);
  const idx_t width = shape[1];
  const float* q = query.data<float>();
  const double length = std::sqrt(Dot(q, q, width));
  std::vector<SimilarRow> all(static_cast<std::size_t>(shape[0]));
  for (idx_t row = 0; row < shape[0]; ++row) {
    const float* v = vectors.data<float>() + row * width;
    all[static_cast<std::size_t>(row)] = {
        row, Cosine(Dot(q, v, width), length, std::sqrt(Dot(v, v, width)))};
  }
  std::vector<Neighbour> nearest;
  for (const SimilarRow& one : Best(all, most, 1.0)) nearest.push_back({one.row, one.score});
  return nearest;
}

std::string_view SimilarityName(Similarity similarity) {
  return similarity == Similarity::kCosine ? "cosine"
         : similarity == Similarity::kDot  ? "dot"
                                           : "hamming";
}

Similarity ParseSimilarity(std::string_view name) {
  for (const Similarity one : {Similarity::kCosine, Similarity::kDot, Similarity::kHamming}) {
    if (name == SimilarityName(one)) return one;
  }
  Fail(ErrorCode::kUsage, "similarity: '{}' is none of cosine, dot, hamming", io::Escape(name));
}

Tensor Similarities(const Context& context, const Tensor& queries, const Tensor& vectors,
                    Similarity similarity) {
  const Scorer scorer(queries, vectors, similarity);
  const idx_t rows = vectors.shape()[0];
  Tensor scores({queries.shape()[0], rows}, DType::kF64);
  for (idx_t query = 0; query < queries.shape()[0]; ++query) {
    scorer.Score(context, query, scores.data<double>() + query * rows);
  }
  return scores;
}

std::vector<std::vector<SimilarRow>> MostSimilar(const Context& context, const Tensor& queries,
                                                 const Tensor& vectors, Similarity similarity,
                                                 idx_t most) {
  Check(most >= 1, ErrorCode::kUsage, "similar: {} rows are wanted, need at least 1", most);
  const Scorer scorer(queries, vectors, similarity);
  const idx_t rows = vectors.shape()[0];
  const double sign = similarity == Similarity::kHamming ? -1.0 : 1.0;
  std::vector<double> scores(static_cast<std::size_t>(rows));
  std::vector<SimilarRow> all(scores.size());
  std::vector<std::vector<SimilarRow>> found;
  for (idx_t query = 0; query < queries.shape()[0]; ++query) {
    scorer.Score(context, query, scores.data());
    for (idx_t row = 0; row < rows; ++row) {
      all[static_cast<std::size_t>(row)] = {row, scores[static_cast<std::size_t>(row)]};
    }
    found.push_back(Best(all, most, sign));
  }
  return found;
}

}  // namespace longspan
