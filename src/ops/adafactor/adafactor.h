// Adafactor (Shazeer, Stern 2018) as torch.optim.Adafactor defines it: second moments of a matrix
// as one number a row and one a column.
#pragma once

#include <limits>
#include <span>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "ops/optimizer.h"

namespace longspan {

struct AdafactorSpec {
  double learning_rate =
      1e-2;                   // relative to the parameter's root mean square; 1/sqrt(step) at most
  double beta2_decay = -0.8;  // step^this is the share of the new squares in the second moments
  double update_clip = 1.0;   // d: largest root mean square of an update before its rate
  double weight_decay = 0.0;
  // Least second moment, squared, and least root mean square of a parameter.
  double eps1 = static_cast<double>(std::numeric_limits<float>::epsilon()), eps2 = 1e-3;
  idx_t step = 1;               // counts from 1
  float gradient_scale = 1.0f;  // clipping
};

// The second moments, contiguous. A parameter of shape (..., R, C) has `rows` (..., R) and
// `columns` (..., C); one with fewer than two axes has `each` of its shape.
struct AdafactorMoments {
  View<float, 1> rows, columns, each;
};

// One update of a contiguous parameter of this shape. Sets the gradient to zero. Three passes over
// the gradient and two over the parameter, 28 bytes a number; scratch of a double for each row, and
// for each column of at most 64 blocks of rows. kUsage for numbers out of their range and arrays
// that do not match the shape.
void AdafactorStep(Context& context, const AdafactorSpec& spec, std::span<const idx_t> shape,
                   const View<float, 1>& parameter, const View<float, 1>& gradient,
                   const AdafactorMoments& moments);

extern const OptimizerRow kAdafactorRow;

}  // namespace longspan
