// Rows of a language model: what an update sees, and what is held out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "families/reformer/reformer.h"
#include "longspan/context.h"
#include "longspan/evaluate.h"
#include "longspan/tokenizer.h"
#include "longspan/train.h"
#include "train/train_task.h"

namespace longspan {

class LmData {
 public:
  virtual ~LmData() = default;

  // Changes when any byte of the texts or any id does.
  virtual std::string Fingerprint() const = 0;
  // A description of the data for people. Empty: nothing to report.
  virtual std::string Describe() const { return {}; }
  // Lines for people about rows that were left out.
  virtual std::vector<std::string> Notes() const = 0;
  // Draws the rows of update `step`: a function of the options and the step.
  virtual StepSize Draw(idx_t step) = 0;
  // Micro-batch `micro` of that update; its memory lives until the next call.
  virtual BatchView Micro(idx_t micro) = 0;
  // Over the held-out text; each of its tokens that can be predicted counts once.
  virtual EvalResult Evaluate(Context& context, const Reformer& model, const EvalHooks& hooks) = 0;
  // The origin of row `row` of that update, for people: "bytes 512 to 1024 of book.txt".
  virtual std::string WhereIs(idx_t row) const = 0;
  // Tokens per byte of the training text: bits per byte are nats per token times this over ln 2.
  virtual double TokensPerByte() const = 0;
};

// Texts byte by byte, joined, without a copy of them in memory; or their tokens, in rows that begin
// anywhere, in a file near options.output if they are many; or, with task.packed, whole documents
// side by side in rows. kUsage when a part is too short for its rows; kFormat when documents are
// asked for and the tokenizer has no end of text.
std::unique_ptr<LmData> MakeLmData(Context& context, const TrainOptions& options,
                                   const LanguageModelOptions& task,
                                   const text::Tokenizer& tokenizer);

}  // namespace longspan
