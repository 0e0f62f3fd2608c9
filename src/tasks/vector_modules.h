// The modules of a sentence-transformers folder that follow the pooling.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// Takes vectors (texts, width) and gives vectors (texts, WidthOf(width)), float.
class VectorModule {
 public:
  virtual ~VectorModule() = default;
  // The width of what comes out. kFormat when `width` is not what the module takes.
  virtual idx_t WidthOf(idx_t width) const = 0;
  virtual Tensor Apply(Context& context, Tensor vectors) const = 0;
  // kUsage, with the module's name, if it has weights: they are not trained.
  virtual void CheckTrains() const {}
  // The gradient for `vectors`, which Apply was given, from d, that of what came out. Errors as
  // CheckTrains.
  virtual Tensor Backward(const Tensor& vectors, Tensor d) const = 0;
  // To length 1: what --normalize and --no-normalize are about.
  virtual bool normalizes() const { return false; }
};
using VectorModules = std::vector<std::shared_ptr<const VectorModule>>;

// To length 1; a vector without a direction stays zero.
std::shared_ptr<const VectorModule> MakeNormalize();

// The first `width` numbers of each vector; vectors of no more stay as they are.
std::shared_ptr<const VectorModule> MakeTruncate(idx_t width);

// The folder of a module, with config.json and weights (model.safetensors, pytorch_model.bin).
// kFormat for what the module cannot do, for weights that are missing, too many or of another
// shape than the config says; kIo for what cannot be read.
//
// Dense: activation_function(x linear.weight^T + linear.bias), with use_residual x (or
// x residual.weight^T) on top.
std::shared_ptr<const VectorModule> ReadDense(const std::filesystem::path& folder);
// The layer norm of vectors: norm.weight, norm.bias.
std::shared_ptr<const VectorModule> ReadLayerNorm(const std::filesystem::path& folder);

// Newer modules say on which of the model's results they work. kFormat unless it is the vectors of
// texts.
void CheckOnVectors(const std::filesystem::path& config_file);

}  // namespace longspan
