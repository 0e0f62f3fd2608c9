#include "tasks/vector_modules.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "base/errors.h"
#include "base/limits.h"
#include "gemm/gemm.h"
#include "io/json.h"
#include "io/tensor_source.h"
#include "longspan/files.h"
#include "tasks/activations.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json ReadConfig(const fs::path& file) {
  json config = io::ReadJsonFile(file);
  io::CheckObject(config, io::Escape(file.string()));
  return config;
}

void CheckFields(const json& config, std::string_view source) {
  for (const char* field : {"module_input_name", "module_output_name"}) {
    const auto name = io::GetOptionalString(config, field, source);
    Check(!name || *name == "sentence_embedding", ErrorCode::kFormat,
          "{}: {} '{}' is not the vector of a text (sentence_embedding), and nothing else is "
          "known here",
          source, field, io::Escape(name.value_or("")));
  }
}

// A module's weights, each of the shape that its config says, and no others.
class Weights {
 public:
  explicit Weights(const fs::path& folder) : source_(io::OpenModel(folder)) {}

  Tensor Take(std::string_view name, const std::vector<idx_t>& shape) {
    ++taken_;
    const io::TensorInfo& info = source_->Info(name);
    Check(info.shape == shape, ErrorCode::kFormat,
          "{}: {} has the shape [{}], but config.json says [{}]", source_->source(), name,
          fmt::join(info.shape, ", "), fmt::join(shape, ", "));
    return source_->ReadFloat(name);
  }
  void CheckNoOthers(const std::vector<std::string_view>& known) const {
    if (source_->tensors().size() == taken_) return;
    for (const auto& [name, info] : source_->tensors()) {
      Check(std::find(known.begin(), known.end(), name) != known.end(), ErrorCode::kFormat,
            "{}: has a tensor '{}', which a module with this config.json has not",
            source_->source(), io::Escape(name));
    }
  }

 private:
  std::unique_ptr<io::TensorSource> source_;
  std::size_t taken_ = 0;
};

void CheckWidth(idx_t width, idx_t wanted, std::string_view field, std::string_view source) {
  Check(width == wanted, ErrorCode::kFormat,
        "{}: {} {} is not {}, the width of the vectors that come to it", source, field, wanted,
        width);
}

[[noreturn]] void RefuseToTrain(std::string_view kind, std::string_view source) {
  Fail(ErrorCode::kUsage,
       "{}: a module {} has weights, which are not trained; train a folder without it", source,
       kind);
}

class NormalizeModule final : public VectorModule {
 public:
  idx_t WidthOf(idx_t width) const override { return width; }
  bool normalizes() const override { return true; }
  Tensor Apply(Context&, Tensor vectors) const override {
    const idx_t width = vectors.shape()[1];
    for (idx_t row = 0; row < vectors.shape()[0]; ++row) {
      const std::span<float> vector(vectors.data<float>() + row * width,
                                    static_cast<std::size_t>(width));
      double squares = 0.0;
      for (const float x : vector) squares += double{x} * x;
      if (squares == 0.0) continue;
      const double scale = 1.0 / std::sqrt(squares);
      for (float& x : vector) x = static_cast<float>(x * scale);
    }
    return vectors;
  }
  // x / |x| turns only: what d has of the vector's own direction is lost.
  Tensor Backward(const Tensor& vectors, Tensor d) const override {
    const View<const float, 2> x = vectors.view<2>();
    for (idx_t row = 0; row < x.extent[0]; ++row) {
      double squares = 0.0, along = 0.0;
      for (idx_t c = 0; c < x.extent[1]; ++c) {
        squares += double{x(row, c)} * x(row, c);
        along += double{x(row, c)} * d.view<2>()(row, c);
      }
      const double length = std::sqrt(squares);
      for (idx_t c = 0; c < x.extent[1]; ++c) {
        float& own = d.view<2>()(row, c);
        own = squares == 0.0 ? 0.0f
                             : static_cast<float>((own - along / squares * x(row, c)) / length);
      }
    }
    return d;
  }
};

class TruncateModule final : public VectorModule {
 public:
  explicit TruncateModule(idx_t width) : width_(width) {}
  idx_t WidthOf(idx_t width) const override { return std::min(width, width_); }
  Tensor Apply(Context&, Tensor vectors) const override {
    const idx_t rows = vectors.shape()[0], width = vectors.shape()[1];
    if (width <= width_) return vectors;
    Tensor first({rows, width_});
    for (idx_t row = 0; row < rows; ++row) {
      std::copy_n(vectors.data<float>() + row * width, width_, first.data<float>() + row * width_);
    }
    return first;
  }
  Tensor Backward(const Tensor& vectors, Tensor d) const override {
    if (vectors.shape()[1] <= width_) return d;
    Tensor all(vectors.shape());
    for (idx_t row = 0; row < all.shape()[0]; ++row) {
      std::copy_n(d.data<float>() + row * width_, width_, all.data<float>() + row * all.shape()[1]);
    }
    return all;
  }

 private:
  idx_t width_;
};

class DenseModule final : public VectorModule {
 public:
  explicit DenseModule(const fs::path& folder) {
    const fs::path file = folder / "config.json";
    source_ = io::Escape(file.string());
    const json config = ReadConfig(file);
    CheckFields(config, source_);
    const idx_t most = limits::kMostVectorChannels;
    in_ = io::GetInt(config, "in_features", 1, most, io::kRequired, source_);
    out_ = io::GetInt(config, "out_features", 1, most, io::kRequired, source_);
    // What torch's Dense has when the config is silent.
    activation_ = ActivationOf(io::GetString(config, "activation_function",
                                             "torch.nn.modules.activation.Tanh", source_),
                               "activation_function", source_)
                      .value;
    use_residual_ = io::GetBool(config, "use_residual", false, source_);
    Weights weights(folder);
    std::vector<std::string_view> names = {"linear.weight"};
    weight_ = weights.Take("linear.weight", {out_, in_});
    if (io::GetBool(config, "bias", true, source_)) {
      bias_ = weights.Take("linear.bias", {out_});
      names.push_back("linear.bias");
    }
    if (use_residual_ && in_ != out_) {
      residual_ = weights.Take("residual.weight", {out_, in_});
      names.push_back("residual.weight");
    }
    weights.CheckNoOthers(names);
  }

  idx_t WidthOf(idx_t width) const override {
    CheckWidth(width, in_, "in_features", source_);
    return out_;
  }

  Tensor Apply(Context& context, Tensor vectors) const override {
    const idx_t rows = vectors.shape()[0];
    Tensor result({rows, out_});
    if (rows == 0) return result;
    const View<const float, 2> x = std::as_const(vectors).view<2>();
    const float* bias = bias_.size() > 0 ? bias_.data<float>() : nullptr;
    gemm::Forward(context, x, weight_.view<2>(), bias, result.view<2>());
    float* y = result.data<float>();
    for (idx_t i = 0; i < result.size(); ++i) y[i] = static_cast<float>(activation_(double{y[i]}));
    if (!use_residual_) return result;
    if (in_ != out_) {
      gemm::Forward(context, x, residual_.view<2>(), nullptr, result.view<2>(),
                    gemm::Store::kAccumulate);
      return result;
    }
    for (idx_t i = 0; i < result.size(); ++i) y[i] += x.data[i];
    return result;
  }
  void CheckTrains() const override { RefuseToTrain("Dense", source_); }
  Tensor Backward(const Tensor& /*vectors*/, Tensor /*d*/) const override {
    RefuseToTrain("Dense", source_);
  }

 private:
  std::string source_;
  idx_t in_ = 0, out_ = 0;
  bool use_residual_ = false;
  double (*activation_)(double) = nullptr;
  Tensor weight_, bias_, residual_;  // (out, in), (out), (out, in); no bias: empty
};

class LayerNormModule final : public VectorModule {
 public:
  explicit LayerNormModule(const fs::path& folder) {
    const fs::path file = folder / "config.json";
    source_ = io::Escape(file.string());
    const json config = ReadConfig(file);
    width_ =
        io::GetInt(config, "dimension", 1, limits::kMostVectorChannels, io::kRequired, source_);
    Weights weights(folder);
    scale_ = weights.Take("norm.weight", {width_});
    shift_ = weights.Take("norm.bias", {width_});
    weights.CheckNoOthers({"norm.weight", "norm.bias"});
  }

  idx_t WidthOf(idx_t width) const override {
    CheckWidth(width, width_, "dimension", source_);
    return width_;
  }

  Tensor Apply(Context&, Tensor vectors) const override {
    constexpr double kEpsilon = 1e-5;  // torch.nn.LayerNorm's
    const auto n = static_cast<double>(width_);
    for (idx_t row = 0; row < vectors.shape()[0]; ++row) {
      float* x = vectors.data<float>() + row * width_;
      double mean = 0.0, variance = 0.0;
      for (idx_t c = 0; c < width_; ++c) mean += x[c] / n;
      for (idx_t c = 0; c < width_; ++c) variance += (x[c] - mean) * (x[c] - mean) / n;
      const double scale = 1.0 / std::sqrt(variance + kEpsilon);
      for (idx_t c = 0; c < width_; ++c) {
        x[c] = static_cast<float>((x[c] - mean) * scale * scale_.data<float>()[c] +
                                  shift_.data<float>()[c]);
      }
    }
    return vectors;
  }
  void CheckTrains() const override { RefuseToTrain("LayerNorm", source_); }
  Tensor Backward(const Tensor& /*vectors*/, Tensor /*d*/) const override {
    RefuseToTrain("LayerNorm", source_);
  }

 private:
  std::string source_;
  idx_t width_ = 0;
  Tensor scale_, shift_;
};

}  // namespace

std::shared_ptr<const VectorModule> MakeNormalize() { return std::make_shared<NormalizeModule>(); }

std::shared_ptr<const VectorModule> MakeTruncate(idx_t width) {
  return std::make_shared<TruncateModule>(width);
}

std::shared_ptr<const VectorModule> ReadDense(const fs::path& folder) {
  return std::make_shared<DenseModule>(folder);
}

std::shared_ptr<const VectorModule> ReadLayerNorm(const fs::path& folder) {
  return std::make_shared<LayerNormModule>(folder);
}

void CheckOnVectors(const fs::path& config_file) {
  std::error_code unknown;
  if (!fs::exists(config_file, unknown)) return;  // Normalize had no files once
  CheckFields(ReadConfig(config_file), io::Escape(config_file.string()));
}

}  // namespace longspan
