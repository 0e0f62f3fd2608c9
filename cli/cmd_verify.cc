// longspan verify: does a checkpoint mean here what it meant where a case was recorded?

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "longspan/context.h"
#include "longspan/counted.h"
#include "longspan/folders.h"

namespace longspan::cli {
namespace {

struct VerifyCommand {
  std::string model, case_file;
  idx_t num_hashes = 0;
  bool no_lm_bias = false, json = false;
};

// What of a tensor could not be compared.
std::string HoleText(const TensorParity& t) {
  return t.skipped == 0 ? "" : fmt::format("  {} of {} not compared", t.skipped, t.values);
}

int RunVerify(const VerifyCommand& o, int threads) {
  Context context(threads);
  ReformerOptions options;
  options.num_hashes = o.num_hashes;
  options.lm_bias = !o.no_lm_bias;
  Waiting comparing("comparing " + o.model);
  const ParityReport report = VerifyModel(context, o.model, o.case_file, options);
  comparing.End();
  if (o.json) {
    nlohmann::ordered_json j;
    j["ok"] = report.ok;
    j["tensors"] = nlohmann::json::array();
    for (const TensorParity& t : report.tensors) {
      nlohmann::ordered_json row;
      row["name"] = t.name;
      row["max_abs"] = t.max_abs;
      row["rel_l2"] = t.rel_l2;
      row["values"] = t.values;
      row["not_compared"] = t.skipped;
      row["ok"] = t.ok;
      j["tensors"].push_back(row);
    }
    PrintResult(DumpJson(j));
  } else {
    std::string text = fmt::format("{:<72} {:>10} {:>10}\n", "tensor", "max|diff|", "rel L2");
    idx_t bad = 0, holed = 0;
    for (const TensorParity& t : report.tensors) {
      bad += t.ok ? 0 : 1;
      holed += t.skipped > 0 ? 1 : 0;
      text += fmt::format("{:<72} {:>10.2e} {:>10.2e}{}{}\n", t.name, t.max_abs, t.rel_l2,
                          HoleText(t), t.ok ? "" : "  DIFFERS");
    }
    text += report.ok
                ? fmt::format("the case holds: {}\n", Counted(report.tensors.size(), "tensor"))
                : fmt::format("the case does not hold: {} of {} differ\n", bad,
                              Counted(report.tensors.size(), "tensor"));
    if (holed > 0) {
      text += fmt::format(
          "in {} of them the original recorded NaN or infinity: there is nothing to compare with\n",
          holed);
    }
    PrintResult(text);
  }
  return report.ok ? 0 : kDoesNotHold;
}

}  // namespace

void RegisterVerify(CLI::App* command, const Globals& globals, Action& action) {
  const auto o = std::make_shared<VerifyCommand>();
  command->add_option("MODEL", o->model, "Folder of the model")->required();
  command->add_option("--case", o->case_file, "Recorded case, a .safetensors file")->required();
  command
      ->add_option("--num-hashes", o->num_hashes,
                   "Hash rounds of a Reformer's LSH layers (default: the config's)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--no-lm-bias", o->no_lm_bias,
                    "Leave out the head's bias of a Reformer, as transformers 5.0 to 5.23 do");
  command->add_flag("--json", o->json, "Print one JSON document");
  command->footer(
      "Exit code 0: the case holds; 1: it does not; else it was not compared, as everywhere:\n3: a "
      "bad model or case, 4: it cannot be read, 5: memory.\nExamples:\n"
      "  longspan verify golden/reformer-local --case golden/reformer-local/case.safetensors");
  command->callback([o, &globals, &action] {
    action = [o, &globals] { return RunVerify(*o, globals.threads); };
  });
}

}  // namespace longspan::cli
