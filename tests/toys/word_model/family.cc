#include "tests/toys/word_model/family.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/arena.h"
#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "model/embedding_table.h"
#include "model/heads.h"
#include "model/hidden_rows.h"
#include "model/rows.h"
#include "model/weight_files.h"

namespace longspan {
namespace {

constexpr std::string_view kTitle = "WordModel";
constexpr HeadClass kClasses[] = {{HeadKind::kMaskedLm, "WordModelForMaskedLM"}};

// Fields of config.json.
struct WordConfig {
  idx_t vocab_size = 50265, width = 32, positions = 128, pad_token = 1;
};

nlohmann::json JsonOf(const WordConfig& c) {
  return {{"model_type", "word-model"}, {"architectures", {kClasses[0].class_name}},
          {"vocab_size", c.vocab_size}, {"word_width", c.width},
          {"positions", c.positions},   {"pad_token_id", c.pad_token}};
}

WordConfig ConfigIn(const nlohmann::json& object, std::string_view source) {
  WordConfig c;
  c.vocab_size = io::GetInt(object, "vocab_size", 1, 1 << 20, c.vocab_size, source);
  c.width = io::GetInt(object, "word_width", 1, 1 << 12, c.width, source);
  c.positions = io::GetInt(object, "positions", 1, 1 << 20, c.positions, source);
  c.pad_token = io::GetInt(object, "pad_token_id", 0, c.vocab_size - 1, c.pad_token, source);
  return c;
}

TextModelInfo InfoOf(const WordConfig& c) {
  TextModelInfo info;
  info.title = kTitle;
  info.heads = kClasses;
  info.head = HeadKind::kMaskedLm;
  info.class_name = kClasses[0].class_name;
  info.width = c.width;
  info.vocab_size = c.vocab_size;
  info.pad_token = c.pad_token;
  info.longest = c.positions;
  return info;
}

class WordModel final : public TextModel {
 public:
  WordModel(const WordConfig& config, ParameterMemory memory)
      : config_(config), info_(InfoOf(config)) {
    words_.emplace("words.weight", config.vocab_size, config.width, parameters_);
    head_ = MakeLanguageHead({"head.weight", "head.bias"}, config.width, config.vocab_size, true,
                             parameters_);
    if (memory == ParameterMemory::kOwn) parameters_.Allocate();
  }

  const TextModelInfo& info() const override { return info_; }
  ParameterTable& parameters() override { return parameters_; }
  const ParameterTable& parameters() const override { return parameters_; }
  void Initialise(std::uint64_t seed,
                  const std::function<bool(std::string_view name)>& which) override {
    parameters_.Draw(seed, 0.02, 0.02, which);
  }
  void ComputeIn(DType dtype) override {
    Check(dtype == DType::kF32, ErrorCode::kUsage, "model: a {} computes in F32 only", kTitle);
  }
  void Follow(const StepPolicy& policy) override { ComputeIn(policy.compute); }
  void FitInto(std::size_t bytes, idx_t rows, idx_t tokens, const StepPolicy& run) override;
  void Recompute() override {}

  void Encode(Context& context, const BatchView& batch,
              const View<float, 2>& hidden) const override {
    Check(batch.tokens <= config_.positions, ErrorCode::kUsage,
          "batch: {} tokens, but the model has positions for {}", batch.tokens, config_.positions);
    words_->Forward(context, parameters_, batch.ids, hidden);
  }
  Tensor Logits(Context& context, const BatchView& batch,
                const View<const float, 2>& hidden) const override {
    return LogitsOf(context, *head_, parameters_, nullptr, batch, hidden);
  }
  HeadLoss Loss(Context& context, const BatchView& batch) const override {
    return Run(context, batch, {}, {}, false);
  }
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, float scale,
                            const StepDropout& dropout) override {
    return Run(context, batch, scale, dropout, true);
  }

  double ForwardGflop(const BatchView& batch) const override {
    return 1e-9 * head_->ForwardFlop(batch.rows, batch.rows * batch.tokens);
  }
  double StepGflop(const BatchView& batch) const override { return 3.0 * ForwardGflop(batch); }
  StepMemory MemoryOfStep(idx_t, idx_t) const override { return {}; }

  std::string ConfigText() const override { return io::DumpJson(JsonOf(config_)); }
  std::vector<io::TensorEntry> Weights() const override { return WeightEntries(parameters_); }
  void Save(const std::filesystem::path& directory) const override {
    io::EnsureWritableDirectory(directory);
    io::WriteFileAtomic(directory / "config.json", ConfigText());
    io::WriteSafetensors(directory / "model.safetensors", Weights(), {{"format", "pt"}});
  }

 private:
  HeadLoss Run(Context& context, const BatchView& batch, std::optional<float> scale,
               const StepDropout& dropout, bool backward) const {
    head_->CheckTargets(batch);
    const idx_t n = batch.rows * batch.tokens;
    Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * config_.width));
    const View<float, 2> hidden = TakeRows(frame, n, config_.width);
    const View<float, 2> dhidden = TakeRows(frame, n, config_.width);
    Encode(context, batch, hidden);
    HiddenRows rows(context, head_->reads(), batch, hidden, dhidden);
    const HeadLoss loss =
        head_->Loss(context, {parameters_, nullptr, batch, scale, dropout}, rows, backward);
    if (backward) {
      words_->Backward(context, parameters_, batch.ids, dhidden);
    }
    return loss;
  }

  WordConfig config_;
  TextModelInfo info_;
  ParameterTable parameters_;
  std::optional<EmbeddingTable> words_;
  std::unique_ptr<HeadLayer> head_;
};

class WordModelConfig final : public ModelConfig {
 public:
  explicit WordModelConfig(const WordConfig& config) : c_(config) {}

  std::unique_ptr<ModelConfig> Clone() const override {
    return std::make_unique<WordModelConfig>(c_);
  }
  TextModelInfo info() const override { return InfoOf(c_); }
  std::string Json() const override { return io::DumpJson(JsonOf(c_)); }
  std::uint64_t ParameterCount() const override {
    return static_cast<std::uint64_t>(c_.vocab_size * (2 * c_.width + 1));
  }
  std::unique_ptr<TextModel> Make(ParameterMemory memory) const override {
    return std::make_unique<WordModel>(c_, memory);
  }
  ModelDescription Describe() const override {
    ModelDescription shown;
    shown.json = {{"architecture", kClasses[0].class_name},
                  {"word_width", c_.width},
                  {"parameters", ParameterCount()}};
    shown.lines = {{"model", std::string(kClasses[0].class_name)},
                   {"width", std::to_string(c_.width)}};
    return shown;
  }
  bool PutHead(const WantedHead&) override { return true; }
  void Resize(const ModelSizes& sizes) override {
    if (sizes.width > 0) c_.width = sizes.width;
    if (sizes.positions > 0) c_.positions = sizes.positions;
  }
  void UseTokenizer(const text::Tokenizer& tokenizer) override {
    c_.vocab_size = tokenizer.vocabulary();
    c_.pad_token = tokenizer.special().pad.value_or(0);
  }
  void GrowPositions(idx_t tokens) override { c_.positions = std::max(c_.positions, tokens); }
  void CutDown(idx_t) override {}

 private:
  WordConfig c_;
};

void WordModel::FitInto(std::size_t bytes, idx_t rows, idx_t tokens, const StepPolicy& run) {
  WordModelConfig(config_).Fit(rows, tokens, bytes, run, 0);
}

std::unique_ptr<ModelConfig> ReadWordModel(const ModelFolder& folder) {
  folder.Require("word-model", kTitle);
  return std::make_unique<WordModelConfig>(ConfigIn(folder.config, folder.source()));
}

WeightNames NamesOfFiles() {
  const auto find = [](const io::TensorSource& source, const std::string& name) {
    return source.Has(name) ? name : std::string();
  };
  return {find, [](std::string_view) { return false; }};
}

std::unique_ptr<TextModel> LoadWordModel(const ModelFolder& folder, const LoadOptions& options,
                                         std::vector<std::string>* warnings) {
  for (const auto& [name, value] : options.family.values()) RefuseOption(kTitle, name);
  const WordConfig config = ConfigIn(folder.config, folder.source());
  const auto source = io::OpenModel(folder.directory);
  CheckFileHolds(*source, WordModelConfig(config).ParameterCount(), [&] {
    WordModel whole(config, ParameterMemory::kBorrowed);
    return UnfitTensors(*source, NamesOfFiles(), whole.parameters());
  });
  auto model = std::make_unique<WordModel>(config, ParameterMemory::kOwn);
  const auto of_head = [](std::string_view name) { return name.starts_with("head."); };
  LoadWeights(
      folder.directory, {*source, {}, {}, {}, false}, {NamesOfFiles(), of_head, of_head}, options,
      true, model->parameters(),
      [&](std::uint64_t seed, const auto& which) { model->Initialise(seed, which); }, warnings);
  return model;
}

constexpr std::array<std::string_view, 1> kOwnWordFields = {"word_width"};
constexpr std::array<std::string_view, 2> kWordPresets = {"tiny", "small"};

}  // namespace

const ModelFamily& WordModelFamily() {
  static const ModelFamily family = [] {
    ModelFamily f;
    f.type = "word-model";
    f.title = kTitle;
    f.heads = kClasses;
    f.own_fields = kOwnWordFields;
    f.presets = kWordPresets;
    f.preset = [](std::string_view) -> std::unique_ptr<ModelConfig> {
      return std::make_unique<WordModelConfig>(WordConfig());
    };
    f.read = f.complete = ReadWordModel;
    f.parse = [](std::string_view json, std::string_view source) -> std::unique_ptr<ModelConfig> {
      return std::make_unique<WordModelConfig>(ConfigIn(io::ParseJson(json, source), source));
    };
    f.load = LoadWordModel;
    f.check_tensors = [](const ModelFolder& folder) {
      WordModel model(ConfigIn(folder.config, folder.source()), ParameterMemory::kBorrowed);
      const auto source = io::OpenModel(folder.directory);
      CheckUnread(*source, UnreadTensors(*source, NamesOfFiles(), model.parameters()));
    };
    f.verify = [](Context&, const ModelFolder&, const io::TensorSource& recorded,
                  const FamilyOptions&) -> ParityReport {
      Fail(ErrorCode::kFormat, "{}: there is no original of a {}", recorded.source(), kTitle);
    };
    return f;
  }();
  return family;
}

}  // namespace longspan
