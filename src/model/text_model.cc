#include "model/text_model.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "io/escape.h"
#include "io/policy.h"
#include "model/head_tables.h"
#include "model/longformer_files.h"
#include "model/model_files.h"
#include "model/step_memory.h"
#include "model/what_is.h"

namespace longspan {
namespace {

// kUsage where such a model has no such head.
void CheckHas(std::span<const HeadClass> heads, HeadKind wanted, std::string_view model) {
  Check(!ClassOf(heads, wanted).empty(), ErrorCode::kUsage, "model: a {} has no such head", model);
}

// ---- Longformers --------------------------------------------------------------------------------

class LongformerTextModel final : public TextModel {
 public:
  explicit LongformerTextModel(Longformer model)
      : model_(std::move(model)), info_(InfoOf(model_.config())) {}

  const TextModelInfo& info() const override { return info_; }
  ParameterTable& parameters() override { return model_.parameters(); }
  void ComputeIn(DType dtype) override { model_.ComputeIn(dtype); }
  void FitInto(std::size_t bytes, idx_t rows, idx_t tokens) override {
    const DType dtype = model_.computes_in();
    const StepPolicy policy = FitStep(model_.config(), rows, tokens, bytes, {dtype});
    recomputed_ = policy.recompute;
    model_.ComputeIn(dtype, policy.copies);
  }
  void Recompute() override {
    recomputed_ = model_.config().layers();
    model_.ComputeIn(model_.computes_in(), LayerCopies::kInTurn);
  }

  void Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden) override {
    model_.Encode(context, batch, hidden);
  }
  Tensor Logits(Context& context, const BatchView& batch,
                const View<const float, 2>& hidden) override {
    return model_.Logits(context, batch, hidden);
  }
  HeadLoss Loss(Context& context, const BatchView& batch) override {
    return model_.Loss(context, batch);
  }
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, float scale,
                            const StepDropout& dropout) override {
    LongformerStep step;
    step.dropout = dropout;
    step.scale = scale;
    step.recompute.assign(model_.config().layers(), false);
    std::fill_n(step.recompute.begin(), recomputed_, true);
    return model_.LossAndGradients(context, batch, step);
  }

  std::string ConfigText() const override { return ToJson(model_.config()); }
  std::vector<io::TensorEntry> Weights() override { return LongformerEntries(model_); }
  void Save(const std::filesystem::path& directory) override { SaveLongformer(model_, directory); }

 private:
  Longformer model_;
  TextModelInfo info_;
  std::size_t recomputed_ = 0;  // layers
};

bool IsLongformer(const std::filesystem::path& directory) {
  return ModelType(ModelConfigFile(directory)) == "longformer";
}

}  // namespace

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
  info.global_tokens = info.padding_by_id = info.reads_labelled = true;
  return info;
}

TextModelInfo InfoOf(const ReformerConfig& c) {
  TextModelInfo info;
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

GlobalPolicy ResolveGlobal(const TextModelInfo& info, const GlobalPolicy& given) {
  if (info.global_tokens) {
    CheckHas(info.heads, info.head, info.title);
    return given.For(info.head);
  }
  const std::string name = given.Name();
  Check(name == "auto" || name == "none", ErrorCode::kUsage,
        "global: '{}' is asked for, but a {} has no global tokens; leave --global out", name,
        info.title);
  return GlobalPolicy::Parse("none");
}

std::unique_ptr<TextModel> MakeTextModel(Longformer model) {
  return std::make_unique<LongformerTextModel>(std::move(model));
}

std::unique_ptr<TextModel> LoadTextModel(const std::filesystem::path& directory,
                                         const TextModelLoad& load,
                                         std::vector<std::string>* warnings) {
  if (IsLongformer(directory)) {
    Check(load.num_hashes == 0 && !load.lm_bias, ErrorCode::kUsage,
          "model: a Longformer has no rounds of hashing and no bias to leave out");
    LongformerLoad options;
    options.allow_nonfinite = load.allow_nonfinite;
    options.dropout = load.dropout;
    options.head = load.head;
    if (load.head) CheckHas(kLongformerHeads, load.head->head, "Longformer");
    return MakeTextModel(LoadLongformer(directory, options, warnings));
  }
  LoadOptions options;
  options.num_hashes = load.num_hashes;
  options.lm_bias = load.lm_bias;
  options.allow_nonfinite = load.allow_nonfinite;
  options.dropout = load.dropout;
  options.head = load.head;
  if (load.head) CheckHas(kReformerHeads, load.head->head, "Reformer");
  return MakeTextModel(LoadReformer(directory, options, warnings));
}

void CheckTensors(const std::filesystem::path& directory) {
  if (!io::GetPolicy().strict_weights) return;
  IsLongformer(directory) ? CheckLongformerTensors(directory) : CheckReformerTensors(directory);
}

TextModelInfo ReadTextModelInfo(const std::filesystem::path& directory) {
  if (IsLongformer(directory)) return InfoOf(LoadLongformerConfig(directory));
  return InfoOf(LoadReformerConfig(directory));
}

void CheckHead(const std::filesystem::path& directory, const TextModelInfo& found,
               HeadKind wanted) {
  if (found.head == wanted) return;
  const std::string shown = io::Escape(directory.string());
  const std::string way =
      WayTo(wanted).empty() ? "" : fmt::format(" ({} makes one)", WayTo(wanted));
  Fail(ErrorCode::kFormat,
       "{}: is a {}, which is for {}, not for {}; that needs the folder of {}{}", shown,
       found.class_name, CommandOf(found.head), CommandOf(wanted), ClassesFor(wanted), way);
}

}  // namespace longspan
