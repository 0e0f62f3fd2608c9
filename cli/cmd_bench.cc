// longspan bench: whole steps of a model, timed beside the peak measured in the same run.

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "io/file.h"
#include "model/reformer.h"
#include "ops/adamw/adamw.h"
#include "probe/peaks.h"

namespace longspan::cli {
namespace {

struct BenchCommand {
  std::string config, preset, dtype = "f32";
  idx_t tokens = 16384, batch = 1, steps = 3;
  bool json = false;
};

struct BenchResult {
  double seconds = 0.0, seconds_min = 0.0, gflop = 0.0, peak = 0.0, fraction = 0.0;
  idx_t peak_rss = 0;
};

// With the model's own weights random and the data too; labels everywhere.
class StepBench {
 public:
  StepBench(Context& context, const BenchCommand& c, ReformerConfig config, bool train)
      : context_(context), model_(std::move(config)), train_(train) {
    Check(c.tokens <= model_.config().longest(), ErrorCode::kUsage,
          "bench: {} tokens, but the model has positions for {}", c.tokens,
          model_.config().longest());
    model_.Initialise(1);
    const auto count = static_cast<std::size_t>(c.batch * c.tokens);
    Rng rng(2);
    for (std::size_t i = 0; i < count; ++i) {
      ids_.push_back(static_cast<std::int32_t>(rng.Below(model_.config().vocab_size)));
      targets_.push_back(static_cast<std::int32_t>(rng.Below(model_.config().vocab_size)));
    }
    batch_ = {c.batch, c.tokens, ids_, targets_, {}};
    if (train_) {
      model_.parameters().AllocateGradients();
      const idx_t extent = model_.parameters().values().size();
      first_ = Tensor({extent});
      second_ = Tensor({extent});
    }
  }

  // Forward, backward, update; or the forward with its loss.
  void Step() {
    if (!train_) {
      model_.Loss(context_, batch_);
      return;
    }
    const float scale = 1.0f / static_cast<float>(batch_.ids.size());
    model_.LossAndGradients(context_, batch_, scale, {});
    AdamWSpec spec;
    spec.step = ++step_;
    AdamWStep(context_, spec, model_.parameters().values(), model_.parameters().gradients(),
              first_.view<1>(), second_.view<1>());
  }

  double Gflop() const {
    return train_ ? model_.StepGflop(batch_.rows, batch_.tokens)
                  : model_.ForwardGflop(batch_.rows, batch_.tokens);
  }

 private:
  Context& context_;
  Reformer model_;
  bool train_;
  std::vector<std::int32_t> ids_, targets_;
  TokenBatch batch_;
  Tensor first_, second_;
  idx_t step_ = 0;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

// The peak is probed before and after each repetition; the larger one counts.
BenchResult Time(Context& context, StepBench& bench, idx_t repetitions) {
  using Clock = std::chrono::steady_clock;
  bench.Step();  // books the memory, creates oneDNN's kernels
  BenchResult result;
  result.gflop = bench.Gflop();
  std::vector<double> seconds, peaks, fractions;
  double before = ProbeFp32Gflops(context);
  for (idx_t i = 0; i < repetitions; ++i) {
    const auto start = Clock::now();
    bench.Step();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    const double after = ProbeFp32Gflops(context);
    peaks.push_back(std::max(before, after));
    fractions.push_back(result.gflop / seconds.back() / peaks.back());
    Check(
        fractions.back() <= 1.0, ErrorCode::kNumeric,
        "bench: {:.1f} GFLOP/s lies above the measured peak of {:.1f}; the machine was disturbed, "
        "run again",
        result.gflop / seconds.back(), peaks.back());
    before = after;
  }
  result.seconds = Median(seconds);
  result.seconds_min = *std::min_element(seconds.begin(), seconds.end());
  result.peak = Median(peaks);
  result.fraction = Median(fractions);
  result.peak_rss = PeakRssBytes();
  return result;
}

ReformerConfig BenchConfig(const BenchCommand& c) {
  if (!c.preset.empty()) return ReformerPreset(c.preset);
  constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;
  return ParseReformerConfig(io::ReadWholeFile(c.config, kMostBytes), io::Escape(c.config));
}

int RunBench(const BenchCommand& c, bool train, int threads) {
  Check(c.config.empty() != c.preset.empty(), ErrorCode::kUsage,
        "bench: give either --config or --preset");
  Check(c.dtype == "f32", ErrorCode::kUsage,
        "bench: --dtype '{}' is not there for whole models yet; use f32", io::Escape(c.dtype));
  Context context(threads);
  StepBench bench(context, c, BenchConfig(c), train);
  const BenchResult r = Time(context, bench, c.steps);
  const double tokens = static_cast<double>(c.batch * c.tokens);
  if (c.json) {
    nlohmann::ordered_json j;
    j["seconds"] = r.seconds;
    j["seconds_min"] = r.seconds_min;
    j["tokens_per_s"] = tokens / r.seconds;
    j["peak_rss_bytes"] = r.peak_rss;
    j["model_gflop"] = r.gflop;
    j["gflops"] = r.gflop / r.seconds;
    j["peak_gflops"] = r.peak;
    j["fraction"] = r.fraction;
    j["machine"] = context.Describe();
    PrintResult(j.dump(2) + "\n");
    return 0;
  }
  PrintResult(fmt::format(
      "{}\npeak: {}\n{} of {} x {} tokens: {:.3f} s (best {:.3f}), {:.0f} tokens/s, {:.0f} MB\n"
      "{:.1f} GFLOP without recomputation: {:.1f} GFLOP/s, {:.2f} of the peak of {:.1f}\n",
      context.Describe(), Describe(ProbePeaks(context)), train ? "training step" : "forward",
      c.batch, c.tokens, r.seconds, r.seconds_min, tokens / r.seconds,
      static_cast<double>(r.peak_rss) * 1e-6, r.gflop, r.gflop / r.seconds, r.fraction, r.peak));
  return 0;
}

void AddStepBench(CLI::App* bench, const char* name, const char* text, bool train,
                  const Globals& globals, Action& action) {
  auto* command = bench->add_subcommand(name, text);
  const auto c = std::make_shared<BenchCommand>();
  auto* config = command->add_option("--config", c->config, "config.json of the model");
  command->add_option("--preset", c->preset, "a preset of init instead")->excludes(config);
  command->add_option("--tokens", c->tokens, "of a row")->capture_default_str();
  command->add_option("--batch", c->batch, "rows")->capture_default_str();
  command->add_option("--dtype", c->dtype, "f32")->capture_default_str();
  command->add_option("--steps", c->steps, "repetitions; medians are reported")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", c->json, "one JSON document");
  command->footer(fmt::format("Example:\n  longspan bench {} --preset base --tokens 16384", name));
  command->callback([c, train, &globals, &action] {
    action = [c, train, &globals] { return RunBench(*c, train, globals.threads); };
  });
}

}  // namespace

void RegisterBench(CLI::App& app, const Globals& globals, Action& action) {
  auto* bench = app.add_subcommand("bench", "time whole steps beside the machine's peak");
  bench->require_subcommand(1);
  bench->fallthrough();
  AddStepBench(bench, "train", "a training step: forward, backward, update", true, globals, action);
  AddStepBench(bench, "forward", "a forward pass with its loss", false, globals, action);
}

}  // namespace longspan::cli
