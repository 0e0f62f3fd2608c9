#include "cli/task_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "base/errors.h"
#include "cli/dtype_option.h"
#include "cli/visual/output.h"
#include "cli/visual/terminal.h"
#include "cli/visual/text.h"
#include "io/escape.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostNotes = 5;  // texts whose overflow is told one by one

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::optional<text::Overflow> ParseOverflow(const std::string& name) {
  if (name.empty()) return std::nullopt;
  if (name == "window") return text::Overflow::kWindow;
  if (name == "truncate") return text::Overflow::kTruncate;
  Check(name == "error", ErrorCode::kUsage, "overflow: '{}' is none of window, truncate, error",
        io::Escape(name));
  return text::Overflow::kError;
}

TaskModel OpenModel(const TaskCommand& c, std::optional<TextHead> head) {
  TaskOptions options = c.options;
  options.overflow = ParseOverflow(c.overflow);
  options.compute = DTypeOf(c.dtype);
  std::vector<std::string> warnings;
  TaskModel model = TaskModel::Open(c.model, head, options, &warnings);
  for (const std::string& warning : warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  return model;
}

}  // namespace

void AddTaskOptions(CLI::App& command, TaskCommand& c) {
  command.add_option("-m,--model", c.model, "model directory")->required();
  AddInputOptions(command, c.inputs);
  TaskOptions& o = c.options;
  command
      .add_option("--global", o.global,
                  "global tokens: auto, none, first:N, question, every:N, ids:1,2, token:ID|TEXT")
      ->capture_default_str();
  command.add_option("--overflow", c.overflow,
                     "a text longer than the model takes: window, truncate or error");
  command.add_option("--max-length", o.max_length, "tokens of a row (default: all positions)")
      ->check(CLI::PositiveNumber);
  command.add_option("--stride", o.stride, "tokens that neighbouring windows share")
      ->capture_default_str();
  command.add_option("--batch-tokens", o.batch_tokens, "of rows that run together, about")
      ->capture_default_str();
  command.add_option("--dtype", c.dtype, "compute in f32 or bf16 (half the memory, faster)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  command
      .add_option("--num-hashes", o.num_hashes, "Reformers: rounds of LSH layers, not the config's")
      ->check(CLI::Range(1, 1024));
  command.add_flag("--allow-nonfinite", o.allow_nonfinite, "weights may hold NaN or infinity");
  command.add_flag("-q,--quiet", c.quiet, "no progress and no summary on stderr");
  command.add_flag("--json", c.json, "one JSON document");
}

TaskRun::TaskRun(const TaskCommand& c, std::optional<TextHead> head, int threads)
    : command_(c),
      context_(threads),
      model_(OpenModel(c, head)),
      progress_(!c.quiet && DetectTerminal(STDERR_FILENO).interactive ? ProgressMode::kBar
                                                                      : ProgressMode::kNone),
      start_s_(Now()) {
  model_.on_progress = [this](idx_t tokens) {
    ProgressLine line;
    line.unit = "token";
    line.step = tokens;
    line.tokens_per_s = static_cast<double>(tokens) / (Now() - start_s_);
    progress_.Update(line);
  };
}

void TaskRun::Tell(const std::string& line) {
  if (!command_.quiet) progress_.Message(line);
}

void TaskRun::TellOverflow(std::span<const std::string> names, const TaskRows& rows) {
  for (idx_t i = 0; i < rows.texts(); ++i) {
    const idx_t windows = static_cast<idx_t>(rows.of(i).size()), dropped = rows.dropped(i);
    if (windows == 1 && dropped == 0) continue;
    if (++told_ > kMostNotes) {
      ++untold_;
      continue;
    }
    const std::string name = ShownName(names[static_cast<std::size_t>(i)]);
    Tell(dropped > 0 ? fmt::format("{}: longer than {} tokens, the last {} were cut", name,
                                   model_.longest(), dropped)
                     : fmt::format("{}: longer than {} tokens, read in {} windows", name,
                                   model_.longest(), windows));
  }
}

TaskRows TaskRun::Encode(std::span<const TaskText> texts, std::span<const std::string> names,
                         text::Overflow fallback) {
  TaskRows rows = model_.Encode(texts, fallback, names);
  TellOverflow(names, rows);
  texts_ += rows.texts();
  rows_ += static_cast<idx_t>(rows.rows.size());
  return rows;
}

bool TaskRun::NextChunk(TextInputs& inputs,
                        const std::function<TaskText(const InputText&)>& text_of,
                        TaskChunk& chunk) {
  chunk = {};
  chunk.inputs = inputs.NextChunk();
  for (const InputText& input : chunk.inputs) {
    chunk.names.push_back(input.name);
    chunk.texts.push_back(text_of(input));
  }
  chunk.rows = Encode(chunk.texts, chunk.names, text::Overflow::kWindow);
  return !chunk.inputs.empty();
}

nlohmann::ordered_json TaskRun::Describe(const InputText& input, const TaskRows& rows,
                                         idx_t text) const {
  nlohmann::ordered_json j;
  j["input"] = input.name;
  if (input.is_json() && input.fields.contains("id")) j["id"] = input.fields["id"];
  j["tokens"] = rows.tokens(text);
  j["windows"] = rows.of(text).size();
  if (rows.dropped(text) > 0) j["dropped"] = rows.dropped(text);
  return j;
}

void TaskRun::Add(const InputText& input, const TaskRows& rows, idx_t text,
                  const TaskAnswer& answer) {
  if (!command_.json) return PrintResult(answer.shown);
  nlohmann::ordered_json j = Describe(input, rows, text);
  j.update(answer.fields);
  results_.push_back(std::move(j));
}

int TaskRun::Finish(std::string_view task) {
  if (command_.json) {
    nlohmann::ordered_json j;
    j["task"] = task;
    j["model"] = command_.model;
    j["global"] = model_.global_name();
    j["results"] = std::move(results_);
    PrintResult(DumpJson(j));
  }
  progress_.Finish();
  if (untold_ > 0) Tell(fmt::format("... and {} more texts in windows or cut", untold_));
  const idx_t tokens = model_.tokens_run();
  Tell(fmt::format("{} texts, {} rows, {} tokens at {:.0f}/s; global: {} ({} tokens)", texts_,
                   rows_, tokens, static_cast<double>(tokens) / (Now() - start_s_),
                   model_.global_name(), model_.globals_run()));
  return 0;
}

TaskText PlainText(const InputText& input) {
  if (!input.is_json()) return {input.text, std::nullopt};
  return {input.Field("text"), input.OptionalField("text_pair")};
}

int AnswerTexts(TaskRun& run, std::string_view task, TextInputs& inputs,
                const std::function<TaskText(const InputText&)>& text_of,
                const std::function<std::vector<TaskAnswer>(const TaskChunk&)>& answer) {
  for (TaskChunk chunk; run.NextChunk(inputs, text_of, chunk);) {
    const std::vector<TaskAnswer> answers = answer(chunk);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      run.Add(chunk.inputs[i], chunk.rows, static_cast<idx_t>(i), answers[i]);
    }
  }
  return run.Finish(task);
}

std::string ShownName(const std::string& name) { return Printable(name); }

std::string_view Piece(std::string_view text, text::Span bytes) {
  return text.substr(static_cast<std::size_t>(bytes.begin),
                     static_cast<std::size_t>(bytes.end - bytes.begin));
}

nlohmann::ordered_json SpanJson(text::Span span) {
  return {{"begin", span.begin}, {"end", span.end}};
}

std::string DumpJson(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace longspan::cli
