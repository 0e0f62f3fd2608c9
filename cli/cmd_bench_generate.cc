#include "cli/cmd_bench_generate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/math.h"
#include "base/rng.h"
#include "cli/bench_timing.h"
#include "cli/counted.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "families/families.h"
#include "families/reformer/reformer.h"
#include "generate/text_decoder.h"
#include "io/json.h"

namespace longspan::cli {
namespace {

struct GenerateBenchCommand {
  std::string config, preset, attention;
  std::vector<idx_t> contexts = {4096, 65536};
  idx_t tokens = 64, batch = 1;
  bool json = false;
};

// What was measured behind `context` tokens.
struct GenerateTimes {
  idx_t context = 0;
  double forward_s = 0.0;  // one forward pass over the prompt, nothing kept
  double prefill_s = 0.0;  // the same, kept: what the first token waits for
  double step_s = 0.0;     // median of a step of the whole batch
  double step_min_s = 0.0;
  std::size_t cache_bytes = 0;
};

// The model as it is, but with positions for the longest context.
ReformerConfig BenchConfig(const GenerateBenchCommand& c) {
  Check(c.config.empty() != c.preset.empty(), ErrorCode::kUsage,
        "bench: give either --config or --preset");
  ReformerConfig config =
      c.preset.empty() ? LoadReformerConfig(OpenConfigFile(c.config)) : ReformerPreset(c.preset);
  if (!c.attention.empty()) ChooseAttention(c.attention, &config);
  Check(!c.contexts.empty(), ErrorCode::kUsage, "bench: --contexts is empty");
  for (const idx_t context : c.contexts) {
    Check(context > c.tokens && context <= (idx_t{1} << 24), ErrorCode::kUsage,
          "bench: a context of {} tokens is not above the {} that are timed and at most 2^24",
          context, c.tokens);
  }
  const idx_t longest = *std::max_element(c.contexts.begin(), c.contexts.end());
  config.max_positions = std::max(config.max_positions, longest);
  if (config.axial) {
    config.axial_shape[0] =
        std::max(config.axial_shape[0], CeilDiv(longest, config.axial_shape[1]));
  }
  return config;
}

std::vector<std::int32_t> RandomIds(idx_t count, idx_t limit, std::uint64_t key) {
  Rng rng(key);
  std::vector<std::int32_t> ids;
  for (idx_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.Below(limit)));
  return ids;
}

// The last c.tokens tokens of texts of `context` tokens.
GenerateTimes Measure(Context& context, Reformer& model, const GenerateBenchCommand& c,
                      idx_t length) {
  GenerateTimes times;
  times.context = length;
  const auto ids = RandomIds(length, model.config().vocab_size, 2);
  const auto prompt = std::span(ids).first(static_cast<std::size_t>(length - c.tokens));
  {
    const auto plain = model.MakeDecoder(false);
    plain->Add(context, prompt.first(1), length);  // creates products and books memory
    times.forward_s = Seconds([&] { plain->Add(context, prompt, length); });
  }
  const auto decoder = model.MakeDecoder(true);
  times.prefill_s = Seconds([&] { decoder->Add(context, prompt, length); });
  std::vector<idx_t> texts = {0};
  for (idx_t i = 1; i < c.batch; ++i) texts.push_back(0);
  decoder->Select(texts);
  for (idx_t i = 0; i < c.batch; ++i) texts[static_cast<std::size_t>(i)] = i;
  std::vector<double> seconds;
  for (idx_t i = 0; i < c.tokens; ++i) {
    const std::vector<std::int32_t> next =
        RandomIds(c.batch, model.config().vocab_size, 3 + static_cast<std::uint64_t>(i));
    seconds.push_back(Seconds([&] { decoder->Step(context, texts, next); }));
  }
  std::sort(seconds.begin(), seconds.end());
  times.step_s = seconds[seconds.size() / 2];
  times.step_min_s = seconds.front();
  times.cache_bytes = decoder->CacheBytes();
  return times;
}

nlohmann::ordered_json Report(const GenerateTimes& t, const GenerateTimes& first, idx_t batch) {
  return {{"tokens", t.context},
          {"forward_seconds", t.forward_s},
          {"prefill_seconds", t.prefill_s},
          {"step_seconds", t.step_s},
          {"step_seconds_min", t.step_min_s},
          {"tokens_per_s", static_cast<double>(batch) / t.step_s},
          {"of_first", first.step_s / t.step_s},
          {"cache_bytes", t.cache_bytes}};
}

int RunGenerateBench(const GenerateBenchCommand& c, int threads) {
  Check(c.tokens >= 1 && c.batch >= 1 && c.batch <= 1024, ErrorCode::kUsage,
        "bench: {} tokens of {} texts, need at least 1 and at most 1024 texts", c.tokens, c.batch);
  Waiting timing("timing");
  Context context(threads);
  Reformer model(BenchConfig(c));
  model.Initialise(1);
  std::vector<GenerateTimes> times;
  for (const idx_t length : c.contexts) {
    timing.Change(fmt::format("timing a context of {} tokens", length));
    times.push_back(Measure(context, model, c, length));
  }
  timing.End();
  if (c.json) {
    nlohmann::ordered_json j;
    j["batch"] = c.batch;
    j["timed_tokens"] = c.tokens;
    j["parameters"] = model.parameters().count();
    j["machine"] = context.Describe();
    j["contexts"] = nlohmann::ordered_json::array();
    for (const GenerateTimes& t : times) j["contexts"].push_back(Report(t, times[0], c.batch));
    PrintResult(io::DumpJson(j));
    return 0;
  }
  std::string text = fmt::format(
      "{}, {} parameters, {} side by side\n"
      "{:>10} {:>12} {:>12} {:>10} {:>9} {:>10} {:>9} {:>10}\n",
      context.Describe(), model.parameters().count(), Counted(c.batch, "text"), "context",
      "forward, s", "prefill, s", "step, ms", "best, ms", "tokens/s", "of first", "cache, MB");
  for (const GenerateTimes& t : times) {
    text +=
        fmt::format("{:>10} {:>12.3f} {:>12.3f} {:>10.3f} {:>9.3f} {:>10.1f} {:>9.2f} {:>10.1f}\n",
                    t.context, t.forward_s, t.prefill_s, 1e3 * t.step_s, 1e3 * t.step_min_s,
                    static_cast<double>(c.batch) / t.step_s, times[0].step_s / t.step_s,
                    1e-6 * static_cast<double>(t.cache_bytes));
  }
  PrintResult(text);
  return 0;
}

}  // namespace

void AddGenerateBench(CLI::App* bench, const Globals& globals, Action& action) {
  auto* command =
      bench->add_subcommand("generate", "Time generation behind long texts, in tokens a second");
  const auto c = std::make_shared<GenerateBenchCommand>();
  auto* config =
      command->add_option("--config", c->config, "Configuration of a Reformer, a config.json");
  command->add_option("--preset", c->preset, "Preset of init: tiny, small or base")
      ->excludes(config);
  command
      ->add_option("--contexts", c->contexts,
                   "Lengths of texts in tokens; a model with fewer positions gets more")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--tokens", c->tokens,
                   "Number of tokens that are timed behind each text; the median is reported")
      ->capture_default_str();
  command->add_option("--batch", c->batch, "Number of texts side by side")->capture_default_str();
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Examples:\n  longspan bench generate --preset tiny --contexts 256,512 --tokens 8\n"
      "  longspan bench generate --preset tiny --contexts 256 --batch 8 --tokens 8 --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunGenerateBench(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
