// The configuration of a model, whatever its family: what `init`, `info`, `plan`, `bench` and
// loading ask of it. A family implements it beside its own struct of fields.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "longspan/folders.h"
#include "longspan/tokenizer.h"
#include "model/family_options.h"
#include "model/parameters.h"
#include "model/step_needs.h"
#include "model/text_model.h"
#include "model/text_model_info.h"
#include "model/wanted_head.h"

namespace longspan {

class ModelConfig;

// One way to run a model's step: what it is called, and how much longer it takes than its useful
// work says, because it recomputes.
struct StepVariant {
  std::string name;
  std::unique_ptr<ModelConfig> config;
  StepPolicy policy;
  double work = 1.0;
};

// What `info` shows of a model: a document, and lines of a name and a value.
struct ModelDescription {
  nlohmann::ordered_json json;
  std::vector<std::pair<std::string, std::string>> lines;
};

class ModelConfig {
 public:
  virtual ~ModelConfig() = default;

  virtual std::unique_ptr<ModelConfig> Clone() const = 0;
  virtual TextModelInfo info() const = 0;
  // What is odd about the labels, one line each.
  virtual std::vector<std::string> notes() const { return {}; }
  // Indented JSON: the config.json. Read gives the same config again.
  virtual std::string Json() const = 0;
  // Numbers to learn, from the config alone: what a model needs before it is allocated.
  virtual std::uint64_t ParameterCount() const = 0;
  // The model, with all parameters zero, or in memory that is passed to parameters().Borrow.
  virtual std::unique_ptr<TextModel> Make(ParameterMemory memory) const = 0;
  virtual ModelDescription Describe() const = 0;

  // ---- changes

  // Applies options that only this family has. kUsage for one that it does not have.
  virtual void SetOptions(const FamilyOptions& options);
  // Takes over the head that is to be trained on a trained encoder, and what comes with it (a
  // language model is causal). Returns false if the files' head is over other labels.
  virtual bool PutHead(const WantedHead& wanted) = 0;
  // The same for a new model. `preset`: the config is a preset, not a file's.
  virtual void BeginWith(const WantedHead& wanted, bool preset);
  // kUsage for sizes that do not fit each other.
  virtual void Resize(const ModelSizes& sizes) = 0;
  // Takes over the vocabulary and the special ids. kFormat for a tokenizer that does not fit.
  virtual void UseTokenizer(const text::Tokenizer& tokenizer) = 0;
  // Makes positions for `tokens` tokens at least.
  virtual void GrowPositions(idx_t tokens) = 0;
  // Leaves `sets` sets of layers, each with one layer of every kind.
  virtual void CutDown(idx_t sets) = 0;

  // ---- a training step

  // The fields that a longer text needs larger.
  virtual std::string PositionFields() const { return "larger max_position_embeddings"; }
  // The ways to run a step, for comparison. By default one, named "step".
  virtual std::vector<StepVariant> Variants(const StepPolicy& policy) const;
  // Chooses what a step saves so that it needs `bytes` at most: as much as possible, because what
  // is saved is not recomputed. kLimit, with the numbers, if saving nothing does not suffice.
  // Gradients have the same bits in all cases. By default nothing can be chosen.
  virtual StepPolicy Fit(idx_t rows, idx_t tokens, std::size_t bytes, StepPolicy policy,
                         int threads) const;
  // What remains of a policy after CutDown.
  virtual StepPolicy CutDownPolicy(const StepPolicy& policy) const { return policy; }
};

}  // namespace longspan
