// What models are, and how they are loaded, whatever their family.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// The heads of all kinds of models. Each model has one of them.
//   kNone      an encoder alone
//   kCausalLm  predicts the next token: generates
//   kMaskedLm  predicts masked tokens
//   kSequence  classes, sets of labels, or a number, of a whole text
//   kToken     a class for each token
//   kQuestion  where the answer to a question starts and ends
//   kChoice    which of several texts fits
enum class HeadKind { kNone, kCausalLm, kMaskedLm, kSequence, kToken, kQuestion, kChoice };
// What options call it: "mlm".
std::string_view NameOf(HeadKind head);
// The command of the program that asks such a model: "fill-mask"; without a head "embed".
std::string_view CommandOf(HeadKind head);

// The kind of a sequence classifier's labels. kInferred: one label is a number, integers are
// classes, anything else is a set of labels.
enum class ProblemType { kInferred, kRegression, kSingleLabel, kMultiLabel };

// What is known of a model before it runs.
struct ModelInfo {
  std::string family;                            // model_type in config.json: "longformer"
  std::string title;                             // in sentences: "Longformer"
  std::string class_name;                        // of Hugging Face: "LongformerForMaskedLM"
  HeadKind head = HeadKind::kNone;               // what it is for
  std::vector<std::string> labels;               // names of the classes: id2label
  ProblemType problem = ProblemType::kInferred;  // of a sequence classifier
  idx_t width = 0;                               // of a hidden state
  idx_t vocabulary = 0;                          // ids are below it
  idx_t pad_token = 0;                           // id that fills rows
  idx_t longest = 0;                             // tokens of a row at most
  bool global_tokens = false;                    // whether some tokens may see all others
  std::string global_rule;                       // of its training (GlobalRule); empty: unknown
  bool causal = false;                           // no token sees a later one
};

// Finds the class for a label `name` of the data. A label of exactly that name comes first. If all
// labels are LABEL_0 to LABEL_n-1, or all are integers as text, an integer ("2", "2.0", "02") is
// the class of that number: its id, or the label with that value. Absent: no class fits.
std::optional<idx_t> FindLabel(std::span<const std::string> labels, std::string_view name);

// The attention of all layers of a Reformer. kConfigured: as its config says. kLsh: the same, but
// an error for a model without LSH layers. kFullLsh: full attention in the place of LSH layers.
enum class ReformerAttention { kConfigured, kFull, kLocal, kFullLsh, kLsh };
// "config" (or nothing), "full", "local", "full-lsh" or "lsh"; kUsage otherwise.
ReformerAttention ParseAttention(std::string_view name);

// Options of Reformers; a ModernBERT has kFull too. Others are refused (kUsage), but for defaults.
struct ReformerOptions {
  ReformerAttention attention = ReformerAttention::kConfigured;  // of all layers
  idx_t num_hashes = 0;  // rounds of LSH layers, 1 to 1024; 0: the config's
  bool lm_bias = true;   // false: without lm_head.bias, as transformers 5.0 to 5.23 compute
  bool strict = false;   // refuse and pad the rows that `transformers` refuses and pads
};

// How a model is loaded.
struct ModelOptions {
  // kFormat, with what to do, unless the model has this head. Absent: any will do.
  std::optional<HeadKind> head;
  // Operands of products: kF32, or kBF16 for half the memory traffic. Sums are fp32 in both cases.
  DType compute = DType::kF32;
  bool allow_nonfinite = false;  // weights may hold NaN or infinity, and so may results
  ReformerOptions reformer;
  // Called with one line for each oddity of the files that is no error. Empty: nobody is told.
  std::function<void(const std::string& line)> on_warning;
};

// Reads the config of a model's folder, and names and shapes of its weights where the config leaves
// something open. kFormat, with what the path is and what to do, for anything else; kIo.
ModelInfo ReadModelInfo(const std::filesystem::path& directory);

// Throws kFormat, with what the model is for and what to do, unless the folder's model has the
// head.
void CheckModelHead(const std::filesystem::path& directory, HeadKind head);

// A loss over the targets of a batch.
struct HeadLoss {
  double sum = 0.0;   // nats, or squares; a question's is the mean of its start's and its end's
  idx_t counted = 0;  // labels, positions or values that are not ignored
  idx_t correct = 0;  // where the largest logit is the label's (a question: start and end)
  double mean = 0.0;  // as Hugging Face has it; NaN when nothing counts, as there

  // Adds what another batch or block gave. `mean` stays as it was.
  void Add(const HeadLoss& part) {
    sum += part.sum;
    counted += part.counted;
    correct += part.correct;
  }
};

}  // namespace longspan
#pragma GCC visibility pop
