#include "cli/task_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iterator>
#include <utility>

#include "cli/check.h"
#include "cli/counted.h"
#include "cli/dtype_option.h"
#include "cli/option_checks.h"
#include "cli/train_options.h"
#include "cli/visual/command.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/terminal.h"
#include "cli/visual/text.h"
#include "cli/waiting.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostNotes = 5;  // texts whose overflow is told one by one

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

TaskModel OpenModel(const TaskCommand& c, std::optional<HeadKind> head) {
  TaskOptions options = c.options;
  options.global = GlobalRule::Parse(c.global);
  options.overflow = ParseOverflow(c.overflow);
  ModelOptions loading = c.loading;
  loading.head = head;
  loading.compute = DTypeOf(c.dtype);
  loading.reformer.lm_bias = !c.no_lm_bias;
  loading.reformer.attention = ParseAttention(c.attention);
  std::vector<std::string> warnings;
  loading.on_warning = [&](const std::string& line) { warnings.push_back(line); };
  Waiting waiting("loading " + c.model, c.quiet);
  TaskModel model = TaskModel::Load(c.model, options, loading);
  waiting.End();
  for (const std::string& warning : warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  return model;
}

// What results call an input: its "id", where it has one.
std::string NameInResults(const InputText& input) {
  std::string name = input.Shown("id");
  return name.empty() ? input.name : name;
}

}  // namespace

void AddTaskOptions(CLI::App& command, TaskCommand& c) {
  BeginGroup(&command, heading::kModel);
  command.add_option("-m,--model", c.model, "Folder of the model that is asked")->required();
  AddInputOptions(command, c.inputs);
  TaskOptions& o = c.options;
  BeginGroup(&command, heading::kRows);
  command
      .add_option("--global", c.global,
                  "Tokens with global attention: auto, none, first:N, question, every:N, ids:1,2, "
                  "token:ID or token:TEXT")
      ->capture_default_str();
  command.add_option("--overflow", c.overflow,
                     "A text that is longer than a row: window, truncate or error");
  command
      .add_option("--tokens", o.max_length,
                  "Longest row in tokens (default: all positions of the model)")
      ->check(AtLeast(1));
  command.add_option("--stride", o.stride, "Tokens that neighbouring windows share");
  command
      .add_option("--batch-tokens", o.batch_tokens, "Tokens of the rows that run together, about")
      ->capture_default_str();
  BeginGroup(&command, heading::kComputing);
  command
      .add_option("--dtype", c.dtype,
                  "Precision of the computation: f32, or bf16 for half the memory and more speed")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  command.add_option("--attention", c.attention,
                     "Attention of all layers: full, local or lsh (default: the config's)");
  command
      .add_option("--num-hashes", c.loading.reformer.num_hashes,
                  "Hash rounds of a Reformer's LSH layers (default: the config's)")
      ->check(CLI::Range(1, 1024));
  command.add_flag("--allow-nonfinite", c.loading.allow_nonfinite,
                   "Accept weights that hold NaN or infinity");
  BeginGroup(&command, heading::kOutput);
  command.add_flag("-q,--quiet", c.quiet, "Print no progress and no summary on stderr");
  command.add_flag("--json", c.json, "Print one JSON document");
}

TaskRun::TaskRun(const TaskCommand& c, std::string task, std::optional<HeadKind> head, int threads)
    : chunk_tokens(c.options.batch_tokens),
      command_(c),
      context_(threads),
      model_(OpenModel(c, head)),
      progress_(!c.quiet && DetectTerminal(STDERR_FILENO).interactive ? ProgressMode::kBar
                                                                      : ProgressMode::kNone),
      start_s_(Now()),
      task_(std::move(task)),
      refusals_(c.inputs.data.skip_bad,
                [this](const std::string& line) { progress_.Message("longspan: " + line); }) {
  context_.OnProgress([this](idx_t done, idx_t) {
    ProgressLine line;
    line.unit = "token";
    line.step = ran_ + done;
    line.tokens_per_s = static_cast<double>(line.step) / (Now() - start_s_);
    progress_.Update(line);
  });
}

void TaskRun::Tell(const std::string& line) {
  if (!command_.quiet) progress_.Message(line);
}

void TaskRun::TellOverflow(const std::string& name, const TaskRows& rows) {
  for (idx_t i = 0; i < rows.texts(); ++i) {
    const idx_t windows = static_cast<idx_t>(rows.of(i).size()), dropped = rows.dropped(i);
    if (windows == 1 && dropped == 0) continue;
    if (++told_ > kMostNotes) {
      ++untold_;
      continue;
    }
    Tell(dropped > 0 ? fmt::format("{}: longer than {} tokens, the last {} were cut",
                                   ShownName(name), model_.longest(), dropped)
                     : fmt::format("{}: longer than {} tokens, read in {} windows", ShownName(name),
                                   model_.longest(), windows));
  }
}

void TaskRun::Take(InputText& input, const TextsOf& texts_of, const RowDefaults& defaults,
                   TaskChunk& chunk) {
  std::vector<TaskText> texts;
  TaskRows rows;
  const auto use = [&](const InputText& row) {
    texts = texts_of(row);
    const std::vector<std::string> names(texts.size(), row.name);
    rows = model_.Encode(context_, texts, defaults, names);
    for (idx_t i = 0; check && i < rows.texts(); ++i) check(row.name, rows.of(i));
  };
  const bool used =
      UseRow(input, use, [&](const InputText& row, const Error& why) { refusals_.Add(row, why); });
  if (!used) return;
  TellOverflow(input.name, rows);
  texts_ += rows.texts();
  rows_ += static_cast<idx_t>(rows.rows.size());
  for (idx_t i = 0; i < rows.texts(); ++i) chunk.tokens += rows.tokens(i);
  globals_ += model_.CountGlobals(rows.rows);
  const auto before = static_cast<idx_t>(chunk.rows.rows.size());
  std::move(rows.rows.begin(), rows.rows.end(), std::back_inserter(chunk.rows.rows));
  for (idx_t i = 1; i <= rows.texts(); ++i) {
    chunk.rows.first.push_back(before + rows.first[static_cast<std::size_t>(i)]);
  }
  std::move(texts.begin(), texts.end(), std::back_inserter(chunk.texts));
  chunk.first.push_back(chunk.texts.size());
  chunk.names.push_back(NameInResults(input));
  chunk.places.push_back(input.name);
  chunk.inputs.push_back(std::move(input));
}

bool TaskRun::NextChunk(TextInputs& inputs, const TextsOf& texts_of, const RowDefaults& defaults,
                        TaskChunk& chunk) {
  ran_ = tokens_;
  if (model_.tokenizer().kind() == "bytes") inputs.AllowAnyBytes();
  for (;;) {  // until some input can be used
    chunk = {};
    chunk.first = {0};
    if (waiting_.empty()) {
      for (InputText& input : inputs.NextChunk()) waiting_.push_back(std::move(input));
      for (const std::string& note : inputs.TakeNotes()) Tell("longspan: " + note);
      if (waiting_.empty()) return false;
    }
    for (; !waiting_.empty() && chunk.tokens < chunk_tokens; waiting_.pop_front()) {
      Take(waiting_.front(), texts_of, defaults, chunk);
    }
    tokens_ += chunk.tokens;
    if (!chunk.inputs.empty()) return true;
  }
}

bool TaskRun::NextChunk(TextInputs& inputs, const TextOf& text_of, TaskChunk& chunk,
                        const RowDefaults& defaults) {
  const auto texts_of = [&](const InputText& input) {
    return std::vector<TaskText>{text_of(input)};
  };
  return NextChunk(inputs, texts_of, defaults, chunk);
}

TextOf TaskRun::PlainText() const {
  const DataOptions& data = command_.inputs.data;
  return [text = data.text_field, pair = PairField(data)](const InputText& input) -> TaskText {
    if (!input.has_fields) return {input.text, std::nullopt};
    return {input.Text(text), input.OptionalText(pair)};
  };
}

nlohmann::ordered_json TaskRun::Describe(const InputText& input, const TaskRows& rows,
                                         idx_t text) const {
  nlohmann::ordered_json j;
  j["input"] = input.name;
  if (const auto id = input.fields.find("id"); id != input.fields.end()) {
    j["id"] = ParsedJson(id->second);
  }
  j["tokens"] = rows.tokens(text);
  j["windows"] = rows.of(text).size();
  if (rows.dropped(text) > 0) j["dropped"] = rows.dropped(text);
  return j;
}

nlohmann::ordered_json TaskRun::Head() const {
  nlohmann::ordered_json all = {
      {"task", task_}, {"model", command_.model}, {"global", model_.global_name()}};
  all.update(members);
  return all;
}

void TaskRun::Add(const InputText& input, const TaskRows& rows, idx_t text,
                  const TaskAnswer& answer) {
  Add(command_.json ? Describe(input, rows, text) : nlohmann::ordered_json::object(), answer);
}

void TaskRun::Add(nlohmann::ordered_json described, const TaskAnswer& answer) {
  progress_.Clear();
  if (!command_.json) return PrintResult(answer.shown);
  described.update(answer.fields);
  results_.Add(Head(), described);
}

int TaskRun::Finish() {
  const bool nothing =
      texts_ == 0 && refusals_.count() > 0;  // the refusals are all there is to say
  if (command_.json) results_.Finish(Head(), refusals_.Members());
  progress_.Finish();
  if (untold_ > 0) Tell(fmt::format("... and {} more in windows or cut", Counted(untold_, "text")));
  const idx_t tokens = tokens_;
  if (nothing) return refusals_.Finish();
  Tell(fmt::format("{}, {}, {} at {:.0f}/s; global: {} ({})", Counted(texts_, "text"),
                   Counted(rows_, "row"), Counted(tokens, "token"),
                   static_cast<double>(tokens) / (Now() - start_s_), model_.global_name(),
                   Counted(globals_, "token")));
  return refusals_.Finish();
}

int AnswerTexts(TaskRun& run, TextInputs& inputs, const TextOf& text_of,
                const std::function<void(const TaskChunk&, const AddAnswer&)>& answer,
                const RowDefaults& defaults) {
  for (TaskChunk chunk; run.NextChunk(inputs, text_of, chunk, defaults);) {
    idx_t text = 0;
    answer(chunk, [&](const TaskAnswer& result) {
      run.Add(chunk.inputs[static_cast<std::size_t>(text)], chunk.rows, text, result);
      ++text;
    });
  }
  return run.Finish();
}

std::string ShownName(const std::string& name) { return Printable(name); }

std::string_view Piece(std::string_view text, text::Span bytes) {
  return text.substr(static_cast<std::size_t>(bytes.begin),
                     static_cast<std::size_t>(bytes.end - bytes.begin));
}

nlohmann::ordered_json SpanJson(text::Span span) {
  return {{"begin", span.begin}, {"end", span.end}};
}

}  // namespace longspan::cli
