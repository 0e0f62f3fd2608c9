// One attention mechanism on random tensors: run, and compared row by row with its definition.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "catalogue/oracle.h"
#include "catalogue/spec.h"
#include "longspan/tensor.h"

namespace longspan::catalogue {

struct Mechanism;

struct ProblemOptions {
  idx_t batch = 1, tokens = 16384, heads = 12, head_size = 64;
  MechanismSpec spec;
  bool bf16 = false;       // q, k, v, out and dout
  std::uint64_t seed = 0;  // another one draws other tensors
};

// Bytes of a problem's tensors.
std::uint64_t ProblemBytes(const ProblemOptions& options);

// A tensor of a problem, row-major, in the problem's memory.
struct NamedTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<idx_t> shape;
  const void* data = nullptr;
};

// A row that the mechanism computed, beside what it should be. Gradients are named d...
struct ComparedRow {
  std::string_view what;
  idx_t head = 0, token = 0;
  std::span<const float> actual;
  std::vector<double> expected;
  std::vector<double> naive;  // by a naive implementation of the same precision, if asked for
};

// ||actual - expected|| / ||expected||. An expected row of zeros is compared as it is: inputs are
// near 1. NaN if something is.
double RelativeError(const ComparedRow& row);
// More than rounding explains.
double LargestRowError(bool bf16);

struct RowsToCompare {
  bool backward = true;  // gradients too
  bool all = false;      // every row of every head; else 64 random queries and as many keys
  bool naive = false;    // ComparedRow::naive
};

class AttentionProblem {
 public:
  virtual ~AttentionProblem() = default;

  // Everything that the mechanism needs before each forward pass: LSH hashes and sorts in it.
  virtual void Forward(Context& context) = 0;
  // Gradients accumulate on what earlier calls left.
  virtual void Backward(Context& context) = 0;
  virtual void ZeroGradients() = 0;

  // (query, key) pairs of all heads that count as useful work.
  virtual double Pairs() const = 0;

  // Runs the passes on zeroed gradients, then calls take(row) for row after row.
  virtual void CompareRows(Context& context, const RowsToCompare& which,
                           const std::function<void(const ComparedRow&)>& take) = 0;

  // What went in and, after CompareRows, what came out: q, k, v, dout, out, dq, dk, dv,
  // (B, H, T, D) in fp32; of the shared form qk and dqk; of LSH rotations (H, D, R, columns) and
  // buckets (B, H, R, T) as I32.
  virtual std::vector<NamedTensor> Tensors() const = 0;
  // Everything that the passes wrote, one tensor after another.
  virtual std::vector<float> Results() = 0;
};

// For a mechanism with a separate form and a relation.
std::unique_ptr<AttentionProblem> MakeSeparateProblem(const Mechanism& mechanism,
                                                      const ProblemOptions& options);

}  // namespace longspan::catalogue
