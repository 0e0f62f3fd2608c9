#include "families/modernbert/family.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/errors.h"
#include "families/modernbert/modernbert_files.h"
#include "families/modernbert/rotary_config.h"
#include "model/encoder_model_config.h"
#include "model/layer_pattern.h"

namespace longspan {

TextModelInfo InfoOf(const ModernBertConfig& c) {
  // A tokenizer may give the parts of a pair different types, and the original takes them without
  // effect.
  constexpr idx_t kTypesWithoutEffect = 16;
  TextModelInfo info;
  info.title = "ModernBERT";
  info.heads = kModernBertHeads;
  info.head = c.head;
  info.class_name = ModernBertClass(c.head);
  info.labels = c.labels;
  info.problem = c.problem;
  info.width = c.hidden_size;
  info.vocab_size = c.vocab_size;
  info.pad_token = c.pad_token.value_or(0);
  info.token_types = kTypesWithoutEffect;
  info.sep_token = c.sep_token;
  info.longest = c.max_positions;
  info.reads_labelled = info.side_by_side = true;
  info.most_row_ranks = c.heads;
  return info;
}

namespace {

// The model as tasks and training see it.
struct ModernBertTraits {
  using Model = ModernBert;
  using Settings = ModernBertConfig;
  static TextModelInfo Info(const ModernBertConfig& config) { return InfoOf(config); }
  static std::string Json(const ModernBertConfig& config) { return ToJson(config); }
  static std::unique_ptr<ModelConfig> Config(const ModernBertConfig& config) {
    return MakeModelConfig(config);
  }
  static std::vector<io::TensorEntry> Entries(const ModernBert& model) {
    return ModernBertEntries(model);
  }
  static void Save(const ModernBert& model, const std::filesystem::path& directory) {
    SaveModernBert(model, directory);
  }
};

// ---- its configuration --------------------------------------------------------------------------

class ModernBertModelConfig final : public EncoderModelConfig<ModernBertTraits> {
 public:
  using EncoderModelConfig::EncoderModelConfig;

  ModelDescription Describe() const override;

  void SetOptions(const FamilyOptions& options) override { ApplyModernBertOptions(options, &c_); }
  void Resize(const ModelSizes& sizes) override;
  void UseTokenizer(const text::Tokenizer& tokenizer) override;
  void GrowPositions(idx_t tokens) override {
    c_.max_positions = std::max(c_.max_positions, tokens);
  }
  // One layer of each kind stands for all.
  void CutDown(idx_t sets) override {
    const bool all_alike = std::equal(c_.full.begin() + 1, c_.full.end(), c_.full.begin());
    const std::vector<bool> kinds =
        all_alike ? std::vector<bool>{c_.full[0]} : std::vector<bool>{true, false};
    c_.full = RepeatLayers(kinds, sets * static_cast<idx_t>(kinds.size()));
  }

  // As the layers say, all layers full, and with recomputation.
  std::vector<StepVariant> Variants(const StepPolicy& policy) const override {
    std::vector<StepVariant> variants;
    variants.push_back({"config", Clone(), policy, 1.0});
    ModernBertConfig full = c_;
    full.all_full = true;
    variants.push_back({"full", MakeModelConfig(std::move(full)), policy, 1.0});
    variants.push_back(RecomputingVariant(*this, c_.layers(), policy));
    return variants;
  }
};

void ModernBertModelConfig::Resize(const ModelSizes& sizes) {
  if (sizes.layers > 0) {
    // The pattern goes on: one full layer, then as many windows as before.
    std::size_t every = 1;
    while (every < c_.full.size() && !c_.full[every]) ++every;
    c_.full = FullEvery(static_cast<std::size_t>(sizes.layers), static_cast<idx_t>(every));
  }
  if (sizes.heads > 0) c_.heads = sizes.heads;
  if (sizes.width > 0) {
    c_.feed_forward_size = std::max<idx_t>(1, c_.feed_forward_size * sizes.width / c_.hidden_size);
    c_.hidden_size = sizes.width;
  }
  if (sizes.width > 0 || sizes.heads > 0) {
    CheckHeadsDivide(c_.hidden_size, c_.heads);
    Check(c_.head_size() % 2 == 0, ErrorCode::kUsage,
          "init: a width of {} and {} heads make heads of {} channels; rotary embeddings need an "
          "even number: choose another --width or --heads",
          c_.hidden_size, c_.heads, c_.head_size());
  }
  if (sizes.positions > 0) c_.max_positions = sizes.positions;
}

void ModernBertModelConfig::UseTokenizer(const text::Tokenizer& tokenizer) {
  const text::SpecialIds& ids = tokenizer.special();
  c_.vocab_size = tokenizer.vocabulary();
  c_.pad_token = ids.pad;
  c_.bos_token = ids.bos ? ids.bos : ids.cls;
  c_.eos_token = ids.eos ? ids.eos : ids.sep;
  c_.cls_token = ids.cls ? ids.cls : ids.bos;
  c_.sep_token = ids.sep ? ids.sep : ids.eos;
}

// ---- what `info` shows --------------------------------------------------------------------------

ModelDescription ModernBertModelConfig::Describe() const {
  ModelDescription shown;
  nlohmann::ordered_json& j = shown.json;
  const auto full = std::count(c_.full.begin(), c_.full.end(), true);
  const auto layers = static_cast<std::ptrdiff_t>(c_.layers());
  j["architecture"] = ModernBertClass(c_.head);
  j["layers"] = c_.layers();
  j["hidden_size"] = c_.hidden_size;
  j["heads"] = c_.heads;
  j["head_size"] = c_.head_size();
  j["feed_forward_size"] = c_.feed_forward_size;
  j["vocab_size"] = c_.vocab_size;
  for (std::size_t i = 0; i < c_.layers(); ++i) {
    j["attention"].push_back(c_.full[i] ? "full" : "window");
  }
  j["window"] = c_.window();
  j["local_attention"] = c_.local_attention;
  j["positions"] = {{"kind", "rotary"},
                    {"positions", c_.max_positions},
                    {"theta_full", c_.full_rotary.theta},
                    {"theta_window", c_.window_rotary.theta},
                    {"rope_type_full", RotaryKindName(c_.full_rotary.kind)},
                    {"rope_type_window", RotaryKindName(c_.window_rotary.kind)}};
  j["activation"] = c_.activation;
  j["gated"] = true;
  j["pooling"] = c_.mean_pooling ? "mean" : "cls";
  if (c_.head == HeadKind::kSequence || c_.head == HeadKind::kToken) j["labels"] = c_.labels;
  j["parameters"] = ParameterCount();
  const auto line = [&](std::string_view name, const std::string& value) {
    shown.lines.emplace_back(name, value);
  };
  line("model", std::string(ModernBertClass(c_.head)));
  line("layers",
       fmt::format("{}, {} with full attention and {} with a window", layers, full, layers - full));
  line("width", fmt::format("{} channels, {} heads of {}, gated feed-forward {}", c_.hidden_size,
                            c_.heads, c_.head_size(), c_.feed_forward_size));
  line("window",
       fmt::format("{} to each side (local_attention {})", c_.window(), c_.local_attention));
  line("positions",
       fmt::format("rotary, {} of them, {} in full layers and {} in windows", c_.max_positions,
                   RotaryText(c_.full_rotary), RotaryText(c_.window_rotary)));
  line("vocabulary", fmt::format("{}", c_.vocab_size));
  return shown;
}

constexpr std::array<std::string_view, 3> kOwnModernBertFields = {
    "local_attention", "global_attn_every_n_layers", "classifier_pooling"};
constexpr std::array<std::string_view, 1> kModernBertTensors = {"attn.Wqkv."};
constexpr FamilyOption kModernBertOptions[] = {
    {"attention", "full: all layers see all tokens, instead of the config's windows"}};

}  // namespace

std::unique_ptr<TextModel> MakeTextModel(ModernBert model) {
  return std::make_unique<EncoderTextModel<ModernBertTraits>>(std::move(model));
}

std::unique_ptr<ModelConfig> MakeModelConfig(ModernBertConfig config) {
  return std::make_unique<ModernBertModelConfig>(std::move(config));
}

const ModelFamily& ModernBertFamily() {
  static const ModelFamily family = [] {
    ModelFamily f;
    f.type = "modernbert";
    f.title = "ModernBERT";
    f.heads = kModernBertHeads;
    f.own_fields = kOwnModernBertFields;
    f.own_tensors = kModernBertTensors;
    f.options = kModernBertOptions;
    f.presets = kModernBertPresets;
    f.preset = [](std::string_view name) { return MakeModelConfig(ModernBertPreset(name)); };
    f.read = [](const ModelFolder& folder) {
      return MakeModelConfig(LoadModernBertConfig(folder));
    };
    f.parse = [](std::string_view json, std::string_view source) {
      return MakeModelConfig(ParseModernBertConfig(json, source));
    };
    f.complete = f.read;
    f.load = [](const ModelFolder& folder, const LoadOptions& options,
                std::vector<std::string>* warnings) {
      return MakeTextModel(LoadModernBert(folder, options, warnings));
    };
    f.check_tensors = CheckModernBertTensors;
    f.verify = VerifyModernBert;
    f.names_to_write = ModernBertNamesToWrite;
    return f;
  }();
  return family;
}

}  // namespace longspan
