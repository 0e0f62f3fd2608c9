// bf16 copies of the matrices that dense products read: the fp32 parameters stay the masters, which
// the optimiser updates, and a copy is made again when they have changed.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/context.h"
#include "model/parameters.h"

namespace longspan {

class Bf16Weights {
 public:
  // Books 2 bytes for every number of the parameters that `wanted` says yes to.
  Bf16Weights(const ParameterTable& table, const std::function<bool(const ParameterInfo&)>& wanted);

  // Rounds the parameters of the same table, unless nobody has asked for writable values since the
  // last time. Cost: 6 bytes of memory traffic a number.
  void Refresh(Context& context, const ParameterTable& table);

  std::size_t Bytes() const { return static_cast<std::size_t>(values_.size()) * 2; }

  // The copy of ParameterTable::matrix(name, rows). kUsage when there is none of this name.
  View<const bfloat16, 2> matrix(std::string_view name, idx_t rows = 0) const;

 private:
  struct Place {
    idx_t offset = 0;  // in the copy
    std::array<idx_t, 2> shape{};
  };
  // Parameters that lie side by side in the table, and in the copy.
  struct Run {
    idx_t from = 0, to = 0, size = 0;
  };

  std::unordered_map<std::string, Place> places_;
  std::vector<Run> runs_;
  Tensor values_;
  std::uint64_t generation_ = 0;  // of the parameters that were copied; 0: none
};

}  // namespace longspan
