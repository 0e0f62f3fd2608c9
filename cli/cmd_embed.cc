// longspan embed: texts as vectors.

#include <fmt/format.h>

#include <limits>
#include <optional>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/vector_options.h"
#include "cli/vector_output.h"
#include "cli/visual/output.h"
#include "longspan/files.h"
#include "longspan/tasks.h"
#include "longspan/vectors.h"

namespace longspan::cli {
namespace {

struct EmbedCommand {
  TaskCommand task;
  VectorOptions vectors;
  std::optional<std::string> format, output, ranges;
  std::string precision = "float32";
};

VectorFormat VectorFormatOf(const EmbedCommand& c) {
  std::optional<VectorFormat> format;
  if (c.format) format = VectorFormatNamed(*c.format);
  if (!format && c.task.json) format = VectorFormat::kJson;
  if (!format && c.output) format = VectorFormatOfEnding(*c.output);
  Check(!c.task.json || format == VectorFormat::kJson, ErrorCode::kUsage,
        "embed: --json is one document; --output-format {} is another form",
        io::Escape(c.format.value_or("")));
  if (c.task.json && c.output && !c.format) {
    Check(FormatOfEnding(*c.output).value_or(VectorFormat::kJson) == VectorFormat::kJson,
          ErrorCode::kUsage,
          "embed: --json is one document, and '{}' ends as another form does; call it .json",
          io::Escape(*c.output));
  }
  return format.value_or(VectorFormat::kJsonLines);
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
void CheckOutput(const EmbedCommand& c, VectorFormat format) {
  if (!c.output) return;
  const std::vector<std::string>& inputs = c.task.inputs.paths;
  std::vector<std::filesystem::path> written = {*c.output};
  if (format == VectorFormat::kNpy) {
    written.push_back(IdsFileOf(*c.output));
    if (c.precision == "int8") written.push_back(RangesFileOf(*c.output));
  }
  const std::string ranges[] = {c.ranges.value_or("")};
  for (const std::filesystem::path& file : written) {
    CheckIsNoInputOf(inputs, file);
    if (c.ranges) CheckIsNoInput(file, ranges);
  }
}

int RunEmbed(const EmbedCommand& c, int threads) {
  const VectorFormat format = VectorFormatOf(c);
  const Precision precision = ParsePrecision(c.precision);
  TaskCommand task = c.task;
  task.json = format == VectorFormat::kJson && !c.output;
  TextInputs inputs(task.inputs);
  CheckOutput(c, format);
  Tensor ranges = RangesFrom(c);
  TaskRun run(task, "embed", std::nullopt, threads);
  run.chunk_tokens = std::numeric_limits<idx_t>::max();  // of many vectors nobody reads the first
  const Embedder embedder(run.model(), EmbedOptionsOf(c.vectors));
  run.Use(embedder.model());
  if (!c.task.quiet) TellPrompt(embedder, c.vectors.prompt_name.has_value());
  if (precision != Precision::kFloat32) run.members["precision"] = PrecisionName(precision);
  const auto text_of = [&, plain = run.PlainText()](const InputText& input) {
    return embedder.Prepare(plain(input));
  };
  nlohmann::ordered_json head = {
      {"task", "embed"}, {"model", task.model}, {"global", run.model().global_name()}};
  head.update(run.members);
  VectorOutput output(c.output.value_or(""), format, embedder.width(),
                      {precision, std::move(ranges)}, head, [&](const std::string& note) {
                        if (!task.quiet) fmt::print(stderr, "warning: {}\n", note);
                      });
  bool any = false;
  for (TaskChunk chunk; run.NextChunk(inputs, text_of, chunk);) {
    any = true;
    output.Add(run, chunk, embedder.Embed(run.context(), chunk.rows));
  }
  if (any) output.Finish(run);  // of texts that cannot be used no file is made
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
  AddTextOption(
      *command, "-o,--output", c->output,
      "File to write instead of stdout: .jsonl, .json, .npy, .csv, .tsv or .txt; beside v.npy, "
      "v.ids.jsonl names its rows");
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
      "  longspan embed -m e5-long --prompt-name query --text 'who wrote it?'\n"
      "  echo 'a question' | longspan embed -m minilm-long - --output-format text");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEmbed(*c, globals.threads); }; });
}

}  // namespace longspan::cli
