// Tensors as entries of the safetensors files that tests write.
#pragma once

#include <string>
#include <utility>

#include "io/safetensors.h"
#include "longspan/tensor.h"

namespace longspan::test {

// The tensor under this name; its memory must outlive the entry.
inline io::TensorEntry EntryOf(std::string name, const Tensor& tensor) {
  return {std::move(name), tensor.dtype(), tensor.shape(), tensor.raw()};
}

}  // namespace longspan::test
