#include "cli/cmd_bench_attention.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/isa.h"
#include "cli/attention_problem.h"
#include "cli/bench_timing.h"
#include "cli/visual/command.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "io/escape.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "probe/peaks.h"

namespace longspan::cli {
namespace {

struct AttentionBenchCommand {
  AttentionProblemOptions problem;
  std::string dtype = "f32", pass = "both", save;
  idx_t steps = 5;
  bool json = false;
};

// Flop of a visible (query, key) pair over D: scores and product forward; five products of the same
// size backward, of which the scores' recomputation counts nothing.
constexpr double kForwardFlop = 4.0, kBackwardFlop = 10.0;

int RunAttentionBench(const AttentionBenchCommand& c, int threads) {
  Check(c.pass == "forward" || c.pass == "both", ErrorCode::kUsage,
        "bench: --pass '{}', need forward or both", io::Escape(c.pass));
  Check(c.dtype == "f32" || c.dtype == "bf16", ErrorCode::kUsage,
        "bench: --dtype '{}', need f32 or bf16", io::Escape(c.dtype));
  const bool backward = c.pass == "both";
  Waiting timing("timing");
  Context context(threads);
  AttentionProblemOptions options = c.problem;
  options.bf16 = c.dtype == "bf16";
  const auto problem = MakeAttentionProblem(options);
  const double error = problem->CheckRows(context, backward);
  if (!c.save.empty()) io::WriteSafetensors(c.save, problem->Tensors());
  const double flop = backward ? kForwardFlop + kBackwardFlop : kForwardFlop;
  const double gflop = 1e-9 * flop * static_cast<double>(c.problem.head_size) * problem->Pairs();
  const auto peak = options.bf16 ? PeakOf::kBf16 : PeakOf::kFp32;
  const BenchTimes r = TimeBesidePeak(context, peak, gflop, c.steps, [&] {
    problem->Forward(context);
    if (backward) problem->Backward(context);
  });
  timing.End();
  if (c.json) {
    nlohmann::ordered_json j;
    j["kind"] = c.problem.kind;
    j["pass"] = c.pass;
    j["dtype"] = c.dtype;
    if (options.bf16) j["bf16_path"] = Bf16PathName(ActiveBf16Path());
    j["tokens"] = c.problem.tokens;
    j["seconds"] = r.seconds;
    j["seconds_min"] = r.seconds_min;
    j["useful_gflop"] = r.gflop;
    j["gflops"] = r.gflops();
    j["peak_gflops"] = r.peak_gflops;
    j["fraction"] = r.fraction;
    j["round_trip_ns"] = r.round_trip_ns;
    j["largest_error"] = error;
    j["peak_rss_bytes"] = PeakRssBytes();
    j["machine"] = context.Describe();
    PrintResult(io::DumpJson(j));
    return 0;
  }
  PrintResult(fmt::format(
      "{}\n{} attention{}, {} x {} heads x {} tokens x {}, {}: {:.4f} s (best {:.4f})\n"
      "{:.1f} useful GFLOP: {:.1f} GFLOP/s, {:.2f} of the peak of {:.1f}\n"
      "checked in double: 64 query rows{}; largest error {:.1e} of a row\n",
      DescribeMachine(context, r), c.problem.kind,
      options.bf16 ? fmt::format(" in bf16 ({})", Bf16PathName(ActiveBf16Path())) : "",
      c.problem.batch, c.problem.heads, c.problem.tokens, c.problem.head_size,
      backward ? "forward and backward" : "forward", r.seconds, r.seconds_min, r.gflop, r.gflops(),
      r.fraction, r.peak_gflops, backward ? " and 64 key rows" : "", error));
  return 0;
}

void AddProblemOptions(CLI::App* command, AttentionProblemOptions* o) {
  const auto option = [command](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  BeginGroup(command, "Mechanism");
  option("--kind", o->kind, "Mechanism: full, window, chunked or lsh");
  option("--batch", o->batch, "Number of rows");
  option("--tokens", o->tokens, "Length of a row in tokens");
  option("--heads", o->heads, "Number of heads");
  option("--head-dim", o->head_size, "Size of a head");
  option("--window", o->window,
         "Keys seen on each side by window attention, half of Longformer's attention_window");
  option("--dilation", o->dilation, "Step from key to key of window attention");
  option("--globals", o->globals, "Number of first tokens that are global in window attention");
  option("--chunk", o->chunk, "Tokens of a chunk of chunked and lsh");
  option("--before", o->before, "Chunks seen before the own one by chunked and lsh");
  option("--after", o->after, "Chunks seen after the own one by chunked and lsh");
  option("--rounds", o->rounds, "Hash rounds of lsh");
  command
      ->add_option("--buckets", o->buckets,
                   "Buckets of lsh, an even number (default: by the rule of transformers)")
      ->check(CLI::Range(2, 65534));
  command->add_flag("--causal", o->causal, "Hide keys behind the query");
}

}  // namespace

void AddAttentionBench(CLI::App* bench, const Globals& globals, Action& action) {
  auto* command =
      bench->add_subcommand("attention", "Check one attention mechanism in double, then time it");
  const auto c = std::make_shared<AttentionBenchCommand>();
  AddProblemOptions(command, &c->problem);
  command->add_option("--dtype", c->dtype, "Precision: f32 or bf16")->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_option("--pass", c->pass, "Passes to time: forward or both")->capture_default_str();
  command->add_option("--steps", c->steps, "Number of repetitions, of which the median is reported")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option(
      "--save", c->save,
      "File to write the tensors, outputs and gradients of the check to (.safetensors)");
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Examples:\n  longspan bench attention --kind full --tokens 512 --causal\n"
      "  longspan bench attention --kind window --window 64 --globals 1 --tokens 1024\n"
      "  longspan bench attention --kind window --dtype bf16 --globals 1 --tokens 1024\n"
      "  longspan bench attention --kind lsh --tokens 1024 --heads 8 --rounds 4 --pass forward");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunAttentionBench(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
