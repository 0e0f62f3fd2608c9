#include "cli/lab/cmd_bench_attention.h"

#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/visual/command.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "lab/attention_problem.h"
#include "lab/bench_timing.h"
#include "lab/texts_bench.h"
#include "longspan/files.h"
#include "longspan/machine.h"
#include "longspan/process.h"

namespace longspan::cli {
namespace {

struct AttentionBenchCommand {
  std::string kind = "full";
  catalogue::ProblemOptions problem;
  std::string dtype = "f32", pass = "both", save;
  idx_t steps = 5, texts = 0;
  bool json = false;
};

// Many texts: in one call, and in one call a text.
int RunTextsBench(const AttentionBenchCommand& c, int threads) {
  Check(c.save.empty() && c.problem.spec.globals == 0, ErrorCode::kUsage,
        "bench: --texts goes with neither --save nor --globals");
  Waiting timing("timing");
  Context context(threads);
  const TextsBenchTimes r = TimeTexts(
      context, {c.kind, c.texts, c.problem.heads, c.problem.head_size, c.problem.spec.window,
                c.problem.spec.causal, c.dtype == "bf16", c.pass == "both", c.steps});
  timing.End();
  const double gflops = r.gflop / r.together;
  if (c.json) {
    nlohmann::ordered_json j;
    j["kind"] = c.kind;
    j["pass"] = c.pass;
    j["dtype"] = c.dtype;
    j["texts"] = r.texts;
    j["tokens"] = r.tokens;
    j["shortest"] = r.shortest;
    j["longest"] = r.longest;
    j["seconds"] = r.together;
    j["seconds_apart"] = r.apart;
    j["ratio"] = r.ratio;
    j["ratio_min"] = r.ratio_min;
    j["ratio_max"] = r.ratio_max;
    j["useful_gflop"] = r.gflop;
    j["gflops"] = gflops;
    j["peak_gflops"] = r.peak_gflops;
    j["fraction"] = gflops / r.peak_gflops;
    j["largest_error"] = r.largest_error;
    j["peak_rss_bytes"] = PeakRssBytes();
    j["machine"] = context.Describe();
    PrintResult(DumpJson(j));
    return 0;
  }
  PrintResult(fmt::format(
      "{}\n{} attention, {} texts of {} to {} tokens, {} together, {} heads x {}, {}\n"
      "one call: {:.4f} s, {:.1f} GFLOP/s, {:.2f} of the peak of {:.1f}\n"
      "one call a text: {:.4f} s, {:.2f} times as long ({:.2f} to {:.2f}, in turn)\n"
      "compared with each other: largest difference {:.1e} of a result\n",
      context.Describe(), c.kind, r.texts, r.shortest, r.longest, r.tokens, c.problem.heads,
      c.problem.head_size, c.pass == "both" ? "forward and backward" : "forward", r.together,
      gflops, gflops / r.peak_gflops, r.peak_gflops, r.apart, r.ratio, r.ratio_min, r.ratio_max,
      r.largest_error));
  return 0;
}

int RunAttentionBench(const AttentionBenchCommand& c, int threads) {
  Check(c.pass == "forward" || c.pass == "both", ErrorCode::kUsage,
        "bench: --pass '{}', need forward or both", io::Escape(c.pass));
  Check(c.dtype == "f32" || c.dtype == "bf16", ErrorCode::kUsage,
        "bench: --dtype '{}', need f32 or bf16", io::Escape(c.dtype));
  Check(c.texts >= 0, ErrorCode::kUsage, "bench: --texts {} is below 0", c.texts);
  if (c.texts > 0) return RunTextsBench(c, threads);
  const bool backward = c.pass == "both";
  Waiting timing("timing");
  Context context(threads);
  catalogue::ProblemOptions options = c.problem;
  options.bf16 = c.dtype == "bf16";
  const auto problem = MakeBenchProblem(c.kind, options);
  const double error = CheckBenchRows(context, *problem, backward, options.bf16);
  if (!c.save.empty()) SaveTensors(c.save, *problem);
  const double flop = catalogue::kForwardFlop + (backward ? catalogue::kBackwardFlop : 0.0);
  const double gflop = 1e-9 * flop * static_cast<double>(c.problem.head_size) * problem->Pairs();
  const auto peak = options.bf16 ? PeakOf::kBf16 : PeakOf::kFp32;
  const BenchTimes r = TimeBesidePeak(context, peak, gflop, c.steps, [&] {
    problem->Forward(context);
    if (backward) problem->Backward(context);
  });
  timing.End();
  if (c.json) {
    nlohmann::ordered_json j;
    j["kind"] = c.kind;
    j["pass"] = c.pass;
    j["dtype"] = c.dtype;
    if (options.bf16) j["bf16_path"] = KernelBf16();
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
    PrintResult(DumpJson(j));
    return 0;
  }
  PrintResult(fmt::format(
      "{}\n{} attention{}, {} x {} heads x {} tokens x {}, {}: {:.4f} s (best {:.4f})\n"
      "{:.1f} useful GFLOP: {:.1f} GFLOP/s, {:.2f} of the peak of {:.1f}\n"
      "checked in double: 64 query rows{}; largest error {:.1e} of a row\n",
      DescribeMachine(context, r), c.kind,
      options.bf16 ? fmt::format(" in bf16 ({})", KernelBf16()) : "", c.problem.batch,
      c.problem.heads, c.problem.tokens, c.problem.head_size,
      backward ? "forward and backward" : "forward", r.seconds, r.seconds_min, r.gflop, r.gflops(),
      r.fraction, r.peak_gflops, backward ? " and 64 key rows" : "", error));
  return 0;
}

// "chunked", "chunked and lsh", "full, window, chunked or lsh".
std::string InWords(const std::vector<std::string_view>& names, const char* last) {
  std::string list;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool ends = i + 1 == names.size();
    list += fmt::format("{}{}", i == 0 ? "" : ends ? fmt::format(" {} ", last) : ", ", names[i]);
  }
  return list;
}

std::string KindsThatUnderstand(std::string_view option) {
  std::vector<std::string_view> names;
  for (const catalogue::Mechanism* mechanism : catalogue::Mechanisms()) {
    if (mechanism->Understands(option)) names.push_back(mechanism->name);
  }
  return InWords(names, "and");
}

void AddProblemOptions(CLI::App* command, AttentionBenchCommand* c) {
  const auto option = [command](const char* name, auto& value, const std::string& text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  // Its text names the kinds that understand it at {}.
  const auto setting = [&option](const char* name, auto& value, const char* text) {
    option(name, value, fmt::format(fmt::runtime(text), KindsThatUnderstand(name)));
  };
  std::vector<std::string_view> kinds;
  for (const catalogue::Mechanism* mechanism : catalogue::Mechanisms()) {
    kinds.push_back(mechanism->name);
  }
  catalogue::ProblemOptions* o = &c->problem;
  catalogue::MechanismSpec* spec = &o->spec;
  BeginGroup(command, "Mechanism");
  option("--kind", c->kind, fmt::format("Mechanism: {}", InWords(kinds, "or")));
  option("--batch", o->batch, "Number of rows");
  option("--tokens", o->tokens, "Length of a row in tokens");
  option("--heads", o->heads, "Number of heads");
  option("--head-dim", o->head_size, "Size of a head");
  setting("--window", spec->window,
          "Keys seen on each side by {} attention, half of Longformer's attention_window");
  setting("--dilation", spec->dilation, "Step from key to key of {} attention");
  setting("--globals", spec->globals, "Number of first tokens that are global in {} attention");
  setting("--chunk", spec->chunk, "Tokens of a chunk of {}");
  setting("--before", spec->before, "Chunks seen before the own one by {}");
  setting("--after", spec->after, "Chunks seen after the own one by {}");
  setting("--rounds", spec->rounds, "Hash rounds of {}");
  command
      ->add_option("--buckets", spec->buckets,
                   fmt::format("Buckets of {}, an even number (default: by the rule of "
                               "transformers)",
                               KindsThatUnderstand("--buckets")))
      ->check(CLI::Range(2, 65534));
  command->add_flag("--causal", spec->causal, "Hide keys behind the query");
  command->add_option("--texts", c->texts,
                      "Number of texts of 20 to 4000 tokens to run in one call, timed beside one "
                      "call a text (full, window; without --batch and --tokens)");
}

}  // namespace

void AddAttentionBench(CLI::App* bench, const Globals& globals, Action& action) {
  auto* command =
      bench->add_subcommand("attention", "Check one attention mechanism in double, then time it");
  const auto c = std::make_shared<AttentionBenchCommand>();
  AddProblemOptions(command, c.get());
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
      "  longspan bench attention --kind window --texts 16 --steps 3\n"
      "  longspan bench attention --kind lsh --tokens 1024 --heads 8 --rounds 4 --pass forward");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunAttentionBench(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
