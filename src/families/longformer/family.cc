#include "families/longformer/family.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/errors.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/to_longformer.h"
#include "model/encoder_model_config.h"
#include "model/layer_pattern.h"

namespace longspan {

TextModelInfo InfoOf(const LongformerConfig& c) {
  TextModelInfo info = PostNormInfo(c);
  info.title = "Longformer";
  info.heads = kLongformerHeads;
  info.class_name = LongformerClass(c.head);
  info.global_tokens = true;
  info.global = c.global;
  return info;
}

namespace {

// The model as tasks and training see it.
struct LongformerTraits {
  using Model = Longformer;
  using Settings = LongformerConfig;
  static TextModelInfo Info(const LongformerConfig& config) { return InfoOf(config); }
  static std::string Json(const LongformerConfig& config) { return ToJson(config); }
  static std::unique_ptr<ModelConfig> Config(const LongformerConfig& config) {
    return MakeModelConfig(config);
  }
  static std::vector<io::TensorEntry> Entries(const Longformer& model) {
    return LongformerEntries(model);
  }
  static void Save(const Longformer& model, const std::filesystem::path& directory) {
    SaveLongformer(model, directory);
  }
};

// ---- its configuration --------------------------------------------------------------------------

class LongformerModelConfig final : public EncoderModelConfig<LongformerTraits> {
 public:
  using EncoderModelConfig::EncoderModelConfig;

  ModelDescription Describe() const override;

  void Resize(const ModelSizes& sizes) override {
    if (sizes.layers > 0) c_.attention_window = RepeatLayers(c_.attention_window, sizes.layers);
    ResizePostNorm(sizes, &c_);
  }
  void UseTokenizer(const text::Tokenizer& tokenizer) override {
    UseTokenizerPostNorm(tokenizer, "Longformer", &c_);
  }
  void GrowPositions(idx_t tokens) override { c_ = WithPositions(std::move(c_), tokens); }
  // The narrowest and the widest window stand for all.
  void CutDown(idx_t sets) override {
    const auto [least, most] =
        std::minmax_element(c_.attention_window.begin(), c_.attention_window.end());
    std::vector<idx_t> kinds = {*least};
    if (*most != *least) kinds.push_back(*most);
    c_.attention_window = RepeatLayers(kinds, sets * static_cast<idx_t>(kinds.size()));
  }

  // Without and with recomputation.
  std::vector<StepVariant> Variants(const StepPolicy& policy) const override {
    std::vector<StepVariant> variants;
    variants.push_back({"window", Clone(), policy, 1.0});
    variants.push_back(RecomputingVariant(*this, c_.layers(), policy));
    return variants;
  }
};

// ---- what `info` shows --------------------------------------------------------------------------

// "256, 128": one number if all are the same.
std::string ListText(const std::vector<idx_t>& numbers) {
  std::string text;
  bool same = true;
  for (const idx_t number : numbers) {
    same = same && number == numbers[0];
    text += fmt::format("{}{}", text.empty() ? "" : ", ", number);
  }
  return same ? fmt::format("{}", numbers[0]) : text;
}

ModelDescription LongformerModelConfig::Describe() const {
  ModelDescription shown;
  DescribePostNormSizes(c_, LongformerClass(c_.head), c_.layers(), &shown);
  std::vector<idx_t> windows;
  for (std::size_t i = 0; i < c_.layers(); ++i) windows.push_back(c_.window(i));
  shown.json["windows"] = windows;
  shown.json["attention_window"] = c_.attention_window;
  shown.lines.emplace_back("window", fmt::format("{} to each side (attention_window {})",
                                                 ListText(windows), ListText(c_.attention_window)));
  if (c_.global.kind != GlobalRule::Kind::kAuto) {
    shown.json["global"] = c_.global.Name();
    shown.lines.emplace_back("global tokens", c_.global.Name() + ", as in its training");
  }
  DescribePostNormTables(c_, c_.has_pooler(), ParameterCount(), &shown);
  return shown;
}

constexpr std::array<std::string_view, 1> kOwnLongformerFields = {"attention_window"};
constexpr std::array<std::string_view, 3> kLongformerPresets = {"tiny", "small", "base"};

}  // namespace

std::unique_ptr<TextModel> MakeTextModel(Longformer model) {
  return std::make_unique<EncoderTextModel<LongformerTraits>>(std::move(model));
}

std::unique_ptr<ModelConfig> MakeModelConfig(LongformerConfig config) {
  return std::make_unique<LongformerModelConfig>(std::move(config));
}

const ModelFamily& LongformerFamily() {
  static const ModelFamily family = [] {
    ModelFamily f;
    f.type = "longformer";
    f.title = "Longformer";
    f.heads = kLongformerHeads;
    f.own_fields = kOwnLongformerFields;
    f.presets = kLongformerPresets;
    f.preset = [](std::string_view name) { return MakeModelConfig(LongformerPreset(name)); };
    f.read = [](const ModelFolder& folder) {
      return MakeModelConfig(LoadLongformerConfig(folder));
    };
    f.parse = [](std::string_view text, std::string_view source) {
      return MakeModelConfig(ParseLongformerConfig(text, source));
    };
    f.complete = [](const ModelFolder& folder) {
      return MakeModelConfig(LongformerConfigOf(folder));
    };
    f.load = [](const ModelFolder& folder, const LoadOptions& options,
                std::vector<std::string>* warnings) {
      return MakeTextModel(LoadLongformer(folder, options, warnings));
    };
    f.check_tensors = CheckLongformerTensors;
    f.verify = VerifyLongformer;
    f.convert = ToLongformer;
    f.names_to_write = LongformerNamesToWrite;
    return f;
  }();
  return family;
}

}  // namespace longspan
