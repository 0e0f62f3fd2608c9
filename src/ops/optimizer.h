// What an optimizer is: the one interface that memory, files and the training loop know. An
// optimizer is a folder beside src/ops/adamw with an OptimizerRow, and a line of the table in
// src/model/optimizers.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/optimizer.h"
#include "longspan/tensor.h"

namespace longspan {

// A tensor of fp32 that an optimizer remembers of one parameter, zero before the first update.
struct OptimizerSlot {
  const char* name;  // in files: "first_moment"
  std::vector<idx_t> shape;

  idx_t size() const {
    idx_t size = 1;
    for (const idx_t extent : shape) size *= extent;
    return size;
  }
};

// What an update of one parameter depends on beside the options.
struct OptimizerStep {
  idx_t step = 1;               // counts from 1
  double learning_rate = 1e-3;  // of this update
  double weight_decay = 0.0;    // of this parameter
  float gradient_scale = 1.0f;  // clipping
};

// One parameter: contiguous arrays of its size, and its state in the order of State().
struct OptimizedParameter {
  std::span<const idx_t> shape;
  View<float, 1> value, gradient;
  std::span<const View<float, 1>> state;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // What it remembers of a parameter of this shape.
  virtual std::vector<OptimizerSlot> State(std::span<const idx_t> shape) const = 0;
  // Whether an update of an element depends on nothing but its value, its gradient and its state,
  // which have the parameter's shape: then parts of a parameter may be updated as if each were one.
  virtual bool elementwise() const { return false; }
  // Updates the parameter and its state, and sets the gradient to zero. The bits do not depend on
  // the number of threads.
  virtual void Update(Context& context, const OptimizerStep& step,
                      const OptimizedParameter& parameter) const = 0;
};

struct OptimizerRow {
  OptimizerKind kind;
  const char* name;
  // The optimizer of these options; kUsage names the one that is out of its range.
  std::unique_ptr<Optimizer> (*make)(const OptimizerOptions& options);
  // Names of options that no other one has.
  std::vector<std::string_view> own_options;
};

}  // namespace longspan
