#include "base/isa.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "base/errors.h"

// Highway: only its list of targets is used here, no vector code.
#include <hwy/highway.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace longspan {
namespace {

constexpr std::array<std::pair<Isa, std::string_view>, 6> kNames = {{
    {Isa::kPortable, "portable"},
    {Isa::kSse4, "sse4"},
    {Isa::kAvx2, "avx2"},
    {Isa::kAvx512, "avx512"},
    {Isa::kAvx512Bf16, "avx512_bf16"},
    {Isa::kAmx, "amx"},
}};

std::string AllNames() {
  std::string names;
  for (const auto& [isa, name] : kNames) {
    if (!names.empty()) names += ", ";
    names += name;
  }
  return names;
}

#if defined(__x86_64__)
// State components that the operating system saves (XCR0).
std::uint64_t EnabledState() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

Isa Detect() {
  constexpr std::uint64_t kAvx512State = 0xe6, kTileState = 0x60000;
  const auto hwy_targets = hwy::SupportedTargets();
  if (!(hwy_targets & HWY_SSE4)) return Isa::kPortable;
  if (!(hwy_targets & HWY_AVX2)) return Isa::kSse4;
  if (!(hwy_targets & HWY_AVX3)) return Isa::kAvx2;
  unsigned a, b, c, d;
  const std::uint64_t state = EnabledState();
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & (1u << 5)) ||
      (state & kAvx512State) != kAvx512State) {
    return Isa::kAvx512;
  }
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::kAvx512Bf16;
  // AMX-BF16, AMX-TILE, and the vector half of kernels on tiles, which a virtual machine may hide.
  const bool amx = (d & (1u << 22)) && (d & (1u << 24)) && (hwy_targets & HWY_AVX3_DL) != 0;
  return amx && (state & kTileState) == kTileState ? Isa::kAmx : Isa::kAvx512Bf16;
}
#else
Isa Detect() { return Isa::kPortable; }
#endif

// Highway targets that lie above `isa`.
std::int64_t TargetsAbove(Isa isa) {
  std::int64_t targets = 0;
#if defined(__x86_64__)
  // Kernels around the tile unit are compiled for AVX3_DL, with instructions of AVX512_BF16 that
  // the target's name does not promise: Ice Lake has the one without the other.
  if (isa < Isa::kAvx512Bf16) targets |= HWY_AVX3_DL;
  if (isa < Isa::kAvx512) targets |= HWY_AVX3;
  if (isa < Isa::kAvx2) targets |= HWY_AVX2;
  if (isa < Isa::kSse4) targets |= HWY_SSE4 | HWY_SSSE3;
#else
  (void)isa;
#endif
  return targets;
}

struct Cap {
  std::mutex mutex;
  bool environment_read = false;
  bool applied = false;
  Isa isa = Isa::kAmx;
};

Cap& TheCap() {
  static Cap cap;
  return cap;
}

// Reads LONGSPAN_ISA once. The caller holds the mutex.
void ReadEnvironment(Cap& cap) {
  if (cap.environment_read) return;
  const char* text = std::getenv("LONGSPAN_ISA");
  if (text != nullptr && *text != '\0') {
    try {
      cap.isa = ParseIsa(text);
    } catch (const Error& error) {
      Fail(error.code(), "LONGSPAN_ISA: {}", error.what());
    }
  }
  cap.environment_read = true;
}

std::atomic<bool> cap_applied{false};

constexpr int kByRule = -1;
std::atomic<int> forced_bf16_path{kByRule};

}  // namespace

std::string_view IsaName(Isa isa) { return kNames[static_cast<std::size_t>(isa)].second; }

Isa ParseIsa(std::string_view name) {
  for (const auto& [isa, text] : kNames) {
    if (text == name) return isa;
  }
  Fail(ErrorCode::kUsage, "instruction set '{}' is unknown; use one of {}", name, AllNames());
}

Isa DetectedIsa() {
  static const Isa isa = Detect();
  return isa;
}

Isa ActiveIsa() {
  const Isa detected = DetectedIsa();  // before the cap hides targets from Highway
  Cap& cap = TheCap();
  const std::lock_guard lock(cap.mutex);
  ReadEnvironment(cap);
  return std::min(detected, cap.isa);
}

void CapIsa(Isa isa) {
  DetectedIsa();
  Cap& cap = TheCap();
  const std::lock_guard lock(cap.mutex);
  ReadEnvironment(cap);
  const Isa lowered = std::min(isa, cap.isa);
  Check(!cap.applied || std::min(lowered, DetectedIsa()) == std::min(cap.isa, DetectedIsa()),
        ErrorCode::kUsage,
        "instruction set: kernels already ran with {}; cap it to {} before the first operation",
        IsaName(std::min(cap.isa, DetectedIsa())), IsaName(isa));
  cap.isa = lowered;
}

std::string_view Bf16PathName(Bf16Path path) {
  constexpr std::array<std::string_view, 4> kPathNames = {"widen", "pairs", "tiles", "tiles_twin"};
  return kPathNames[static_cast<std::size_t>(path)];
}

bool PermitTiles() {
#if defined(__x86_64__)
  static const bool permitted = [] {
    if (DetectedIsa() < Isa::kAmx) return false;
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(2)
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return permitted;
#else
  return false;
#endif
}

bool IsAmd() {
#if defined(__x86_64__)
  static const bool amd = [] {
    unsigned a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && c == signature_AMD_ecx &&
           d == signature_AMD_edx;
  }();
  return amd;
#else
  return false;
#endif
}

Bf16Path ActiveBf16Path() {
  const int forced = forced_bf16_path.load(std::memory_order_relaxed);
  if (forced != kByRule) return static_cast<Bf16Path>(forced);
  const Isa isa = ActiveIsa();
  if (isa >= Isa::kAmx && PermitTiles()) return Bf16Path::kTiles;
  return IsAmd() && isa >= Isa::kAvx512Bf16 ? Bf16Path::kPairs : Bf16Path::kWiden;
}

void ForceBf16Path(std::optional<Bf16Path> path) {
  Check(path != Bf16Path::kPairs || ActiveIsa() >= Isa::kAvx512Bf16, ErrorCode::kUsage,
        "bf16 path 'pairs' needs avx512_bf16, the instruction set is {}", IsaName(ActiveIsa()));
  Check(path != Bf16Path::kTiles || (ActiveIsa() >= Isa::kAmx && PermitTiles()), ErrorCode::kUsage,
        "bf16 path 'tiles' needs amx, the instruction set is {}{}", IsaName(ActiveIsa()),
        ActiveIsa() >= Isa::kAmx ? ", and the operating system refuses tile state" : "");
  forced_bf16_path.store(path ? static_cast<int>(*path) : kByRule, std::memory_order_relaxed);
}

std::optional<Bf16Path> ForcedBf16Path() {
  const int forced = forced_bf16_path.load(std::memory_order_relaxed);
  if (forced == kByRule) return std::nullopt;
  return static_cast<Bf16Path>(forced);
}

std::vector<std::string> RunnableIsas() {
  std::vector<std::string> names;
  for (const auto& [isa, name] : kNames) {
    if (isa <= DetectedIsa()) names.emplace_back(name);
  }
  return names;
}

void ApplyIsaCap() {
  if (cap_applied.load(std::memory_order_acquire)) return;
  const Isa active = ActiveIsa();
  Cap& cap = TheCap();
  const std::lock_guard lock(cap.mutex);
  if (cap.applied) return;
  hwy::DisableTargets(TargetsAbove(active));
  cap.applied = true;
  cap_applied.store(true, std::memory_order_release);
}

std::string DispatchedTarget() {
  auto& chosen = hwy::GetChosenTarget();
  if (!chosen.IsInitialized()) return {};
  // Every kernel is compiled for the same list of targets; the best of it that is left runs.
  for (std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0;) {
    const std::int64_t best = targets & -targets;
    return hwy::TargetName(best);
  }
  return hwy::TargetName(HWY_STATIC_TARGET);
}

void CapIsa(std::string_view name) { CapIsa(ParseIsa(name)); }
std::string_view KernelIsa() { return IsaName(ActiveIsa()); }
std::string_view KernelBf16() { return Bf16PathName(ActiveBf16Path()); }

}  // namespace longspan
