#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "longspan/tasks.h"

namespace longspan {
namespace {

double Dot(const float* a, const float* b, idx_t width) {
  double sum = 0.0;
  for (idx_t i = 0; i < width; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
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
  std::vector<Neighbour> all(static_cast<std::size_t>(shape[0]));
  for (idx_t row = 0; row < shape[0]; ++row) {
    const float* v = vectors.data<float>() + row * width;
    const double product = length * std::sqrt(Dot(v, v, width));
    all[static_cast<std::size_t>(row)] = {row, product > 0.0 ? Dot(q, v, width) / product : 0.0};
  }
  const auto count = static_cast<std::ptrdiff_t>(std::min<idx_t>(most, shape[0]));
  std::partial_sort(all.begin(), all.begin() + count, all.end(),
                    [](const Neighbour& a, const Neighbour& b) {
                      return a.cosine != b.cosine ? a.cosine > b.cosine : a.row < b.row;
                    });
  all.resize(static_cast<std::size_t>(count));
  return all;
}

}  // namespace longspan
