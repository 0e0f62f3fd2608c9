#include "base/memory_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <limits>

#include "base/errors.h"

namespace longspan {
namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

std::atomic<std::uint64_t> named_limit{0};

// Calls use(line) with each line of a file of the kernel's; none when it cannot be read.
template <class Use>
void ForEachLine(const std::string& path, const Use& use) {
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return;
  std::array<char, 4096> line;
  while (std::fgets(line.data(), static_cast<int>(line.size()), file) != nullptr) {
    std::string_view text(line.data());
    if (text.ends_with('\n')) text.remove_suffix(1);
    use(text);
  }
  std::fclose(file);
}

// The number in a file; without a file, or with "max" in it, no limit.
std::uint64_t NumberIn(const std::string& path) {
  std::uint64_t number = kNoLimit;
  ForEachLine(path, [&](std::string_view line) {
    unsigned long long value = 0;
    if (std::sscanf(std::string(line).c_str(), "%llu", &value) == 1) number = value;
  });
  return number;
}

// The least limit of a group and those that it lies in. A container may see its own group as the
// root, or have a path here that is the host's: then only the root is there.
std::uint64_t LeastUpwards(const std::string& mount, std::string group, const char* name) {
  std::uint64_t least = kNoLimit;
  while (true) {
    least = std::min(least, NumberIn(mount + group + "/" + name));
    if (group.empty()) return least;
    group.resize(std::min(group.size(), group.rfind('/')));
  }
}

// Lines are "0::/group" (v2) and "7:cpu,memory:/group" (v1).
std::uint64_t GroupLimit(const std::string& root) {
  const std::string mount = root + "/sys/fs/cgroup";
  std::uint64_t least =
      std::min(NumberIn(mount + "/memory.max"), NumberIn(mount + "/memory/memory.limit_in_bytes"));
  ForEachLine(root + "/proc/self/cgroup", [&](std::string_view line) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) return;
    const std::string controllers =
        "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    std::string group(line.substr(second + 1));
    while (group.ends_with('/')) group.pop_back();
    if (!group.empty() && group.front() != '/') return;
    if (controllers == ",,") {
      least = std::min(least, LeastUpwards(mount, group, "memory.max"));
    } else if (controllers.find(",memory,") != controllers.npos) {
      least = std::min(least, LeastUpwards(mount + "/memory", group, "memory.limit_in_bytes"));
    }
  });
  return least;
}

}  // namespace

std::uint64_t MachineMemory(const std::string& root) {
  std::uint64_t bytes = kNoLimit;
  ForEachLine(root + "/proc/meminfo", [&](std::string_view line) {
    unsigned long long kibibytes = 0;
    if (std::sscanf(std::string(line).c_str(), "MemTotal: %llu kB", &kibibytes) == 1) {
      bytes = kibibytes * 1024;
    }
  });
  return bytes;
}

std::uint64_t SystemMemoryLimit(const std::string& root) {
  std::uint64_t least = std::min(GroupLimit(root), MachineMemory(root));
  struct rlimit space {};
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    least = std::min<std::uint64_t>(least, space.rlim_cur);
  }
  return least;
}

std::uint64_t MemoryLimit() {
  const std::uint64_t named = named_limit;
  return named > 0 ? named : SystemMemoryLimit();
}

void SetMemoryLimit(std::uint64_t bytes) { named_limit = bytes; }

void CheckMemory(std::string_view what, std::uint64_t bytes) {
  const std::uint64_t limit = MemoryLimit();
  Check(bytes <= limit, ErrorCode::kLimit,
        "{}: needs {}, limit {} (the least of the machine's memory, its control group's limit and "
        "ulimit -v, or what --memory or SetMemoryLimit says)",
        what, BytesText(bytes), BytesText(limit));
}

std::uint64_t SaturatingProduct(std::initializer_list<idx_t> factors) {
  std::uint64_t product = 1;
  bool overflows = false;
  for (const idx_t factor : factors) {
    if (factor <= 0) return 0;
    overflows =
        __builtin_mul_overflow(product, static_cast<std::uint64_t>(factor), &product) || overflows;
  }
  return overflows ? kNoLimit : product;
}

std::uint64_t SaturatingSum(std::initializer_list<std::uint64_t> terms) {
  std::uint64_t sum = 0;
  for (const std::uint64_t term : terms) {
    if (__builtin_add_overflow(sum, term, &sum)) return kNoLimit;
  }
  return sum;
}

std::string BytesText(std::uint64_t bytes) {
  double value = static_cast<double>(bytes);
  constexpr const char* kUnits[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  std::size_t unit = 0;
  // 999.5 would be shown as 1e+03.
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  return fmt::format("{:.3g} {}", value, kUnits[unit]);
}

std::uint64_t MachineMemory() { return MachineMemory(""); }
std::uint64_t SystemMemoryLimit() { return SystemMemoryLimit(""); }

}  // namespace longspan
