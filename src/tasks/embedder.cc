#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "families/model_inside.h"
#include "tasks/embed.h"
#include "tasks/sentence_folder.h"

namespace longspan {

struct Embedder::Inside {
  TaskModel model;
  std::string prompt, prompt_name;
  bool lower_case = false;
  VectorPlan plan;
  idx_t width = 0;
};

namespace {

// What is last: the vectors are cut, and then scaled to length 1.
void FinishModules(const EmbedOptions& options, idx_t channels, SentenceFolder& folder) {
  VectorModules& modules = folder.modules;
  const idx_t width = VectorWidth(folder.pooling, modules, channels);
  if (options.truncate_dim) {
    Check(*options.truncate_dim >= 1 && *options.truncate_dim <= width, ErrorCode::kUsage,
          "truncate-dim: {} is not in [1, {}], the numbers of a vector of this model",
          *options.truncate_dim, width);
  }
  const std::optional<idx_t> most =
      options.truncate_dim ? options.truncate_dim : folder.truncate_dim;
  const bool cut = most && *most < width;
  if (!cut && !options.normalize) return;
  bool normalize = false;
  while (!modules.empty() && modules.back()->normalizes()) {
    modules.pop_back();
    normalize = true;
  }
  if (cut) modules.push_back(MakeTruncate(*most));
  if (options.normalize.value_or(normalize)) modules.push_back(MakeNormalize());
}

// What the folder says, as far as no option says otherwise.
SentenceFolder FolderOf(const Model& model, const EmbedOptions& options) {
  const idx_t channels = model.info().width;
  SentenceFolder folder;
  if (!model.directory().empty()) folder = ReadSentenceFolder(model.directory(), channels);
  if (options.pooling) {
    folder.pooling.modes = {*options.pooling};
    try {
      VectorWidth(folder.pooling, folder.modules, channels);
    } catch (const Error& error) {
      Fail(ErrorCode::kUsage, "pooling: {} does not fit: {}", PoolingName(*options.pooling),
           error.what());
    }
  }
  FinishModules(options, channels, folder);
  return folder;
}

}  // namespace

Embedder::Embedder(const TaskModel& model, const EmbedOptions& options) {
  SentenceFolder folder = FolderOf(model.model(), options);
  Inside inside{Shortened(model, folder.transformer.max_tokens),
                {},
                {},
                folder.transformer.lower_case,
                {},
                0};
  std::optional<std::string> name = options.prompt_name;
  if (!name && !options.prompt) name = folder.prompts.default_name;
  if (name) inside.prompt_name = *name;
  inside.prompt = name ? PromptNamed(folder.prompts, *name) : options.prompt.value_or("");
  inside.plan.pooling = folder.pooling;
  inside.plan.modules = std::move(folder.modules);
  inside.plan.prompt = TokensOfPrompt(
      model.tokenizer(), inside.lower_case ? LowerCaseText(inside.prompt) : inside.prompt);
  inside.width = VectorWidth(inside.plan.pooling, inside.plan.modules, model.info().width);
  inside_ = std::make_shared<const Inside>(std::move(inside));
}

Embedder Embedder::Load(const std::filesystem::path& directory, const EmbedOptions& options,
                        const TaskOptions& task, const ModelOptions& model) {
  return Embedder(TaskModel::Load(directory, task, model), options);
}

Embedder Embedder::Load(Context& context, const std::filesystem::path& directory,
                        const EmbedOptions& options, const TaskOptions& task,
                        const ModelOptions& model) {
  return WithinContext(
      context, [&] { return Embedder(TaskModel::Load(context, directory, task, model), options); });
}

const TaskModel& Embedder::model() const { return inside_->model; }
idx_t Embedder::width() const { return inside_->width; }
const std::string& Embedder::prompt() const { return inside_->prompt; }
const std::string& Embedder::prompt_name() const { return inside_->prompt_name; }

TaskText Embedder::Prepare(TaskText text) const {
  text.text = inside_->prompt + text.text;
  if (!inside_->lower_case) return text;
  text.text = LowerCaseText(text.text);
  if (text.pair) text.pair = LowerCaseText(*text.pair);
  return text;
}

Tensor Embedder::Embed(Context& context, const TaskRows& rows) const {
  return EmbedRows(context, inside_->model, rows, inside_->plan);
}

Tensor Embedder::EmbedOne(Context& context, std::string_view text) const {
  const std::string one(text);
  return Embed(context, std::span(&one, 1));
}

namespace {

// Rows of texts as they are.
TaskRows RowsOf(Context& context, const Embedder& embedder, std::span<const std::string> texts) {
  std::vector<TaskText> prepared;
  for (const std::string& text : texts) prepared.push_back(embedder.Prepare({text, std::nullopt}));
  return embedder.model().Encode(context, prepared);
}

}  // namespace

Tensor Embedder::Embed(Context& context, std::span<const std::string> texts) const {
  return Embed(context, RowsOf(context, *this, texts));
}

std::vector<Tensor> Embedder::EmbedTokens(Context& context,
                                          std::span<const std::string> texts) const {
  return EmbedTokensOfRows(context, inside_->model, RowsOf(context, *this, texts));
}

}  // namespace longspan
