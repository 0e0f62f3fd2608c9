// bf16 weights: copies of the matrices that dense products read. The optimizer updates the fp32
// master weights, and copies are rounded again when those have changed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "model/parameters.h"

namespace longspan {

// kKept: bf16 weights of all layers are kept until the parameters change. kInTurn: each layer's are
// made whenever it runs, in one place for all layers. kInTurn takes the memory of one layer and
// costs 6 bytes of memory traffic per number and pass.
enum class LayerCopies { kKept, kInTurn };

class Bf16Weights {
 public:
  // The owner of a parameter: the index of a layer, or one of these.
  static constexpr int kNotCopied = -2, kNoLayer = -1;
  using LayerOf = std::function<int(const ParameterInfo&)>;

  // Books 2 bytes for every number that is copied; in turn, of the largest layer.
  Bf16Weights(const ParameterTable& table, LayerCopies copies, const LayerOf& layer_of);

  // Rounds the table's parameters if they were written since the last call; with kInTurn, and while
  // values are still on their way (ParameterTable::Expect), only those of no layer. Threads that
  // share a model may call it at once: the first one rounds. Cost: 6 bytes of memory traffic per
  // number.
  void Refresh(Context& context, const ParameterTable& table);
  // Call before a layer runs and after Refresh. Rounds the layer's matrices if needed.
  void Enter(Context& context, const ParameterTable& table, std::size_t layer);

  LayerCopies copies() const { return copies_; }

  std::size_t Bytes() const { return static_cast<std::size_t>(values_.size()) * 2; }

  // Returns the bf16 copy of ParameterTable::matrix(id, rows). Throws kUsage if the parameter has
  // no copy, another layer's copy is in its place, or it was not rounded since Refresh.
  View<const bfloat16, 2> matrix(ParameterId id, idx_t rows = 0) const;

  // How many numbers were rounded since the start.
  std::uint64_t rounded() const { return rounded_; }

 private:
  // Where the copy of a parameter is.
  struct Place {
    int layer = kNotCopied;
    idx_t offset = 0;  // in the copy
    std::array<idx_t, 2> shape{};
  };
  // Parameters of one layer that are adjacent in the table and in the copy.
  struct Run {
    int layer = kNoLayer;
    idx_t from = 0, to = 0, size = 0;
  };
  void Add(const ParameterInfo& info, std::size_t number, int layer, idx_t* extent);
  void Round(Context& context, const ParameterTable& table, int layer);
  // With kKept. Call it with the mutex held.
  void RoundIfStale(Context& context, const ParameterTable& table, std::size_t layer);

  LayerCopies copies_;
  std::vector<Place> places_;  // by parameter
  std::vector<Run> runs_;
  Tensor values_;
  std::mutex refreshing_;
  std::uint64_t generation_ = 0;       // of the parameters that were copied; 0: none
  std::vector<std::uint64_t> layers_;  // with kKept: that of each layer's
  int entered_ = kNoLayer;  // the layer whose matrices are there, of those that take turns
  std::uint64_t rounded_ = 0;
};

// Those of an encoder: the matrices of its layers, whose names begin with `layers` and the layer's
// index, and `tall`, a head's matrix of no layer, or kNoParameter.
std::unique_ptr<Bf16Weights> EncoderBf16Weights(const ParameterTable& table, LayerCopies copies,
                                                const std::string& layers, ParameterId tall);

}  // namespace longspan
