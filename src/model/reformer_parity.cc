// A Reformer against a recorded case.

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

#include "base/errors.h"
#include "base/math.h"
#include "model/attention_layer.h"
#include "model/model_files.h"
#include "model/parity_case.h"

namespace longspan {
namespace {

constexpr const char* kRotations = "rotations.";

// The case's inputs as the model takes them.
struct CaseInputs {
  TokenBatch batch;
  std::vector<std::int32_t> ids, targets;
  std::vector<std::uint8_t> mask;
  Tensor cotangent;
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

std::unique_ptr<CaseInputs> ReadInputs(const ParityCase& recorded, const Reformer& model) {
  const io::TensorSource& source = recorded.source();
  auto inputs = std::make_unique<CaseInputs>();
  const std::vector<idx_t> shape = source.Info("input.input_ids").shape;
  Check(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, ErrorCode::kFormat,
        "{}: input.input_ids has shape {}, need (batch, tokens)", source.source(),
        ShapeText(shape));
  inputs->ids = recorded.Integers("input.input_ids", shape);
  inputs->batch.rows = shape[0];
  inputs->batch.tokens = shape[1];
  inputs->batch.ids = inputs->ids;
  if (source.Has("input.labels")) {
    inputs->has_labels = true;
    inputs->targets = Targets(recorded.Integers("input.labels", shape), shape[1],
                              model.config().head == ReformerHead::kLanguageModel);
    inputs->batch.targets = inputs->targets;
  }
  if (source.Has("input.attention_mask")) {
    for (const std::int32_t v : recorded.Integers("input.attention_mask", shape)) {
      inputs->mask.push_back(v != 0);
    }
    inputs->batch.mask = {inputs->mask.data(), {shape[0], shape[1]}};
  }
  if (source.Has("input.cotangent")) {
    const std::vector<idx_t> want = {shape[0], shape[1], 2 * model.config().hidden_size};
    Check(source.Info("input.cotangent").shape == want, ErrorCode::kFormat,
          "{}: input.cotangent has shape {}, need {}", source.source(),
          ShapeText(source.Info("input.cotangent").shape), ShapeText(want));
    inputs->cotangent = source.ReadFloat("input.cotangent");
  }
  return inputs;
}

// Hugging Face's evaluation pads a text to whole chunks of every kind of layer, with masked tokens,
// unless it fits the smallest chunk. Here any length runs as it is; a case is compared with what
// the original computed. (Its padding shows in LSH layers: whole chunks of it may be looked back
// on, and the number of buckets counts it.)
idx_t PaddedTokens(const ReformerConfig& config, idx_t tokens) {
  idx_t multiple = 1, smallest = std::numeric_limits<idx_t>::max();
  for (const LayerKind kind : config.layers) {
    const idx_t chunk = kind == LayerKind::kLocal ? config.local_chunk : config.lsh_chunk;
    multiple = std::lcm(multiple, chunk);
    smallest = std::min(smallest, chunk);
  }
  return tokens > smallest ? RoundUp(tokens, multiple) : tokens;
}

// A batch whose rows are lengthened by hidden tokens without labels.
struct PaddedBatch {
  PaddedBatch(const TokenBatch& batch, idx_t padded, std::int32_t pad) {
    const auto lengthen = [&](const auto& values, auto fill, auto* longer) {
      for (idx_t b = 0; b < batch.rows; ++b) {
        const auto row = values.begin() + b * batch.tokens;
        longer->insert(longer->end(), row, row + batch.tokens);
        longer->insert(longer->end(), static_cast<std::size_t>(padded - batch.tokens), fill);
      }
    };
    std::vector<std::uint8_t> shown(static_cast<std::size_t>(batch.rows * batch.tokens), 1);
    if (!batch.mask.empty()) std::copy_n(batch.mask.data, batch.mask.size(), shown.begin());
    lengthen(batch.ids, pad, &ids);
    lengthen(shown, std::uint8_t{0}, &mask);
    if (!batch.targets.empty()) lengthen(batch.targets, kIgnoreLabel, &targets);
    padded_batch = {batch.rows, padded, ids, targets, {mask.data(), {batch.rows, padded}}};
  }
  std::vector<std::int32_t> ids, targets;
  std::vector<std::uint8_t> mask;
  TokenBatch padded_batch;
};

// The first `tokens` of each of the rows of x (rows * padded, width).
Tensor CutRows(const Tensor& x, idx_t rows, idx_t tokens) {
  const idx_t width = x.shape()[1], padded = x.shape()[0] / rows;
  Tensor cut({rows * tokens, width});
  for (idx_t b = 0; b < rows; ++b) {
    std::copy_n(x.data<float>() + b * padded * width, tokens * width,
                cut.data<float>() + b * tokens * width);
  }
  return cut;
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
    const TokenBatch& batch = inputs_.batch;
    const idx_t padded = PaddedTokens(model_.config(), batch.tokens);
    if (padded == batch.tokens) {
      Outputs(batch);
    } else {
      const PaddedBatch longer(batch, padded, static_cast<std::int32_t>(model_.config().pad_token));
      Outputs(longer.padded_batch);
    }
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

  void CheckKnown() const {
    case_.CheckKnown(model_.parameters(), [&](const std::string& name) {
      return name == "input.input_ids" || name == "input.labels" ||
             name == "input.attention_mask" || name == "input.cotangent" ||
             name == "expected.logits" || name == "expected.loss" ||
             name == "expected.train_loss" || name == "expected.last_hidden_state" ||
             name.rfind("expected.hidden_states.", 0) == 0 || IsRotations(name);
    });
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
      const LshSpec spec = SharedSpec(config, tokens);
      const std::vector<idx_t> shape = {config.heads, config.head_size, config.num_hashes,
                                        spec.RotationColumns()};
      Check(!spec.Hashes(tokens) || source_.Info(name).shape == shape, ErrorCode::kFormat,
            "{}: {} has shape {}, the model needs {}", source_.source(), name,
            ShapeText(source_.Info(name).shape), ShapeText(shape));
      model_.GiveRotations(i, source_.ReadFloat(name));
    }
  }

  // `batch` may be padded: hidden states keep its length, what comes behind them does not.
  void Outputs(const TokenBatch& batch) {
    const idx_t rows = batch.rows, tokens = inputs_.batch.tokens, n = rows * batch.tokens;
    const idx_t channels = model_.config().hidden_size;
    Tensor y1({n, channels}), y2({n, channels}), joined({n, 2 * channels});
    std::vector<Tensor> hidden_states;
    model_.Encode(context_, batch, y1.view<2>(), y2.view<2>(), &hidden_states);
    model_.Normalise(context_, y1.view<2>(), y2.view<2>(), joined.view<2>());
    Tensor h = CutRows(joined, rows, tokens);
    for (std::size_t i = 0; case_.Wants("hidden_states." + std::to_string(i)); ++i) {
      Check(i < hidden_states.size(), ErrorCode::kFormat, "{}: hidden_states.{}, model has {}",
            source_.source(), i, hidden_states.size());
      case_.CompareOutput("hidden_states." + std::to_string(i), hidden_states[i]);
    }
    if (case_.Wants("last_hidden_state")) case_.CompareOutput("last_hidden_state", h);
    if (case_.Wants("logits")) {
      Tensor logits({rows * tokens, model_.config().vocab_size});
      model_.Logits(context_, h.view<2>(), logits.view<2>());
      case_.CompareOutput("logits", logits);
    }
    if (case_.Wants("loss")) {
      CheckLabels("expected.loss");
      const CrossEntropyResult loss = model_.Loss(context_, batch);
      case_.CompareOutput("loss", loss.sum / static_cast<double>(loss.counted));
    }
  }

  void CheckLabels(std::string_view what) const {
    Check(inputs_.has_labels, ErrorCode::kFormat, "{}: {} needs input.labels", source_.source(),
          what);
  }

  double TrainLoss() {
    model_.parameters().AllocateGradients();
    if (!inputs_.has_labels) {
      Check(!inputs_.cotangent.empty(), ErrorCode::kFormat,
            "{}: gradients need input.labels or input.cotangent", source_.source());
      const idx_t n = inputs_.batch.rows * inputs_.batch.tokens;
      const View<const float, 2> cotangent(inputs_.cotangent.data<float>(),
                                           {n, 2 * model_.config().hidden_size});
      return model_.CotangentGradients(context_, inputs_.batch, cotangent, {});
    }
    const auto counted = std::count_if(inputs_.targets.begin(), inputs_.targets.end(),
                                       [](std::int32_t t) { return t != kIgnoreLabel; });
    Check(counted > 0, ErrorCode::kFormat, "{}: every label is ignored", source_.source());
    const CrossEntropyResult loss =
        model_.LossAndGradients(context_, inputs_.batch, 1.0f / static_cast<float>(counted), {});
    return loss.sum / static_cast<double>(loss.counted);
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

ParityReport VerifyReformer(Context& context, const std::filesystem::path& directory,
                            const io::TensorSource& source) {
  Reformer model = LoadReformer(directory);
  ParityCase recorded(source);
  const auto inputs = ReadInputs(recorded, model);
  return CaseRunner(context, std::move(recorded), model, *inputs).Run();
}

}  // namespace longspan
