#include "cli/vector_options.h"

#include <fmt/format.h>

#include "cli/data_options.h"
#include "cli/option_checks.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/files.h"

namespace longspan::cli {

CLI::Option* AddTextOption(CLI::App& command, const char* names, std::optional<std::string>& value,
                           const char* help) {
  return command.add_option_function<std::string>(
      names, [to = &value](const std::string& text) { *to = text; }, help);
}

void AddVectorOptions(CLI::App& command, VectorOptions& o) {
  AddTextOption(command, "--pooling", o.pooling,
                "Pooling: mean, cls, max, mean-sqrt-len, weighted-mean or last-token (default: as "
                "a sentence-transformers folder says, else mean)");
  auto* normalize = command.add_flag("--normalize", o.normalize, "Scale the vectors to length 1");
  command.add_flag("--no-normalize", o.no_normalize, "Leave the vectors as they come")
      ->excludes(normalize);
  command
      .add_option("--truncate-dim", o.truncate_dim,
                  "Keep the first N numbers (default: as the folder says, else all)")
      ->check(AtLeast(1))
      ->type_name("N");
  auto* name = AddTextOption(command, "--prompt-name", o.prompt_name,
                             "Name of the model's prompt that stands before every text (default: "
                             "its default_prompt_name)");
  auto* prompt =
      AddTextOption(command, "--prompt", o.prompt, "Text before every text")->excludes(name);
  command.add_flag("--no-prompt", o.no_prompt, "Leave the texts as they stand")
      ->excludes(name)
      ->excludes(prompt);
}

EmbedOptions EmbedOptionsOf(const VectorOptions& o) {
  CheckGivenText("--prompt", o.prompt.value_or(""));
  EmbedOptions options;
  if (o.pooling) options.pooling = ParsePooling(*o.pooling);
  if (o.normalize || o.no_normalize) options.normalize = o.normalize;
  options.truncate_dim = o.truncate_dim;
  options.prompt = o.no_prompt ? std::string() : o.prompt;
  options.prompt_name = o.prompt_name;
  return options;
}

void TellPrompt(const Embedder& embedder, bool chosen) {
  if (embedder.prompt().empty()) return;
  if (embedder.prompt_name().empty()) {
    TellLine(fmt::format("prompt stands before every text: \"{}\"", io::Escape(embedder.prompt())));
  } else {
    TellLine(fmt::format("prompt '{}' stands before every text: \"{}\"{}",
                         io::Escape(embedder.prompt_name()), io::Escape(embedder.prompt()),
                         chosen ? "" : " (--no-prompt: none)"));
  }
}

}  // namespace longspan::cli
