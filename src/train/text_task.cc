#include "train/text_task.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "io/paths.h"
#include "io/transformer_folder.h"
#include "model/model_folder.h"
#include "train/rank_policy.h"
#include "train/tensorboard_log.h"
#include "train/trained_parameters.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

// Files that the run writes itself.
const std::vector<std::string> kOwnFiles = {"config.json",       "metrics.jsonl", "best.json",
                                            "run.toml",          kEventsFile,     "manifest.json",
                                            "trainer_state.json"};

}  // namespace

// ---- the task -----------------------------------------------------------------------------------

TextTask::TextTask(const TrainOptions& options, const TextModelInfo& info, WantedHead head,
                   const GlobalPolicy& global)
    : options_(options), info_(info), head_(std::move(head)) {
  info_.head = head_.head;
  head_.seed = options.seed;
  given_ = global;
  global_ = ResolveGlobal(info_, given_);
}

void TextTask::Load(const fs::path& directory, Origin origin, std::vector<std::string>* notes) {
  LoadOptions load;
  load.allow_nonfinite = options_.compute.allow_nonfinite;
  load.dropout = options_.compute.dropout;
  load.global = GlobalToSave(info_, given_);
  if (origin == Origin::kStart) load.head = head_;
  model_ = LoadTextModel(directory, load, notes);
  if (notes != nullptr) {
    ResolveGlobal(info_, given_, notes);
    for (const std::string& line :
         {LinksLeftOut(options_.model, kOwnFiles), FilesLeftOut(options_.model, kOwnFiles)}) {
      if (!line.empty()) notes->push_back(line);
    }
  }
  model_->ComputeIn(options_.compute.dtype);
  FreezeParameters(options_.trained, *this);
  if (options_.compute.memory > 0) {
    model_->FitInto(options_.compute.memory, RowsOfMicro(), options_.tokens,
                    PolicyOf(options_, RowsOfMicro(), head_.head));
  }
  if (options_.compute.recompute) model_->Recompute();
  info_ = model_->info();
}

nlohmann::json TextTask::WithSharedOptions(nlohmann::json deciding, double epochs) const {
  if (epochs > 0.0) deciding["epochs"] = epochs;
  deciding["global"] = global_.Name();
  // Left out for fp32: runs from before there was a choice go on.
  if (options_.compute.dtype != DType::kF32) deciding["dtype"] = DTypeName(options_.compute.dtype);
  return deciding;
}

std::vector<fs::path> TextTask::FilesBeside() const {
  std::vector<fs::path> files;
  const fs::path folder = io::TransformerFolder(options_.model);
  for (const std::string& name : TokenizerFiles(folder)) files.push_back(folder / name);
  const fs::path sentences = folder / "sentence_bert_config.json";
  if (folder != options_.model && io::Exists(sentences)) files.push_back(sentences);
  return files;
}

void TextTask::Save(const fs::path& directory) {
  CopyCompanions(options_.model, directory, kOwnFiles);
  model_->Save(directory);
}

Tensor TextTask::LogitsInStep(Context& context, Batch& rows, const StepDropout& dropout) {
  global_.Mark(model_->info(), &rows);
  return model_->LogitsInStep(context, rows.view(), dropout);
}

HeadLoss TextTask::LossAndGradients(Context& context, Batch& rows, float scale,
                                    const StepDropout& dropout) {
  global_.Mark(model_->info(), &rows);
  return model_->LossAndGradients(context, rows.view(), scale, dropout);
}

idx_t TokensOfRows(idx_t tokens, const TextModelInfo& info) {
  if (tokens == 0) return info.longest;
  Check(tokens >= 3 && tokens <= info.longest, ErrorCode::kUsage,
        "tokens: {} is not from 3 to the model's {} positions", tokens, info.longest);
  return tokens;
}

void CheckVocabulary(idx_t vocabulary, idx_t word_table) {
  Check(vocabulary <= word_table, ErrorCode::kFormat,
        "tokenizer: it has {} ids, the model's word table {} (vocab_size); they are not of one "
        "model",
        vocabulary, word_table);
}

}  // namespace longspan
