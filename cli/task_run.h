// What the commands that put a question to a model share: options, loading, progress, notes.
#pragma once

#include <CLI/CLI.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/answer_parts.h"
#include "cli/data_options.h"
#include "cli/json_list.h"
#include "cli/output_form.h"
#include "cli/shared_texts.h"
#include "cli/text_inputs.h"
#include "cli/text_table.h"
#include "cli/visual/progress.h"
#include "longspan/context.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {

struct TaskCommand {
  std::string model, global = "auto", overflow, dtype = "f32", attention;
  bool no_lm_bias = false;  // leaves a language model's bias out, as transformers 5
  TaskOptions options;
  ModelOptions loading;
  InputOptions inputs;
  bool json = false, quiet = false;
  SharedOutput output;                       // -o and --resume, of commands that have them
  std::optional<std::string> output_format;  // of answers: text, json, jsonl, csv or tsv
  bool writes_vectors = false;               // the command itself writes that file
};

// Registers -m, --global, --overflow, --tokens, --stride, --batch-tokens, --dtype,
// --attention, --num-hashes, --json, --quiet and the inputs.
void AddTaskOptions(CLI::App& command, TaskCommand& c);
// Registers -o, --output-format and --resume of a command whose answers are lines for people, JSON
// lines, one document with --json, or lines of a table.
void AddAnswerOutput(CLI::App& command, TaskCommand& c);
// The form in which such a command writes. kUsage.
OutputForm FormOfAnswers(const TaskCommand& c);

// What a text gets: fields of its result in JSON, and lines for people.
struct TaskAnswer {
  nlohmann::ordered_json fields;
  std::string shown;
};

// The answers of a command as a table: after `input` and `id` these columns, and the cells of each
// line that the fields of a result (TaskAnswer::fields) give. A text may give none or several.
struct AnswerTable {
  std::vector<std::string> columns;
  std::function<std::vector<std::vector<std::string>>(const nlohmann::ordered_json& fields)> lines;
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

// Throws what a command cannot do with a model.
using CheckModelInfo = std::function<void(const ModelInfo& info)>;

// A question to a model about texts. With `mpirun` or --resume (IsInParts) what each text gets
// waits in parts, and Finish makes the output of them: this changes nothing for whoever asks.
class TaskRun {
 public:
  // Loads the model; without a head any will do. Warnings go to stderr. `task` is what the document
  // of --json calls it. `c` stays the caller's and must live as long. Answers go to c.output.file,
  // which appears whole or not at all, or to stdout.
  // `check_model`, if not empty, is asked about the model's config before its weights are loaded,
  // after all that needs no model.
  TaskRun(const TaskCommand& c, std::string task, std::optional<HeadKind> head, int threads,
          const CheckModelInfo& check_model = {});

  Context& context() { return context_; }
  const TaskModel& model() const { return model_; }
  // Tells a note on stderr, unless the run is quiet.
  void Note(const std::string& note) { Tell(note, LineKind::kNote); }
  // Whether nothing but errors is told on stderr.
  bool quiet() const { return quiet_; }
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
  // From now on until the next chunk the model is asked about something else than the chunk's
  // texts, call by call: the progress line counts the tokens of each call and calls them `unit`,
  // which must outlive this.
  void CountCalls(std::string_view unit);
  // More members of the document of --json, before its results.
  nlohmann::ordered_json members = nlohmann::ordered_json::object();
  // Of a command whose answers may be a table: what stands in it.
  AnswerTable table;
  // Asked about each text and its rows: throws kFormat for one that cannot be answered.
  std::function<void(const std::string& name, std::span<const text::Encoding> rows)> check;

  // A text, or a pair, from the fields that the options name.
  TextOf PlainText() const;

  // Writes an answer, in a document as one more of its results, so that memory does not grow with
  // them. `text` is the first of the input's texts in `rows`.
  void Add(const InputText& input, const TaskRows& rows, idx_t text, const TaskAnswer& answer);
  // The same for an input that Describe has described.
  void Add(nlohmann::ordered_json described, const TaskAnswer& answer);
  // A result in JSON begins with what was asked: input, id (of a JSON line), tokens, windows.
  nlohmann::ordered_json Describe(const InputText& input, const TaskRows& rows, idx_t text) const;
  // Vectors (texts, width), fp32, of a chunk with one text an input: on_vectors gets them with what
  // Describe says of each.
  void AddVectors(const TaskChunk& chunk, const Tensor& vectors);
  std::function<void(std::vector<nlohmann::ordered_json> described, const Tensor& vectors)>
      on_vectors;
  // Where texts wait in parts: together, after the last chunk. Rank 0 writes what they came to.
  // Finish does it, if nobody did before.
  void Join();
  // Ends the document of --json; tells what ran. Returns the exit code: 3 when something was left
  // out that --skip-bad did not allow. Together.
  int Finish();

 private:
  // An input that was read, and is in no chunk yet.
  struct Waiting {
    InputText input;
    std::vector<TaskText> texts;
    std::optional<TaskRows> rows;  // where it is encoded already
  };

  std::vector<InputText> NextInputs(TextInputs& inputs);
  void ClosePart();
  void TakePart(const AnswerPart& part, bool before);
  void Record(nlohmann::ordered_json record);
  void Refuse(const InputText& row, const Error& why);
  void TellLong(const std::string& line);
  void Write(std::string_view text);
  void Show(nlohmann::ordered_json described, const TaskAnswer& answer);
  void ShowInTable(const nlohmann::ordered_json& described, const nlohmann::ordered_json& fields);
  void ShowParts(const PartsState& state);
  void ShowTokens(idx_t done, idx_t all);
  void CountTexts(const TextInputs& inputs);
  idx_t AllTokens() const;
  void TellSummary();
  void EncodeWaiting(const TextsOf& texts_of, const RowDefaults& defaults);
  void Take(Waiting& waiting, const TextsOf& texts_of, const RowDefaults& defaults,
            TaskChunk& chunk);
  void TellOverflow(const std::string& name, const TaskRows& rows);
  void Tell(const std::string& line, LineKind kind = LineKind::kPlain);
  nlohmann::ordered_json Head() const;

  const TaskCommand& command_;
  const OutputForm form_;                 // kText, kJson, kJsonLines, kCsv or kTsv
  std::unique_ptr<AnswerParts> parts_;    // null: answers are written as they come
  std::unique_ptr<io::AtomicFile> file_;  // null: stdout, or a file of the command's own
  Context context_;
  TaskModel model_;
  Progress progress_;
  double start_s_;
  std::deque<Waiting> waiting_;
  idx_t told_ = 0, untold_ = 0;
  PartCounts counts_;  // of all rows that were encoded; where they wait in parts, once joined
  idx_t tokens_ = 0;   // of rows that this process has encoded
  idx_t ran_ = 0;      // of the chunks before this one
  // How many tokens all inputs have, by how long they are: bytes of all, bytes of those that were
  // encoded, and their tokens. No bytes: nobody knows how long they are.
  std::optional<std::uint64_t> all_bytes_;
  std::uint64_t encoded_bytes_ = 0;
  idx_t encoded_tokens_ = 0;
  bool counted_ = false;    // CountTexts has looked at the open inputs
  idx_t before_ = 0;        // tokens of inputs that were read to their end
  std::string_view calls_;  // unit of CountCalls; empty: tokens of the chunk
  idx_t call_done_ = 0;     // of the open call
  double call_began_s_ = 0, call_told_s_ = 0;
  idx_t old_tokens_ = 0;  // of parts that were done before
  std::string task_;
  bool quiet_;
  AnswerPart part_;        // what the open part has come to
  int shown_percent_ = 0;  // of the parts, in the last line about them
  bool joined_ = false;
  Refusals refusals_;
  JsonResults results_;
  TextTable lines_;
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
