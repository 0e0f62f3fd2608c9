// longspan embed: texts as vectors.

#include <fmt/ranges.h>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/npy.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "io/atomic_file.h"
#include "io/escape.h"
#include "tasks/embed.h"

namespace longspan::cli {
namespace {

struct EmbedCommand {
  TaskCommand task;
  std::string pooling, format, output;
  bool normalize = false, no_normalize = false;
};

enum class Format { kJsonLines, kJson, kNpy, kText };

Format FormatOf(const EmbedCommand& c) {
  Check(!c.task.json || c.format.empty(), ErrorCode::kUsage,
        "embed: --json is one document; --format {} is another form", io::Escape(c.format));
  Check(!c.task.json || c.output.empty(), ErrorCode::kUsage,
        "embed: --json goes to stdout; -o {} takes jsonl, npy or text", io::Escape(c.output));
  if (c.task.json) return Format::kJson;
  if (c.format == "npy") return Format::kNpy;
  if (c.format == "text") return Format::kText;
  Check(c.format.empty() || c.format == "jsonl", ErrorCode::kUsage,
        "format: '{}' is none of jsonl, npy, text", io::Escape(c.format));
  const bool npy = c.format.empty() && std::filesystem::path(c.output).extension() == ".npy";
  return npy ? Format::kNpy : Format::kJsonLines;
}

Pooling PoolingOf(const EmbedCommand& c, TaskModel& model) {
  Pooling pooling = ReadPooling(c.task.model, model.info().width);
  if (!c.pooling.empty()) pooling.modes = {ParsePooling(c.pooling)};
  if (c.normalize || c.no_normalize) pooling.normalize = c.normalize;
  if (pooling.max_tokens) model.LimitLength(*pooling.max_tokens);
  return pooling;
}

// What the vectors of a run become.
class Vectors {
 public:
  Vectors(const EmbedCommand& c, Format format) : c_(c), format_(format) {}

  void Add(TaskRun& run, const TaskChunk& chunk, const Tensor& vectors) {
    width_ = vectors.shape()[1];
    for (std::size_t i = 0; i < chunk.inputs.size(); ++i) {
      const float* vector = vectors.data<float>() + static_cast<idx_t>(i) * width_;
      ++texts_;
      if (format_ == Format::kNpy) {
        all_.insert(all_.end(), vector, vector + width_);
        continue;
      }
      if (format_ == Format::kText) {
        Print(fmt::format("{}\n", fmt::join(vector, vector + width_, " ")));
        continue;
      }
      const auto text = static_cast<idx_t>(i);
      const std::vector<float> numbers(vector, vector + width_);
      if (format_ == Format::kJson) {
        run.Add(chunk.inputs[i], chunk.rows, text, {{{"embedding", numbers}}, ""});
        continue;
      }
      auto j = run.Describe(chunk.inputs[i], chunk.rows, text);
      j["embedding"] = numbers;
      Print(j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    }
  }

  void Finish() {
    if (format_ == Format::kNpy) Print(NpyBytes(all_.data(), texts_, width_));
    if (!c_.output.empty()) io::WriteFileAtomic(c_.output, written_);
  }

 private:
  // To stdout at once, or kept for the file, which appears whole or not at all.
  void Print(std::string_view text) {
    if (c_.output.empty())
      PrintResult(text);
    else
      written_ += text;
  }

  const EmbedCommand& c_;
  Format format_;
  idx_t width_ = 0, texts_ = 0;
  std::vector<float> all_;
  std::string written_;
};

int RunEmbed(const EmbedCommand& c, int threads) {
  const Format format = FormatOf(c);
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, std::nullopt, threads);
  const Pooling pooling = PoolingOf(c, run.model());
  Vectors vectors(c, format);
  for (TaskChunk chunk; run.NextChunk(inputs, PlainText, chunk);) {
    vectors.Add(run, chunk, Embed(run.context(), run.model(), chunk.rows, pooling));
  }
  vectors.Finish();
  return run.Finish("embed");
}

}  // namespace

void RegisterEmbed(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("embed", "texts as vectors, of any length");
  const auto c = std::make_shared<EmbedCommand>();
  AddTaskOptions(*command, c->task);
  command->add_option("--pooling", c->pooling,
                      "mean, cls, max, mean-sqrt-len, weighted-mean or last-token\n"
                      "(default: as a sentence-transformers folder says, else mean)");
  auto* normalize = command->add_flag("--normalize", c->normalize, "vectors of length 1");
  command->add_flag("--no-normalize", c->no_normalize, "as they come, whatever the folder says")
      ->excludes(normalize);
  command->add_option("--format", c->format, "jsonl (default), npy or text");
  command->add_option("-o,--output", c->output, "file instead of stdout; .npy means npy");
  command->footer(
      "Examples:\n"
      "  longspan embed -m minilm-long chapters/ > vectors.jsonl\n"
      "  longspan embed -m minilm-long letters.txt --lines -o vectors.npy\n"
      "  echo 'a question' | longspan embed -m minilm-long - --format text");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunEmbed(*c, globals.threads); }; });
}

}  // namespace longspan::cli
