#include "model/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>

#include "base/errors.h"
#include "base/math.h"
#include "io/escape.h"
#include "io/safetensors.h"
#include "model/attention_layer.h"
#include "model/model_files.h"

namespace longspan {
namespace {

constexpr double kMaxAbs = 1e-4;
constexpr double kOutputL2 = 2e-5, kGradientL2 = 1e-4;
constexpr double kSmallGradient = 1e-4;  // of the case's largest norm
constexpr const char* kRotations = "rotations.";

double Norm(std::span<const float> values) {
  double sum = 0.0;
  for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

// NaN anywhere makes both measures NaN, and no comparison with NaN holds.
TensorParity Measure(std::string name, std::span<const float> actual,
                     std::span<const float> expected, double rel_l2_limit) {
  TensorParity result{std::move(name)};
  double squares = 0.0, largest = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(actual[i]) - static_cast<double>(expected[i]);
    squares += difference * difference;
    if (std::isnan(difference)) result.max_abs = difference;
    if (!std::isnan(result.max_abs))
      result.max_abs = std::max(result.max_abs, std::abs(difference));
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  const double norm = Norm(expected);
  result.rel_l2 = norm > 0.0 ? std::sqrt(squares) / norm : std::sqrt(squares);
  result.ok = result.max_abs <= kMaxAbs * std::max(1.0, largest) &&
              (rel_l2_limit < 0.0 || result.rel_l2 <= rel_l2_limit);
  return result;
}

std::span<const float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), static_cast<std::size_t>(tensor.size())};
}

// Integers of the case: ids, labels, masks.
std::vector<std::int32_t> ReadIntegers(const io::TensorSource& source, const std::string& name,
                                       const std::vector<idx_t>& shape) {
  Check(source.Info(name).shape == shape, ErrorCode::kFormat, "{}: {} has shape {}, need {}",
        source.source(), name, ShapeText(source.Info(name).shape), ShapeText(shape));
  const Tensor tensor = source.ReadFloat(name);  // exact: far below 2^24
  std::vector<std::int32_t> values;
  for (const float v : Values(tensor)) {
    Check(std::abs(v) <= 0x1p24f, ErrorCode::kFormat, "{}: {} holds {}, out of range",
          source.source(), name, v);
    values.push_back(static_cast<std::int32_t>(v));
  }
  return values;
}

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

std::unique_ptr<CaseInputs> ReadInputs(const io::TensorSource& source, const Reformer& model) {
  auto inputs = std::make_unique<CaseInputs>();
  const std::vector<idx_t> shape = source.Info("input.input_ids").shape;
  Check(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, ErrorCode::kFormat,
        "{}: input.input_ids has shape {}, need (batch, tokens)", source.source(),
        ShapeText(shape));
  inputs->ids = ReadIntegers(source, "input.input_ids", shape);
  inputs->batch.rows = shape[0];
  inputs->batch.tokens = shape[1];
  inputs->batch.ids = inputs->ids;
  if (source.Has("input.labels")) {
    inputs->has_labels = true;
    inputs->targets = Targets(ReadIntegers(source, "input.labels", shape), shape[1],
                              model.config().head == ReformerHead::kLanguageModel);
    inputs->batch.targets = inputs->targets;
  }
  if (source.Has("input.attention_mask")) {
    for (const std::int32_t v : ReadIntegers(source, "input.attention_mask", shape)) {
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
  CaseRunner(Context& context, const io::TensorSource& source, Reformer& model,
             const CaseInputs& inputs)
      : context_(context), source_(source), model_(model), inputs_(inputs) {}

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
    Check(!report_.tensors.empty(), ErrorCode::kFormat,
          "{}: no expected.* or grad.* tensor to compare", source_.source());
    report_.ok = std::all_of(report_.tensors.begin(), report_.tensors.end(),
                             [](const TensorParity& t) { return t.ok; });
    return std::move(report_);
  }

 private:
  bool Wants(const std::string& name) const { return source_.Has(name); }

  bool IsRotations(const std::string& name) const {
    for (std::size_t i = 0; i < model_.config().layers.size(); ++i) {
      if (name == kRotations + std::to_string(i)) return true;
    }
    return false;
  }

  // What a case asks for and this model cannot give must not pass in silence.
  void CheckKnown() const {
    for (const auto& [name, info] : source_.tensors()) {
      const bool gradient = name.rfind("grad.", 0) == 0;
      const bool known = name == "input.input_ids" || name == "input.labels" ||
                         name == "input.attention_mask" || name == "input.cotangent" ||
                         name == "expected.logits" || name == "expected.loss" ||
                         name == "expected.train_loss" || name == "expected.last_hidden_state" ||
                         name.rfind("expected.hidden_states.", 0) == 0 || IsRotations(name) ||
                         (gradient && model_.parameters().contains(name.substr(5)));
      Check(known, ErrorCode::kFormat, "{}: '{}' cannot be compared with this model",
            source_.source(), io::Escape(name));
    }
  }

  void Compare(const std::string& name, std::span<const float> actual, double limit) {
    const Tensor expected = source_.ReadFloat(name);
    Check(static_cast<std::size_t>(expected.size()) == actual.size(), ErrorCode::kFormat,
          "{}: {} has shape {}, the model gives {} numbers", source_.source(), name,
          ShapeText(expected.shape()), actual.size());
    const bool output = name.rfind("expected.", 0) == 0;
    report_.tensors.push_back(
        Measure(output ? name.substr(9) : name, actual, Values(expected), limit));
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
    for (std::size_t i = 0; Wants("expected.hidden_states." + std::to_string(i)); ++i) {
      Check(i < hidden_states.size(), ErrorCode::kFormat, "{}: hidden_states.{}, model has {}",
            source_.source(), i, hidden_states.size());
      Compare("expected.hidden_states." + std::to_string(i), Values(hidden_states[i]), kOutputL2);
    }
    if (Wants("expected.last_hidden_state")) {
      Compare("expected.last_hidden_state", Values(h), kOutputL2);
    }
    if (Wants("expected.logits")) {
      Tensor logits({rows * tokens, model_.config().vocab_size});
      model_.Logits(context_, h.view<2>(), logits.view<2>());
      Compare("expected.logits", Values(logits), kOutputL2);
    }
    if (Wants("expected.loss")) {
      CheckLabels("expected.loss");
      const CrossEntropyResult loss = model_.Loss(context_, batch);
      const float mean = static_cast<float>(loss.sum / static_cast<double>(loss.counted));
      Compare("expected.loss", {&mean, 1}, kOutputL2);
    }
  }

  void CheckLabels(std::string_view what) const {
    Check(inputs_.has_labels, ErrorCode::kFormat, "{}: {} needs input.labels", source_.source(),
          what);
  }

  float TrainLoss() {
    model_.parameters().AllocateGradients();
    if (!inputs_.has_labels) {
      Check(!inputs_.cotangent.empty(), ErrorCode::kFormat,
            "{}: gradients need input.labels or input.cotangent", source_.source());
      const idx_t n = inputs_.batch.rows * inputs_.batch.tokens;
      const View<const float, 2> cotangent(inputs_.cotangent.data<float>(),
                                           {n, 2 * model_.config().hidden_size});
      return static_cast<float>(model_.CotangentGradients(context_, inputs_.batch, cotangent, {}));
    }
    const auto counted = std::count_if(inputs_.targets.begin(), inputs_.targets.end(),
                                       [](std::int32_t t) { return t != kIgnoreLabel; });
    Check(counted > 0, ErrorCode::kFormat, "{}: every label is ignored", source_.source());
    const CrossEntropyResult loss =
        model_.LossAndGradients(context_, inputs_.batch, 1.0f / static_cast<float>(counted), {});
    return static_cast<float>(loss.sum / static_cast<double>(loss.counted));
  }

  void Gradients() {
    std::vector<std::string> names;
    double largest = 0.0;
    for (const auto& [name, info] : source_.tensors()) {
      if (name.rfind("grad.", 0) != 0) continue;
      names.push_back(name);
      largest = std::max(largest, Norm(Values(source_.ReadFloat(name))));
    }
    if (names.empty() && !Wants("expected.train_loss")) return;
    const float loss = TrainLoss();
    if (Wants("expected.train_loss")) Compare("expected.train_loss", {&loss, 1}, kOutputL2);
    for (const std::string& name : names) {
      const View<float, 1> gradient = model_.parameters().vector_gradient(name.substr(5));
      const bool small = Norm(Values(source_.ReadFloat(name))) < kSmallGradient * largest;
      Compare(name, {gradient.data, static_cast<std::size_t>(gradient.size())},
              small ? -1.0 : kGradientL2);
    }
  }

  Context& context_;
  const io::TensorSource& source_;
  Reformer& model_;
  const CaseInputs& inputs_;
  ParityReport report_;
};

}  // namespace

ParityReport VerifyCase(Context& context, const std::filesystem::path& directory,
                        const std::filesystem::path& case_file) {
  Reformer model = LoadReformer(directory);
  const io::SafetensorsFile source = io::SafetensorsFile::Open(case_file);
  const auto inputs = ReadInputs(source, model);
  return CaseRunner(context, source, model, *inputs).Run();
}

}  // namespace longspan
