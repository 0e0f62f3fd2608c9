#include "cli/lab/cmd_bench_world.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/ranks.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "lab/world_bench.h"
#include "longspan/process.h"

namespace longspan::cli {
namespace {

struct WorldBenchCommand {
  idx_t bytes = 4 << 20, steps = 20;
  bool json = false;
};

const std::string& HostOf(const World& world, int rank) {
  return world.hosts()[static_cast<std::size_t>(rank)];
}

nlohmann::ordered_json WorldTimesJson(const World& world, const WorldBenchCommand& c,
                                      const std::vector<PairTimes>& times) {
  nlohmann::ordered_json j = {{"ranks", world.size()},
                              {"library", world.transport()},
                              {"bytes", c.bytes},
                              {"pairs", nlohmann::ordered_json::array()}};
  for (const PairTimes& t : times) {
    j["pairs"].push_back({{"ranks", {t.low, t.high}},
                          {"hosts", {HostOf(world, t.low), HostOf(world, t.high)}},
                          {"latency_us", t.latency_s * 1e6},
                          {"bytes_per_s", t.bytes_per_s}});
  }
  return j;
}

std::string WorldTimesText(const World& world, const WorldBenchCommand& c,
                           const std::vector<PairTimes>& times) {
  if (times.empty()) {
    return "one process, so no messages; start it with mpirun -n 2 longspan bench world\n";
  }
  std::string text =
      fmt::format("{}, {} ranks; one way: latency of 8 bytes, rate of {}\n", world.transport(),
                  world.size(), BytesText(static_cast<std::uint64_t>(c.bytes)));
  for (const PairTimes& t : times) {
    text += fmt::format("ranks {} and {}: {:10.1f} us {:10.1f} MB/s  {}\n", t.low, t.high,
                        t.latency_s * 1e6, t.bytes_per_s * 1e-6,
                        HostOf(world, t.low) == HostOf(world, t.high)
                            ? "on " + HostOf(world, t.low)
                            : HostOf(world, t.low) + " and " + HostOf(world, t.high));
  }
  return text;
}

int RunWorldBench(const WorldBenchCommand& c) {
  World& world = StartRanks();
  NothingIsSaved();
  const std::vector<PairTimes> times = TimeWorld(world, c.bytes, c.steps);
  if (Speaks()) {
    PrintResult(c.json ? DumpJson(WorldTimesJson(world, c, times))
                       : WorldTimesText(world, c, times));
  }
  return 0;
}

}  // namespace

void AddWorldBench(CLI::App* bench, const Globals& /*globals*/, Action& action) {
  auto* command = bench->add_subcommand(
      "world",
      "Time messages between the ranks that mpirun started: latency and rate of each pair");
  const auto c = std::make_shared<WorldBenchCommand>();
  command->add_option("--bytes", c->bytes, "Bytes of the message whose rate is measured")
      ->check(CLI::Range(8, 1 << 30))
      ->capture_default_str();
  command->add_option("--steps", c->steps, "Number of repetitions, of which the median is reported")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Under mpirun: mpirun -n 2 --bind-to none longspan bench world\n"
      "Examples:\n  longspan bench world --bytes 1000000 --json");
  command->callback([c, &action] { action = [c] { return RunWorldBench(*c); }; });
}

}  // namespace longspan::cli
