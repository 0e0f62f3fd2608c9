// All parameters of a model in one flat buffer, their gradients in a second one of the same shape:
// the optimiser, clipping and checkpoints walk over one array.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/tensor.h"

namespace longspan {

// The kind of a parameter decides its initial values and whether it has weight decay.
enum class ParameterKind { kMatrix, kEmbedding, kPosition, kBias, kNormWeight, kNormBias };

struct ParameterInfo {
  std::string name;  // Hugging Face's
  std::vector<idx_t> shape;
  ParameterKind kind = ParameterKind::kMatrix;
  idx_t offset = 0;  // in the flat buffers, elements
  idx_t size = 0;
};

// Built in two steps: Add every parameter, then Allocate or Borrow.
class ParameterTable {
 public:
  // Adds a parameter after the last one. Adjacent matrices of one width can be used as a single
  // taller one. `aligned` starts on a 64-byte boundary.
  void Add(std::string name, std::vector<idx_t> shape, ParameterKind kind, bool aligned = true);
  void Allocate();
  void AllocateGradients();  // zeroed; only training needs them
  // Memory of the caller's, extent() floats each, instead of the table's own.
  void Borrow(float* values, float* gradients);
  // Hugging Face's initialisation from counter-based random numbers: N(0, stddev) for matrices and
  // embeddings, N(0, position_stddev) for axial positions, ones and zeros for norms and biases.
  // With `which` only the parameters that it names, each the same as without.
  void Draw(std::uint64_t seed, double stddev, double position_stddev,
            const std::function<bool(std::string_view name)>& which = {});
  idx_t extent() const { return extent_; }  // of a flat buffer, padding included

  const std::vector<ParameterInfo>& list() const { return list_; }
  // Throws kUsage when there is no such parameter.
  const ParameterInfo& at(std::string_view name) const;
  bool contains(std::string_view name) const;
  idx_t count() const;  // numbers to learn, padding not counted

  View<float, 1> values();  // the flat buffers, padding included (always zero)
  View<const float, 1> values() const;
  View<float, 1> gradients() const;
  bool has_gradients() const { return gradient_data_ != nullptr; }

  View<float, 1> vector(std::string_view name);
  View<const float, 1> vector(std::string_view name) const;
  View<float, 1> vector_gradient(std::string_view name) const;
  // Shape (product of all axes but the last, last axis). `rows` > 0 includes the next parameters.
  View<float, 2> matrix(std::string_view name, idx_t rows = 0);
  View<const float, 2> matrix(std::string_view name, idx_t rows = 0) const;
  View<float, 2> matrix_gradient(std::string_view name, idx_t rows = 0) const;

  // Increases whenever writable values are returned. Bf16Weights are then rounded again. Get a
  // new view before each write: a write through an older view does not mark the bf16 weights as
  // stale.
  std::uint64_t generation() const { return generation_; }

 private:
  View<float, 2> MatrixOf(float* buffer, std::string_view name, idx_t rows) const;

  std::vector<ParameterInfo> list_;
  std::unordered_map<std::string, std::size_t> index_;
  idx_t extent_ = 0;
  Tensor values_, gradients_;  // empty when borrowed
  float *value_data_ = nullptr, *gradient_data_ = nullptr;
  std::uint64_t generation_ = 1;
};

}  // namespace longspan
