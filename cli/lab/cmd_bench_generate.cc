#include "cli/lab/cmd_bench_generate.h"

#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "lab/model_bench.h"
#include "longspan/counted.h"

namespace longspan::cli {
namespace {

struct GenerateBenchCommand {
  std::string config, preset, attention;
  std::vector<idx_t> contexts = {4096, 65536};
  idx_t tokens = 64, batch = 1;
  bool json = false;
};

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
  BenchModel model{c.config, c.preset, {}, {}};
  model.reformer.attention = ParseAttention(c.attention);
  GenerateBench bench(model, c.contexts, c.tokens, c.batch);
  std::vector<GenerateTimes> times;
  for (const idx_t length : c.contexts) {
    timing.Change(fmt::format("timing a context of {} tokens", length));
    times.push_back(bench.Time(context, length));
  }
  timing.End();
  if (c.json) {
    nlohmann::ordered_json j;
    j["batch"] = c.batch;
    j["timed_tokens"] = c.tokens;
    j["parameters"] = bench.parameters();
    j["machine"] = context.Describe();
    j["contexts"] = nlohmann::ordered_json::array();
    for (const GenerateTimes& t : times) j["contexts"].push_back(Report(t, times[0], c.batch));
    PrintResult(DumpJson(j));
    return 0;
  }
  std::string text = fmt::format(
      "{}, {} parameters, {} side by side\n"
      "{:>10} {:>12} {:>12} {:>10} {:>9} {:>10} {:>9} {:>10}\n",
      context.Describe(), bench.parameters(), Counted(c.batch, "text"), "context", "forward, s",
      "prefill, s", "step, ms", "best, ms", "tokens/s", "of first", "cache, MB");
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
