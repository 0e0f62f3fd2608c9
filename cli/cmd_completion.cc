// longspan completion: a script that completes commands, options and files in a shell, written from
// the same tree of commands that parses them.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/visual/output.h"

namespace longspan::cli {
namespace {

// How the script reads a line: the commands in it lead to the words that may follow.
constexpr const char* kBashScript = R"(_longspan() {{
  local -A commands=({}
  )
  local -A options=({}
  )
  local current=${{COMP_WORDS[COMP_CWORD]}} command="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    [[ -n $word && " ${{commands[${{command:-/}}]}} " == *" $word "* ]] || continue
    command="${{command:+$command }}$word"
  done
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "${{options[${{command:-/}}]}}" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -W "${{commands[${{command:-/}}]}}" -- "$current")
    [[ -n $command && $command != help* ]] &&
      mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -o filenames -F _longspan longspan
)";

struct CompletionLists {
  std::string commands, options;  // entries of the script's arrays
};

constexpr const char* kHelp = "help";  // the command that names of commands follow

// The root stands as "/", because bash has no empty keys.
void CollectWords(const CLI::App* app, std::vector<std::string> inherited, CompletionLists* lists) {
  const std::string path = CommandPath(app);
  std::vector<std::string> names;
  for (const CLI::App* command : app->get_subcommands({})) names.push_back(command->get_name());
  // help asks about the root's commands and about theirs.
  if (!names.empty()) {
    lists->commands += fmt::format("\n    [\"{}{}{}\"]=\"{}\"", kHelp, path.empty() ? "" : " ",
                                   path, fmt::join(names, " "));
  }
  for (const CLI::Option* option : app->get_options([](const CLI::Option*) { return true; })) {
    for (const std::string& name : option->get_lnames()) {
      if (name != "help" && name != "version") inherited.push_back("--" + name);
    }
  }
  std::vector<std::string> options = inherited;
  options.emplace_back("--help");
  if (path.empty()) options.emplace_back("--version");
  const std::string key = path.empty() ? "/" : path;
  if (key != kHelp) {
    lists->commands += fmt::format("\n    [\"{}\"]=\"{}\"", key, fmt::join(names, " "));
  }
  lists->options += fmt::format("\n    [\"{}\"]=\"{}\"", key, fmt::join(options, " "));
  for (const CLI::App* command : app->get_subcommands({})) CollectWords(command, inherited, lists);
}

}  // namespace

void RegisterCompletion(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "Shell that reads the script: bash")
      ->check(CLI::IsMember({"bash"}))
      ->required();
  command->footer(
      "Put the second example into ~/.bashrc to have the completion in every shell.\n"
      "Examples:\n"
      "  longspan completion bash\n"
      "  eval \"$(longspan completion bash)\"");
  command->callback([command, shell, &action] {  // the option writes into *shell
    action = [command] {
      CompletionLists lists;
      CollectWords(command->get_parent(), {}, &lists);
      PrintResult(fmt::format(kBashScript, lists.commands, lists.options));
      return 0;
    };
  });
}

}  // namespace longspan::cli
