#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/isa.h"
#include "cli/attention_problem.h"
#include "cli/bench_timing.h"
#include "cli/cmd_bench_attention.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "io/json.h"

namespace longspan::cli {
namespace {

struct PathTimes {
  Bf16Path path;
  double seconds = 0.0;
};

// Window attention of 4,096 tokens on one path, forward and backward, checked before it is timed.
PathTimes TimePath(Context& context, Bf16Path path, idx_t tokens, idx_t steps) {
  ForceBf16Path(path);
  catalogue::ProblemOptions options;
  options.tokens = tokens;
  options.bf16 = true;
  const auto problem = MakeBenchProblem("window", options);
  CheckBenchRows(context, *problem, true, options.bf16);
  constexpr double kFlop = catalogue::kForwardFlop + catalogue::kBackwardFlop;
  const double gflop = 1e-9 * kFlop * static_cast<double>(options.head_size) * problem->Pairs();
  const BenchTimes times = TimeBesidePeak(context, PeakOf::kBf16, gflop, steps, [&] {
    problem->Forward(context);
    problem->Backward(context);
  });
  return {path, times.seconds};
}

int RunBf16Bench(idx_t tokens, idx_t steps, bool as_json, int threads) {
  Waiting timing("timing");
  Context context(threads);
  const Bf16Path rule = ActiveBf16Path();
  std::vector<PathTimes> paths = {TimePath(context, Bf16Path::kWiden, tokens, steps)};
  if (ActiveIsa() >= Isa::kAvx512Bf16) {
    paths.push_back(TimePath(context, Bf16Path::kPairs, tokens, steps));
  }
  ForceBf16Path(std::nullopt);
  timing.End();
  const auto fastest = std::min_element(
      paths.begin(), paths.end(),
      [](const PathTimes& a, const PathTimes& b) { return a.seconds < b.seconds; });
  if (as_json) {
    nlohmann::ordered_json j;
    j["machine"] = context.Describe();
    j["rule"] = Bf16PathName(rule);
    j["fastest"] = Bf16PathName(fastest->path);
    for (const PathTimes& p : paths) j["seconds"][std::string(Bf16PathName(p.path))] = p.seconds;
    PrintResult(io::DumpJson(j));
    return 0;
  }
  std::string text = context.Describe() + "\n";
  for (const PathTimes& p : paths) {
    text += fmt::format("{:5}  {:.4f} s{}{}\n", Bf16PathName(p.path), p.seconds,
                        p.path == fastest->path ? "  fastest" : "",
                        p.path == rule ? "  chosen by the rule" : "");
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
