// How tasks run a model over rows (longspan/tasks.h): what a task makes of the last hidden states
// is its own file: fill_mask, classify, token_classes, answers, choices, embed.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "longspan/tasks.h"
#include "model/text_model.h"

namespace longspan {

// Tokens [begin, end) of a row.
struct TokenRange {
  idx_t begin = 0, end = 0;
};
// Of neighbouring windows over one text each token belongs to the one that sees more around it.
// Returns, for each window, its own tokens among those of the moving text: places in the row.
std::vector<TokenRange> OwnTokens(std::span<const text::Encoding> windows, int sequence);

// How texts become rows.
struct RowRule {
  idx_t longest = 0;  // tokens of a row
  text::Overflow overflow = text::Overflow::kWindow;
  std::optional<idx_t> stride = {};  // tokens that neighbouring windows share
  idx_t wanted = 0;                  // the same if there is no stride: at most half of a window
};
// The rows of one text or pair. Errors of the tokenizer begin with `name`, which is escaped.
std::vector<text::Encoding> EncodeRows(const text::Tokenizer& tokenizer, const TaskText& text,
                                       const RowRule& rule, const std::string& name);

// Tokens of a row: `asked`, or where nobody asks (0) as many as the tokenizer's files say, at most
// `positions`, those of the model. A training over rows leaves its length there (RowTask).
idx_t RowTokensFor(idx_t asked, const text::Tokenizer& tokenizer, idx_t positions);

// Rows of `tokens` tokens (0: of the model's own length) whose windows share `stride` of them.
struct AskedWindows {
  idx_t tokens = 0, stride = 0;
};
// Before the weights of the folder's model are loaded, which may take long: kUsage for windows that
// share as many tokens as they have, or more. A pair of texts has less room, which is known once it
// is read.
void CheckStrideFits(const std::filesystem::path& directory, const AskedWindows& asked);

// Rows that ran through the encoder together.
struct TaskBatch {
  const BatchView& batch;
  std::span<const idx_t> rows;    // their numbers among the encodings
  View<const float, 2> hidden;    // (tokens of the batch, info().width)
  std::span<const idx_t> begins;  // of each of the rows, its first token of the batch
};

// Runs the encoder over all rows; `use` sees each batch once. longspan/tasks.h has the errors.
void RunRows(Context& context, const TaskModel& model, std::span<const text::Encoding> rows,
             const std::function<void(const TaskBatch&)>& use);
// Runs the whole model over all rows, whose head gives something for each text: `use` sees each
// batch once, the numbers of its rows among the encodings and their logits (rows, outputs). The
// last layer then computes what the head reads, and no more.
void RunLogits(Context& context, const TaskModel& model, std::span<const text::Encoding> rows,
               const std::function<void(std::span<const idx_t> rows, const Tensor& logits)>& use);
// The head's logits; TextModel::Logits has the shapes.
Tensor LogitsOf(Context& context, const TaskModel& model, const TaskBatch& batch);
// The same for the hidden states of some rows; `batch` says what they are. Nothing is checked.
Tensor LogitsOf(Context& context, const TaskModel& model, const BatchView& batch,
                const View<const float, 2>& hidden);
// kUsage unless these are rows as TaskModel::Encode makes them: of every text some rows, and of
// every token all that is known of it.
void CheckRows(const TaskRows& rows);
// kUsage unless the model has this head.
void RequireHead(const TaskModel& model, HeadKind head);
// kNumeric when the model's numbers are not finite, unless its weights may hold such numbers.
void CheckNumbers(const TaskModel& model, const Tensor& values, const char* what);

}  // namespace longspan
