// longspan embed: texts as vectors.

#include <fmt/format.h>

#include <limits>
#include <optional>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/option_checks.h"
#include "cli/task_run.h"
#include "cli/vector_output.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

struct EmbedCommand {
  TaskCommand task;
  std::optional<std::string> pooling, format, output, prompt, prompt_name;
  std::optional<idx_t> truncate_dim;
  bool no_prompt = false, normalize = false, no_normalize = false;
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

// Nothing that is read may be written over.
void CheckOutput(const EmbedCommand& c, VectorFormat format) {
  if (!c.output) return;
  const std::vector<std::string>& inputs = c.task.inputs.paths;
  CheckIsNoInputOf(inputs, *c.output);
  if (format == VectorFormat::kNpy) CheckIsNoInputOf(inputs, IdsFileOf(*c.output));
}

EmbedOptions OptionsOf(const EmbedCommand& c) {
  CheckGivenText("--prompt", c.prompt.value_or(""));
  EmbedOptions options;
  if (c.pooling) options.pooling = ParsePooling(*c.pooling);
  if (c.normalize || c.no_normalize) options.normalize = c.normalize;
  options.truncate_dim = c.truncate_dim;
  options.prompt = c.no_prompt ? std::string() : c.prompt;
  options.prompt_name = c.prompt_name;
  return options;
}

// Says on stderr what stands before every text.
void TellPrompt(const EmbedCommand& c, const Embedder& embedder) {
  if (embedder.prompt().empty() || c.task.quiet) return;
  if (embedder.prompt_name().empty()) {
    fmt::print(stderr, "prompt stands before every text: \"{}\"\n", io::Escape(embedder.prompt()));
  } else {
    fmt::print(stderr, "prompt '{}' stands before every text: \"{}\"{}\n",
               io::Escape(embedder.prompt_name()), io::Escape(embedder.prompt()),
               c.prompt_name ? "" : " (--no-prompt: none)");
  }
}

int RunEmbed(const EmbedCommand& c, int threads) {
  const VectorFormat format = VectorFormatOf(c);
  TaskCommand task = c.task;
  task.json = format == VectorFormat::kJson && !c.output;
  TextInputs inputs(task.inputs);
  CheckOutput(c, format);
  TaskRun run(task, "embed", std::nullopt, threads);
  run.chunk_tokens = std::numeric_limits<idx_t>::max();  // of many vectors nobody reads the first
  const Embedder embedder(run.model(), OptionsOf(c));
  run.Use(embedder.model());
  TellPrompt(c, embedder);
  const auto text_of = [&, plain = run.PlainText()](const InputText& input) {
    return embedder.Prepare(plain(input));
  };
  VectorOutput output(
      c.output.value_or(""), format, embedder.width(),
      {{"task", "embed"}, {"model", task.model}, {"global", run.model().global_name()}},
      [&](const std::string& note) {
        if (!task.quiet) fmt::print(stderr, "warning: {}\n", note);
      });
  bool any = false;
  for (TaskChunk chunk; run.NextChunk(inputs, text_of, chunk);) {
    any = true;
    output.Add(run, chunk, embedder.Embed(run.context(), chunk.rows));
  }
  if (any) output.Finish();  // of texts that cannot be used no file is made
  return run.Finish();
}

}  // namespace

void RegisterEmbed(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<EmbedCommand>();
  AddTaskOptions(*command, c->task);
  // An empty text is a text: it is not the same as none.
  const auto add = [&](const char* names, std::optional<std::string>& value, const char* help) {
    return command->add_option_function<std::string>(
        names, [c, to = &value](const std::string& text) { *to = text; }, help);
  };
  add("--pooling", c->pooling,
      "Pooling: mean, cls, max, mean-sqrt-len, weighted-mean or last-token (default: as a "
      "sentence-transformers folder says, else mean)");
  auto* normalize = command->add_flag("--normalize", c->normalize, "Scale the vectors to length 1");
  command
      ->add_flag("--no-normalize", c->no_normalize,
                 "Leave the vectors as they come, whatever the folder says")
      ->excludes(normalize);
  command
      ->add_option("--truncate-dim", c->truncate_dim,
                   "Keep the first N numbers of a vector, for Matryoshka models; they are cut "
                   "before the scaling to length 1 (default: as the folder says, else all)")
      ->check(AtLeast(1))
      ->type_name("N");
  auto* name = add("--prompt-name", c->prompt_name,
                   "Name of the model's prompt that stands before every text (default: its "
                   "default_prompt_name)");
  auto* prompt = add("--prompt", c->prompt, "Text that stands before every text")->excludes(name);
  command
      ->add_flag("--no-prompt", c->no_prompt,
                 "Leave the texts as they stand, whatever the model says")
      ->excludes(name)
      ->excludes(prompt);
  add("--output-format", c->format,
      "Form of the vectors: jsonl, json, npy, csv, tsv or text (default: as -o ends; on stdout "
      "jsonl)");
  add("-o,--output", c->output,
      "File to write instead of stdout: .jsonl, .json, .npy, .csv, .tsv or .txt; beside v.npy, "
      "v.ids.jsonl names its rows");
  command->footer(
      "Examples:\n"
      "  longspan embed -m minilm-long chapters/ > vectors.jsonl\n"
      "  longspan embed -m minilm-long letters.txt --lines -o vectors.npy\n"
      "  longspan embed -m e5-long --prompt-name query --text 'who wrote it?'\n"
      "  echo 'a question' | longspan embed -m minilm-long - --output-format text");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEmbed(*c, globals.threads); }; });
}

}  // namespace longspan::cli
