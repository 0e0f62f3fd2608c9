#include "base/dense_path.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>

#include "base/errors.h"
#include "base/isa.h"
#include "longspan/process.h"

namespace longspan {
namespace {

constexpr int kByRule = -1;
std::atomic<int> forced_dense_path{kByRule};

std::optional<DensePath> ReadDensePath() {
  const char* text = std::getenv("LONGSPAN_DENSE");
  if (text == nullptr || *text == '\0') return std::nullopt;
  for (const DensePath path : {DensePath::kLibrary, DensePath::kTiles, DensePath::kTwin}) {
    if (DensePathName(path) == text) return path;
  }
  Fail(ErrorCode::kUsage,
       "LONGSPAN_DENSE: '{}' is unknown; use one of onednn, tiles, tiles_twin, or unset it", text);
}

// Throws kUsage where the path cannot be taken.
void CheckDensePath(DensePath path, std::string_view who) {
  const Isa isa = ActiveIsa();
  if (path == DensePath::kTiles) {
    Check(isa >= Isa::kAmx, ErrorCode::kUsage,
          "{} 'tiles' needs amx, the instruction set is {}; use onednn", who, IsaName(isa));
    Check(PermitTiles(), ErrorCode::kUsage,
          "{} 'tiles' needs tile state, which the operating system refuses; use onednn", who);
  }
  Check(path != DensePath::kLibrary || isa >= Isa::kAvx512Bf16, ErrorCode::kUsage,
        "{} 'onednn' needs avx512_bf16, the instruction set is {}", who, IsaName(isa));
}

}  // namespace

std::string_view DensePathName(DensePath path) {
  constexpr std::array<std::string_view, 4> kNames = {"widen", "onednn", "tiles", "tiles_twin"};
  return kNames[static_cast<std::size_t>(path)];
}

DensePath ActiveDensePath() {
  const int forced = forced_dense_path.load(std::memory_order_relaxed);
  if (forced != kByRule) return static_cast<DensePath>(forced);
  static const std::optional<DensePath> named = ReadDensePath();
  if (named >= DensePath::kTiles) {
    CheckDensePath(*named, "LONGSPAN_DENSE:");
    return *named;
  }
  return ActiveIsa() >= Isa::kAvx512Bf16 ? DensePath::kLibrary : DensePath::kWiden;
}

void ForceDensePath(std::optional<DensePath> path) {
  if (path) CheckDensePath(*path, "dense path");
  forced_dense_path.store(path ? static_cast<int>(*path) : kByRule, std::memory_order_relaxed);
}

std::optional<DensePath> ForcedDensePath() {
  const int forced = forced_dense_path.load(std::memory_order_relaxed);
  if (forced == kByRule) return std::nullopt;
  return static_cast<DensePath>(forced);
}

std::string_view KernelDenseBf16() { return DensePathName(ActiveDensePath()); }

}  // namespace longspan
