#include "families/bert/family.h"

#include <algorithm>
#include <utility>

#include "model/encoder_model_config.h"
#include "model/post_norm_files.h"

namespace longspan {

TextModelInfo InfoOf(const BertConfig& c) {
  TextModelInfo info = PostNormInfo(c);
  info.title = c.type->title;
  info.heads = c.type->heads;
  info.class_name = c.class_name();
  return info;
}

namespace {

// The model as tasks and training see it.
struct BertTraits {
  using Model = Bert;
  using Settings = BertConfig;
  static TextModelInfo Info(const BertConfig& config) { return InfoOf(config); }
  static std::string Json(const BertConfig& config) { return ToJson(config); }
  static std::unique_ptr<ModelConfig> Config(const BertConfig& config) {
    return MakeModelConfig(config);
  }
  static std::vector<io::TensorEntry> Entries(const Bert& model) {
    return PostNormEntries(model.parameters());
  }
  static void Save(const Bert& model, const std::filesystem::path& directory) {
    SaveBert(model, directory);
  }
};

class BertModelConfig final : public EncoderModelConfig<BertTraits> {
 public:
  using EncoderModelConfig::EncoderModelConfig;

  ModelDescription Describe() const override {
    ModelDescription shown;
    DescribePostNormSizes(c_, c_.class_name(), c_.layers(), &shown);
    shown.json["attention"] = "full";
    shown.lines.emplace_back("attention", "full: a token sees its whole text");
    DescribePostNormTables(c_, c_.has_pooler(), ParameterCount(), &shown);
    return shown;
  }
  void Resize(const ModelSizes& sizes) override {
    if (sizes.layers > 0) c_.layer_count = static_cast<std::size_t>(sizes.layers);
    ResizePostNorm(sizes, &c_);
  }
  void UseTokenizer(const text::Tokenizer& tokenizer) override {
    UseTokenizerPostNorm(tokenizer, c_.type->title, &c_);
  }
  void GrowPositions(idx_t tokens) override {
    c_.max_positions = std::max(c_.max_positions, tokens + c_.first_position());
  }
  // All layers are of one kind.
  void CutDown(idx_t sets) override { c_.layer_count = static_cast<std::size_t>(sets); }
  // Without and with recomputation.
  std::vector<StepVariant> Variants(const StepPolicy& policy) const override {
    std::vector<StepVariant> variants;
    variants.push_back({"full", Clone(), policy, 1.0});
    variants.push_back(RecomputingVariant(*this, c_.layers(), policy));
    return variants;
  }
};

// The row of type `index`, whose preset is the only thing that depends on it before a config is
// read.
template <std::size_t index>
const ModelFamily& FamilyOfType() {
  static const ModelFamily family = [] {
    const BertType& type = BertTypes()[index];
    ModelFamily f;
    f.type = type.name;
    f.title = type.title;
    f.heads = type.heads;
    f.presets = kBertPresets;
    f.preset = [](std::string_view name) {
      return MakeModelConfig(BertPreset(BertTypes()[index], name));
    };
    f.read = [](const ModelFolder& folder) { return MakeModelConfig(LoadBertConfig(folder)); };
    f.parse = [](std::string_view text, std::string_view source) {
      return MakeModelConfig(ParseBertConfig(text, source));
    };
    f.complete = [](const ModelFolder& folder) { return MakeModelConfig(BertConfigOf(folder)); };
    f.load = [](const ModelFolder& folder, const LoadOptions& options,
                std::vector<std::string>* warnings) {
      return MakeTextModel(LoadBert(folder, options, warnings));
    };
    f.check_tensors = CheckBertTensors;
    f.verify = VerifyBert;
    f.names_to_write = BertNamesToWrite;
    return f;
  }();
  return family;
}

}  // namespace

std::unique_ptr<TextModel> MakeTextModel(Bert model) {
  return std::make_unique<EncoderTextModel<BertTraits>>(std::move(model));
}

std::unique_ptr<ModelConfig> MakeModelConfig(BertConfig config) {
  return std::make_unique<BertModelConfig>(std::move(config));
}

const ModelFamily& BertFamily() { return FamilyOfType<0>(); }
const ModelFamily& RobertaFamily() { return FamilyOfType<1>(); }
const ModelFamily& XlmRobertaFamily() { return FamilyOfType<2>(); }
const ModelFamily& CamembertFamily() { return FamilyOfType<3>(); }

}  // namespace longspan
