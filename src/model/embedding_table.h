// A table of the parameter table whose rows are looked up by number: of tokens, positions or types.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "model/parameters.h"
#include "ops/embedding/embedding.h"

namespace longspan {

class EmbeddingTable {
 public:
  // Registers `name` (rows, C).
  EmbeddingTable(std::string name, idx_t rows, idx_t channels, ParameterTable& parameters)
      : id_(parameters.Add(std::move(name), {rows, channels}, ParameterKind::kEmbedding)) {}

  ParameterId id() const { return id_; }

  // out (T, C) = the rows of `ids`. kFormat naming position and id if there is no such row.
  void Forward(Context& context, const ParameterTable& parameters,
               std::span<const std::int32_t> ids, const View<float, 2>& out) const {
    EmbeddingForward(context, ids, parameters.matrix(id_), out);
  }
  // The gradient of the table += dout (T, C), row by row, if it is trained.
  void Backward(Context& context, const ParameterTable& parameters,
                std::span<const std::int32_t> ids, const View<const float, 2>& dout) const {
    if (!parameters.trains(id_)) return;
    EmbeddingBackward(context, ids, dout, parameters.matrix_gradient(id_));
  }

 private:
  ParameterId id_;
};

}  // namespace longspan
