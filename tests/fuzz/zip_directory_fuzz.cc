// A zip archive: what is accepted has disjoint entries inside it.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/zip_directory.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const io::MemorySource archive(std::string(fuzz::AsText(data, bytes)), "fuzz");
  fuzz::Accepts([&] {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    const io::ZipDirectory directory = io::ReadZipDirectory(archive);
    for (const auto& [name, entry] : directory) {
      fuzz::Require(entry.begin <= bytes && entry.bytes <= bytes - entry.begin);
      ranges.emplace_back(entry.begin, entry.begin + entry.bytes);
    }
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      fuzz::Require(ranges[i - 1].second <= ranges[i].first);
    }
    for (const auto& [name, entry] : directory) io::CheckZipEntry(archive, name, entry);
  });
  return 0;
}
