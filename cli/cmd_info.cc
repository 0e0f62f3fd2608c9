// longspan info: what a path holds, a model's directory or not, and the next command.

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/model_info.h"
#include "cli/visual/output.h"
#include "families/families.h"
#include "families/what_is.h"
#include "io/json.h"

namespace longspan::cli {
namespace {

struct InfoOptions {
  std::string model;
  bool json = false, tensors = false;
};

// The family's lines, the labels, and what the parameters take.
std::string ModelText(const ModelDescription& shown, const nlohmann::ordered_json& j) {
  std::string text;
  for (const auto& [name, value] : shown.lines) text += InfoLine(name, value);
  if (j.contains("labels")) text += InfoLine("labels", LabelsText(j["labels"]));
  text +=
      InfoLine("parameters", fmt::format("{} ({:.1f} MB of weights)", j["parameters"].get<idx_t>(),
                                         j["weight_bytes"].get<double>() * 1e-6));
  return text + TensorLines(j);
}

int RunInfo(const InfoOptions& o) {
  nlohmann::ordered_json j;
  std::string text;
  if (LookAt(o.model).kind != PathKind::kModel) {
    j = OtherJson(o.model, o.tensors);
    text = OtherText(j);
  } else {
    const ModelFolder folder = OpenModelFolder(o.model);
    CheckTensors(folder);  // with --strict
    const ModelDescription shown = FamilyOf(folder).complete(folder)->Describe();
    j = shown.json;
    auto tensors = io::OpenModel(o.model);  // once: there may be a million
    AddTensors(*tensors, o.tensors, &j);
    AddContext(folder, std::move(tensors), &j);
    text = ModelText(shown, j) + ContextLines(j);
  }
  PrintResult(o.json ? io::DumpJson(j) : text);
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
