#include "model/to_longformer.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "base/errors.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/escape.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/bert_config.h"
#include "model/model_folder.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr idx_t kMostTokens = idx_t{1} << 24;
constexpr idx_t kMostWindow = idx_t{1} << 20;
constexpr std::size_t kMostListed = 10;
constexpr std::string_view kPrefix = "longformer.";
constexpr std::string_view kPositions = "longformer.embeddings.position_embeddings.weight";

std::string Source(const fs::path& path) { return io::Escape(path.native(), 4096); }

std::string Tensors(std::size_t count) {
  return fmt::format("{} tensor{}", count, count == 1 ? "" : "s");
}

// A tensor to write: the canonical name in the source that it is made of, and its new shape.
struct Output {
  std::string name, from;
  std::vector<idx_t> shape;
};

// What a BERT's tensors become.
class Plan {
 public:
  Plan(const io::TensorSource& source, const BertConfig& config, idx_t rows)
      : source_(source), config_(config), rows_(rows) {
    Embeddings();
    for (idx_t layer = 0; layer < config.layers; ++layer) Layer(layer);
    Head();
    if (problems_ == 0) return;
    Fail(ErrorCode::kFormat, "{}: {} unlike config.json: {}{}", source.source(), Tensors(problems_),
         list_, problems_ > kMostListed ? "; ..." : "");
  }

  const std::vector<Output>& outputs() const { return outputs_; }
  bool Uses(std::string_view name) const { return used_.count(name) != 0; }

 private:
  using Shape = std::vector<idx_t>;

  void Problem(const std::string& what) {
    if (++problems_ <= kMostListed) list_ += (list_.empty() ? "" : "; ") + what;
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
    const bool bare = config_.head == BertHead::kNone && name.starts_with(kPrefix);
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
  // As many rows as the file has: the config's labels do not bind here.
  void Labels(std::string_view name, std::string_view from) {
    const std::string weight = fmt::format("{}.weight", from);
    const Shape shape = source_.Has(weight) ? source_.Info(weight).shape : Shape{};
    Linear(name, from, shape.empty() ? 1 : shape[0], config_.hidden_size);
  }

  void Embeddings() {
    const idx_t width = config_.hidden_size;
    Copy("longformer.embeddings.word_embeddings.weight", {config_.vocab_size, width});
    Copy("longformer.embeddings.token_type_embeddings.weight", {config_.token_types, width});
    Add(kPositions, kPositions, {config_.positions, width}, {rows_, width});
    Norm("longformer.embeddings.LayerNorm");
  }

  void Layer(idx_t layer) {
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
      case BertHead::kNone:
        // Files of a headless model may come without a pooler.
        if (source_.Has("longformer.pooler.dense.weight")) Linear(pooler, width, width);
        return;
      case BertHead::kMaskedLm:
        Linear("lm_head.dense", width, width);
        Norm("lm_head.layer_norm");
        Copy("lm_head.bias", {config_.vocab_size});
        if (config_.tied) return;
        Copy("lm_head.decoder.weight", {config_.vocab_size, width});
        Add("lm_head.decoder.bias",
            source_.Has("lm_head.decoder.bias") ? "lm_head.decoder.bias" : "lm_head.bias",
            {config_.vocab_size}, {config_.vocab_size});
        return;
      case BertHead::kSequence:
        if (config_.family == BertFamily::kRoberta) {
          Linear("classifier.dense", width, width);
          return Labels("classifier.out_proj", "classifier.out_proj");
        }
        Linear("classifier.dense", pooler, width, width);
        return Labels("classifier.out_proj", "classifier");
      case BertHead::kToken:
        return Labels("classifier", "classifier");
      case BertHead::kQuestion:
        return Labels("qa_outputs", "qa_outputs");
      case BertHead::kChoice:
        Linear(pooler, width, width);
        return Labels("classifier", "classifier");
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

// Reads a shard's tensors into memory that the next call frees.
class Loader {
 public:
  using Read = std::function<Tensor(const std::string& name)>;
  explicit Loader(Read read) : read_(std::move(read)) {}
  void operator()(std::span<io::TensorEntry> shard) {
    tensors_.clear();
    for (io::TensorEntry& entry : shard) {
      tensors_.push_back(read_(entry.name));
      entry.data = tensors_.back().raw();
    }
  }

 private:
  Read read_;
  std::vector<Tensor> tensors_;
};

void CheckOptions(const ToLongformerOptions& o) {
  Check(o.max_tokens >= 1 && o.max_tokens <= kMostTokens, ErrorCode::kUsage,
        "max-pos: {} is not from 1 to {}", o.max_tokens, kMostTokens);
  Check(o.window >= 1 && o.window <= kMostWindow, ErrorCode::kUsage,
        "window: {} is not from 1 to {}", o.window, kMostWindow);
}

void Unused(const io::TensorSource& source, const Plan& plan, const BertConfig& config,
            const std::vector<std::string>& dropped, std::vector<std::string>* warnings) {
  std::vector<std::string> names = dropped;
  for (const auto& [name, info] : source.tensors()) {
    const auto tied = TiedTo(name);
    if (!plan.Uses(name) && !(tied && config.tied)) names.push_back(name);
  }
  if (names.empty()) return;
  warnings->push_back(fmt::format("{}: {} without a place in the Longformer: {}{}", source.source(),
                                  Tensors(names.size()), io::Escape(names[0]),
                                  names.size() > 1 ? ", ..." : ""));
}

}  // namespace

ConvertReport ToLongformer(const fs::path& in, const fs::path& out,
                           const ToLongformerOptions& options) {
  CheckOptions(options);
  const fs::path config_file = in / "config.json";
  const json original = io::ReadJsonFile(config_file);
  std::vector<std::string> dropped;
  const auto source = WithCanonicalNames(io::OpenModel(in), &dropped);
  const BertConfig config =
      ParseBertConfig(original, Source(config_file), source->Has("lm_head.dense.weight"));
  const idx_t begin = config.pad_token + 1;
  const Plan plan(*source, config, begin + options.max_tokens);

  ConvertReport report;
  report.from = config.architecture;
  report.to = LongformerClassOf(config.head);
  report.old_tokens = config.longest();
  report.warnings = source->warnings();
  Unused(*source, plan, config, dropped, &report.warnings);
  std::vector<io::TensorEntry> entries;
  std::map<std::string, std::string> from;
  for (const Output& output : plan.outputs()) {
    entries.push_back({output.name, source->Info(output.from).dtype, output.shape, nullptr});
    from[output.name] = output.from;
  }
  report.tensors = entries.size();
  Loader load([&](const std::string& name) {
    Tensor tensor = source->Read(from[name]);
    return from[name] == kPositions
               ? RepeatPositions(tensor, config.first_position(), begin, begin + options.max_tokens)
               : std::move(tensor);
  });

  io::AtomicDirectory folder(out);
  report.copied = CopyCompanions(in, folder.path(), {"config.json"});
  const bool bert = config.family == BertFamily::kBert;
  SetLongestText(folder.path(), options.max_tokens, bert ? "BertTokenizer" : "RobertaTokenizer");
  const idx_t cls = bert ? TokenId(in, "[CLS]") : -1, sep = bert ? TokenId(in, "[SEP]") : -1;
  io::WriteFileAtomic(
      folder.path() / "config.json",
      LongformerConfigText(original, config, options.max_tokens, options.window, cls, sep));
  const io::ShardedWrite written =
      io::WriteModel(folder.path(), std::move(entries), options.most_bytes, std::ref(load));
  folder.Commit();
  report.bytes = written.bytes;
  report.shards = written.shards;
  return report;
}

namespace {

// Where a tensor's bits lie: tied tensors of a .bin file share them.
auto Place(const io::TensorInfo& info) {
  return std::tuple(info.file, info.begin, info.dtype, info.shape, info.stride);
}

// The names to write and the tensors that they stand for.
std::map<std::string, std::string> NamesToWrite(const io::TensorSource& source, bool longformer,
                                                std::string_view head,
                                                std::vector<std::string>* warnings) {
  std::map<std::string, std::string> from;
  const bool bare = head == "LongformerModel";
  const bool pooler = bare || head == "LongformerForMultipleChoice";
  std::map<std::string, const io::TensorInfo*, std::less<>> by_name;
  for (const auto& [name, info] : source.tensors()) {
    if (const auto canonical = CanonicalName(name)) by_name.emplace(*canonical, &info);
  }
  std::size_t left_out = 0;
  for (const auto& [name, info] : source.tensors()) {
    const auto canonical = CanonicalName(name);
    const auto tied = canonical ? TiedTo(*canonical) : std::nullopt;
    const auto parameter = tied ? by_name.find(*tied) : by_name.end();
    const bool copy = parameter != by_name.end() && Place(*parameter->second) == Place(info);
    if (copy) continue;
    if (!longformer) {
      from[name] = name;
    } else if (!canonical) {
      continue;
    } else if (!pooler && canonical->starts_with("longformer.pooler.")) {
      ++left_out;
    } else {
      const bool strip = bare && canonical->starts_with(kPrefix);
      from[strip ? canonical->substr(kPrefix.size()) : *canonical] = name;
    }
  }
  if (left_out > 0) {
    warnings->push_back(
        fmt::format("{}: the pooler is left out: {} has none", source.source(), io::Escape(head)));
  }
  return from;
}

}  // namespace

ConvertReport RewriteModel(const fs::path& in, const fs::path& out, std::uint64_t most_bytes) {
  std::shared_ptr<io::TensorSource> source = io::OpenModel(in);
  ConvertReport report;
  report.warnings = source->warnings();
  const fs::path config_file = in / "config.json";
  bool longformer = false;
  if (fs::is_directory(in) && fs::exists(config_file)) {
    const json config = io::ReadJsonFile(config_file);
    longformer = io::GetString(config, "model_type", "", Source(config_file)) == "longformer";
    if (!io::IsNullOrAbsent(config, "architectures")) {
      const auto classes = io::GetStringList(config, "architectures", {}, Source(config_file));
      if (!classes.empty()) report.from = report.to = classes[0];
    }
  }
  // Two names that become one are found here.
  if (longformer) WithCanonicalNames(io::OpenModel(in));
  const auto from = NamesToWrite(*source, longformer, report.from, &report.warnings);
  std::vector<io::TensorEntry> entries;
  for (const auto& [name, original] : from) {
    const io::TensorInfo& info = source->Info(original);
    entries.push_back({name, info.dtype, info.shape, nullptr});
  }
  report.tensors = entries.size();
  Loader load([&](const std::string& name) { return source->Read(from.at(name)); });
  io::AtomicDirectory folder(out);
  if (fs::is_directory(in)) report.copied = CopyCompanions(in, folder.path());
  const io::ShardedWrite written =
      io::WriteModel(folder.path(), std::move(entries), most_bytes, std::ref(load));
  folder.Commit();
  report.bytes = written.bytes;
  report.shards = written.shards;
  return report;
}

}  // namespace longspan
