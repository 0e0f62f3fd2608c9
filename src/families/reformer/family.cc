#include "families/reformer/family.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "families/reformer/describe.h"
#include "families/reformer/reformer_files.h"
#include "model/layer_pattern.h"
#include "model/step_memory.h"

namespace longspan {

TextModelInfo InfoOf(const ReformerConfig& c) {
  TextModelInfo info;
  info.most_row_ranks = c.heads;
  info.title = "Reformer";
  info.heads = kReformerHeads;
  info.head = c.head;
  info.class_name = ReformerClass(c.head);
  info.labels = c.labels;
  info.problem = c.problem;
  info.width = 2 * c.hidden_size;
  info.vocab_size = c.vocab_size;
  info.pad_token = c.pad_token;
  info.longest = c.longest();
  info.causal = c.is_decoder;
  return info;
}

namespace {

// The shape (S0, S1) of an axial table for exactly so many positions, as near to a square as their
// divisors allow. kUsage where that is no table that saves anything.
std::vector<idx_t> AxialShape(idx_t positions) {
  idx_t side = static_cast<idx_t>(std::sqrt(static_cast<double>(positions)));
  while (side > 1 && positions % side != 0) --side;
  const idx_t other = positions / side;
  Check(positions < 16 || side * 64 >= other, ErrorCode::kUsage,
        "init: {} positions are {} x {} at best, which is no good axial table; choose a number "
        "with divisors near its root, such as {}",
        positions, side, other, (positions + 127) / 128 * 128);
  return {side, other};
}

class ReformerModelConfig final : public ModelConfig {
 public:
  explicit ReformerModelConfig(ReformerConfig config) : c_(std::move(config)) {}

  std::unique_ptr<ModelConfig> Clone() const override {
    return std::make_unique<ReformerModelConfig>(c_);
  }
  TextModelInfo info() const override { return InfoOf(c_); }
  std::vector<std::string> notes() const override { return c_.notes; }
  std::string Json() const override { return ToJson(c_); }
  std::uint64_t ParameterCount() const override { return longspan::ParameterCount(c_); }
  std::unique_ptr<TextModel> Make(ParameterMemory memory) const override {
    return MakeTextModel(Reformer(c_, memory));
  }
  ModelDescription Describe() const override { return DescribeReformer(c_); }

  void SetOptions(const FamilyOptions& options) override { ApplyOptions(options, &c_); }
  bool PutHead(const WantedHead& wanted) override { return longspan::PutHead(wanted, &c_); }
  // A new masked language model reads both ways; so do the other heads on a preset, whose own head
  // is a causal language model.
  void BeginWith(const WantedHead& wanted, bool preset) override {
    c_.Put(wanted);
    if (wanted.head == HeadKind::kCausalLm) {
      c_.is_decoder = true;
      c_.local_after = c_.lsh_after = 0;
    } else if (wanted.head == HeadKind::kMaskedLm || preset) {
      if (c_.is_decoder) c_.local_after = c_.lsh_after = 1;
      c_.is_decoder = false;
    }
  }
  void Resize(const ModelSizes& sizes) override;
  void UseTokenizer(const text::Tokenizer& tokenizer) override {
    const text::SpecialIds& ids = tokenizer.special();
    c_.vocab_size = tokenizer.vocabulary();
    c_.pad_token = ids.pad.value_or(0);
    if (ids.eos || ids.sep) c_.eos_token = ids.eos ? *ids.eos : *ids.sep;
    c_.bos_token = ids.bos ? ids.bos : ids.cls;
  }
  void GrowPositions(idx_t tokens) override { c_ = WithPositions(std::move(c_), tokens); }
  void CutDown(idx_t sets) override {
    std::vector<LayerKind> kinds;
    for (const LayerKind kind : c_.layers) {
      if (std::count(kinds.begin(), kinds.end(), kind) == 0) kinds.push_back(kind);
    }
    c_.layers = RepeatLayers(kinds, sets * static_cast<idx_t>(kinds.size()));
  }

  std::string PositionFields() const override {
    return c_.axial ? "a larger axial_pos_shape and max_position_embeddings"
                    : "larger max_position_embeddings";
  }
  // The same weights with each attention.
  std::vector<StepVariant> Variants(const StepPolicy& policy) const override {
    std::vector<StepVariant> variants;
    const bool hashes = std::count(c_.layers.begin(), c_.layers.end(), LayerKind::kLsh) > 0;
    for (const std::string_view attention : kAttentionNames) {
      if (attention == "lsh" && !hashes) continue;
      ReformerConfig config = c_;
      ChooseAttention(attention, &config);
      variants.push_back({std::string(attention), MakeModelConfig(std::move(config)), policy, 1.0});
    }
    return variants;
  }
  StepPolicy Fit(idx_t rows, idx_t tokens, std::size_t bytes, StepPolicy policy,
                 int threads) const override {
    policy.keep = 0;
    const StepNeeds least = RehearseStep(*this, rows, tokens, threads, policy);
    CheckFits(least, bytes, policy.program);
    // Whole branches of whole layers are kept, not what is left over: the number says which.
    Reformer model(c_, ParameterMemory::kBorrowed);
    FreezeAsPlanned(policy, model.parameters());
    model.ComputeIn(policy.compute);
    model.KeepUpTo(bytes - least.memory.total());
    RowGroup last(policy.row_ranks - 1, policy.row_ranks);
    policy.keep = model.ActivationBytes(rows, tokens, policy.row_ranks > 1 ? &last : nullptr);
    return policy;
  }

 private:
  ReformerConfig c_;
};

void ReformerModelConfig::Resize(const ModelSizes& sizes) {
  if (sizes.layers > 0) c_.layers = RepeatLayers(c_.layers, sizes.layers);
  if (sizes.heads > 0) c_.heads = sizes.heads;
  if (sizes.width > 0) {
    // The parts of a feed-forward layer and of axial positions keep their shares.
    c_.feed_forward_size = std::max<idx_t>(1, c_.feed_forward_size * sizes.width / c_.hidden_size);
    c_.hidden_size = sizes.width;
    if (c_.axial) {
      Check(sizes.width >= 4, ErrorCode::kUsage, "init: a width of {} is below 4", sizes.width);
      c_.axial_dims = {sizes.width / 4, sizes.width - sizes.width / 4};
    }
  }
  if (sizes.width > 0 || sizes.heads > 0) {
    CheckHeadsDivide(c_.hidden_size, c_.heads);
    c_.head_size = c_.hidden_size / c_.heads;
  }
  if (sizes.positions > 0) {
    c_.max_positions = sizes.positions;
    if (c_.axial) c_.axial_shape = AxialShape(sizes.positions);
  }
}

std::unique_ptr<ModelConfig> ReadReformer(const ModelFolder& folder) {
  return MakeModelConfig(LoadReformerConfig(folder));
}

constexpr std::array<std::string_view, 5> kOwnFields = {"attn_layers", "axial_pos_embds",
                                                        "axial_pos_shape", "lsh_attn_chunk_length",
                                                        "local_attn_chunk_length"};
constexpr std::array<std::string_view, 3> kPresets = {"tiny", "small", "base"};

}  // namespace

std::unique_ptr<ModelConfig> MakeModelConfig(ReformerConfig config) {
  return std::make_unique<ReformerModelConfig>(std::move(config));
}

const ModelFamily& ReformerFamily() {
  static const ModelFamily family = [] {
    ModelFamily f;
    f.type = "reformer";
    f.title = "Reformer";
    f.heads = kReformerHeads;
    f.own_fields = kOwnFields;
    f.options = kReformerOptions;
    f.reads_bytes = true;
    f.presets = kPresets;
    f.preset = [](std::string_view name) { return MakeModelConfig(ReformerPreset(name)); };
    f.read = ReadReformer;
    f.parse = [](std::string_view json, std::string_view source) {
      return MakeModelConfig(ParseReformerConfig(json, source));
    };
    f.complete = ReadReformer;
    f.load = [](const ModelFolder& folder, const LoadOptions& options,
                std::vector<std::string>* warnings) {
      return MakeTextModel(LoadReformer(folder, options, warnings));
    };
    f.check_tensors = CheckReformerTensors;
    f.verify = VerifyReformer;
    return f;
  }();
  return family;
}

}  // namespace longspan
