#include "cli/task_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "cli/check.h"
#include "cli/dtype_option.h"
#include "cli/option_checks.h"
#include "cli/ranks.h"
#include "cli/train_options.h"
#include "cli/vector_options.h"
#include "cli/visual/command.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/terminal.h"
#include "cli/visual/text.h"
#include "cli/waiting.h"
#include "longspan/counted.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostNotes = 5;  // texts whose overflow is told one by one

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What needs no model is refused before anything of it is read, and what its config tells before
// its weights are.
TaskModel OpenModel(const TaskCommand& c, std::optional<HeadKind> head,
                    const CheckModelInfo& check) {
  TaskOptions options = c.options;
  options.global = GlobalRule::Parse(c.global);
  options.overflow = ParseOverflow(c.overflow);
  ModelOptions loading = c.loading;
  loading.head = head;
  loading.compute = DTypeOf(c.dtype);
  loading.reformer.lm_bias = !c.no_lm_bias;
  loading.reformer.attention = ParseAttention(c.attention);
  if (check) {
    TaskModel::CheckOptions(options);
    if (head) CheckModelHead(c.model, *head);
    check(ReadModelInfo(c.model));
  }
  std::vector<std::string> warnings;
  loading.on_warning = [&](const std::string& line) { warnings.push_back(line); };
  Waiting waiting("loading " + c.model, c.quiet || !Speaks());
  TaskModel model = TaskModel::Load(c.model, options, loading);
  waiting.End();
  for (const std::string& warning : warnings) {
    if (Speaks()) TellWarning(warning);
  }
  return model;
}

constexpr OutputForm kAnswerForms[] = {OutputForm::kText, OutputForm::kJson, OutputForm::kJsonLines,
                                       OutputForm::kCsv, OutputForm::kTsv};

// Where the answers wait until all are there; null: nowhere. Starts the ranks.
std::unique_ptr<AnswerParts> PartsOf(const TaskCommand& c) {
  if (!IsInParts(c.output, c.inputs.paths)) {
    if (c.output.file) CheckNoParts(*c.output.file);
    return nullptr;
  }
  return std::make_unique<AnswerParts>(StartRanks(), *c.output.file, c.output.resume);
}

// The file of the answers, so that what cannot be written is found before the model is loaded.
std::unique_ptr<io::AtomicFile> OpenOutput(const TaskCommand& c) {
  if (!c.output.file || c.writes_vectors) return nullptr;
  CheckIsNoInputOf(c.inputs.paths, c.model, *c.output.file);
  return Speaks() ? std::make_unique<io::AtomicFile>(*c.output.file) : nullptr;
}

// mpirun hands on what rank 0 says, so there is no terminal, and lines are all that can be shown.
ProgressMode ModeOf(const TaskCommand& c) {
  if (c.quiet || !Speaks()) return ProgressMode::kNone;
  if (DetectTerminal(STDERR_FILENO).interactive) return ProgressMode::kBar;
  const bool shared = c.output.command != nullptr && StartRanks().size() > 1;
  return shared ? ProgressMode::kPlain : ProgressMode::kNone;
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
                  "Global tokens: none, first:N, question, every:N, positions:1,2, token:ID|TEXT, "
                  "head, or auto: as trained, else head")
      ->capture_default_str();
  command.add_option("--overflow", c.overflow,
                     "A text that is longer than a row: window, truncate or error");
  command
      .add_option("--tokens", o.max_length,
                  "Longest row in tokens (default 0: the model's, else all positions)")
      ->check(AtLeast(0));
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

void AddAnswerOutput(CLI::App& command, TaskCommand& c) {
  AddTextOption(command, "--output-format", c.output_format,
                "Form of the answers: text, json, jsonl, csv or tsv (default: as -o ends, "
                "else text)");
  AddSharedOutput(command, "File instead of stdout; .json, .jsonl, .csv, .tsv decide its form",
                  c.output);
}

OutputForm FormOfAnswers(const TaskCommand& c) {
  const std::string name = c.output.command != nullptr ? c.output.command->get_name() : "";
  const OutputForms forms{name, kAnswerForms, OutputForm::kText, OutputForm::kText};
  const bool writes = !c.writes_vectors;  // else the command has chosen
  return ChooseOutputForm(forms, {c.output_format, c.json, writes ? c.output.file : std::nullopt});
}

TaskRun::TaskRun(const TaskCommand& c, std::string task, std::optional<HeadKind> head, int threads,
                 const CheckModelInfo& check_model)
    : chunk_tokens(c.options.batch_tokens),
      command_(c),
      form_(FormOfAnswers(c)),
      parts_(PartsOf(c)),
      file_(OpenOutput(c)),
      context_(c.output.command != nullptr ? RankThreads(threads) : threads),
      model_(OpenModel(c, head, check_model)),
      progress_(ModeOf(c)),
      start_s_(Now()),
      task_(std::move(task)),
      quiet_(c.quiet || !Speaks()),
      refusals_(c.inputs.data.skip_bad,
                [this](const std::string& line) { progress_.Message(line, LineKind::kNote); }),
      results_([this](std::string_view text) { Write(text); }),
      lines_(form_, [this](const std::string& line) { Tell(line, LineKind::kNote); }) {
  context_.OnProgress([this](idx_t done, idx_t all) {
    if (parts_) {
      if (progress_.mode() != ProgressMode::kNone) ShowParts(parts_->Look());
      return;
    }
    ShowTokens(done, all);
  });
}

void TaskRun::ShowTokens(idx_t done, idx_t all) {
  if (progress_.mode() != ProgressMode::kBar) return;
  const double now = Now();
  ProgressLine line;
  double began = start_s_;
  if (calls_.empty()) {
    line.unit = "token";
    line.step = ran_ + done;
    line.steps = std::max(AllTokens(), all_bytes_ ? line.step : 0);
  } else {
    if (done <= call_done_) call_began_s_ = call_told_s_;  // another call
    call_done_ = done;
    call_told_s_ = now;
    began = call_began_s_;
    line.unit = calls_;
    line.step = done;
    line.steps = all;
  }
  if (line.step > 0) {
    line.tokens_per_s = static_cast<double>(line.step) / (now - began);
    if (line.steps > 0) {
      line.seconds_left = static_cast<double>(line.steps - line.step) / line.tokens_per_s;
    }
  }
  progress_.Update(line);
}

void TaskRun::CountCalls(std::string_view unit) {
  calls_ = unit;
  call_done_ = 0;
  call_began_s_ = call_told_s_ = Now();
}

// Only where a bar needs it, and the texts can be read twice in no time.
void TaskRun::CountTexts(const TextInputs& inputs) {
  constexpr std::uintmax_t kMostCounted = std::uintmax_t{64} << 20;
  counted_ = true;
  all_bytes_.reset();
  encoded_bytes_ = 0;
  encoded_tokens_ = 0;
  before_ = tokens_;
  if (parts_ || progress_.mode() != ProgressMode::kBar) return;
  std::uintmax_t size = 0;
  std::error_code unknown;
  for (const std::string& file : inputs.Files()) {
    const bool plain = std::filesystem::is_regular_file(file, unknown);  // not a pipe
    size += plain ? std::filesystem::file_size(file, unknown) : kMostCounted + 1;
    if (unknown || size > kMostCounted) return;
  }
  try {
    TextInputs all = inputs.Again();
    if (model_.tokenizer().kind() == "bytes") all.AllowAnyBytes();
    std::uint64_t bytes = 0;
    for (auto texts = all.NextChunk(); !texts.empty(); texts = all.NextChunk()) {
      for (const InputText& text : texts) bytes += BytesOf(text);
    }
    all_bytes_ = bytes;
  } catch (const Error&) {  // who reads for the answers says it, after the answers that there are
  }
}

// About, until all are encoded. 0: not known.
idx_t TaskRun::AllTokens() const {
  if (!all_bytes_ || encoded_bytes_ == 0) return 0;
  return before_ +
         static_cast<idx_t>(static_cast<double>(encoded_tokens_) *
                            static_cast<double>(*all_bytes_) / static_cast<double>(encoded_bytes_));
}

void TaskRun::Tell(const std::string& line, LineKind kind) {
  if (!quiet_) progress_.Message(line, kind);
}

void TaskRun::ShowParts(const PartsState& state) {
  if (state.all_bytes == 0) return;
  const auto percent = static_cast<int>(100 * state.done_bytes / state.all_bytes);
  // A file of lines is no longer for a corpus that takes days.
  if (progress_.mode() == ProgressMode::kPlain && percent == shown_percent_) return;
  shown_percent_ = percent;
  ProgressLine line;
  line.unit = "part";
  line.step = state.done;
  line.steps = state.all;
  if (state.done_bytes > 0) {
    line.seconds_left = (Now() - start_s_) *
                        static_cast<double>(state.all_bytes - state.done_bytes) /
                        static_cast<double>(state.done_bytes);
  }
  progress_.Update(line);
}

void TaskRun::TellLong(const std::string& line) {
  if (++told_ <= kMostNotes) return Tell(line);
  ++untold_;
}

void TaskRun::TellOverflow(const std::string& name, const TaskRows& rows) {
  for (idx_t i = 0; i < rows.texts(); ++i) {
    const idx_t windows = static_cast<idx_t>(rows.of(i).size()), dropped = rows.dropped(i);
    if (windows == 1 && dropped == 0) continue;
    const std::string line = dropped > 0
                                 ? fmt::format("{}: longer than {} tokens, the last {} were cut",
                                               ShownName(name), model_.longest(), dropped)
                                 : fmt::format("{}: longer than {} tokens, read in {} windows",
                                               ShownName(name), model_.longest(), windows);
    if (parts_) {
      Record({{"long", line}});
    } else {
      TellLong(line);
    }
  }
}

void TaskRun::Record(nlohmann::ordered_json record) { part_.records.push_back(std::move(record)); }

void TaskRun::Refuse(const InputText& row, const Error& why) {
  if (!parts_ || row.given) return refusals_.Add(row, why);
  Record({{"refused", row.name},
          {"why", why.what()},
          {"code", static_cast<int>(why.code())},
          {"ends_file", row.ends_file}});
}

// All that wait are encoded in one call, which shares them among the threads. Where one of them
// cannot be, none is: Take finds out which, and why.
void TaskRun::EncodeWaiting(const TextsOf& texts_of, const RowDefaults& defaults) {
  std::vector<TaskText> texts;
  std::vector<std::string> names;
  TaskRows rows;
  try {
    for (Waiting& waiting : waiting_) {
      if (waiting.input.refused) continue;
      waiting.texts = texts_of(waiting.input);
      texts.insert(texts.end(), waiting.texts.begin(), waiting.texts.end());
      names.resize(texts.size(), waiting.input.name);
    }
    rows = model_.Encode(context_, texts, defaults, names);
  } catch (const Error&) {
    return;
  }
  idx_t text = 0;
  for (Waiting& waiting : waiting_) {
    if (waiting.input.refused) continue;
    waiting.rows.emplace();
    for (std::size_t i = 0; i < waiting.texts.size(); ++i, ++text) {
      const auto of_text = rows.rows.begin() + rows.begin(text);
      std::move(of_text, of_text + std::ssize(rows.of(text)),
                std::back_inserter(waiting.rows->rows));
      waiting.rows->first.push_back(std::ssize(waiting.rows->rows));
    }
  }
}

void TaskRun::Take(Waiting& waiting, const TextsOf& texts_of, const RowDefaults& defaults,
                   TaskChunk& chunk) {
  InputText& input = waiting.input;
  std::vector<TaskText>& texts = waiting.texts;
  TaskRows rows;
  const auto use = [&](const InputText& row) {
    if (waiting.rows) {
      rows = std::move(*waiting.rows);
    } else {
      texts = texts_of(row);
      const std::vector<std::string> names(texts.size(), row.name);
      rows = model_.Encode(context_, texts, defaults, names);
    }
    for (idx_t i = 0; check && i < rows.texts(); ++i) check(row.name, rows.of(i));
  };
  const bool used =
      UseRow(input, use, [&](const InputText& row, const Error& why) { Refuse(row, why); });
  encoded_bytes_ += BytesOf(input);
  if (!used) return;
  TellOverflow(input.name, rows);
  PartCounts counts{rows.texts(), static_cast<idx_t>(rows.rows.size()), 0,
                    model_.CountGlobals(rows.rows)};
  for (idx_t i = 0; i < rows.texts(); ++i) counts.tokens += rows.tokens(i);
  encoded_tokens_ += counts.tokens;
  chunk.tokens += counts.tokens;
  (parts_ ? part_.counts : counts_).Add(counts);
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

std::vector<InputText> TaskRun::NextInputs(TextInputs& inputs) {
  if (!parts_) {
    std::vector<InputText> texts = inputs.NextChunk();
    for (const std::string& note : inputs.TakeNotes()) Tell(note, LineKind::kNote);
    return texts;
  }
  if (!parts_->begun()) {
    const RankFacts facts = AnswerFacts(*command_.output.command, command_.model);
    RankFacts of_all = facts;
    of_all["the output"] = *command_.output.file;
    CheckSameFacts(StartRanks(), of_all);
    TextInputs all = inputs.Again();
    if (model_.tokenizer().kind() == "bytes") all.AllowAnyBytes();
    parts_->Begin(std::move(all), SetupOf(facts),
                  [this](const std::string& note) { Tell(note, LineKind::kNote); });
  }
  ClosePart();
  return parts_->Next(inputs);
}

void TaskRun::ClosePart() {
  parts_->Write(part_);
  part_ = {};
}

bool TaskRun::NextChunk(TextInputs& inputs, const TextsOf& texts_of, const RowDefaults& defaults,
                        TaskChunk& chunk) {
  calls_ = {};
  if (!counted_) CountTexts(inputs);
  ran_ = tokens_;
  if (model_.tokenizer().kind() == "bytes") inputs.AllowAnyBytes();
  for (;;) {  // until some input can be used
    chunk = {};
    chunk.first = {0};
    if (waiting_.empty()) {
      for (InputText& input : NextInputs(inputs)) waiting_.push_back({std::move(input), {}, {}});
      if (waiting_.empty()) {
        counted_ = false;  // other inputs may follow
        return false;
      }
      EncodeWaiting(texts_of, defaults);
    }
    for (; !waiting_.empty() && chunk.tokens < chunk_tokens; waiting_.pop_front()) {
      Take(waiting_.front(), texts_of, defaults, chunk);
    }
    tokens_ += chunk.tokens;
    if (!chunk.inputs.empty()) {
      if (!parts_) ShowTokens(0, chunk.tokens);
      return true;
    }
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
  return [text = data.text_field, pair = PairFieldOf(data)](const InputText& input) -> TaskText {
    if (!input.has_fields) return {input.text, std::nullopt};
    return {input.Text(text), input.PairText(pair)};
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
  const bool described = form_ != OutputForm::kText || parts_;
  Add(described ? Describe(input, rows, text) : nlohmann::ordered_json::object(), answer);
}

void TaskRun::Add(nlohmann::ordered_json described, const TaskAnswer& answer) {
  if (!parts_) return Show(std::move(described), answer);
  Record({{"described", std::move(described)}, {"fields", answer.fields}, {"shown", answer.shown}});
}

void TaskRun::AddVectors(const TaskChunk& chunk, const Tensor& vectors) {
  std::vector<nlohmann::ordered_json> described;
  for (std::size_t i = 0; i < chunk.inputs.size(); ++i) {
    described.push_back(Describe(chunk.inputs[i], chunk.rows, static_cast<idx_t>(i)));
  }
  if (!parts_) return on_vectors(std::move(described), vectors);
  for (auto& one : described) Record({{"described", std::move(one)}});
  const float* values = vectors.data<float>();
  part_.vectors.insert(part_.vectors.end(), values, values + vectors.size());
}

void TaskRun::Show(nlohmann::ordered_json described, const TaskAnswer& answer) {
  if (form_ == OutputForm::kText) return Write(answer.shown);
  if (IsTableForm(form_)) return ShowInTable(described, answer.fields);
  described.update(answer.fields);
  if (form_ == OutputForm::kJsonLines) return Write(DumpJson(described, -1));
  results_.Add(Head(), described);
}

void TaskRun::ShowInTable(const nlohmann::ordered_json& described,
                          const nlohmann::ordered_json& fields) {
  if (!lines_.begun()) Write(lines_.Header(described.contains("id"), table.columns));
  for (const std::vector<std::string>& cells : table.lines(fields)) {
    Write(lines_.Line(described, cells));
  }
}

void TaskRun::Write(std::string_view text) {
  if (file_) return file_->Write(text);
  progress_.Clear();
  PrintResult(text);
}

void TaskRun::TakePart(const AnswerPart& part, bool before) {
  counts_.Add(part.counts);
  if (before) old_tokens_ += part.counts.tokens;
  std::vector<nlohmann::ordered_json> described;
  for (const nlohmann::ordered_json& record : part.records) {
    if (record.contains("long")) {
      TellLong(record["long"].get<std::string>());
    } else if (record.contains("refused")) {
      InputText row;
      row.name = record["refused"].get<std::string>();
      row.ends_file = record["ends_file"].get<bool>();
      refusals_.Add(row, Error(static_cast<ErrorCode>(record["code"].get<int>()),
                               record["why"].get<std::string>()));
    } else if (on_vectors) {
      described.push_back(record["described"]);
    } else {
      Show(record["described"], {record["fields"], record["shown"].get<std::string>()});
    }
  }
  if (described.empty()) return;
  const auto texts = static_cast<idx_t>(described.size());
  Tensor vectors({texts, static_cast<idx_t>(part.vectors.size()) / texts});
  std::copy_n(part.vectors.data(), vectors.size(), vectors.data<float>());
  on_vectors(std::move(described), vectors);
}

void TaskRun::Join() {
  if (!parts_ || std::exchange(joined_, true)) return;
  const bool shown = progress_.mode() != ProgressMode::kNone;
  parts_->Meet(shown ? [this](const PartsState& state) { ShowParts(state); }
                     : std::function<void(const PartsState&)>());
  if (!Speaks()) return;
  parts_->ForEach([this](const AnswerPart& part, bool before) { TakePart(part, before); });
}

void TaskRun::TellSummary() {
  if (untold_ > 0) Tell(fmt::format("... and {} more in windows or cut", Counted(untold_, "text")));
  if (counts_.texts == 0 && refusals_.count() > 0) return;  // the refusals are all there is to say
  if (old_tokens_ > 0) Tell(fmt::format("{} were there before", Counted(old_tokens_, "token")));
  const bool has = model_.info().global_tokens;
  const std::string globals =
      has ? fmt::format("; global: {} ({}), {}", model_.global_name(),
                        Counted(counts_.globals, "token"), Phrase(model_.global_origin()))
          : std::string();
  Tell(fmt::format("{}, {}, {} at {:.0f}/s{}", Counted(counts_.texts, "text"),
                   Counted(counts_.rows, "row"), Counted(counts_.tokens, "token"),
                   static_cast<double>(counts_.tokens - old_tokens_) / (Now() - start_s_),
                   globals));
}

int TaskRun::Finish() {
  Join();
  std::int64_t status = 0;
  if (Speaks()) {
    if (form_ == OutputForm::kJson && !command_.writes_vectors)
      results_.Finish(Head(), refusals_.Members());
    if (file_ && counts_.texts > 0) file_->Commit();  // of texts that cannot be used none is made
    if (parts_) parts_->Remove();
    progress_.Finish();
    TellSummary();
    status = refusals_.Finish();
  }
  if (parts_) StartRanks().Broadcast(&status, sizeof(status));
  return static_cast<int>(status);
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
