// A Reformer against a recorded case.

#include <memory>
#include <optional>

#include "base/errors.h"
#include "families/reformer/family.h"
#include "families/reformer/original_rules.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/shared_mechanism.h"
#include "model/parity_case.h"

namespace longspan {
namespace {

constexpr const char* kRotations = "rotations.";

// The case's inputs as the model takes them.
struct CaseInputs {
  ReformerBatch batch;
  std::vector<std::int32_t> ids, labels, targets, positions, starts, ends;
  std::vector<std::uint8_t> mask;
  Tensor values, embeddings, cotangent;
  bool has_labels = false;
};

// A language model predicts the next token: its labels move one to the left.
std::vector<std::int32_t> Targets(const std::vector<std::int32_t>& labels, idx_t tokens,
                                  bool shift) {
  if (!shift) return labels;
  std::vector<std::int32_t> targets(labels.size(), kIgnoreLabel);
  for (std::size_t i = 0; i + 1 < labels.size(); ++i) {
    if ((static_cast<idx_t>(i) + 1) % tokens != 0) targets[i] = labels[i + 1];
  }
  return targets;
}

// Ids, or embeddings in their place; returns (B, T).
std::vector<idx_t> ReadTokens(const ParityCase& recorded, const ReformerConfig& config,
                              CaseInputs* inputs) {
  const bool embedded = recorded.Has("input.inputs_embeds");
  const char* const name = embedded ? "input.inputs_embeds" : "input.input_ids";
  const std::vector<idx_t> shape = recorded.source().Info(name).shape;
  bool good = shape.size() == (embedded ? 3 : 2);
  for (const idx_t extent : shape) good = good && extent > 0;
  Check(good && (!embedded || shape[2] == config.hidden_size), ErrorCode::kFormat,
        "{}: {} has shape {}, need (batch, tokens{})", recorded.source().source(), name,
        ShapeText(shape), embedded ? fmt::format(", {}", config.hidden_size) : std::string());
  ReformerBatch& batch = inputs->batch;
  batch.rows = shape[0];
  batch.tokens = shape[1];
  if (embedded) {
    inputs->embeddings = recorded.source().ReadFloat(name);
    batch.embeddings = {inputs->embeddings.data<float>(), {shape[0] * shape[1], shape[2]}};
  } else {
    inputs->ids = recorded.Integers(name, shape);
    batch.ids = inputs->ids;
  }
  return {shape[0], shape[1]};
}

// Reads positions, hidden tokens and the rounds of hashing.
void ReadPlaces(const ParityCase& recorded, const std::vector<idx_t>& shape, CaseInputs* inputs) {
  ReformerBatch& batch = inputs->batch;
  for (const std::int32_t v : recorded.Integers("input.attention_mask", shape, true)) {
    inputs->mask.push_back(v != 0);
  }
  if (!inputs->mask.empty()) batch.roles = {inputs->mask.data(), {shape[0], shape[1]}};
  inputs->positions = recorded.Integers("input.position_ids", shape, true);
  batch.positions = inputs->positions;
  if (!recorded.Has("input.num_hashes")) return;
  batch.num_hashes =
      recorded.Integers("input.num_hashes", recorded.source().Info("input.num_hashes").shape)[0];
}

void ReadTargets(const ParityCase& recorded, const ReformerConfig& config,
                 const std::vector<idx_t>& shape, CaseInputs* inputs) {
  ReformerBatch& batch = inputs->batch;
  const auto each_row = [&](const char* name) {  // (B) or (B, 1)
    if (!recorded.Has(name)) return std::vector<std::int32_t>();
    const bool column = recorded.source().Info(name).shape.size() == 2;
    return recorded.Integers(
        name, column ? std::vector<idx_t>{shape[0], 1} : std::vector<idx_t>{shape[0]});
  };
  inputs->starts = each_row("input.start_positions");
  inputs->ends = each_row("input.end_positions");
  batch.starts = inputs->starts;
  batch.ends = inputs->ends;
  inputs->has_labels = recorded.Has("input.labels") || !inputs->starts.empty();
  if (!recorded.Has("input.labels")) return;
  if (config.head != HeadKind::kSequence) {
    inputs->targets = Targets(recorded.Integers("input.labels", shape), shape[1],
                              config.head == HeadKind::kCausalLm);
    batch.labels = inputs->targets;
  } else if (recorded.LabelsAreNumbers(config.problem, config.label_count())) {
    inputs->values = recorded.LabelValues(shape[0] * config.label_count());
    batch.values = {inputs->values.data<float>(), static_cast<std::size_t>(inputs->values.size())};
  } else {
    inputs->labels = each_row("input.labels");
    batch.labels = inputs->labels;
  }
}

std::unique_ptr<CaseInputs> ReadInputs(const ParityCase& recorded, const ReformerConfig& config) {
  auto inputs = std::make_unique<CaseInputs>();
  const std::vector<idx_t> shape = ReadTokens(recorded, config, inputs.get());
  ReadPlaces(recorded, shape, inputs.get());
  ReadTargets(recorded, config, shape, inputs.get());
  if (!recorded.Has("input.cotangent")) return inputs;
  const std::vector<idx_t> want = {shape[0], shape[1], 2 * config.hidden_size};
  const std::vector<idx_t> given = recorded.source().Info("input.cotangent").shape;
  Check(given == want, ErrorCode::kFormat, "{}: input.cotangent has shape {}, need {}",
        recorded.source().source(), ShapeText(given), ShapeText(want));
  inputs->cotangent = recorded.source().ReadFloat("input.cotangent");
  return inputs;
}

class CaseRunner {
 public:
  CaseRunner(Context& context, ParityCase recorded, Reformer& model, const CaseInputs& inputs)
      : context_(context),
        case_(std::move(recorded)),
        source_(case_.source()),
        model_(model),
        inputs_(inputs) {}

  ParityReport Run() {
    CheckKnown();
    GiveRotations();
    // A case is compared with what the original computed, which pads a text to whole chunks. (Its
    // padding shows in LSH layers: whole chunks of it may be looked back on, and the number of
    // buckets counts it.)
    model_.SetStrict(true);
    Outputs();
    model_.SetStrict(false);
    Gradients();
    return case_.Finish();
  }

 private:
  bool IsRotations(const std::string& name) const {
    for (std::size_t i = 0; i < model_.config().layers.size(); ++i) {
      if (name == kRotations + std::to_string(i)) return true;
    }
    return false;
  }

  bool Known(const std::string& name) const {
    for (const char* input :
         {"input_ids", "inputs_embeds", "attention_mask", "position_ids", "num_hashes", "labels",
          "start_positions", "end_positions", "cotangent"}) {
      if (name == std::string("input.") + input) return true;
    }
    const HeadKind head = model_.config().head;
    const bool bare = head == HeadKind::kNone, question = head == HeadKind::kQuestion;
    if (question && (name == "expected.start_logits" || name == "expected.end_logits")) return true;
    if (!bare && !question && name == "expected.logits") return true;
    if (!bare && name == "expected.loss") return true;
    return name == "expected.train_loss" || name == "expected.last_hidden_state" ||
           name.rfind("expected.hidden_states.", 0) == 0 || IsRotations(name);
  }

  void CheckKnown() const {
    case_.CheckKnown(model_.parameters(), [&](const std::string& name) { return Known(name); });
  }

  // "rotations.<layer>" of the case, in place of drawn ones.
  void GiveRotations() {
    const ReformerConfig& config = model_.config();
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const std::string name = kRotations + std::to_string(i);
      if (!source_.Has(name)) continue;
      Check(config.layers[i] == LayerKind::kLsh, ErrorCode::kFormat,
            "{}: {} is there, but layer {} does not hash", source_.source(), name, i);
      const idx_t tokens = PaddedTokens(config, inputs_.batch.tokens);
      const LshSpec spec = SharedSpec(config, tokens, inputs_.batch.num_hashes);
      const std::vector<idx_t> shape = {config.heads, config.head_size, spec.rounds,
                                        spec.RotationColumns()};
      Check(!spec.Hashes(tokens) || source_.Info(name).shape == shape, ErrorCode::kFormat,
            "{}: {} has shape {}, the model needs {}", source_.source(), name,
            ShapeText(source_.Info(name).shape), ShapeText(shape));
      model_.GiveRotations(i, source_.ReadFloat(name));
    }
  }

  // Hidden states have the padded length, later outputs do not.
  void Outputs() {
    const ReformerBatch& batch = inputs_.batch;
    const idx_t n = batch.rows * batch.tokens, channels = model_.config().hidden_size;
    Tensor y1({n, channels}), y2({n, channels});
    std::vector<Tensor> hidden_states;
    model_.Encode(context_, batch, y1.view<2>(), y2.view<2>(), &hidden_states);
    for (std::size_t i = 0; case_.Wants("hidden_states." + std::to_string(i)); ++i) {
      Check(i < hidden_states.size(), ErrorCode::kFormat, "{}: hidden_states.{}, model has {}",
            source_.source(), i, hidden_states.size());
      case_.CompareOutput("hidden_states." + std::to_string(i), hidden_states[i]);
    }
    if (case_.Wants("last_hidden_state")) {
      Tensor h({n, 2 * channels});
      model_.Normalise(context_, y1.view<2>(), y2.view<2>(), h.view<2>());
      case_.CompareOutput("last_hidden_state", h);
    }
    Logits(y1.view<2>(), y2.view<2>());
    if (case_.Wants("loss")) {
      CheckLabels("expected.loss");
      case_.CompareOutput("loss", model_.Loss(context_, batch).mean);
    }
  }

  void Logits(const View<float, 2>& y1, const View<float, 2>& y2) {
    const bool sides = case_.Wants("start_logits") || case_.Wants("end_logits");
    if (!sides && !case_.Wants("logits")) return;
    const Tensor logits = model_.HeadLogits(context_, inputs_.batch.rows, y1, y2);
    if (case_.Wants("logits")) case_.CompareOutput("logits", logits);
    for (const int side : {0, 1}) {
      const std::string name = side == 0 ? "start_logits" : "end_logits";
      if (!case_.Wants(name)) continue;
      std::vector<float> column;
      for (idx_t t = 0; t < logits.shape()[0]; ++t) {
        column.push_back(logits.data<float>()[2 * t + side]);
      }
      case_.CompareOutput(name, column);
    }
  }

  void CheckLabels(std::string_view what) const {
    Check(inputs_.has_labels, ErrorCode::kFormat, "{}: {} needs labels or positions of answers",
          source_.source(), what);
  }

  double TrainLoss() {
    model_.parameters().AllocateGradients();
    if (inputs_.has_labels) {
      return model_.LossAndGradients(context_, inputs_.batch, std::nullopt, {}).mean;
    }
    Check(!inputs_.cotangent.empty(), ErrorCode::kFormat,
          "{}: gradients need input.labels or input.cotangent", source_.source());
    const idx_t n = inputs_.batch.rows * inputs_.batch.tokens;
    const View<const float, 2> cotangent(inputs_.cotangent.data<float>(),
                                         {n, 2 * model_.config().hidden_size});
    return model_.CotangentGradients(context_, inputs_.batch, cotangent, {});
  }

  void Gradients() {
    if (!case_.WantsTraining()) return;
    const double loss = TrainLoss();
    if (case_.Wants("train_loss")) case_.CompareOutput("train_loss", loss);
    case_.CompareGradients(model_.parameters());
  }

  Context& context_;
  ParityCase case_;
  const io::TensorSource& source_;
  Reformer& model_;
  const CaseInputs& inputs_;
};

}  // namespace

ParityReport VerifyReformer(Context& context, const ModelFolder& folder,
                            const io::TensorSource& recorded, const FamilyOptions& options) {
  LoadOptions load;
  load.family = options;
  Reformer model = LoadReformer(folder, load);
  ParityCase known(recorded);
  const auto inputs = ReadInputs(known, model.config());
  return CaseRunner(context, std::move(known), model, *inputs).Run();
}

}  // namespace longspan
