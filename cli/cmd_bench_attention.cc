#include "cli/cmd_bench_attention.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/isa.h"
#include "cli/attention_problem.h"
#include "cli/bench_timing.h"
#include "cli/visual/output.h"
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
  option("--kind", o->kind, "full, window, chunked or lsh");
  option("--batch", o->batch, "rows of tokens");
  option("--tokens", o->tokens, "of a row");
  option("--heads", o->heads, "side by side");
  option("--head-dim", o->head_size, "size of a head");
  option("--window", o->window,
         "window: keys seen on each side (Longformer's attention_window / 2)");
  option("--dilation", o->dilation, "window: step from key to key");
  option("--globals", o->globals, "window: the first tokens are global");
  option("--chunk", o->chunk, "chunked, lsh: tokens of a chunk");
  option("--before", o->before, "chunked, lsh: chunks seen before the own one");
  option("--after", o->after, "chunked, lsh: chunks seen after it");
  option("--rounds", o->rounds, "lsh: rounds of hashing");
  command->add_option("--buckets", o->buckets, "lsh: an even number (default: Hugging Face's rule)")
      ->check(CLI::Range(2, 65534));
  command->add_flag("--causal", o->causal, "no query sees a key behind itself");
}

}  // namespace

void AddAttentionBench(CLI::App* bench, const Globals& globals, Action& action) {
  auto* command =
      bench->add_subcommand("attention", "one attention mechanism, checked in double, then timed");
  const auto c = std::make_shared<AttentionBenchCommand>();
  AddProblemOptions(command, &c->problem);
  command->add_option("--dtype", c->dtype, "f32 or bf16")->capture_default_str();
  command->add_option("--pass", c->pass, "forward or both")->capture_default_str();
  command->add_option("--steps", c->steps, "repetitions; medians are reported")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--save", c->save,
                      "write the tensors, outputs and gradients of the check (safetensors)");
  command->add_flag("--json", c->json, "one JSON document");
  command->footer(
      "Examples:\n  longspan bench attention --kind full --tokens 4096 --causal\n"
      "  longspan bench attention --kind window --window 256 --globals 1 --tokens 16384\n"
      "  longspan bench attention --kind window --dtype bf16 --globals 1 --tokens 16384\n"
      "  longspan bench attention --kind lsh --tokens 16384 --heads 8 --rounds 4 --pass forward");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunAttentionBench(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
