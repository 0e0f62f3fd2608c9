// All parameters of a model in one flat buffer, their gradients in a second one of the same shape:
// the optimiser, clipping and checkpoints walk over one array.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
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

// The initial values of a matrix: normal, cut at +-cutoff * stddev if there is a cutoff.
struct InitialDraw {
  double stddev = 0.02;
  std::optional<double> cutoff = {};
};

// The number of a parameter in its table. Add or Find tells it once, and a layer keeps it: a name
// is looked up in a map, a number is not.
enum class ParameterId : std::uint32_t {};
inline constexpr ParameterId kNoParameter{std::numeric_limits<std::uint32_t>::max()};

// Whose memory a table's values take: zeroed memory of its own, or what Borrow is given before the
// first use.
enum class ParameterMemory { kOwn, kBorrowed };

class ParameterWriter;

// Built in two steps: Add every parameter, then Allocate or Borrow. Whoever has a const table reads
// values and adds to gradients; values are written through Write.
class ParameterTable {
 public:
  // Adds a parameter after the last one. Adjacent matrices of one width can be used as a single
  // taller one. `aligned` starts on a 64-byte boundary.
  ParameterId Add(std::string name, std::vector<idx_t> shape, ParameterKind kind,
                  bool aligned = true);
  void Allocate();
  void AllocateGradients();  // zeroed; only training needs them
  // Memory of the caller's, extent() floats each, instead of the table's own.
  void Borrow(float* values, float* gradients);
  // Hugging Face's initialisation from counter-based random numbers: N(0, stddev) for matrices and
  // embeddings, N(0, position_stddev) for axial positions, ones and zeros for norms and biases.
  // With `which` only the parameters that it names, each the same as without.
  void Draw(std::uint64_t seed, double stddev, double position_stddev,
            const std::function<bool(std::string_view name)>& which = {});
  // The same with a distribution for each matrix and embedding.
  void Draw(std::uint64_t seed, const std::function<InitialDraw(const ParameterInfo& info)>& draw,
            const std::function<bool(std::string_view name)>& which = {});
  idx_t extent() const { return extent_; }  // of a flat buffer, padding included

  const std::vector<ParameterInfo>& list() const { return list_; }  // by number
  // Throws kUsage when there is no such parameter.
  ParameterId Find(std::string_view name) const;
  const ParameterInfo& at(ParameterId id) const { return list_[static_cast<std::size_t>(id)]; }
  const ParameterInfo& at(std::string_view name) const { return at(Find(name)); }
  bool contains(std::string_view name) const;
  idx_t count() const;  // numbers to learn, padding not counted

  View<const float, 1> values() const;  // the flat buffers, padding included (always zero)
  View<float, 1> gradients() const;
  bool has_gradients() const { return gradient_data_ != nullptr; }

  View<const float, 1> vector(ParameterId id) const;
  View<float, 1> vector_gradient(ParameterId id) const;
  // Shape (product of all axes but the last, last axis). `rows` > 0 includes the next parameters.
  View<const float, 2> matrix(ParameterId id, idx_t rows = 0) const;
  View<float, 2> matrix_gradient(ParameterId id, idx_t rows = 0) const;
  // By name: for files, checks and tests, not for what runs at every call.
  View<const float, 1> vector(std::string_view name) const { return vector(Find(name)); }
  View<float, 1> vector_gradient(std::string_view name) const {
    return vector_gradient(Find(name));
  }
  View<const float, 2> matrix(std::string_view name) const { return matrix(Find(name)); }
  View<float, 2> matrix_gradient(std::string_view name) const {
    return matrix_gradient(Find(name));
  }

  ParameterWriter Write();
  // Increases when a writer ends. Bf16Weights are then rounded again.
  std::uint64_t generation() const { return generation_; }

 private:
  friend class ParameterWriter;
  View<float, 1> VectorOf(float* buffer, ParameterId id) const;
  View<float, 2> MatrixOf(float* buffer, ParameterId id, idx_t rows) const;

  std::vector<ParameterInfo> list_;
  std::unordered_map<std::string, std::size_t> index_;
  idx_t extent_ = 0;
  Tensor values_, gradients_;  // empty when borrowed
  float *value_data_ = nullptr, *gradient_data_ = nullptr;
  std::uint64_t generation_ = 1;
};

// Writes values. When it ends, the bf16 weights of the table are stale: views of it do not outlive
// it.
class ParameterWriter {
 public:
  explicit ParameterWriter(ParameterTable& table) : table_(table) {}
  ~ParameterWriter() { ++table_.generation_; }
  ParameterWriter(const ParameterWriter&) = delete;
  ParameterWriter& operator=(const ParameterWriter&) = delete;

  View<float, 1> values() const { return {table_.value_data_, {table_.extent_}}; }
  View<float, 1> vector(ParameterId id) const { return table_.VectorOf(table_.value_data_, id); }
  View<float, 1> vector(std::string_view name) const { return vector(table_.Find(name)); }
  View<float, 2> matrix(std::string_view name) const {
    return table_.MatrixOf(table_.value_data_, table_.Find(name), 0);
  }

 private:
  ParameterTable& table_;
};

inline ParameterWriter ParameterTable::Write() { return ParameterWriter(*this); }

}  // namespace longspan
