// longspan info: what a path holds, a model's directory or not, and the next command.

#include "cli/commands.h"
#include "cli/model_info.h"
#include "cli/visual/output.h"
#include "longspan/folders.h"

namespace longspan::cli {
namespace {

struct InfoOptions {
  std::string model;
  bool json = false, tensors = false;
};

int RunInfo(const InfoOptions& o) {
  const FolderInfo info = DescribeFolder(o.model, o.tensors);
  PrintResult(o.json ? info.json : InfoText(info));
  return 0;
}

}  // namespace

void RegisterInfo(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto o = std::make_shared<InfoOptions>();
  command->add_option("PATH", o->model, "Folder of a model or run, or any other path")->required();
  command->add_flag("--tensors", o->tensors, "List every tensor");
  command->add_flag("--json", o->json, "Print one JSON document");
  command->footer("Examples:\n  longspan info run\n  longspan info run --tensors --json");
  command->callback([o, &action] { action = [o] { return RunInfo(*o); }; });
}

}  // namespace longspan::cli
