// What the commands that put a question to a Longformer share: options, loading, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/text_inputs.h"
#include "cli/visual/progress.h"
#include "longspan/context.h"
#include "tasks/task_model.h"

namespace longspan::cli {

struct TaskCommand {
  std::string model, overflow, dtype = "f32";
  TaskOptions options;
  InputOptions inputs;
  bool json = false, quiet = false;
};

// Registers -m, --global, --overflow, --max-length, --stride, --batch-tokens, --dtype, --json,
// --quiet and the inputs.
void AddTaskOptions(CLI::App& command, TaskCommand& c);

// A chunk of inputs with its rows.
struct TaskChunk {
  std::vector<InputText> inputs;
  std::vector<TaskText> texts;  // what is encoded: one for each input
  std::vector<std::string> names;
  TaskRows rows;
};

class TaskRun {
 public:
  // Loads the model; without a head any will do. Warnings go to stderr.
  TaskRun(const TaskCommand& c, std::optional<LongformerHead> head, int threads);

  Context& context() { return context_; }
  TaskModel& model() { return model_; }

  // Encodes `texts`, named as `names`; tells of windows and of cut texts.
  TaskRows Encode(std::span<const TaskText> texts, std::span<const std::string> names,
                  text::Overflow fallback);
  // The next texts: fields "text" and "text_pair" of JSON lines, or plain text. False: no more.
  bool NextChunk(TextInputs& inputs, text::Overflow fallback, TaskChunk& chunk);

  // A result in JSON begins with what was asked: input, id (of a JSON line), tokens, windows.
  nlohmann::ordered_json Describe(const InputText& input, const TaskRows& rows, idx_t text) const;
  // Prints the results as one document, and to stderr what ran.
  void Finish(const TaskCommand& c, std::string_view task, nlohmann::ordered_json results);
  // The same where results have been printed already.
  void Finish();

 private:
  void TellOverflow(std::span<const std::string> names, const TaskRows& rows);
  void Tell(const std::string& line);

  Context context_;
  bool quiet_;
  TaskModel model_;
  Progress progress_;
  double start_s_;
  idx_t texts_ = 0, rows_ = 0, told_ = 0, untold_ = 0;
};

// "a.txt", made fit for a line of a terminal.
std::string ShownName(const std::string& name);
// The bytes of a text that a span covers, as they stand.
std::string_view Piece(std::string_view text, text::Span bytes);
// {"begin": 3, "end": 9}
nlohmann::ordered_json SpanJson(text::Span span);
// A document for scripts: two columns of indentation, stray bytes replaced.
std::string DumpJson(const nlohmann::ordered_json& json);

}  // namespace longspan::cli
