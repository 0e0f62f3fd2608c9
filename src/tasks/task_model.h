// A model with its tokenizer, ready for texts: what every task starts from.
//
// A text becomes one row of tokens, or several windows of it where it is longer than the model has
// positions; rows of like length run together. What a task makes of the last hidden states is its
// own file: fill_mask, classify, token_classes, answers, choices, embed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "model/family_options.h"
#include "model/global_policy.h"
#include "model/text_model.h"
#include "text/tokenizer.h"

namespace longspan {

struct TaskOptions {
  std::string global = "auto";                  // GlobalPolicy's forms; token:TEXT too
  std::optional<text::Overflow> overflow = {};  // absent: what suits the task
  idx_t max_length = 0;              // tokens of a row; 0: as many as there are positions
  std::optional<idx_t> stride = {};  // tokens that neighbouring windows share; absent: 0
  idx_t batch_tokens = 8192;         // of rows that run together
  bool allow_nonfinite = false;      // weights may hold NaN
  DType compute = DType::kF32;       // operands of products: kF32, kBF16
  FamilyOptions family = {};         // the options that only its family has
};

// One text, or two that belong together.
struct TaskText {
  std::string text;
  std::optional<std::string> pair;
};

// The rows of several texts: those of text i are [first[i], first[i + 1]).
struct TaskRows {
  std::vector<text::Encoding> rows;
  std::vector<idx_t> first{0};
  idx_t texts() const { return static_cast<idx_t>(first.size()) - 1; }
  idx_t begin(idx_t text) const { return first[static_cast<std::size_t>(text)]; }
  std::span<const text::Encoding> of(idx_t text) const {
    return std::span(rows).subspan(static_cast<std::size_t>(begin(text)),
                                   static_cast<std::size_t>(begin(text + 1) - begin(text)));
  }
  idx_t tokens(idx_t text) const;   // of all its rows
  idx_t dropped(idx_t text) const;  // tokens that were cut
};

// Tokens [begin, end) of a row.
struct TokenRange {
  idx_t begin = 0, end = 0;
};
// Of neighbouring windows over one text each token belongs to the one that sees more around it.
// Returns, for each window, its own tokens among those of the moving text: places in the row.
std::vector<TokenRange> OwnTokens(std::span<const text::Encoding> windows, int sequence);

// Rows that ran through the encoder together.
struct TaskBatch {
  const BatchView& batch;
  std::span<const idx_t> rows;  // (B) their numbers among the encodings
  View<const float, 2> hidden;  // (B*T, info().width)
  // (T, width) of row b of the batch; what lies behind the row's tokens is padding.
  View<const float, 2> Hidden(idx_t b) const { return hidden.Rows(b * batch.tokens, batch.tokens); }
};

class TaskModel {
 public:
  // kUsage for a policy that does not parse or that the model cannot follow, a longest row or a
  // stride that cannot be.
  TaskModel(std::unique_ptr<TextModel> model, std::unique_ptr<text::Tokenizer> tokenizer,
            TaskOptions options);
  // From a folder. kFormat when its model has another head than `head`; none: any will do.
  static TaskModel Open(const std::filesystem::path& directory, std::optional<HeadKind> head,
                        const TaskOptions& options, std::vector<std::string>* warnings);

  const TextModelInfo& info() const { return model_->info(); }
  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  TextModel& model() { return *model_; }
  const TaskOptions& options() const { return options_; }
  // The most tokens of a row, special ones included.
  idx_t longest() const { return longest_; }
  // No row longer than this; for files that say so.
  void LimitLength(idx_t tokens);
  // The stride where the options give none: `tokens`, or half of what a row has room for.
  void DefaultStride(idx_t tokens) { default_stride_ = tokens; }
  // What --global came to: "none", "ids:0".
  std::string global_name() const { return policy_.Name(); }

  // Called behind each batch with the tokens that have run in all, padding not counted.
  std::function<void(idx_t tokens)> on_progress;

  // Encodes texts. A text that needs more than longest() tokens becomes windows, is cut or is an
  // error (kLimit) as options().overflow says, or `fallback` where it says nothing. An error names
  // the text by its number, or by names[i].
  TaskRows Encode(std::span<const TaskText> texts, text::Overflow fallback,
                  std::span<const std::string> names = {}) const;

  // Runs the encoder over all rows; `use` sees each batch once. kFormat for an id that the model
  // does not know, kUsage where the policy needs a separator that a row has not.
  void Run(Context& context, std::span<const text::Encoding> rows,
           const std::function<void(const TaskBatch&)>& use);
  // The head's logits; TextModel::Logits has the shapes.
  Tensor Logits(Context& context, const TaskBatch& batch) {
    Tensor logits = model_->Logits(context, batch.batch, batch.hidden);
    CheckLogits(batch.batch, logits);
    return logits;
  }
  // kNumeric when the model's numbers are not finite, unless its weights may hold such numbers.
  void CheckNumbers(const Tensor& values, const char* what) const;
  // Tokens that ran, and those of them that were global.
  idx_t tokens_run() const { return tokens_run_; }
  idx_t globals_run() const { return globals_run_; }

 private:
  idx_t StrideFor(const TaskText& text) const;
  void CheckLogits(const BatchView& batch, const Tensor& logits) const;
  void Fill(std::span<const text::Encoding> rows, std::span<const idx_t> group, Batch* batch);

  std::unique_ptr<TextModel> model_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  TaskOptions options_;
  GlobalPolicy policy_;
  idx_t longest_ = 0, default_stride_ = 0, tokens_run_ = 0, globals_run_ = 0;
};

}  // namespace longspan
