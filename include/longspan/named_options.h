// Trainings, evaluations and folders by options that have names, for callers who have texts or
// objects of another language in place of structs. A name is that of the program's option, with _
// for -. docs/reference/named_options.md lists them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/evaluate.h"
#include "longspan/folders.h"
#include "longspan/head_training.h"
#include "longspan/train.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- values by name -----------------------------------------------------------------------------

// Where the values come from. A name that has no value leaves a field as it is. Each Read throws
// kUsage, or what the source throws, for a value of another type.
class NamedOptions {
 public:
  virtual ~NamedOptions() = default;
  // Whether there is a value.
  virtual bool Has(const char* name) const = 0;
  // Whole numbers, numbers, texts, paths.
  virtual void Read(const char* name, bool& field) = 0;
  virtual void Read(const char* name, int& field) = 0;
  virtual void Read(const char* name, idx_t& field) = 0;
  virtual void Read(const char* name, std::uint64_t& field) = 0;
  virtual void Read(const char* name, double& field) = 0;
  virtual void Read(const char* name, std::string& field) = 0;
  virtual void Read(const char* name, char& field) = 0;
  virtual void Read(const char* name, std::filesystem::path& field) = 0;
  // Lists of them.
  virtual void Read(const char* name, std::vector<idx_t>& field) = 0;
  virtual void Read(const char* name, std::vector<std::string>& field) = 0;
  virtual void Read(const char* name, std::vector<std::filesystem::path>& field) = 0;
  // A value that may be absent.
  template <class T>
  void Read(const char* name, std::optional<T>& field) {
    if (!Has(name)) return;
    Read(name, field.emplace());
  }
  // A text that `parse` turns into a value.
  template <class T, class Parse>
  void ReadName(const char* name, T& field, Parse&& parse) {
    if (!Has(name)) return;
    std::string text;
    Read(name, text);
    field = parse(text);
  }
};

// Values as texts: "20", "1e-3", "true" or "false". A list is a name with several texts. Names may
// have - for _.
class TextOptions final : public NamedOptions {
 public:
  // Begins messages: "train".
  explicit TextOptions(std::string what) : what_(std::move(what)) {}
  // Gives a value in the place of those that the name has.
  void Set(std::string_view name, std::string value);
  // Gives one more value of a list.
  void Add(std::string_view name, std::string value);
  // The same values, with other words before messages, and none of them read yet.
  TextOptions For(std::string what) const;
  // kUsage for the first value that nobody has asked for, with the name that it may have meant.
  void CheckAllRead() const;

  bool Has(const char* name) const override;
  void Read(const char* name, bool& field) override;
  void Read(const char* name, int& field) override;
  void Read(const char* name, idx_t& field) override;
  void Read(const char* name, std::uint64_t& field) override;
  void Read(const char* name, double& field) override;
  void Read(const char* name, std::string& field) override;
  void Read(const char* name, char& field) override;
  void Read(const char* name, std::filesystem::path& field) override;
  void Read(const char* name, std::vector<idx_t>& field) override;
  void Read(const char* name, std::vector<std::string>& field) override;
  void Read(const char* name, std::vector<std::filesystem::path>& field) override;
  using NamedOptions::Read;

 private:
  const std::string* One(const char* name);
  const std::vector<std::string>* All(const char* name);
  [[noreturn]] void Fail(const char* name, const std::string& value, const char* need) const;
  template <class Number>
  void ReadNumber(const char* name, Number& field, const char* need);

  std::string what_;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  mutable std::set<std::string, std::less<>> asked_;
};

// "float32" or "f32", "bfloat16" or "bf16"; kUsage otherwise.
DType ParseDType(const std::string& name);
// The one of text::kRowOverflows that has this name; kUsage otherwise.
text::Overflow ParseRowOverflow(const std::string& name);
// attention, num_hashes, lm_bias, strict.
void ReadReformerOptions(NamedOptions& options, ReformerOptions& reformer);

// ---- trainings ----------------------------------------------------------------------------------

// A training that has its options.
using NamedTraining = std::function<TrainResult(Context& context, const TrainHooks& hooks)>;
// "lm, mlm, classify, ...": the tasks of trainings and evaluations.
std::string NamedTasks();
// Reads the options of a training of this task: model, output, train (a list of files), and those
// of TrainOptions and of the task. `for_ranks`: several ranks train, and without "accumulate" there
// is one micro-batch for each. kUsage for a task that does not exist and for values out of range;
// other errors are those of the training, when it is called.
NamedTraining ReadTraining(std::string_view task, NamedOptions& options, bool for_ranks = false);

// ---- evaluations --------------------------------------------------------------------------------

// Reads the options of an evaluation: model, data (a file or folder), tokens, and those of the
// task, of Reformers and of files.
void ReadEvaluation(NamedOptions& options, EvalOptions& eval);
void ReadEvaluation(NamedOptions& options, MaskedLmEvalOptions& eval);
void ReadEvaluation(NamedOptions& options, ClassifierEvalOptions& eval);
void ReadEvaluation(NamedOptions& options, TokenClassEvalOptions& eval);
void ReadEvaluation(NamedOptions& options, AnswerEvalOptions& eval);
void ReadEvaluation(NamedOptions& options, ChoiceEvalOptions& eval);
void ReadEvaluation(NamedOptions& options, EmbedderEvalOptions& eval);
void ReadEvaluation(NamedOptions& options, RerankerEvalOptions& eval);

// What an evaluation comes to, by names.
struct NamedEvaluation {
  std::vector<TrainMetric> metrics;  // "loss" first; those that the data has no meaning for lack
  idx_t counted = 0;                 // tokens, texts, words, questions or rows
  std::optional<idx_t> cut;          // texts that lost tokens, where rows are made of texts
  std::vector<std::string> notes;    // lines for people about rows that were left out
};
NamedEvaluation NameMetrics(const EvalResult& result);
NamedEvaluation NameMetrics(const MaskedLmEval& result);
NamedEvaluation NameMetrics(const ClassifierEval& result);
NamedEvaluation NameMetrics(const TokenClassEval& result);
NamedEvaluation NameMetrics(const AnswerEval& result);
NamedEvaluation NameMetrics(const ChoiceEval& result);
NamedEvaluation NameMetrics(const EmbedderEval& result);
NamedEvaluation NameMetrics(const RerankerEval& result);

// An evaluation that has its options.
using NamedEvaluationRun = std::function<NamedEvaluation(Context& context)>;
// Reads the options of an evaluation of this task. kUsage as of ReadTraining.
NamedEvaluationRun ReadEvaluation(std::string_view task, NamedOptions& options);

// ---- folders ------------------------------------------------------------------------------------

// family, preset, config, layers, width, heads, positions, head, labels (a list), tokenizer, seed,
// rotation_seed, overwrite.
void ReadInit(NamedOptions& options, InitOptions& init);
// max_tokens, window, max_shard_bytes, to.
void ReadConversion(NamedOptions& options, ConvertOptions& convert);

}  // namespace longspan
#pragma GCC visibility pop
