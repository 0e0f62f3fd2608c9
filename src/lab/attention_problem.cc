#include "lab/attention_problem.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "base/isa.h"
#include "base/memory_limit.h"
#include "io/safetensors.h"
#include "lab/bench_timing.h"
#include "longspan/files.h"

namespace longspan {
namespace {

const catalogue::Mechanism& BenchMechanism(const std::string& kind) {
  if (const catalogue::Mechanism* mechanism = catalogue::FindMechanism(kind)) return *mechanism;
  std::string names;
  for (const catalogue::Mechanism* mechanism : catalogue::Mechanisms()) {
    names += (names.empty() ? "" : ", ") + std::string(mechanism->name);
  }
  Fail(ErrorCode::kUsage, "bench: --kind '{}' is unknown; use one of {}", io::Escape(kind), names);
}

void CheckWindowOptions(const catalogue::ProblemOptions& options) {
  const catalogue::MechanismSpec& spec = options.spec;
  Check(spec.window >= 0, ErrorCode::kUsage, "bench: --window {}, need at least 0", spec.window);
  Check(spec.dilation >= 1, ErrorCode::kUsage, "bench: --dilation {}, need at least 1",
        spec.dilation);
  Check(spec.globals >= 0 && spec.globals <= options.tokens, ErrorCode::kUsage,
        "bench: --globals {}, need 0 to {} (--tokens)", spec.globals, options.tokens);
}

}  // namespace

std::unique_ptr<catalogue::AttentionProblem> MakeBenchProblem(
    const std::string& kind, const catalogue::ProblemOptions& options) {
  for (const auto& [what, value] : {std::pair{"batch", options.batch},
                                    {"tokens", options.tokens},
                                    {"heads", options.heads},
                                    {"head-dim", options.head_size},
                                    {"chunk", options.spec.chunk},
                                    {"rounds", options.spec.rounds}}) {
    Check(value >= 1, ErrorCode::kUsage, "bench: --{} {}, need at least 1", what, value);
  }
  CheckMemory(fmt::format("bench: {} x {} heads x {} tokens x {}", options.batch, options.heads,
                          options.tokens, options.head_size),
              catalogue::ProblemBytes(options));
  const catalogue::Mechanism& mechanism = BenchMechanism(kind);
  if (mechanism.Understands("--window")) CheckWindowOptions(options);
  Check(mechanism.bf16 || !options.bf16, ErrorCode::kUsage,
        "bench: --kind {} knows --dtype f32 only", mechanism.name);
  return mechanism.problem(mechanism, options);
}

double CheckBenchRows(Context& context, catalogue::AttentionProblem& problem, bool backward,
                      bool bf16) {
  double worst = 0.0;
  const auto check = [&](const catalogue::ComparedRow& row) {
    const double error = catalogue::RelativeError(row);
    Check(error <= catalogue::LargestRowError(bf16), ErrorCode::kNumeric,  // false for NaN too
          "bench: {} of head {}, token {} differs from the computation in double by {:.2e} of it",
          row.what, row.head, row.token, error);
    worst = std::max(worst, error);
  };
  problem.CompareRows(context, {.backward = backward}, check);
  return worst;
}

void SaveTensors(const std::string& file, const catalogue::AttentionProblem& problem) {
  std::vector<io::TensorEntry> entries;
  for (catalogue::NamedTensor& tensor : problem.Tensors()) {
    entries.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape), tensor.data});
  }
  io::WriteSafetensors(file, entries);
}

namespace {

// Checked before it is timed.
double TimePath(Context& context, Bf16Path path, idx_t tokens, idx_t steps) {
  ForceBf16Path(path);
  catalogue::ProblemOptions options;
  options.tokens = tokens;
  options.bf16 = true;
  const auto problem = MakeBenchProblem("window", options);
  CheckBenchRows(context, *problem, true, options.bf16);
  constexpr double kFlop = catalogue::kForwardFlop + catalogue::kBackwardFlop;
  const double gflop = 1e-9 * kFlop * static_cast<double>(options.head_size) * problem->Pairs();
  return TimeBesidePeak(context, PeakOf::kBf16, gflop, steps,
                        [&] {
                          problem->Forward(context);
                          problem->Backward(context);
                        })
      .seconds;
}

}  // namespace

std::vector<Bf16PathTime> TimeBf16Paths(Context& context, idx_t tokens, idx_t steps) {
  const Bf16Path rule = ActiveBf16Path();
  std::vector<Bf16Path> paths = {Bf16Path::kWiden};
  if (ActiveIsa() >= Isa::kAvx512Bf16) paths.push_back(Bf16Path::kPairs);
  if (ActiveIsa() >= Isa::kAmx && PermitTiles()) paths.push_back(Bf16Path::kTiles);
  std::vector<Bf16PathTime> times;
  for (const Bf16Path path : paths) {
    times.push_back(
        {std::string(Bf16PathName(path)), TimePath(context, path, tokens, steps), path == rule});
  }
  ForceBf16Path(std::nullopt);
  return times;
}

}  // namespace longspan
