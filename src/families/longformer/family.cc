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
  TextModelInfo info;
  info.title = "Longformer";
  info.heads = kLongformerHeads;
  info.head = c.head;
  info.class_name = LongformerClass(c.head);
  info.labels = c.labels;
  info.problem = c.problem;
  info.width = c.hidden_size;
  info.vocab_size = c.vocab_size;
  info.pad_token = c.pad_token;
  info.token_types = c.token_types;
  info.sep_token = c.sep_token;
  info.longest = c.longest();
  info.global_tokens = info.padding_by_id = info.reads_labelled = info.side_by_side = true;
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
    if (sizes.heads > 0) c_.heads = sizes.heads;
    if (sizes.width > 0) {
      c_.feed_forward_size =
          std::max<idx_t>(1, c_.feed_forward_size * sizes.width / c_.hidden_size);
      c_.hidden_size = sizes.width;
    }
    if (sizes.width > 0 || sizes.heads > 0) CheckHeadsDivide(c_.hidden_size, c_.heads);
    // The table has rows that no token has: those up to the padding token's.
    if (sizes.positions > 0) c_.max_positions = sizes.positions + c_.pad_token + 1;
  }
  // Rows stay as long as they were.
  void UseTokenizer(const text::Tokenizer& tokenizer) override;
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

void LongformerModelConfig::UseTokenizer(const text::Tokenizer& tokenizer) {
  const text::SpecialIds& ids = tokenizer.special();
  Check(ids.pad.has_value(), ErrorCode::kFormat,
        "init: the tokenizer has no padding token, which a Longformer needs");
  c_.vocab_size = tokenizer.vocabulary();
  c_.max_positions += *ids.pad - c_.pad_token;
  c_.pad_token = *ids.pad;
  c_.bos_token = ids.bos ? ids.bos : ids.cls;
  c_.eos_token = ids.eos ? ids.eos : ids.sep;
  c_.sep_token = ids.sep ? ids.sep : ids.eos;
  const text::Encoding pair = tokenizer.EncodePair("a", "b").front();
  if (pair.size() > 0) {
    const std::int32_t last = *std::max_element(pair.type_ids.begin(), pair.type_ids.end());
    c_.token_types = std::max<idx_t>(c_.token_types, last + 1);
  }
}

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
  nlohmann::ordered_json& j = shown.json;
  std::vector<idx_t> windows;
  for (std::size_t i = 0; i < c_.layers(); ++i) windows.push_back(c_.window(i));
  j["architecture"] = LongformerClass(c_.head);
  j["layers"] = c_.layers();
  j["hidden_size"] = c_.hidden_size;
  j["heads"] = c_.heads;
  j["head_size"] = c_.head_size();
  j["feed_forward_size"] = c_.feed_forward_size;
  j["vocab_size"] = c_.vocab_size;
  j["windows"] = windows;
  j["attention_window"] = c_.attention_window;
  j["positions"] = {{"kind", "table"}, {"positions", c_.longest()}, {"rows", c_.max_positions}};
  j["token_types"] = c_.token_types;
  j["activation"] = c_.activation;
  j["pooler"] = c_.has_pooler();
  if (c_.head == HeadKind::kSequence || c_.head == HeadKind::kToken) j["labels"] = c_.labels;
  j["parameters"] = ParameterCount();
  const auto line = [&](std::string_view name, const std::string& value) {
    shown.lines.emplace_back(name, value);
  };
  line("model", std::string(LongformerClass(c_.head)));
  line("layers", fmt::format("{}", c_.layers()));
  line("width", fmt::format("{} channels, {} heads of {}, feed-forward {}", c_.hidden_size,
                            c_.heads, c_.head_size(), c_.feed_forward_size));
  line("window", fmt::format("{} to each side (attention_window {})", ListText(windows),
                             ListText(c_.attention_window)));
  line("positions", fmt::format("one table of {} positions", c_.longest()));
  line("vocabulary", fmt::format("{}", c_.vocab_size));
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
    f.parse = [](std::string_view json, std::string_view source) {
      return MakeModelConfig(ParseLongformerConfig(json, source));
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
