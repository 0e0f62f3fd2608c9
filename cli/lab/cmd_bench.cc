// longspan bench: whole steps of a model, timed beside the peak measured in the same run.

#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/dtype_option.h"
#include "cli/lab/bench_ranks.h"
#include "cli/lab/cmd_bench_attention.h"
#include "cli/lab/cmd_bench_generate.h"
#include "cli/lab/cmd_bench_world.h"
#include "cli/memory_size.h"
#include "cli/option_checks.h"
#include "cli/ranks.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "lab/bench_timing.h"
#include "lab/model_bench.h"
#include "longspan/files.h"
#include "longspan/folders.h"
#include "longspan/machine.h"
#include "longspan/process.h"

namespace longspan::cli {
namespace {

struct BenchCommand {
  std::string config, preset, arch, attention, dtype = "f32", memory;
  std::string gradient_streams = "f32";
  idx_t tokens = 16384, batch = 1, accumulate = 0, steps = 3;
  int row_ranks = 1;
  bool json = false;
};

std::unique_ptr<StepBench> MakeBench(Context& context, const BenchCommand& c, StepKind kind) {
  BenchModel model{c.config, c.preset, c.arch, {}};
  model.reformer.attention = ParseAttention(c.attention);
  BenchedStep step;
  step.kind = kind;
  step.rows = c.batch;
  step.tokens = c.tokens;
  step.dtype = DTypeOf(c.dtype);
  step.gradient_streams = DTypeOf(c.gradient_streams);
  step.memory = c.memory.empty() ? 0 : StepBudget("bench", context, c.memory);
  step.micros = c.accumulate;
  step.row_ranks = c.row_ranks;
  return MakeStepBench(context, model, step);
}

nlohmann::ordered_json ToJson(const BenchCommand& c, const Context& context, const BenchTimes& r,
                              double tokens, idx_t peak_rss) {
  nlohmann::ordered_json j;
  j["dtype"] = c.dtype;
  if (c.dtype == "bf16") {
    j["bf16_path"] = KernelBf16();
    j["bf16_dense"] = KernelDenseBf16();
  }
  j["seconds"] = r.seconds;
  j["seconds_min"] = r.seconds_min;
  j["tokens_per_s"] = tokens / r.seconds;
  j["peak_rss_bytes"] = peak_rss;
  j["model_gflop"] = r.gflop;
  j["gflops"] = r.gflops();
  j["peak_gflops"] = r.peak_gflops;
  j["fraction"] = r.fraction;
  j["round_trip_ns"] = r.round_trip_ns;
  j["machine"] = context.Describe();
  return j;
}

// The ranks that mpirun started share a training step. A forward pass knows none.
Context BenchContext(StepKind kind, const Globals& globals) {
  if (kind == StepKind::kForward) return Context(globals.threads);
  NothingIsSaved();
  return RankContext(globals);
}

int RunBench(const BenchCommand& c, StepKind kind, const Globals& globals) {
  Check(c.config.empty() != c.preset.empty(), ErrorCode::kUsage,
        "bench: give either --config or --preset");
  Check(c.dtype == "f32" || c.dtype == "bf16", ErrorCode::kUsage,
        "bench: --dtype '{}', need f32 or bf16", io::Escape(c.dtype));
  Check(c.batch >= 1 && c.tokens >= 1, ErrorCode::kUsage,
        "bench: --batch {} --tokens {}, need at least 1 of each", c.batch, c.tokens);
  Context context = BenchContext(kind, globals);
  Waiting timing("timing", !Speaks());
  const auto bench = MakeBench(context, c, kind);
  bench->Step();  // books the memory, creates oneDNN's kernels
  ExchangeMeter meter(context.world());
  const auto step = [&] {
    bench->Step();
    meter.End();
  };
  const BenchTimes r = TimeBesidePeak(context, c.dtype == "bf16" ? PeakOf::kBf16 : PeakOf::kFp32,
                                      bench->Gflop(), c.steps, step, [&] { meter.Begin(); });
  bench->AwaitWeights();
  const std::vector<RankFigures> ranks = meter.OfAll(PeakRssBytes());
  const idx_t peak_rss = PeakRssOf(ranks);
  const auto tokens = static_cast<double>(bench->micros() * c.batch * c.tokens);
  const std::string peaks = c.json ? "" : Describe(ProbePeaks(context));
  timing.End();
  if (!Speaks()) return 0;
  const RankedStep ranked{r.seconds, bench->micros(), c.row_ranks};
  if (c.json) {
    nlohmann::ordered_json j = ToJson(c, context, r, tokens, peak_rss);
    if (kind == StepKind::kTrain) j["accumulate"] = bench->micros();
    if (ranks.size() > 1) AddRanks(ranked, ranks, &j);
    PrintResult(DumpJson(j));
    return 0;
  }
  PrintResult(fmt::format(
      "{}\npeak: {}\n{} of {}{} x {} tokens in {}: {:.3f} s (best {:.3f}), {:.0f} tokens/s, {:.0f} "
      "MB\n"
      "{:.1f} GFLOP without recomputation: {:.1f} GFLOP/s, {:.2f} of the peak of {:.1f}\n",
      DescribeMachine(context, r), peaks, kind == StepKind::kTrain ? "training step" : "forward",
      bench->micros() == 1 ? "" : fmt::format("{} micro-batches of ", bench->micros()), c.batch,
      c.tokens, c.dtype, r.seconds, r.seconds_min, tokens / r.seconds,
      static_cast<double>(peak_rss) * 1e-6, r.gflop, r.gflops(), r.fraction, r.peak_gflops));
  if (ranks.size() > 1) PrintResult(RanksText(ranked, ranks));
  return 0;
}

void AddStepBench(CLI::App* bench, const char* name, const char* text, StepKind kind,
                  const Globals& globals, Action& action) {
  auto* command = bench->add_subcommand(name, text);
  const auto c = std::make_shared<BenchCommand>();
  BeginGroup(command, heading::kModel);
  auto* config =
      command->add_option("--config", c->config, "Configuration of the model, a config.json");
  command->add_option("--preset", c->preset, "Preset of init: tiny, small or base")
      ->excludes(config);
  command->add_option("--arch", c->arch,
                      fmt::format("Architecture of the preset: {}", FamilyChoices()));
  BeginGroup(command, heading::kRows);
  command->add_option("--tokens", c->tokens, "Length of a row in tokens")->capture_default_str();
  command->add_option("--batch", c->batch, "Number of rows")->capture_default_str();
  BeginGroup(command, heading::kComputing);
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  command->add_option("--dtype", c->dtype, "Precision: f32 or bf16")->capture_default_str();
  if (kind == StepKind::kTrain) {
    command->add_option("--memory", c->memory,
                        "Memory for kept activations, for example 512M (default: none for "
                        "Reformers, all for Longformers)");
    AddGradientStreamsOption(command, &c->gradient_streams);
    BeginGroup(command, heading::kRows);
    command
        ->add_option("--accumulate", c->accumulate,
                     "Micro-batches of an update, of which each has --batch rows (default: one, "
                     "under mpirun one a rank or group)")
        ->check(CLI::Range(1, 1 << 20));
    command
        ->add_option("--row-ranks", c->row_ranks,
                     "Neighbouring ranks of mpirun that share each row")
        ->check(CLI::Range(1, 1 << 16))
        ->capture_default_str();
    BeginGroup(command, heading::kComputing);
  }
  command->add_option("--steps", c->steps, "Number of repetitions, of which the median is reported")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      fmt::format("Examples:\n  longspan bench {0} --preset tiny --tokens 1024\n"
                  "  longspan bench {0} --preset tiny --tokens 512 --attention full\n"
                  "  longspan bench {0} --arch longformer --preset tiny --tokens 256 --dtype bf16",
                  name));
  command->callback([command, c, kind, &globals, &action] {
    constexpr const char* kOfPresets[] = {"--arch"};
    if (!c->config.empty()) {
      RefuseIdle(*command, kOfPresets, "without a preset: a config names its architecture");
    }
    action = [c, kind, &globals] { return RunBench(*c, kind, globals); };
  });
}

}  // namespace

void RegisterBench(CLI::App* bench, const Globals& globals, Action& action) {
  bench->require_subcommand(1);
  bench->fallthrough();
  bench->footer("Examples:\n  longspan bench train --preset tiny --tokens 256");
  AddStepBench(bench, "train", "Time a training step: forward, backward and update",
               StepKind::kTrain, globals, action);
  AddAttentionBench(bench, globals, action);
  AddBf16Bench(bench, globals, action);
  AddGenerateBench(bench, globals, action);
  AddWorldBench(bench, globals, action);
  AddStepBench(bench, "forward", "Time a forward pass with its loss", StepKind::kForward, globals,
               action);
}

}  // namespace longspan::cli
