// What the configurations of encoders (model/encoder_text_model.h has their Traits) share as a
// ModelConfig. A family adds what depends on its own fields.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/encoder_text_model.h"
#include "model/model_config.h"
#include "model/recomputed_layers.h"

namespace longspan {

template <class Traits>
class EncoderModelConfig : public ModelConfig {
 public:
  using Settings = typename Traits::Settings;

  explicit EncoderModelConfig(Settings config) : c_(std::move(config)) {}

  std::unique_ptr<ModelConfig> Clone() const override { return Traits::Config(c_); }
  TextModelInfo info() const override { return Traits::Info(c_); }
  std::vector<std::string> notes() const override { return c_.notes; }
  std::string Json() const override { return Traits::Json(c_); }
  std::uint64_t ParameterCount() const override { return longspan::ParameterCount(c_); }
  std::unique_ptr<TextModel> Make(ParameterMemory memory) const override {
    return std::make_unique<EncoderTextModel<Traits>>(typename Traits::Model(c_, memory));
  }
  bool PutHead(const WantedHead& wanted) override { return c_.Put(wanted); }
  StepPolicy Fit(idx_t rows, idx_t tokens, std::size_t bytes, StepPolicy policy,
                 int threads) const override {
    return FitByRecomputing(*this, c_.layers(), rows, tokens, bytes, policy, threads);
  }
  StepPolicy CutDownPolicy(const StepPolicy& policy) const override {
    StepPolicy cut = policy;
    if (cut.recompute > 0) cut.recompute = c_.layers();
    return cut;
  }

 protected:
  Settings c_;
};

}  // namespace longspan
