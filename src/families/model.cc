#include "longspan/model.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "families/families.h"
#include "families/model_inside.h"
#include "model/model_options.h"

namespace longspan {

struct Model::Impl {
  std::unique_ptr<TextModel> model;
  ModelInfo info;
  ModelOptions options;
  std::filesystem::path directory;  // empty: not from a folder
  bool reads_bytes = false;         // without a folder
  mutable std::mutex opening;       // of the tokenizer, by threads that share the model
  mutable std::shared_ptr<const text::Tokenizer> tokenizer;

  const text::Tokenizer& Tokens() const {
    const std::lock_guard lock(opening);
    if (tokenizer == nullptr) {
      Check(!directory.empty() || reads_bytes, ErrorCode::kFormat,
            "tokenizer: a {} without a folder has none", info.class_name);
      tokenizer = directory.empty() ? text::MakeBytesTokenizer() : OpenModelTokenizer(directory);
    }
    Check(tokenizer->vocabulary() <= info.vocabulary, ErrorCode::kFormat,
          "tokenizer: it has {} ids, the model's word table {} (vocab_size)",
          tokenizer->vocabulary(), info.vocabulary);
    return *tokenizer;
  }

  void Take(std::unique_ptr<TextModel> loaded, std::string_view family) {
    model = std::move(loaded);
    model->ComputeIn(options.compute);
    info = PublicInfo(model->info(), family);
  }
};

namespace {

void CheckShape(const BatchView& batch) {
  Check(batch.rows >= 1 && batch.tokens >= 1 &&
            static_cast<idx_t>(batch.ids.size()) / batch.rows == batch.tokens &&
            static_cast<idx_t>(batch.ids.size()) % batch.rows == 0,
        ErrorCode::kUsage, "batch: {} ids for {} rows of {} tokens", batch.ids.size(), batch.rows,
        batch.tokens);
}

Tensor Encode(Context& context, const TextModel& model, const BatchView& batch) {
  CheckShape(batch);
  Tensor hidden({batch.rows * batch.tokens, model.info().width});
  model.Encode(context, batch, hidden.view<2>());
  return hidden;
}

}  // namespace

// How the library makes a Model: nobody else does.
struct ModelAccess {
  static std::shared_ptr<Model::Impl> New(const ModelOptions& options) {
    auto impl = std::make_shared<Model::Impl>();
    impl->options = options;
    return impl;
  }
  static Model Wrap(std::shared_ptr<const Model::Impl> impl) { return Model(std::move(impl)); }
};

Model::Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Model Model::Load(const std::filesystem::path& directory, const ModelOptions& options) {
  return LoadModel(directory, options, nullptr);
}

void CheckWeightsFit(const Context& context, const ModelConfig& config) {
  if (context.memory_limit() == 0) return;
  const auto model = config.Make(ParameterMemory::kBorrowed);
  const std::uint64_t bytes = SaturatingProduct({std::as_const(*model).parameters().extent(), 4});
  Check(
      bytes <= context.memory_limit(), ErrorCode::kLimit,
      "weights: need {} ({} bytes), the limit is {} ({} bytes); use a smaller model, or raise the "
      "limit (Context::LimitMemory)",
      BytesText(bytes), bytes, BytesText(context.memory_limit()), context.memory_limit());
}

void CheckWeightsFit(const Context& context, const std::filesystem::path& directory) {
  if (context.memory_limit() == 0) return;
  CheckWeightsFit(context, *ReadModelConfig(OpenModelFolder(directory)));
}

Model Model::Load(Context& context, const std::filesystem::path& directory,
                  const ModelOptions& options) {
  return WithinContext(context, [&] {
    CheckWeightsFit(context, directory);
    return Load(directory, options);
  });
}

Model LoadWithTokenizer(const std::filesystem::path& directory, const ModelOptions& options) {
  const ModelFolder folder = OpenModelFolder(directory);
  if (options.head) CheckHead(directory, ReadModelConfig(folder)->info(), *options.head);
  return LoadModel(directory, options, OpenModelTokenizer(directory));
}

Model LoadModel(const std::filesystem::path& directory, const ModelOptions& options,
                std::shared_ptr<const text::Tokenizer> tokenizer) {
  const ModelFolder folder = OpenModelFolder(directory);
  const ModelFamily& family = FamilyOf(folder);
  if (options.head) CheckHead(directory, family.read(folder)->info(), *options.head);
  const auto impl = ModelAccess::New(options);
  impl->directory = directory;
  impl->tokenizer = std::move(tokenizer);
  LoadOptions load;
  load.allow_nonfinite = options.allow_nonfinite;
  load.family = OptionsOf(options.reformer);
  std::vector<std::string> warnings;
  impl->Take(family.load(folder, load, &warnings), family.type);
  for (const std::string& warning : warnings) {
    if (options.on_warning) options.on_warning(warning);
  }
  return ModelAccess::Wrap(impl);
}

Model Model::Init(std::string_view config_json, std::uint64_t seed, const ModelOptions& options) {
  const ModelFamily& family = FamilyOfConfig(config_json, "config");
  const auto config = family.parse(config_json, "config");
  config->SetOptions(OptionsOf(options.reformer));
  const auto impl = ModelAccess::New(options);
  impl->reads_bytes = family.reads_bytes;
  impl->Take(config->Make(ParameterMemory::kOwn), family.type);
  impl->model->Initialise(seed);
  Check(!options.head || *options.head == impl->info.head, ErrorCode::kFormat,
        "config: is of a {}, which has another head than the one wanted", impl->info.class_name);
  return ModelAccess::Wrap(impl);
}

Model Model::Init(Context& context, std::string_view config_json, std::uint64_t seed,
                  const ModelOptions& options) {
  return WithinContext(context, [&] {
    const ModelFamily& family = FamilyOfConfig(config_json, "config");
    CheckWeightsFit(context, *family.parse(config_json, "config"));
    return Init(config_json, seed, options);
  });
}

Model MakeModel(std::unique_ptr<TextModel> model, std::shared_ptr<const text::Tokenizer> tokenizer,
                const ModelOptions& options) {
  const auto impl = ModelAccess::New(options);
  impl->tokenizer = std::move(tokenizer);
  impl->Take(std::move(model), "");
  return ModelAccess::Wrap(impl);
}

void Model::Save(const std::filesystem::path& directory) const { impl_->model->Save(directory); }

const ModelInfo& Model::info() const { return impl_->info; }
const ModelOptions& Model::options() const { return impl_->options; }
std::string Model::ConfigJson() const { return impl_->model->ConfigText(); }
idx_t Model::parameters() const { return inside().parameters().count(); }
const text::Tokenizer& Model::tokenizer() const { return impl_->Tokens(); }
const std::filesystem::path& Model::directory() const { return impl_->directory; }
const TextModel& Model::inside() const { return *impl_->model; }

Tensor Model::Hidden(Context& context, const BatchView& batch) const {
  return WithinLimit(context, "hidden states",
                     [&](Context& c) { return Encode(c, inside(), batch); });
}

Tensor Model::Logits(Context& context, const BatchView& batch) const {
  CheckHasHead(inside().info().heads, inside().info().head, inside().info().title);
  Check(info().head != HeadKind::kNone, ErrorCode::kUsage, "logits: a {} has no head",
        info().class_name);
  return WithinLimit(context, "logits", [&](Context& c) {
    CheckShape(batch);
    return inside().LogitsOfTexts(c, batch);
  });
}

HeadLoss Model::Loss(Context& context, const BatchView& batch) const {
  CheckShape(batch);
  return WithinLimit(context, "loss", [&](Context& c) { return inside().Loss(c, batch); });
}

std::vector<Tensor> Model::RaggedLogits(Context& context,
                                        std::span<const std::vector<std::int32_t>> texts) const {
  Check(info().head != HeadKind::kChoice, ErrorCode::kUsage,
        "logits: multiple choice needs the rows of a question in one batch");
  std::map<std::size_t, std::vector<std::size_t>> by_length;
  for (std::size_t i = 0; i < texts.size(); ++i) by_length[texts[i].size()].push_back(i);
  std::vector<Tensor> result(texts.size());
  for (const auto& [length, group] : by_length) {
    Batch batch;
    batch.Reset(static_cast<idx_t>(group.size()), static_cast<idx_t>(length), info().pad_token);
    for (std::size_t r = 0; r < group.size(); ++r) {
      batch.SetRow(static_cast<idx_t>(r), texts[group[r]]);
    }
    const Tensor all = Logits(context, batch.view());
    const idx_t each = all.shape()[0] / batch.rows, width = all.shape()[1];
    for (std::size_t r = 0; r < group.size(); ++r) {
      Tensor& own = result[group[r]] = Tensor({each, width});
      std::copy_n(all.data<float>() + static_cast<idx_t>(r) * own.size(), own.size(),
                  own.data<float>());
    }
  }
  return result;
}

void CheckModelHead(const std::filesystem::path& directory, HeadKind head) {
  CheckHead(directory, ReadTextModelInfo(directory), head);
}

ModelInfo ReadModelInfo(const std::filesystem::path& directory) {
  const ModelFolder folder = OpenModelFolder(directory);
  return PublicInfo(ReadModelConfig(folder)->info(), folder.type);
}

}  // namespace longspan
