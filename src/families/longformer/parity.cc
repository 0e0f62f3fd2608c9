// A Longformer against a recorded case.

#include <memory>

#include "base/errors.h"
#include "base/math.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_maps.h"
#include "model/global_policy.h"
#include "model/parity_case.h"

namespace longspan {
namespace {

// The case's inputs as the model takes them.
struct CaseInputs {
  BatchView batch;
  std::vector<std::int32_t> ids, types, labels, starts, ends;
  std::vector<std::uint8_t> roles;
  Tensor values, cotangent;
};

// (B, T), or (questions, choices, T) whose rows are laid out one after another.
std::vector<idx_t> ShapeOfIds(const ParityCase& recorded, const LongformerConfig& config,
                              CaseInputs* inputs) {
  const std::vector<idx_t> shape = recorded.source().Info("input.input_ids").shape;
  const bool choices = config.head == HeadKind::kChoice;
  bool good = shape.size() == (choices ? 3 : 2);
  for (const idx_t extent : shape) good = good && extent > 0;
  Check(good, ErrorCode::kFormat, "{}: input.input_ids has shape {}, need ({})",
        recorded.source().source(), ShapeText(shape),
        choices ? "questions, choices, tokens" : "batch, tokens");
  inputs->batch.choices = choices ? shape[1] : 1;
  inputs->batch.rows = shape[0] * inputs->batch.choices;
  inputs->batch.tokens = shape.back();
  return shape;
}

// Masks as roles; heads choose their global tokens where the case gives none.
void ReadRoles(const ParityCase& recorded, const LongformerConfig& config,
               const std::vector<idx_t>& shape, CaseInputs* inputs) {
  BatchView& batch = inputs->batch;
  const auto mask = recorded.Integers("input.attention_mask", shape, true);
  const auto global = recorded.Integers("input.global_attention_mask", shape, true);
  inputs->roles = MergeMasks(mask, global);
  if (inputs->roles.empty()) inputs->roles.assign(inputs->ids.size(), kLocalToken);
  if (global.empty()) {
    TextModelInfo model;
    model.head = config.head;
    model.sep_token = config.sep_token;
    model.global_tokens = true;
    GlobalPolicy().Apply(model, inputs->ids, batch.rows, batch.tokens, inputs->roles);
  }
  batch.roles = {inputs->roles.data(), {batch.rows, batch.tokens}};
}

void ReadTargets(const ParityCase& recorded, const LongformerConfig& config,
                 const std::vector<idx_t>& shape, CaseInputs* inputs) {
  BatchView& batch = inputs->batch;
  const std::vector<idx_t> first = {shape[0]};
  inputs->starts = recorded.Integers("input.start_positions", first, true);
  inputs->ends = recorded.Integers("input.end_positions", first, true);
  batch.starts = inputs->starts;
  batch.ends = inputs->ends;
  if (!recorded.Has("input.labels")) return;
  if (config.head == HeadKind::kSequence &&
      recorded.LabelsAreNumbers(config.problem, config.label_count())) {
    inputs->values = recorded.LabelValues(batch.rows * config.label_count());
    batch.values = {inputs->values.data<float>(), static_cast<std::size_t>(inputs->values.size())};
    return;
  }
  const bool tokens = config.head == HeadKind::kMaskedLm || config.head == HeadKind::kToken;
  inputs->labels = recorded.Integers("input.labels", tokens ? shape : first);
  batch.labels = inputs->labels;
}

std::unique_ptr<CaseInputs> ReadInputs(const ParityCase& recorded, const LongformerConfig& config) {
  auto inputs = std::make_unique<CaseInputs>();
  const std::vector<idx_t> shape = ShapeOfIds(recorded, config, inputs.get());
  inputs->ids = recorded.Integers("input.input_ids", shape);
  inputs->types = recorded.Integers("input.token_type_ids", shape, true);
  inputs->batch.ids = inputs->ids;
  inputs->batch.token_types = inputs->types;
  ReadRoles(recorded, config, shape, inputs.get());
  ReadTargets(recorded, config, shape, inputs.get());
  if (recorded.Has("input.cotangent")) {
    const std::vector<idx_t> want = {shape[0], shape.back(), config.hidden_size};
    const std::vector<idx_t> given = recorded.source().Info("input.cotangent").shape;
    Check(given == want, ErrorCode::kFormat, "{}: input.cotangent has shape {}, need {}",
          recorded.source().source(), ShapeText(given), ShapeText(want));
    inputs->cotangent = recorded.source().ReadFloat("input.cotangent");
  }
  return inputs;
}

class CaseRunner {
 public:
  CaseRunner(Context& context, ParityCase& recorded, Longformer& model, const CaseInputs& inputs)
      : context_(context), case_(recorded), model_(model), inputs_(inputs), batch_(inputs.batch) {}

  ParityReport Run() {
    case_.CheckKnown(model_.parameters(), [&](const std::string& name) { return Known(name); });
    Outputs();
    Gradients();
    return case_.Finish();
  }

 private:
  bool Known(const std::string& name) const {
    for (const char* input : {"input_ids", "attention_mask", "global_attention_mask",
                              "token_type_ids", "labels", "start_positions", "end_positions"}) {
      if (name == std::string("input.") + input) return true;
    }
    const HeadKind head = model_.config().head;
    const bool bare = head == HeadKind::kNone, question = head == HeadKind::kQuestion;
    if (bare && (name == "input.cotangent" || name == "expected.last_hidden_state")) return true;
    if (bare && name == "expected.pooler_output") return model_.config().has_pooler();
    if (question && (name == "expected.start_logits" || name == "expected.end_logits")) return true;
    if (!bare && !question && name == "expected.logits") return true;
    if (!bare && name == "expected.loss") return true;
    for (std::size_t i = 0; i <= model_.config().layers(); ++i) {
      const std::string number = std::to_string(i);
      if (name == "expected.hidden_states." + number) return true;
      if (i == model_.config().layers()) continue;
      if (name == "expected.attentions." + number) return true;
      if (name == "expected.global_attentions." + number) return true;
    }
    return name == "expected.train_loss";
  }

  void Outputs() {
    const idx_t n = batch_.rows * batch_.tokens, channels = model_.config().hidden_size;
    Tensor hidden({n, channels});
    std::vector<Tensor> hidden_states;
    const LongformerObserver observer =
        [&](std::size_t layer, const LongformerAttentionTensors& t) { Attentions(layer, t); };
    model_.Encode(context_, batch_, hidden.view<2>(), {&hidden_states, &observer});
    for (std::size_t i = 0; i < hidden_states.size(); ++i) {
      const std::string name = "hidden_states." + std::to_string(i);
      if (case_.Wants(name)) case_.CompareOutput(name, hidden_states[i]);
    }
    if (case_.Wants("last_hidden_state")) case_.CompareOutput("last_hidden_state", hidden);
    if (case_.Wants("pooler_output")) {
      Tensor pooled({batch_.rows, channels});
      model_.Pool(context_, batch_, hidden.view<2>(), pooled.view<2>());
      case_.CompareOutput("pooler_output", pooled);
    }
    Logits(hidden);
    if (case_.Wants("loss")) case_.CompareOutput("loss", model_.Loss(context_, batch_).mean);
  }

  void Attentions(std::size_t layer, const LongformerAttentionTensors& t) {
    const std::string local = "attentions." + std::to_string(layer);
    const std::string global = "global_" + local;
    if (case_.Wants(local)) case_.CompareOutput(local, LocalProbabilities(context_, t));
    if (!case_.Wants(global)) return;
    // The original pads the text to the widest window, and does not cut the keys again.
    const idx_t padded = RoundUp(batch_.tokens, model_.config().largest_window());
    case_.CompareOutput(global, GlobalProbabilities(context_, t, padded));
  }

  void Logits(const Tensor& hidden) {
    if (case_.Wants("logits")) {
      case_.CompareOutput("logits", model_.Logits(context_, batch_, hidden.view<2>()));
    }
    if (!case_.Wants("start_logits") && !case_.Wants("end_logits")) return;
    const Tensor logits = model_.Logits(context_, batch_, hidden.view<2>());
    for (const int side : {0, 1}) {
      const std::string name = side == 0 ? "start_logits" : "end_logits";
      std::vector<float> column;
      for (idx_t t = 0; t < logits.shape()[0]; ++t) {
        column.push_back(logits.data<float>()[2 * t + side]);
      }
      if (case_.Wants(name)) case_.CompareOutput(name, column);
    }
  }

  double TrainLoss() {
    if (model_.config().head != HeadKind::kNone) {
      return model_.LossAndGradients(context_, batch_, {}).mean;
    }
    Check(!inputs_.cotangent.empty(), ErrorCode::kFormat,
          "{}: gradients of a bare model need input.cotangent", case_.source().source());
    const View<const float, 2> cotangent(
        inputs_.cotangent.data<float>(),
        {batch_.rows * batch_.tokens, model_.config().hidden_size});
    return model_.CotangentGradients(context_, batch_, cotangent, {});
  }

  void Gradients() {
    if (!case_.WantsTraining()) return;
    model_.parameters().AllocateGradients();
    const double loss = TrainLoss();
    if (case_.Wants("train_loss")) case_.CompareOutput("train_loss", loss);
    case_.CompareGradients(model_.parameters());
  }

  Context& context_;
  ParityCase& case_;
  Longformer& model_;
  const CaseInputs& inputs_;
  const BatchView& batch_;
};

}  // namespace

ParityReport VerifyLongformer(Context& context, const ModelFolder& folder,
                              const io::TensorSource& recorded, const FamilyOptions& options) {
  LoadOptions load;
  load.family = options;
  Longformer model = LoadLongformer(folder, load);
  ParityCase known(recorded);
  const auto inputs = ReadInputs(known, model.config());
  return CaseRunner(context, known, model, *inputs).Run();
}

}  // namespace longspan
