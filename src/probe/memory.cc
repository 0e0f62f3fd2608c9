// Memory as Linux accounts it.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "longspan/machine.h"

namespace longspan {

idx_t PeakRssBytes() {
  std::FILE* file = std::fopen("/proc/self/status", "re");
  if (file == nullptr) return 0;
  idx_t kibibytes = 0;
  char line[256];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    long long value = 0;
    if (std::sscanf(line, "VmHWM: %lld kB", &value) == 1) kibibytes = value;
  }
  std::fclose(file);
  return kibibytes * 1024;
}

void ResetPeakRss() {
  std::FILE* file = std::fopen("/proc/self/clear_refs", "we");
  if (file == nullptr) return;  // without it the figure covers the process's whole life
  std::fputs("5", file);        // 5: reset the peak, proc(5)
  std::fclose(file);
}

idx_t AvailableMemoryBytes() {
  std::FILE* file = std::fopen("/proc/meminfo", "re");
  if (file == nullptr) return 0;
  idx_t bytes = 0;
  char line[256];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    long long kibibytes = 0;
    if (std::sscanf(line, "MemAvailable: %lld kB", &kibibytes) == 1) bytes = kibibytes * 1024;
  }
  std::fclose(file);
  // A container sees its own group here; without a limit the file says "max".
  file = std::fopen("/sys/fs/cgroup/memory.max", "re");
  if (file == nullptr) return bytes;
  long long limit = 0;
  if (std::fscanf(file, "%lld", &limit) == 1 && limit > 0) {
    bytes = bytes == 0 ? limit : std::min<idx_t>(bytes, limit);
  }
  std::fclose(file);
  return bytes;
}

}  // namespace longspan
