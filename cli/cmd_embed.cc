// longspan embed: texts as vectors.

#include <fmt/format.h>

#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/ranks.h"
#include "cli/task_run.h"
#include "cli/vector_options.h"
#include "cli/vector_output.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/files.h"
#include "longspan/tasks.h"
#include "longspan/vectors.h"

namespace longspan::cli {
namespace {

struct EmbedCommand {
  TaskCommand task;
  VectorOptions vectors;
  std::optional<std::string> format, ranges;
  std::string precision = "float32";
};

constexpr OutputForm kVectorForms[] = {OutputForm::kJsonLines, OutputForm::kJson,
                                       OutputForm::kNpy,       OutputForm::kCsv,
                                       OutputForm::kTsv,       OutputForm::kText};

OutputForm FormOf(const EmbedCommand& c) {
  const OutputForms forms{"embed", kVectorForms, OutputForm::kJsonLines, std::nullopt};
  return ChooseOutputForm(forms, {c.format, c.task.json, c.task.output.file});
}

// Ranges of int8: a file of ranges, or of vectors that have them. Empty: those of the vectors
// themselves.
Tensor RangesFrom(const EmbedCommand& c) {
  if (!c.ranges) return {};
  Check(c.precision == "int8", ErrorCode::kUsage,
        "ranges: --precision {} has none; they are of int8", c.precision);
  const VectorFile file = ReadVectorFile(*c.ranges);
  Check(PrecisionOf(file.vectors) == Precision::kFloat32, ErrorCode::kFormat,
        "{}: holds {} vectors; ranges come from float32 ones", io::Escape(*c.ranges),
        PrecisionName(PrecisionOf(file.vectors)));
  return RangesOf(file.vectors);
}

// Nothing that is read may be written over.
void CheckOutput(const EmbedCommand& c, OutputForm format) {
  if (!c.task.output.file) return;
  const std::vector<std::string>& inputs = c.task.inputs.paths;
  std::vector<std::filesystem::path> written = {*c.task.output.file};
  if (format == OutputForm::kNpy) {
    written.push_back(IdsFileOf(*c.task.output.file));
    if (c.precision == "int8") written.push_back(RangesFileOf(*c.task.output.file));
  }
  const std::string ranges[] = {c.ranges.value_or("")};
  for (const std::filesystem::path& file : written) {
    CheckIsNoInputOf(inputs, c.task.model, file);
    if (c.ranges) CheckIsNoInput(file, ranges);
  }
}

std::unique_ptr<VectorOutput> OutputOf(const EmbedCommand& c, OutputForm format,
                                       VectorNumbers numbers, const Embedder& embedder,
                                       const TaskRun& run) {
  nlohmann::ordered_json head = {
      {"task", "embed"}, {"model", c.task.model}, {"global", run.model().global_name()}};
  head.update(run.members);
  return std::make_unique<VectorOutput>(c.task.output.file.value_or(""), format, embedder.width(),
                                        std::move(numbers), head, [&](const std::string& note) {
                                          if (!run.quiet()) TellWarning(note);
                                        });
}

int RunEmbed(const EmbedCommand& c, int threads) {
  const OutputForm format = FormOf(c);
  const Precision precision = ParsePrecision(c.precision);
  TaskCommand task = c.task;
  task.json = format == OutputForm::kJson && !task.output.file;
  task.writes_vectors = task.output.file.has_value();
  TextInputs inputs(task.inputs);
  CheckOutput(c, format);
  Tensor ranges = RangesFrom(c);
  const EmbedOptions options = EmbedOptionsOf(c.vectors);
  TaskRun run(task, "embed", std::nullopt, threads);
  run.chunk_tokens = std::numeric_limits<idx_t>::max();  // of many vectors nobody reads the first
  const Embedder embedder(run.model(), options);
  run.Use(embedder.model());
  if (!run.quiet()) TellPrompt(embedder, c.vectors.prompt_name.has_value());
  if (precision != Precision::kFloat32) run.members["precision"] = PrecisionName(precision);
  const auto text_of = [&, plain = run.PlainText()](const InputText& input) {
    return embedder.Prepare(plain(input));
  };
  std::unique_ptr<VectorOutput> output;
  if (Speaks()) output = OutputOf(c, format, {precision, std::move(ranges)}, embedder, run);
  bool any = false;
  run.on_vectors = [&](std::vector<nlohmann::ordered_json> described, const Tensor& vectors) {
    any = true;
    output->Add(run, std::move(described), vectors);
  };
  for (TaskChunk chunk; run.NextChunk(inputs, text_of, chunk);) {
    run.AddVectors(chunk, embedder.Embed(run.context(), chunk.rows));
  }
  run.Join();
  if (any) output->Finish(run);  // of texts that cannot be used no file is made
  return run.Finish();
}

}  // namespace

void RegisterEmbed(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<EmbedCommand>();
  AddTaskOptions(*command, c->task);
  AddVectorOptions(*command, c->vectors);
  AddTextOption(
      *command, "--output-format", c->format,
      "Form of the vectors: jsonl, json, npy, csv, tsv or text (default: as -o ends; on stdout "
      "jsonl)");
  AddSharedOutput(
      *command,
      "File to write instead of stdout: .jsonl, .json, .npy, .csv, .tsv or .txt; beside v.npy, "
      "v.ids.jsonl names its rows",
      c->task.output);
  command->add_option("--precision", c->precision, "Numbers: float32, int8 or ubinary")
      ->check(CLI::IsMember({"float32", "int8", "ubinary"}))
      ->capture_default_str();
  AddTextOption(*command, "--ranges", c->ranges,
                "File that int8 takes its ranges from (default: the vectors' own)");
  command->footer(
      "Examples:\n"
      "  longspan embed -m minilm-long chapters/ > vectors.jsonl\n"
      "  longspan embed -m minilm-long letters.txt --lines -o vectors.npy\n"
      "  longspan embed -m minilm-long letters.txt --lines --precision int8 -o small.npy\n"
      "  longspan embed -m minilm-long chapters/ -o chapters.npy --resume\n"
      "  longspan embed -m e5-long --prompt-name query --text 'who wrote it?'\n"
      "  echo 'a question' | longspan embed -m minilm-long - --output-format text");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEmbed(*c, globals.threads); }; });
}

}  // namespace longspan::cli
