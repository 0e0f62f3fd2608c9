#include "ops/adafactor/adafactor.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/adafactor/adafactor.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include <type_traits>

#include "ops/adafactor/adafactor-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cmath>
#include <string>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(AdafactorSquares);
HWY_EXPORT(AdafactorRow);
HWY_EXPORT(AdafactorEach);
HWY_EXPORT(AdafactorUpdateSquares);
HWY_EXPORT(AdafactorApply);

constexpr idx_t kBlock = 16384;    // numbers of one task: 64 KiB of each array
constexpr idx_t kMostBlocks = 64;  // of rows of a matrix: bounds the partial sums of columns

// A parameter as matrices of (R, C), each in blocks of rows. One with fewer than two axes is one
// matrix, whose rows are pieces of kBlock numbers and the rest.
struct Blocks {
  idx_t matrices = 1, R = 1, C = 1;
  idx_t rows = 1;    // of a block
  idx_t blocks = 1;  // of a matrix

  idx_t tasks() const { return matrices * blocks; }
};

Blocks BlocksOf(std::span<const idx_t> shape, idx_t size) {
  Blocks b;
  b.R = shape[shape.size() - 2];
  b.C = shape[shape.size() - 1];
  b.matrices = size / (b.R * b.C);
  b.rows = std::max(CeilDiv(kBlock, b.C), CeilDiv(b.R, kMostBlocks));
  b.blocks = CeilDiv(b.R, b.rows);
  return b;
}

void CheckSpec(const AdafactorSpec& spec) {
  const auto in_range = [](const char* name, double value, double low, double high) {
    Check(value >= low && value <= high, ErrorCode::kUsage, "Adafactor: {} {} is not from {} to {}",
          name, value, low, high);
  };
  Check(spec.step >= 1, ErrorCode::kUsage, "Adafactor: step {} is below 1", spec.step);
  in_range("learning rate", spec.learning_rate, 0.0, 1e12);
  in_range("weight decay", spec.weight_decay, 0.0, 1e12);
  in_range("beta2 decay", spec.beta2_decay, -1e3, 0.0);
  in_range("update clip", spec.update_clip, 1.0, 1e12);
  in_range("eps1", spec.eps1, 0.0, 1.0);
  in_range("eps2", spec.eps2, 0.0, 1.0);
}

void CheckArray(const char* name, const View<float, 1>& array, idx_t count) {
  Check(array.extent[0] == count, ErrorCode::kUsage, "Adafactor: the {} has {} elements, not {}",
        name, array.extent[0], count);
  Check(array.contiguous(), ErrorCode::kUsage, "Adafactor: the {} has stride {}, not 1", name,
        array.stride[0]);
}

// Sum in the order of the tasks.
double Total(const double* sums, idx_t count) {
  double total = 0.0;
  for (idx_t i = 0; i < count; ++i) total += sums[i];
  return total;
}

// moment += share (square - moment), in double.
float Blend(float moment, double square, double share) {
  const auto before = static_cast<double>(moment);
  return static_cast<float>(before + share * (square - before));
}

class Step {
 public:
  Step(Context& context, const AdafactorSpec& spec, const View<float, 1>& parameter,
       const View<float, 1>& gradient)
      : context_(context),
        spec_(spec),
        w_(parameter.data),
        g_(gradient.data),
        size_(parameter.extent[0]) {
    share_ = std::pow(static_cast<double>(spec.step), spec.beta2_decay);
    f_.gradient_scale = spec.gradient_scale;
    f_.share = static_cast<float>(share_);
    f_.floor = static_cast<float>(spec.eps1 * spec.eps1);
    f_.keep = static_cast<float>(1.0 - spec.learning_rate * spec.weight_decay);
  }

  void Vector(const View<float, 1>& each) {
    const idx_t tasks = CeilDiv(size_, kBlock);
    Arena::Frame frame(context_.arena(), 2 * Arena::Bytes<double>(tasks));
    double* weights = frame.Take<double>(tasks);
    double* updates = frame.Take<double>(tasks);
    const auto for_each = [&](const auto& body) {
      ParallelFor(context_, tasks, [&](idx_t task, int) {
        const idx_t begin = task * kBlock;
        body(task, begin, std::min(kBlock, size_ - begin));
      });
    };
    for_each([&](idx_t task, idx_t begin, idx_t count) {
      weights[task] = HWY_DYNAMIC_DISPATCH(AdafactorSquares)(w_ + begin, count);
      HWY_DYNAMIC_DISPATCH(AdafactorEach)(f_, g_ + begin, count, each.data + begin);
      updates[task] = HWY_DYNAMIC_DISPATCH(AdafactorUpdateSquares)(f_, 1.0f, g_ + begin,
                                                                   each.data + begin, count);
    });
    FindRate(Total(weights, tasks), Total(updates, tasks));
    for_each([&](idx_t, idx_t begin, idx_t count) {
      HWY_DYNAMIC_DISPATCH(AdafactorApply)
      (f_, 1.0f, g_ + begin, each.data + begin, count, w_ + begin);
    });
  }

  void Matrices(std::span<const idx_t> shape, const AdafactorMoments& moments) {
    const Blocks b = BlocksOf(shape, size_);
    const idx_t tasks = b.tasks();
    Arena::Frame frame(context_.arena(), 2 * Arena::Bytes<double>(tasks) +
                                             Arena::Bytes<double>(tasks * b.C) +
                                             Arena::Bytes<float>(b.matrices * b.R));
    double* weights = frame.Take<double>(tasks);
    double* updates = frame.Take<double>(tasks);
    double* columns = frame.Take<double>(tasks * b.C);    // partial sums of squares
    float* ratios = frame.Take<float>(b.matrices * b.R);  // a row's moment over their mean
    TakeSquares(b, moments, weights, updates, columns);
    AddColumns(b, moments, columns, ratios);
    const auto for_rows = [&](const auto& body) {
      ParallelFor(context_, tasks, [&](idx_t task, int) {
        const idx_t matrix = task / b.blocks, first = task % b.blocks * b.rows;
        const float* moment = moments.columns.data + matrix * b.C;
        for (idx_t r = first; r < std::min(first + b.rows, b.R); ++r) {
          body(task, matrix * b.R + r, moment);
        }
      });
    };
    for_rows([&](idx_t task, idx_t row, const float* moment) {
      updates[task] += HWY_DYNAMIC_DISPATCH(AdafactorUpdateSquares)(f_, ratios[row], g_ + row * b.C,
                                                                    moment, b.C);
    });
    FindRate(Total(weights, tasks), Total(updates, tasks));
    for_rows([&](idx_t, idx_t row, const float* moment) {
      HWY_DYNAMIC_DISPATCH(AdafactorApply)
      (f_, ratios[row], g_ + row * b.C, moment, b.C, w_ + row * b.C);
    });
  }

 private:
  // Squares of the weights, rows' moments, partial sums of columns: each task's own. The updates'
  // sums begin at 0.
  void TakeSquares(const Blocks& b, const AdafactorMoments& moments, double* weights,
                   double* updates, double* columns) {
    ParallelFor(context_, b.tasks(), [&](idx_t task, int) {
      const idx_t matrix = task / b.blocks, first = task % b.blocks * b.rows;
      double* sums = columns + task * b.C;
      std::fill_n(sums, b.C, 0.0);
      weights[task] = updates[task] = 0.0;
      for (idx_t r = first; r < std::min(first + b.rows, b.R); ++r) {
        const idx_t row = matrix * b.R + r;
        weights[task] += HWY_DYNAMIC_DISPATCH(AdafactorSquares)(w_ + row * b.C, b.C);
        const double sum = HWY_DYNAMIC_DISPATCH(AdafactorRow)(f_, g_ + row * b.C, b.C, sums);
        float& moment = moments.rows.data[row];
        moment = Blend(moment, sum / static_cast<double>(b.C), share_);
      }
    });
  }

  // Columns' moments, and the ratios of rows.
  void AddColumns(const Blocks& b, const AdafactorMoments& moments, const double* columns,
                  float* ratios) {
    ParallelFor(context_, b.matrices, [&](idx_t matrix, int) {
      const double* sums = columns + matrix * b.blocks * b.C;
      for (idx_t c = 0; c < b.C; ++c) {
        double sum = 0.0;
        for (idx_t block = 0; block < b.blocks; ++block) sum += sums[block * b.C + c];
        float& moment = moments.columns.data[matrix * b.C + c];
        moment = Blend(moment, sum / static_cast<double>(b.R), share_);
      }
      const float* rows = moments.rows.data + matrix * b.R;
      double mean = 0.0;
      for (idx_t r = 0; r < b.R; ++r) mean += static_cast<double>(rows[r]);
      mean = std::max(mean / static_cast<double>(b.R), spec_.eps1);
      for (idx_t r = 0; r < b.R; ++r) {
        ratios[matrix * b.R + r] = static_cast<float>(static_cast<double>(rows[r]) / mean);
      }
    });
  }

  // The rate of the update, from the sums of squares of the weights and of the update.
  void FindRate(double weights, double updates) {
    const auto count = static_cast<double>(size_);
    const double relative =
        std::min(spec_.learning_rate, 1.0 / std::sqrt(static_cast<double>(spec_.step)));
    const double rate = std::max(spec_.eps2, std::sqrt(weights / count)) * relative;
    const double clip = std::max(1.0, std::sqrt(updates / count) / spec_.update_clip);
    f_.rate = static_cast<float>(rate / clip);
  }

  Context& context_;
  const AdafactorSpec& spec_;
  float *w_, *g_;
  idx_t size_;
  double share_;
  AdafactorFactors f_{};
};

class Adafactor final : public Optimizer {
 public:
  explicit Adafactor(const OptimizerOptions& options) {
    spec_.beta2_decay = options.beta2_decay;
    spec_.update_clip = options.update_clip;
    CheckSpec(spec_);
  }

  std::vector<OptimizerSlot> State(std::span<const idx_t> shape) const override {
    std::vector<idx_t> rows(shape.begin(), shape.end());
    if (shape.size() < 2) return {{"variance", rows}};
    std::vector<idx_t> columns = rows;
    rows.pop_back();
    columns.erase(columns.end() - 2);
    return {{"row_variance", rows}, {"column_variance", columns}};
  }
  void Update(Context& context, const OptimizerStep& step,
              const OptimizedParameter& parameter) const override {
    AdafactorSpec spec = spec_;
    spec.learning_rate = step.learning_rate;
    spec.weight_decay = step.weight_decay;
    spec.step = step.step;
    spec.gradient_scale = step.gradient_scale;
    AdafactorMoments moments;
    if (parameter.shape.size() < 2) {
      moments.each = parameter.state[0];
    } else {
      moments.rows = parameter.state[0];
      moments.columns = parameter.state[1];
    }
    AdafactorStep(context, spec, parameter.shape, parameter.value, parameter.gradient, moments);
  }

 private:
  AdafactorSpec spec_;
};

}  // namespace

void AdafactorStep(Context& context, const AdafactorSpec& spec, std::span<const idx_t> shape,
                   const View<float, 1>& parameter, const View<float, 1>& gradient,
                   const AdafactorMoments& moments) {
  CheckSpec(spec);
  idx_t size = 1;
  for (const idx_t extent : shape) size *= extent;
  CheckArray("parameter", parameter, size);
  CheckArray("gradient", gradient, size);
  if (shape.size() < 2) {
    CheckArray("second moments", moments.each, size);
    if (size > 0) Step(context, spec, parameter, gradient).Vector(moments.each);
    return;
  }
  const idx_t R = shape[shape.size() - 2], C = shape[shape.size() - 1];
  CheckArray("second moments of rows", moments.rows, C == 0 ? moments.rows.extent[0] : size / C);
  CheckArray("second moments of columns", moments.columns,
             R == 0 ? moments.columns.extent[0] : size / R);
  if (size > 0) Step(context, spec, parameter, gradient).Matrices(shape, moments);
}

const OptimizerRow kAdafactorRow = {OptimizerKind::kAdafactor,
                                    "adafactor",
                                    [](const OptimizerOptions& options) {
                                      return std::unique_ptr<Optimizer>(new Adafactor(options));
                                    },
                                    {"beta2-decay", "update-clip"}};

}  // namespace longspan
#endif  // HWY_ONCE
