#include "model/parity_inputs.h"

#include "base/errors.h"
#include "model/global_policy.h"

namespace longspan {
namespace {

// (B, T), or (questions, choices, T) whose rows are laid out one after another.
std::vector<idx_t> ShapeOfIds(const ParityCase& recorded, const TextModelInfo& model,
                              ParityInputs* inputs) {
  const std::vector<idx_t> shape = recorded.source().Info("input.input_ids").shape;
  const bool choices = model.head == HeadKind::kChoice;
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

void ReadRoles(const ParityCase& recorded, const TextModelInfo& model,
               const std::vector<idx_t>& shape, ParityInputs* inputs) {
  BatchView& batch = inputs->batch;
  const auto mask = recorded.Integers("input.attention_mask", shape, true);
  const auto global = recorded.Integers("input.global_attention_mask", shape, true);
  inputs->roles = MergeMasks(mask, global);
  if (inputs->roles.empty()) inputs->roles.assign(inputs->ids.size(), kLocalToken);
  if (global.empty()) {
    GlobalPolicy().Apply(model, inputs->ids, batch.rows, batch.tokens, inputs->roles);
  }
  batch.roles = {inputs->roles.data(), {batch.rows, batch.tokens}};
}

void ReadTargets(const ParityCase& recorded, const TextModelInfo& model,
                 const std::vector<idx_t>& shape, ParityInputs* inputs) {
  BatchView& batch = inputs->batch;
  const std::vector<idx_t> first = {shape[0]};
  inputs->starts = recorded.Integers("input.start_positions", first, true);
  inputs->ends = recorded.Integers("input.end_positions", first, true);
  batch.starts = inputs->starts;
  batch.ends = inputs->ends;
  if (!recorded.Has("input.labels")) return;
  if (model.head == HeadKind::kSequence &&
      recorded.LabelsAreNumbers(model.problem, model.label_count())) {
    inputs->values = recorded.LabelValues(batch.rows * model.label_count());
    batch.values = {inputs->values.data<float>(), static_cast<std::size_t>(inputs->values.size())};
    return;
  }
  const bool tokens = model.head == HeadKind::kMaskedLm || model.head == HeadKind::kToken;
  inputs->labels = recorded.Integers("input.labels", tokens ? shape : first);
  batch.labels = inputs->labels;
}

}  // namespace

std::unique_ptr<ParityInputs> ReadParityInputs(const ParityCase& recorded,
                                               const TextModelInfo& model) {
  auto inputs = std::make_unique<ParityInputs>();
  const std::vector<idx_t> shape = ShapeOfIds(recorded, model, inputs.get());
  inputs->ids = recorded.Integers("input.input_ids", shape);
  inputs->types = recorded.Integers("input.token_type_ids", shape, true);
  inputs->batch.ids = inputs->ids;
  inputs->batch.token_types = inputs->types;
  ReadRoles(recorded, model, shape, inputs.get());
  ReadTargets(recorded, model, shape, inputs.get());
  if (recorded.Has("input.cotangent")) {
    const std::vector<idx_t> want = {shape[0], shape.back(), model.width};
    const std::vector<idx_t> given = recorded.source().Info("input.cotangent").shape;
    Check(given == want, ErrorCode::kFormat, "{}: input.cotangent has shape {}, need {}",
          recorded.source().source(), ShapeText(given), ShapeText(want));
    inputs->cotangent = recorded.source().ReadFloat("input.cotangent");
  }
  return inputs;
}

bool IsEncoderTensor(HeadKind head, std::size_t layers, const std::string& name) {
  for (const char* input : {"input_ids", "attention_mask", "token_type_ids", "labels",
                            "start_positions", "end_positions"}) {
    if (name == std::string("input.") + input) return true;
  }
  const bool bare = head == HeadKind::kNone, question = head == HeadKind::kQuestion;
  if (bare && (name == "input.cotangent" || name == "expected.last_hidden_state")) return true;
  if (question && (name == "expected.start_logits" || name == "expected.end_logits")) return true;
  if (!bare && !question && name == "expected.logits") return true;
  if (!bare && name == "expected.loss") return true;
  for (std::size_t i = 0; i <= layers; ++i) {
    const std::string number = std::to_string(i);
    if (name == "expected.hidden_states." + number) return true;
    if (i < layers && name == "expected.attentions." + number) return true;
  }
  return name == "expected.train_loss";
}

bool WantsLogits(const ParityCase& recorded) {
  return recorded.Wants("logits") || recorded.Wants("start_logits") || recorded.Wants("end_logits");
}

void CompareLogits(ParityCase& recorded, const Tensor& logits) {
  if (recorded.Wants("logits")) recorded.CompareOutput("logits", logits);
  for (const int side : {0, 1}) {
    const std::string name = side == 0 ? "start_logits" : "end_logits";
    if (!recorded.Wants(name)) continue;
    std::vector<float> column;
    for (idx_t t = 0; t < logits.shape()[0]; ++t) {
      column.push_back(logits.data<float>()[2 * t + side]);
    }
    recorded.CompareOutput(name, column);
  }
}

View<const float, 2> CotangentOf(const ParityCase& recorded, const ParityInputs& inputs,
                                 idx_t width) {
  Check(!inputs.cotangent.empty(), ErrorCode::kFormat,
        "{}: gradients of a bare model need input.cotangent", recorded.source().source());
  return {inputs.cotangent.data<float>(), {inputs.batch.rows * inputs.batch.tokens, width}};
}

}  // namespace longspan
