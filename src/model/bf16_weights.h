// bf16 copies of the matrices that dense products read: the fp32 parameters stay the masters, which
// the optimiser updates, and a copy is made again when they have changed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/context.h"
#include "model/parameters.h"

namespace longspan {

// When layers' matrices are copied: once for all steps until they change, or each time that a layer
// runs, to one place for all layers. The second takes a layer's bytes instead of all layers', for 6
// bytes of memory traffic a number and pass.
enum class LayerCopies { kKept, kInTurn };

class Bf16Weights {
 public:
  // What a parameter belongs to: a layer's number, or one of these.
  static constexpr int kNotCopied = -2, kNoLayer = -1;
  using LayerOf = std::function<int(const ParameterInfo&)>;

  // Books 2 bytes for every number that is copied; in turn, of the largest layer.
  Bf16Weights(const ParameterTable& table, LayerCopies copies, const LayerOf& layer_of);

  // Rounds the parameters of the same table, unless nobody has asked for writable values since the
  // last time; in turn, those of no layer. Cost: 6 bytes of memory traffic a number.
  void Refresh(Context& context, const ParameterTable& table);
  // Before layer `layer` runs, behind Refresh: rounds its matrices if they are not there.
  void Enter(Context& context, const ParameterTable& table, std::size_t layer);

  LayerCopies copies() const { return copies_; }

  std::size_t Bytes() const { return static_cast<std::size_t>(values_.size()) * 2; }

  // The copy of ParameterTable::matrix(name, rows). kUsage when there is none of this name, or
  // another layer's is in its place.
  View<const bfloat16, 2> matrix(std::string_view name, idx_t rows = 0) const;

 private:
  struct Place {
    int layer = kNoLayer;
    idx_t offset = 0;  // in the copy
    std::array<idx_t, 2> shape{};
  };
  // Parameters of one layer that lie side by side in the table, and in the copy.
  struct Run {
    int layer = kNoLayer;
    idx_t from = 0, to = 0, size = 0;
  };
  void Add(const ParameterInfo& info, int layer, idx_t* extent);
  void Round(Context& context, const ParameterTable& table, int layer);

  LayerCopies copies_;
  std::unordered_map<std::string, Place> places_;
  std::vector<Run> runs_;
  Tensor values_;
  std::uint64_t generation_ = 0;  // of the parameters that were copied; 0: none
  int entered_ = kNoLayer;        // the layer whose matrices are there, of those that take turns
};

}  // namespace longspan
