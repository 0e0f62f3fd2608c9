// main() of every test. LONGSPAN_TEST_ISA forces an instruction set on the whole program, and the
// program fails when anything else ran; "amx_twin" runs bf16 on the tile unit's twin. Names with a
// comma after each run one after another, each in a process of its own. Exit codes: 0 passed, 1
// failed, 2 unknown name, 77 skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/dense_path.h"
#include "base/isa.h"
#include "longspan/error.h"
#include "tests/support/remember.h"

namespace longspan::test {
namespace {

constexpr int kUnknownIsa = 2, kSkipped = 77;

// Whether dispatched kernels of `target` are what `isa` should run.
bool TargetBelongsTo(const std::string& target, Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      // Highway's name for vectors of plain C++; SCALAR, one lane, where it distrusts the compiler.
      return target == "EMU128" || target == "SCALAR";
    case Isa::kSse4:
      return target == "SSE4";
    case Isa::kAvx2:
      return target == "AVX2";
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
    case Isa::kAmx:
      return target == "AVX3" || target == "AVX3_DL";
  }
  return false;
}

// True when the forced instruction set is what ran.
bool RanOn(Isa wanted) {
  if (ActiveIsa() != wanted) {
    std::fprintf(stderr, "forced to %s, but %s is active\n", IsaName(wanted).data(),
                 IsaName(ActiveIsa()).data());
    return false;
  }
  const std::string target = DispatchedTarget();  // empty: no kernel ran
  if (!target.empty() && !TargetBelongsTo(target, wanted)) {
    std::fprintf(stderr, "forced to %s, but kernels ran as %s\n", IsaName(wanted).data(),
                 target.c_str());
    return false;
  }
  return true;
}

// bf16 on the tile unit's twin, with the best instruction set that there is: the tests whose names
// say that they have to do with it.
int RunOnTwin() {
  ForceBf16Path(Bf16Path::kTwin);
  ForceDensePath(DensePath::kTwin);
  testing::GTEST_FLAG(filter) = "*Bf16*:*Amx*";
  const int result = RUN_ALL_TESTS();
  if (testing::UnitTest::GetInstance()->test_to_run_count() > 0) return result;
  std::printf("skipped: no test of bf16 here\n");
  return kSkipped;
}

int RunForced(const char* name) {
  if (std::string_view(name) == "amx_twin") return RunOnTwin();
  Isa wanted;
  try {
    wanted = ParseIsa(name);
  } catch (const Error& error) {
    std::fprintf(stderr, "LONGSPAN_TEST_ISA: %s\n", error.what());
    return kUnknownIsa;
  }
  if (DetectedIsa() < wanted) {
    std::printf("skipped: this CPU has no %s\n", name);
    return kSkipped;
  }
  CapIsa(wanted);
  const int result = RUN_ALL_TESTS();
  return RanOn(wanted) ? result : 1;
}

// The levels of AVX-512 have the same kernels, but for bf16's, and oneDNN has its own. So only what
// takes these is done again on a level below the best one.
void LeaveOutSameKernels(std::string_view name) {
  for (const Isa level : {Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (name != IsaName(level) || DetectedIsa() <= level) continue;
    testing::GTEST_FLAG(filter) = "*Bf16*:*Amx*:Gemm*" + testing::GTEST_FLAG(filter).substr(1);
  }
}

// The same in a process of its own: the exit code, or 1 when a signal ended it.
int RunInChild(const std::string& name) {
  std::printf("---- %s\n", name.c_str());
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    LeaveOutSameKernels(name);
    std::exit(RunForced(name.c_str()));
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    std::perror("fork");
    return 1;
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  std::fprintf(stderr, "---- %s: ended by signal %d\n", name.c_str(), WTERMSIG(status));
  return 1;
}

// What no kernel takes part in is not done again for each instruction set.
void LeaveOutReferences() {
  std::string filter = testing::GTEST_FLAG(filter);
  filter += filter.find('-') == std::string::npos ? '-' : ':';
  testing::GTEST_FLAG(filter) = filter + "*ByComplexStep";
}

// Every instruction set of a list that this machine has. Its best one is left out: a run without
// LONGSPAN_TEST_ISA takes that.
int RunEach(std::string_view names) {
  constexpr std::size_t kMemories = std::size_t{1} << 30;
  ShareMemories(kMemories);
  LeaveOutReferences();
  int worst = kSkipped;
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(','), names.size());
    const std::string name(names.substr(0, comma));
    names.remove_prefix(std::min(comma + 1, names.size()));
    if (name == IsaName(DetectedIsa())) continue;
    const int result = RunInChild(name);
    if (result == kSkipped) continue;
    if (worst == kSkipped || worst == 0) worst = result;
  }
  return worst;
}

}  // namespace
}  // namespace longspan::test

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const char* variable = std::getenv("LONGSPAN_TEST_ISA");
  const std::string_view isa = variable == nullptr ? "" : variable;
  if (isa.empty()) return RUN_ALL_TESTS();
  if (isa.find(',') != isa.npos) return longspan::test::RunEach(isa);
  return longspan::test::RunForced(variable);
}
