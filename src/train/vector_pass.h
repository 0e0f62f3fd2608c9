// Vectors of texts in a training step, and the way back: gradients are cached, so that only a few
// texts have activations at a time.
#pragma once

#include <span>
#include <vector>

#include "model/text_model.h"
#include "tasks/text_pooling.h"
#include "tasks/vector_modules.h"
#include "train/encoded_rows.h"
#include "train/stored_rows.h"

namespace longspan {

template <>
struct RowFields<RowTokens> {
  static auto Of(auto& row) { return std::tie(row.own, row.prompt); }
};

// Texts as rows of tokens: one, or several windows.
struct VectorTexts {
  explicit VectorTexts(const data::ScratchPlace& place = {}) : rows(place), taking_part(place) {}

  EncodedRows rows;
  StoredRows<RowTokens> taking_part;  // (rows)
  std::vector<idx_t> first{0};        // (texts + 1): where a text's rows begin

  idx_t size() const { return static_cast<idx_t>(first.size()) - 1; }
  idx_t rows_begin(idx_t text) const { return first[static_cast<std::size_t>(text)]; }
  idx_t rows_end(idx_t text) const { return first[static_cast<std::size_t>(text) + 1]; }
  idx_t tokens_of(idx_t text) const {
    return rows.begin(rows_end(text)) - rows.begin(rows_begin(text));
  }
  std::vector<RowTokens> windows(idx_t text) const;
};

// How vectors are made of hidden states: pooled in each of these ways, one after another, then
// through the modules.
struct VectorHead {
  std::vector<PoolingMode> modes;
  VectorModules modules;

  idx_t width(idx_t channels) const;
};

class VectorPass {
 public:
  // All must outlive it. Rows run together up to `batch_tokens` tokens, as tasks/batches.h groups
  // them.
  VectorPass(TextModel& model, const GlobalPolicy& global, const VectorHead& head,
             const VectorTexts& texts, idx_t batch_tokens)
      : model_(model), global_(global), head_(head), texts_(texts), batch_tokens_(batch_tokens) {}

  // Vectors (numbers.size(), width) of these texts, which may repeat: each is a text of its own,
  // with dropout of its own. The memory is that of `batch_tokens` tokens, and of texts in windows.
  Tensor Forward(Context& context, std::span<const idx_t> numbers, const StepDropout& dropout);
  // The same without dropout, and with no way back, in batches that the ranks of the context's
  // world share (train/eval_batches.h): together, and all get all vectors.
  Tensor Evaluate(Context& context, std::span<const idx_t> numbers, const EvalHooks& hooks);
  // Accumulates the gradients of the model's parameters from those of the vectors that Forward gave
  // last: the rows run again, with the same dropout.
  void Backward(Context& context, const Tensor& dvectors);

 private:
  // A row of one of the texts of the last Forward.
  struct Run {
    idx_t text = 0, row = 0;  // its place among the numbers; its number in texts_
  };
  // The masks of a group, the same in both passes.
  StepDropout DropoutOf(std::size_t group) const;
  // Makes a batch of a group of runs. Returns each one's first token.
  std::vector<idx_t> Fill(std::span<const idx_t> group, Batch* batch) const;
  idx_t LengthOf(idx_t run) const {
    return texts_.rows.length(runs_[static_cast<std::size_t>(run)].row);
  }
  // Plans the runs of these texts. Returns where each text's begin (texts + 1).
  std::vector<idx_t> Begin(std::span<const idx_t> numbers, const StepDropout& dropout);
  // Runs a group, and calls use(run, its hidden states) for each of its runs.
  template <class Use>
  void Encode(Context& context, std::size_t group, const Use& use) const;
  // The place of a text's pooled vector, and such a vector of the states of all its windows.
  float* Pooled(idx_t text);
  void Pool(idx_t text, std::span<const View<const float, 2>> states, float* vector);
  // What the modules make of the pooled vectors.
  Tensor Modules(Context& context);

  TextModel& model_;
  const GlobalPolicy& global_;
  const VectorHead& head_;
  const VectorTexts& texts_;
  const idx_t batch_tokens_;

  // Of the last Forward.
  StepDropout dropout_;
  std::vector<idx_t> numbers_;
  std::vector<Run> runs_;
  std::vector<std::vector<idx_t>> groups_;  // of runs_
  std::vector<Tensor> stages_;              // pooled vectors, then what each module made of them
  std::vector<std::vector<std::int32_t>> largest_;  // (texts x modes): of maxima, which token
};

}  // namespace longspan
