// What the commands that put a question to a model share: options, loading, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <deque>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/data_options.h"
#include "cli/json_list.h"
#include "cli/text_inputs.h"
#include "cli/visual/progress.h"
#include "longspan/context.h"
#include "longspan/tasks.h"

namespace longspan::cli {

struct TaskCommand {
  std::string model, global = "auto", overflow, dtype = "f32", attention;
  bool no_lm_bias = false;  // leaves a language model's bias out, as transformers 5
  TaskOptions options;
  ModelOptions loading;
  InputOptions inputs;
  bool json = false, quiet = false;
};

// Registers -m, --global, --overflow, --tokens, --stride, --batch-tokens, --dtype,
// --attention, --num-hashes, --json, --quiet and the inputs.
void AddTaskOptions(CLI::App& command, TaskCommand& c);

// What a text gets: fields of its result in JSON, and lines for people.
struct TaskAnswer {
  nlohmann::ordered_json fields;
  std::string shown;
};

// A chunk of inputs with its rows. What cannot be used is not among them.
struct TaskChunk {
  std::vector<InputText> inputs;
  std::vector<TaskText> texts;      // what is encoded
  std::vector<std::size_t> first;   // text of each input, and how many there are
  std::vector<std::string> names;   // of the inputs, in results: the field "id", else the place
  std::vector<std::string> places;  // of the inputs, in messages: "reviews.csv:12"
  TaskRows rows;
  idx_t tokens = 0;  // of the rows
};
// What a command makes of an input: one text, or several.
using TextOf = std::function<TaskText(const InputText&)>;
using TextsOf = std::function<std::vector<TaskText>(const InputText&)>;

class TaskRun {
 public:
  // Loads the model; without a head any will do. Warnings go to stderr. `task` is what the document
  // of --json calls it. `c` stays the caller's and must live as long.
  TaskRun(const TaskCommand& c, std::string task, std::optional<HeadKind> head, int threads);

  Context& context() { return context_; }
  const TaskModel& model() const { return model_; }
  // From now on rows are those of another model, or of the same with other options.
  void Use(TaskModel model) { model_ = std::move(model); }

  // A chunk ends when its rows have so many tokens: one batch, so that results come as they are
  // computed. More lets more rows of like length run together.
  idx_t chunk_tokens;

  // The next texts, encoded, as `text_of` takes them from the inputs; tells of windows and of cut
  // texts. An input that cannot be used (kFormat from the reader, `text_of`, `check` or the
  // tokenizer) is named on stderr and left out. False: no more.
  bool NextChunk(TextInputs& inputs, const TextOf& text_of, TaskChunk& chunk,
                 const RowDefaults& defaults = {});
  bool NextChunk(TextInputs& inputs, const TextsOf& texts_of, const RowDefaults& defaults,
                 TaskChunk& chunk);
  // More members of the document of --json, before its results.
  nlohmann::ordered_json members = nlohmann::ordered_json::object();
  // Asked about each text and its rows: throws kFormat for one that cannot be answered.
  std::function<void(const std::string& name, std::span<const text::Encoding> rows)> check;

  // A text, or a pair, from the fields that the options name.
  TextOf PlainText() const;

  // Prints an answer; with --json as one more of the document's results, so that memory does not
  // grow with them. `text` is the first of the input's texts in `rows`.
  void Add(const InputText& input, const TaskRows& rows, idx_t text, const TaskAnswer& answer);
  // The same for an input that Describe has described.
  void Add(nlohmann::ordered_json described, const TaskAnswer& answer);
  // A result in JSON begins with what was asked: input, id (of a JSON line), tokens, windows.
  nlohmann::ordered_json Describe(const InputText& input, const TaskRows& rows, idx_t text) const;
  // Ends the document of --json; tells what ran. Returns the exit code: 3 when something was left
  // out that --skip-bad did not allow.
  int Finish();

 private:
  void Take(InputText& input, const TextsOf& texts_of, const RowDefaults& defaults,
            TaskChunk& chunk);
  void TellOverflow(const std::string& name, const TaskRows& rows);
  void Tell(const std::string& line);
  nlohmann::ordered_json Head() const;

  const TaskCommand& command_;
  Context context_;
  TaskModel model_;
  Progress progress_;
  double start_s_;
  std::deque<InputText> waiting_;  // read, and not yet encoded
  idx_t texts_ = 0, rows_ = 0, told_ = 0, untold_ = 0;
  idx_t tokens_ = 0, globals_ = 0;  // of all rows that were encoded
  idx_t ran_ = 0;                   // tokens of the chunks before this one
  std::string task_;
  JsonResults results_;
  Refusals refusals_;
};

// Prints the answer to the next text of a chunk.
using AddAnswer = std::function<void(const TaskAnswer&)>;
// The whole of a command: `answer` adds one answer for each text of a chunk, in their order, as
// soon as it is known.
int AnswerTexts(TaskRun& run, TextInputs& inputs, const TextOf& text_of,
                const std::function<void(const TaskChunk&, const AddAnswer&)>& answer,
                const RowDefaults& defaults = {});

// "a.txt", made fit for a line of a terminal.
std::string ShownName(const std::string& name);
// The bytes of a text that a span covers, as they stand.
std::string_view Piece(std::string_view text, text::Span bytes);
// {"begin": 3, "end": 9}
nlohmann::ordered_json SpanJson(text::Span span);

}  // namespace longspan::cli
