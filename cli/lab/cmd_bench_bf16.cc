#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/lab/cmd_bench_attention.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "lab/attention_problem.h"
#include "longspan/process.h"

namespace longspan::cli {
namespace {

int RunBf16Bench(idx_t tokens, idx_t steps, bool as_json, int threads) {
  Waiting timing("timing");
  Context context(threads);
  const std::vector<Bf16PathTime> paths = TimeBf16Paths(context, tokens, steps);
  timing.End();
  const auto fastest = std::min_element(
      paths.begin(), paths.end(),
      [](const Bf16PathTime& a, const Bf16PathTime& b) { return a.seconds < b.seconds; });
  if (as_json) {
    nlohmann::ordered_json j;
    j["machine"] = context.Describe();
    j["rule"] = KernelBf16();
    j["fastest"] = fastest->path;
    for (const Bf16PathTime& p : paths) j["seconds"][p.path] = p.seconds;
    PrintResult(DumpJson(j));
    return 0;
  }
  std::string text = context.Describe() + "\n";
  for (const Bf16PathTime& p : paths) {
    text += fmt::format("{:5}  {:.4f} s{}{}\n", p.path, p.seconds,
                        p.path == fastest->path ? "  fastest" : "",
                        p.chosen ? "  chosen by the rule" : "");
  }
  PrintResult(text);
  return 0;
}

}  // namespace

void AddBf16Bench(CLI::App* bench, const Globals& globals, Action& action) {
  auto* command = bench->add_subcommand(
      "bf16", "Time the ways to multiply bf16 in attention and show which one is taken");
  struct Options {
    idx_t tokens = 4096, steps = 5;
    bool json = false;
  };
  const auto o = std::make_shared<Options>();
  command
      ->add_option("--tokens", o->tokens, "Length in tokens of the window attention that is timed")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--steps", o->steps, "Number of repetitions, of which the median is reported")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", o->json, "Print one JSON document");
  command->footer("Examples:\n  longspan bench bf16 --tokens 1024");
  command->callback([o, &globals, &action] {
    action = [o, &globals] { return RunBf16Bench(o->tokens, o->steps, o->json, globals.threads); };
  });
}

}  // namespace longspan::cli
