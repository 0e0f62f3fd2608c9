#include "train/vector_losses.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/errors.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// torch.nn.functional's: normalize divides by no less, pairwise_distance adds it to differences.
constexpr double kLeastLength = 1e-12, kDistanceShift = 1e-6;

// A matrix of doubles.
struct Matrix {
  idx_t rows = 0, cols = 0;
  std::vector<double> values;

  Matrix(idx_t r, idx_t c) : rows(r), cols(c), values(static_cast<std::size_t>(r * c)) {}
  double* row(idx_t r) { return values.data() + r * cols; }
  const double* row(idx_t r) const { return values.data() + r * cols; }
};

double Dot(const double* a, const double* b, idx_t n) {
  double sum = 0.0;
  for (idx_t c = 0; c < n; ++c) sum += a[c] * b[c];
  return sum;
}

void Add(double factor, const double* a, double* to, idx_t n) {
  for (idx_t c = 0; c < n; ++c) to[c] += factor * a[c];
}

// The first `width` numbers of all vectors in double, as a loss sees them: scaled to length 1 or
// not.
class Seen {
 public:
  Seen(Context& context, const View<const float, 2>& vectors, idx_t width, bool scaled)
      : x_(vectors.extent[0], width),
        lengths_(static_cast<std::size_t>(vectors.extent[0]), 1.0),
        scaled_(scaled) {
    ParallelFor(context, x_.rows, [&](idx_t r, int) {
      double* row = x_.row(r);
      for (idx_t c = 0; c < width; ++c) row[c] = static_cast<double>(vectors(r, c));
      if (!scaled_) return;
      double& length = lengths_[static_cast<std::size_t>(r)];
      length = std::sqrt(Dot(row, row, width));
      for (idx_t c = 0; c < width; ++c) row[c] /= std::max(length, kLeastLength);
    });
  }

  idx_t width() const { return x_.cols; }
  const double* row(idx_t r) const { return x_.row(r); }
  double Cos(idx_t a, idx_t b) const { return Dot(row(a), row(b), x_.cols); }

  // dvectors += the gradient for the vectors, from d, the gradient for what is seen of them.
  void Backward(Context& context, const Matrix& d, Tensor& dvectors) const {
    const View<float, 2> out = dvectors.view<2>();
    ParallelFor(context, x_.rows, [&](idx_t r, int) {
      const double length = lengths_[static_cast<std::size_t>(r)];
      // A vector too short to be scaled to length 1 is divided by a constant.
      const double along = scaled_ && length >= kLeastLength ? Dot(row(r), d.row(r), x_.cols) : 0.0;
      for (idx_t c = 0; c < x_.cols; ++c) {
        const double own = (d.row(r)[c] - along * row(r)[c]) / std::max(length, kLeastLength);
        out(r, c) += static_cast<float>(own);
      }
    });
  }

 private:
  Matrix x_;
  std::vector<double> lengths_;
  bool scaled_;
};

// Gradients of a row's loss by the distance or cosine of two vectors.
struct Pull {
  idx_t a = 0, b = 0;   // vectors
  double by_cos = 0.0;  // d loss / d cos(a, b)
};

// d += what these cosines pull. Several may pull at one vector: in order, on one thread.
void AddPulls(const Seen& seen, std::span<const Pull> pulls, Matrix& d) {
  for (const Pull& p : pulls) {
    Add(p.by_cos, seen.row(p.b), d.row(p.a), seen.width());
    Add(p.by_cos, seen.row(p.a), d.row(p.b), seen.width());
  }
}

double InBatch(Context& context, const VectorLossSpec& spec, const VectorRows& rows,
               const Seen& seen, double scale, Matrix* d, idx_t& correct) {
  const idx_t n = rows.rows, candidates = rows.vectors() - n;
  const auto text = [&](idx_t vector) { return rows.texts[static_cast<std::size_t>(vector)]; };
  Matrix g(n, candidates);  // similarities, then their gradients
  std::vector<double> losses(static_cast<std::size_t>(n));
  std::vector<std::uint8_t> right(static_cast<std::size_t>(n));
  ParallelFor(context, n, [&](idx_t i, int) {
    double* s = g.row(i);
    double most = -std::numeric_limits<double>::infinity();
    idx_t nearest = i;
    for (idx_t j = 0; j < candidates; ++j) {
      const bool same = text(n + j) == text(n + i) || text(n + j) == text(i);
      s[j] = j != i && same ? -std::numeric_limits<double>::infinity()
                            : spec.scale * seen.Cos(i, n + j);
      if (s[j] > most) {
        most = s[j];
        nearest = j;
      }
    }
    double sum = 0.0;
    for (idx_t j = 0; j < candidates; ++j) sum += std::exp(s[j] - most);
    losses[static_cast<std::size_t>(i)] = std::log(sum) + most - s[i];
    right[static_cast<std::size_t>(i)] = nearest == i ? 1 : 0;
    for (idx_t j = 0; j < candidates; ++j) {
      s[j] = (std::exp(s[j] - most) / sum - (j == i ? 1.0 : 0.0)) * spec.scale * scale;
    }
  });
  correct = std::count(right.begin(), right.end(), 1);
  if (d != nullptr) {
    ParallelFor(context, rows.vectors(), [&](idx_t v, int) {
      for (idx_t j = 0; v < n && j < candidates; ++j) {
        Add(g.row(v)[j], seen.row(n + j), d->row(v), seen.width());
      }
      for (idx_t i = 0; v >= n && i < n; ++i) {
        Add(g.row(i)[v - n], seen.row(i), d->row(v), seen.width());
      }
    });
  }
  double total = 0.0;
  for (const double loss : losses) total += loss;
  return total;
}

double Triplets(const VectorLossSpec& spec, const VectorRows& rows, const Seen& seen, double scale,
                Matrix* d) {
  const idx_t n = rows.rows, width = seen.width();
  const auto distance = [&](idx_t a, idx_t b) {
    if (spec.cosine_distance) return 1.0 - seen.Cos(a, b);
    double squares = 0.0;
    for (idx_t c = 0; c < width; ++c) {
      const double x = seen.row(a)[c] - seen.row(b)[c] + kDistanceShift;
      squares += x * x;
    }
    return std::sqrt(squares);
  };
  // d += factor * the gradient of the distance.
  const auto pull = [&](idx_t a, idx_t b, double factor) {
    if (spec.cosine_distance) {
      const Pull one{a, b, -factor};
      return AddPulls(seen, {&one, 1}, *d);
    }
    const double length = distance(a, b);
    for (idx_t c = 0; c < width && length > 0.0; ++c) {
      const double x = factor * (seen.row(a)[c] - seen.row(b)[c] + kDistanceShift) / length;
      d->row(a)[c] += x;
      d->row(b)[c] -= x;
    }
  };
  double total = 0.0;
  for (std::size_t t = 0; t < rows.negatives_of.size(); ++t) {
    const idx_t anchor = rows.negatives_of[t], negative = 2 * n + static_cast<idx_t>(t);
    const double loss = distance(anchor, n + anchor) - distance(anchor, negative) + spec.margin;
    if (!(loss > 0.0)) {
      if (std::isnan(loss)) total = loss;
      continue;
    }
    total += loss;
    if (d == nullptr) continue;
    pull(anchor, n + anchor, scale);
    pull(anchor, negative, -scale);
  }
  return total;
}

double Cosine(const VectorRows& rows, const Seen& seen, double scale, Matrix* d) {
  double total = 0.0;
  for (idx_t i = 0; i < rows.rows; ++i) {
    const double off = seen.Cos(i, rows.rows + i) - rows.scores[static_cast<std::size_t>(i)];
    total += off * off;
    const Pull one{i, rows.rows + i, 2.0 * off * scale};
    if (d != nullptr) AddPulls(seen, {&one, 1}, *d);
  }
  return total;
}

double Cosent(const VectorLossSpec& spec, const VectorRows& rows, const Seen& seen, double scale,
              Matrix* d) {
  const auto n = static_cast<std::size_t>(rows.rows);
  std::vector<double> s(n);
  for (std::size_t i = 0; i < n; ++i) {
    s[i] = spec.scale * seen.Cos(static_cast<idx_t>(i), static_cast<idx_t>(n + i));
  }
  // use(i, j, s_i - s_j) for the pairs in the wrong order if the difference is above 0.
  const auto each = [&](const auto& use) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (rows.scores[i] < rows.scores[j]) use(i, j, s[i] - s[j]);
      }
    }
  };
  double most = 0.0, sum = 0.0;
  each([&](std::size_t, std::size_t, double x) { most = std::max(most, x); });
  each([&](std::size_t, std::size_t, double x) { sum += std::exp(x - most); });
  sum += std::exp(-most);
  if (d != nullptr) {
    std::vector<double> by_s(n, 0.0);
    each([&](std::size_t i, std::size_t j, double x) {
      const double p = std::exp(x - most) / sum;
      by_s[i] += p;
      by_s[j] -= p;
    });
    std::vector<Pull> pulls;
    for (std::size_t i = 0; i < n; ++i) {
      pulls.push_back(
          {static_cast<idx_t>(i), static_cast<idx_t>(n + i), by_s[i] * spec.scale * scale});
    }
    AddPulls(seen, pulls, *d);
  }
  return std::log(sum) + most;
}

}  // namespace

idx_t CountedOf(const VectorLossSpec& spec, const VectorRows& rows) {
  if (spec.loss == EmbedLoss::kCosent) return 1;
  if (spec.loss == EmbedLoss::kTriplet) return static_cast<idx_t>(rows.negatives_of.size());
  return rows.rows;
}

VectorLoss LossOfVectors(Context& context, const VectorLossSpec& spec, const VectorRows& rows,
                         const View<const float, 2>& vectors, float scale, Tensor* dvectors) {
  Check(vectors.extent[0] == rows.vectors(), ErrorCode::kUsage,
        "loss: {} vectors of {} rows with {} negatives, need {}", vectors.extent[0], rows.rows,
        rows.negatives_of.size(), rows.vectors());
  const bool euclidean = spec.loss == EmbedLoss::kTriplet && !spec.cosine_distance;
  std::vector<idx_t> widths = spec.widths;
  if (widths.empty()) widths.push_back(vectors.extent[1]);
  VectorLoss result;
  for (const idx_t width : widths) {
    const Seen seen(context, vectors, width, !euclidean || !spec.widths.empty());
    Matrix d(dvectors == nullptr ? 0 : rows.vectors(), width);
    idx_t correct = 0;
    Matrix* const gradient = dvectors == nullptr ? nullptr : &d;
    switch (spec.loss) {
      case EmbedLoss::kTriplet:
        result.sum += Triplets(spec, rows, seen, scale, gradient);
        break;
      case EmbedLoss::kCosine:
        result.sum += Cosine(rows, seen, scale, gradient);
        break;
      case EmbedLoss::kCosent:
        result.sum += Cosent(spec, rows, seen, scale, gradient);
        break;
      case EmbedLoss::kAuto:
      case EmbedLoss::kInBatch:
        result.sum += InBatch(context, spec, rows, seen, scale, gradient, correct);
        // The widest vectors are those that are asked for most.
        if (width == *std::max_element(widths.begin(), widths.end())) result.correct = correct;
        break;
    }
    if (dvectors != nullptr) seen.Backward(context, d, *dvectors);
  }
  return result;
}

}  // namespace longspan
