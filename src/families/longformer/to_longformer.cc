#include "families/longformer/to_longformer.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "families/bert/bert_config.h"
#include "families/longformer/converted_config.h"
#include "families/longformer/longformer_config.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/policy.h"
#include "io/safetensors.h"
#include "io/transformer_folder.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "model/model_folder.h"
#include "model/post_norm_files.h"
#include "model/weight_files.h"
#include "model/weight_heads.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kPrefix = "longformer.";
constexpr std::string_view kPositions = "longformer.embeddings.position_embeddings.weight";

std::string Source(const fs::path& path) { return io::Escape(path.native(), 4096); }

std::string Tensors(std::size_t count) { return Counted(count, "tensor"); }

// A tensor to write: the canonical name in the source that it is made of, and its new shape.
struct Output {
  std::string name, from;
  std::vector<idx_t> shape;
};

// Maps a BERT's tensors to those of the Longformer.
class Plan {
 public:
  Plan(const io::TensorSource& source, const BertConfig& config, idx_t rows)
      : source_(source), config_(config), rows_(rows) {
    Embeddings();
    for (std::size_t i = 0; i < config.layers(); ++i) Layer(i);
    Head();
    if (problems_ == 0) return;
    Fail(ErrorCode::kFormat, "{}: {} unlike config.json: {}{}", source.source(), Tensors(problems_),
         list_, problems_ > limits::kToldTensors ? "; ..." : "");
  }

  const std::vector<Output>& outputs() const { return outputs_; }
  bool Uses(std::string_view name) const { return used_.count(name) != 0; }

 private:
  using Shape = std::vector<idx_t>;

  void Problem(const std::string& what) {
    if (++problems_ <= limits::kToldTensors) list_ += (list_.empty() ? "" : "; ") + what;
  }
  void Add(std::string_view name, std::string_view from, const Shape& expected,
           const Shape& written) {
    used_.emplace(from);
    if (!source_.Has(from)) return Problem(fmt::format("{} is missing", from));
    const Shape& shape = source_.Info(from).shape;
    if (shape != expected) {
      return Problem(fmt::format("{} has shape {}, the config needs {}", from, ShapeText(shape),
                                 ShapeText(expected)));
    }
    // Hugging Face's class without a head has no prefix.
    const bool bare = config_.head == HeadKind::kNone && name.starts_with(kPrefix);
    outputs_.push_back(
        {std::string(bare ? name.substr(kPrefix.size()) : name), std::string(from), written});
  }
  void Copy(std::string_view name, const Shape& shape) { Add(name, name, shape, shape); }
  void Linear(std::string_view name, std::string_view from, idx_t out, idx_t in) {
    Add(fmt::format("{}.weight", name), fmt::format("{}.weight", from), {out, in}, {out, in});
    Add(fmt::format("{}.bias", name), fmt::format("{}.bias", from), {out}, {out});
  }
  void Linear(std::string_view name, idx_t out, idx_t in) { Linear(name, name, out, in); }
  void Norm(std::string_view name) {
    Copy(fmt::format("{}.weight", name), {config_.hidden_size});
    Copy(fmt::format("{}.bias", name), {config_.hidden_size});
  }
  // Takes as many rows as the file has, whatever the config's labels are.
  void Labels(std::string_view name, std::string_view from) {
    const std::string weight = fmt::format("{}.weight", from);
    const Shape shape = source_.Has(weight) ? source_.Info(weight).shape : Shape{};
    Linear(name, from, shape.empty() ? 1 : shape[0], config_.hidden_size);
  }

  // Of two names of a decoder's bias the decoder's own has the values.
  void DecoderBias(std::string_view name) {
    constexpr std::string_view own = "lm_head.decoder.bias";
    const Shape shape = {config_.vocab_size};
    Add(name, source_.Has(own) ? own : "lm_head.bias", shape, shape);
  }

  void Embeddings() {
    const idx_t width = config_.hidden_size;
    Copy("longformer.embeddings.word_embeddings.weight", {config_.vocab_size, width});
    Copy("longformer.embeddings.token_type_embeddings.weight", {config_.token_types, width});
    Add(kPositions, kPositions, {config_.max_positions, width}, {rows_, width});
    Norm("longformer.embeddings.LayerNorm");
  }

  void Layer(std::size_t layer) {
    const idx_t width = config_.hidden_size, inner = config_.feed_forward_size;
    const std::string prefix = fmt::format("longformer.encoder.layer.{}.", layer);
    for (const char* projection : {"query", "key", "value"}) {
      const std::string name = prefix + "attention.self." + projection;
      Linear(name, width, width);
      Linear(name + "_global", name, width, width);
    }
    Linear(prefix + "attention.output.dense", width, width);
    Norm(prefix + "attention.output.LayerNorm");
    Linear(prefix + "intermediate.dense", inner, width);
    Linear(prefix + "output.dense", width, inner);
    Norm(prefix + "output.LayerNorm");
  }

  void Head() {
    const idx_t width = config_.hidden_size;
    constexpr std::string_view pooler = "longformer.pooler.dense";
    switch (config_.head) {
      case HeadKind::kNone:
        // Files of a headless model may come without a pooler.
        if (source_.Has("longformer.pooler.dense.weight")) Linear(pooler, width, width);
        return;
      case HeadKind::kMaskedLm:
        Linear("lm_head.dense", width, width);
        Norm("lm_head.layer_norm");
        DecoderBias("lm_head.bias");
        if (config_.tied) return;
        Copy("lm_head.decoder.weight", {config_.vocab_size, width});
        return DecoderBias("lm_head.decoder.bias");
      case HeadKind::kSequence:
        if (!config_.type->bert) {
          Linear("classifier.dense", width, width);
          return Labels("classifier.out_proj", "classifier.out_proj");
        }
        Linear("classifier.dense", pooler, width, width);
        return Labels("classifier.out_proj", "classifier");
      case HeadKind::kToken:
        return Labels("classifier", "classifier");
      case HeadKind::kQuestion:
        return Labels("qa_outputs", "qa_outputs");
      case HeadKind::kChoice:
        Linear(pooler, width, width);
        return Labels("classifier", "classifier");
      case HeadKind::kCausalLm:
        return;  // BertConfig has none
    }
  }

  const io::TensorSource& source_;
  const BertConfig& config_;
  idx_t rows_;
  std::vector<Output> outputs_;
  std::set<std::string, std::less<>> used_;
  std::size_t problems_ = 0;
  std::string list_;
};

// Rows of the new position table. `first` is the old table's first row for a token, `begin` the new
// one's; from there the old rows follow one another. Rows before `begin` are the old ones where the
// tables begin alike, else zero.
Tensor RepeatPositions(const Tensor& old, idx_t first, idx_t begin, idx_t rows) {
  const idx_t width = old.shape()[1], count = old.shape()[0] - first;
  Tensor table({rows, width}, old.dtype());
  const std::size_t bytes = static_cast<std::size_t>(width) * ElementBytes(old.dtype());
  const auto copy = [&](idx_t to, idx_t from) {
    std::memcpy(static_cast<std::byte*>(table.raw()) + static_cast<std::size_t>(to) * bytes,
                static_cast<const std::byte*>(old.raw()) + static_cast<std::size_t>(from) * bytes,
                bytes);
  };
  for (idx_t row = 0; row < begin && first == begin; ++row) copy(row, row);
  for (idx_t row = begin; row < rows; ++row) copy(row, first + (row - begin) % count);
  return table;
}

void CheckOptions(const ConvertOptions& o) {
  Check(o.max_tokens >= 1 && o.max_tokens <= limits::kConvertedTokens, ErrorCode::kUsage,
        "max-pos: {} is not from 1 to {}", o.max_tokens, limits::kConvertedTokens);
  Check(o.window >= 1 && o.window <= limits::kConvertedWindow, ErrorCode::kUsage,
        "window: {} is not from 1 to {}", o.window, limits::kConvertedWindow);
}

void Unused(const io::TensorSource& source, const Plan& plan, const BertConfig& config,
            const std::vector<std::string>& dropped, std::vector<std::string>* warnings) {
  std::vector<std::string> names = dropped;
  for (const auto& [name, info] : source.tensors()) {
    const auto tied = TiedTo(name);
    const bool other_bias = name == "lm_head.bias" && plan.Uses("lm_head.decoder.bias");
    if (!plan.Uses(name) && !other_bias && !(tied && config.tied)) names.push_back(name);
  }
  if (names.empty()) return;
  const std::string text = fmt::format("{}: {} without a place in the Longformer: {}",
                                       source.source(), Tensors(names.size()), NameList(names));
  Check(!io::GetPolicy().strict_weights, ErrorCode::kFormat, "{}; --strict refuses them", text);
  warnings->push_back(text);
}

// The config of what is converted. kFormat for what a Longformer cannot be, in the words of
// ParseBertConfig or here.
BertConfig ConvertedFrom(const json& original, std::string_view source,
                         const WeightHeads& weights) {
  if (original.is_object()) {
    BertTypeNamed(io::GetString(original, "model_type", io::kRequired, source), source);
  }
  BertConfig config = ParseBertConfig(original, source, weights);
  Check(config.head != HeadKind::kMaskedLm || !config.type->bert || config.activation == "gelu",
        ErrorCode::kFormat,
        "{}: hidden_act '{}' stands in BERT's masked-language head too, a Longformer's has gelu",
        source, io::Escape(config.activation));
  return config;
}

// The labels of a head over labels: as many as the weights have rows.
LabelFields LabelsOf(const json& original, const BertConfig& config, const WeightHeads& weights,
                     std::string_view source) {
  if (config.head != HeadKind::kSequence && config.head != HeadKind::kToken) return {};
  LabelFields labels = ParseLabels(original, source);
  labels.certain = false;
  FitLabels(std::max(weights.classes, weights.dense_classes), source, &labels);
  return labels;
}

}  // namespace

ConvertReport ToLongformer(const fs::path& in, const fs::path& out, const ConvertOptions& options,
                           const ConvertedCheck& check) {
  CheckOptions(options);
  const fs::path config_file = io::TransformerFolder(in) / "config.json";
  const json original = io::ReadJsonFile(config_file);
  ConvertReport report;
  std::vector<std::string> dropped;
  const auto source =
      WithCanonicalNames(WithoutExtraPrefix(io::OpenModel(in), &report.warnings), &dropped);
  const WeightHeads weights = HeadsIn(*source);
  BertConfig config = ConvertedFrom(original, Source(config_file), weights);
  if (config.head == HeadKind::kMaskedLm) {
    UntiePostNorm(*source, config.names(), &config.tied, &report.warnings);
  }
  const LabelFields labels = LabelsOf(original, config, weights, Source(config_file));
  const idx_t begin = config.pad_token + 1;
  const Plan plan(*source, config, begin + options.max_tokens);

  const auto classes = Architectures(original, Source(config_file));
  report.from = classes.size() == 1 ? classes[0] : std::string(config.class_name());
  report.to = LongformerClass(config.head);
  report.old_tokens = config.longest();
  for (const auto* lines : {&source->warnings(), &labels.notes}) {
    report.warnings.insert(report.warnings.end(), lines->begin(), lines->end());
  }
  AddConfigWarnings(in, !io::IsNullOrAbsent(original, "auto_map"), &report.warnings);
  Unused(*source, plan, config, dropped, &report.warnings);
  std::vector<io::TensorEntry> entries;
  std::map<std::string, std::string> from;
  for (const Output& output : plan.outputs()) {
    entries.push_back({output.name, source->Info(output.from).dtype, output.shape, nullptr});
    from[output.name] = output.from;
  }
  report.tensors = entries.size();
  ShardLoader load([&](const std::string& name) {
    if (options.on_tensor) options.on_tensor();
    Tensor tensor = source->Read(from[name]);
    return from[name] == kPositions
               ? RepeatPositions(tensor, config.first_position(), begin, begin + options.max_tokens)
               : std::move(tensor);
  });

  io::AtomicDirectory folder(out);
  std::string left_out = CopyBeside(in, {"config.json"}, folder.path(), &report);
  const bool bert = config.type->bert;
  SetLongestText(folder.path(), options.max_tokens, config.type->tokenizer_class);
  const fs::path own = io::TransformerFolder(in);
  const auto special = [&](const char* token) {
    const idx_t id = bert ? TokenId(own, token) : -1;
    Check(id < config.vocab_size, ErrorCode::kFormat,
          "{}: {} is token {}, config.json has a vocab_size of {}", Source(own), token, id,
          config.vocab_size);
    return id;
  };
  const idx_t cls = special("[CLS]"), sep = special("[SEP]");
  io::WriteFileAtomic(
      folder.path() / "config.json",
      LongformerConfigText(original, config, labels, options.max_tokens, options.window, cls, sep));
  const io::ShardedWrite written =
      io::WriteModel(folder.path(), std::move(entries), options.most_bytes, std::ref(load));
  load.Clear();
  check(folder.path(), out, std::move(left_out), &report.warnings);
  folder.Commit();
  report.bytes = written.bytes;
  report.shards = written.shards;
  return report;
}

}  // namespace longspan
