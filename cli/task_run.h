// What the commands that put a question to a model share: options, loading, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
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

// Registers -m, --global, --overflow, --max-length, --stride, --batch-tokens, --dtype,
// --num-hashes, --json, --quiet and the inputs.
void AddTaskOptions(CLI::App& command, TaskCommand& c);

// What a text gets: fields of its result in JSON, and lines for people.
struct TaskAnswer {
  nlohmann::ordered_json fields;
  std::string shown;
};

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
  // `c` stays the caller's and must live as long.
  TaskRun(const TaskCommand& c, std::optional<TextHead> head, int threads);

  Context& context() { return context_; }
  TaskModel& model() { return model_; }

  // Encodes `texts`, named as `names`; tells of windows and of cut texts.
  TaskRows Encode(std::span<const TaskText> texts, std::span<const std::string> names,
                  text::Overflow fallback);
  // The next texts, as `text_of` takes them from the inputs. False: no more.
  bool NextChunk(TextInputs& inputs, const std::function<TaskText(const InputText&)>& text_of,
                 TaskChunk& chunk);

  // Prints an answer, or keeps it for --json. `text` is the first of the input's texts in `rows`.
  void Add(const InputText& input, const TaskRows& rows, idx_t text, const TaskAnswer& answer);
  // A result in JSON begins with what was asked: input, id (of a JSON line), tokens, windows.
  nlohmann::ordered_json Describe(const InputText& input, const TaskRows& rows, idx_t text) const;
  // With --json prints what Add kept as one document; tells what ran. Returns the exit code.
  int Finish(std::string_view task);

 private:
  void TellOverflow(std::span<const std::string> names, const TaskRows& rows);
  void Tell(const std::string& line);

  const TaskCommand& command_;
  Context context_;
  TaskModel model_;
  Progress progress_;
  double start_s_;
  idx_t texts_ = 0, rows_ = 0, told_ = 0, untold_ = 0;
  nlohmann::ordered_json results_ = nlohmann::ordered_json::array();
};

// Fields "text" and "text_pair" of a JSON line, or plain text.
TaskText PlainText(const InputText& input);

// The whole of a command: `answer` gives one answer for each text of a chunk.
int AnswerTexts(TaskRun& run, std::string_view task, TextInputs& inputs,
                const std::function<TaskText(const InputText&)>& text_of,
                const std::function<std::vector<TaskAnswer>(const TaskChunk&)>& answer);

// "a.txt", made fit for a line of a terminal.
std::string ShownName(const std::string& name);
// The bytes of a text that a span covers, as they stand.
std::string_view Piece(std::string_view text, text::Span bytes);
// {"begin": 3, "end": 9}
nlohmann::ordered_json SpanJson(text::Span span);
// A document for scripts: two columns of indentation, stray bytes replaced.
std::string DumpJson(const nlohmann::ordered_json& json);

}  // namespace longspan::cli
