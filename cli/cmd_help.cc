// longspan help: the page of a command.

#include <memory>
#include <vector>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/visual/output.h"

namespace longspan::cli {

void RegisterHelp(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto words = std::make_shared<std::vector<std::string>>();
  command->add_option("COMMAND", *words,
                      "Command whose page is printed (default: the list of all)");
  const auto all = std::make_shared<bool>(false);
  command->add_flag("--all", *all,
                    "List every option of COMMAND, with those that are seldom needed");
  command->footer(
      "Examples:\n"
      "  longspan help\n"
      "  longspan help classify\n"
      "  longspan help train lm\n"
      "  longspan help --all train lm");
  command->callback([command, words, all, &action] {
    action = [command, words, all] {
      PrintResult(PageOf(command->get_parent(), *words, *all));
      return 0;
    };
  });
}

}  // namespace longspan::cli
