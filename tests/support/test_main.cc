// main() of every test. LONGSPAN_TEST_ISA forces an instruction set on the whole program, and the
// program fails when anything else ran; "amx_twin" runs bf16 on the tile unit's twin. Exit codes: 0
// passed, 1 failed, 2 unknown name, 77 skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/isa.h"
#include "longspan/error.h"

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

}  // namespace
}  // namespace longspan::test

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const char* isa = std::getenv("LONGSPAN_TEST_ISA");
  return isa == nullptr || *isa == '\0' ? RUN_ALL_TESTS() : longspan::test::RunForced(isa);
}
