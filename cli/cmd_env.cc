// longspan env: what a report of a fault needs to say of the program and the machine.

#include <fmt/ranges.h>
#include <hwy/highway.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <CLI/Version.hpp>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "cli/commands.h"
#include "cli/ranks.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "longspan/context.h"
#include "longspan/machine.h"
#include "longspan/process.h"
#include "longspan/version.h"

namespace longspan::cli {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

bool IsSet(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

std::string ThreadsReason(const Globals& globals) {
  if (globals.threads > 0) return "--threads";
  if (IsSet("LONGSPAN_THREADS")) return "LONGSPAN_THREADS";
  return StartRanks().size() > 1 ? "this rank's share of the host's CPUs"
                                 : "the CPUs that the process may use";
}

std::string MemoryReason(const Globals& globals) {
  if (!globals.memory.empty()) return "--memory";
  return SystemMemoryLimit() < MachineMemory() ? "a control group or ulimit -v"
                                               : "the machine's memory";
}

nlohmann::ordered_json LibraryVersions() {
  return {{"onednn", OneDnnVersion()},
          {"highway", fmt::format("{}.{}.{}", HWY_MAJOR, HWY_MINOR, HWY_PATCH)},
          {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100,
                              FMT_VERSION % 100)},
          {"nlohmann_json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                                        NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
          {"cli11", CLI11_VERSION},
          {"zlib", zlibVersion()},
          {"zstd", ZSTD_versionString()}};
}

// Variables that change what the program does, as they are set.
nlohmann::ordered_json SetVariables() {
  nlohmann::ordered_json set = nlohmann::ordered_json::object();
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    const bool ours = name.starts_with("LONGSPAN_") || name.starts_with("OMP_") ||
                      name.starts_with("GOMP_") || name == "NO_COLOR";
    if (ours && name.size() < text.size()) set[std::string(name)] = text.substr(name.size() + 1);
  }
  return set;
}

// How ranks find each other: of this start, or of one by mpirun.
nlohmann::ordered_json MpiJson(const World& world) {
  nlohmann::ordered_json j;
  j["module"] = World::ModulePath();
  j["library"] = world.transport();
  j["ranks"] = world.size();
  j["ranks_here"] = world.ranks_here();
  return j;
}

std::string MpiText(const nlohmann::ordered_json& j) {
  const auto ranks = j["ranks"].get<int>();
  if (ranks > 1) {
    return fmt::format("{}, {} ranks, {} on this host", j["library"].get<std::string>(), ranks,
                       j["ranks_here"].get<int>());
  }
  const auto module = j["module"].get<std::string>();
  return module.empty() ? "none (this build has no longspan_mpi.so)"
                        : "with mpirun or srun, by " + module;
}

nlohmann::ordered_json EnvJson(const Globals& globals) {
  const World& world = StartRanks();
  const Context context = RankContext(globals);
  return {{"version", LONGSPAN_VERSION},
          {"compiler", kCompiler},
          {"build_type", LONGSPAN_BUILD_TYPE},
          {"cpu", CpuModel()},
          {"instruction_sets", RunnableIsas()},
          {"kernels", KernelIsa()},
          {"kernels_from", IsSet("LONGSPAN_ISA") ? "LONGSPAN_ISA" : "the best that the CPU has"},
          {"bf16", KernelBf16()},
          {"bf16_dense", KernelDenseBf16()},
          {"threads", context.threads()},
          {"threads_from", ThreadsReason(globals)},
          {"mpi", MpiJson(world)},
          {"memory_bytes", MachineMemory()},
          {"memory_limit_bytes", MemoryLimit()},
          {"memory_limit_from", MemoryReason(globals)},
          {"libraries", LibraryVersions()},
          {"variables", SetVariables()}};
}

std::string JoinedItems(const nlohmann::ordered_json& object, std::string_view format) {
  std::string text;
  for (const auto& [name, value] : object.items()) {
    text += fmt::format(fmt::runtime(format), name, value.get<std::string>());
  }
  if (text.empty()) return " none";
  text.pop_back();  // the last comma
  return text;
}

std::string EnvText(const nlohmann::ordered_json& j) {
  const auto text = [&](const char* key) { return j[key].get<std::string>(); };
  const auto bytes = [&](const char* key) { return BytesText(j[key].get<std::uint64_t>()); };
  return fmt::format(
      "longspan {}, built as {} by {}\n"
      "CPU: {}\n"
      "instruction sets: {}\n"
      "kernels: {} ({}); bf16 in attention: {}, in dense layers: {}\n"
      "threads: {} ({})\n"
      "MPI: {}\n"
      "memory: {}, limit {} ({})\n"
      "libraries:{}\n"
      "variables:{}\n",
      text("version"), text("build_type"), text("compiler"), text("cpu"),
      fmt::join(RunnableIsas(), " "), text("kernels"), text("kernels_from"), text("bf16"),
      text("bf16_dense"), j["threads"].get<int>(), text("threads_from"), MpiText(j["mpi"]),
      bytes("memory_bytes"), bytes("memory_limit_bytes"), text("memory_limit_from"),
      JoinedItems(j["libraries"], " {} {},"), JoinedItems(j["variables"], " {}={},"));
}

}  // namespace

void RegisterEnv(CLI::App* command, const Globals& globals, Action& action) {
  const auto json = std::make_shared<bool>(false);
  BeginGroup(command, heading::kOutput);
  command->add_flag("--json", *json, "Print one JSON document");
  command->footer(
      "Put this into a report of a fault. docs/reference/environment.md lists the variables.\n"
      "Examples:\n"
      "  longspan env\n"
      "  longspan env --threads 2 --json");
  command->callback([json, &globals, &action] {
    action = [json, &globals] {
      const nlohmann::ordered_json j = EnvJson(globals);
      if (Speaks()) PrintResult(*json ? DumpJson(j) : EnvText(j));
      return 0;
    };
  });
}

}  // namespace longspan::cli
