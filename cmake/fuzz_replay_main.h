// main() of builds without libFuzzer: feeds a fuzz target every file below the given folders. What
// a fuzzer once found stays found. cmake/LongspanModule.cmake writes the file that includes this.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

namespace longspan::fuzz {

struct Target {
  std::string_view name;
  int (*run)(const std::uint8_t* data, std::size_t bytes);
};

// arguments: the name of a target, then folders. Exit codes: 0, or 1 when there is no such target
// or no file for it.
inline int Replay(int count, char** arguments, const std::vector<Target>& targets) {
  const std::string_view name = count > 1 ? arguments[1] : "";
  const auto target =
      std::find_if(targets.begin(), targets.end(), [&](const Target& t) { return t.name == name; });
  if (target == targets.end()) {
    std::fprintf(stderr, "there is no fuzz target '%.*s'\n", static_cast<int>(name.size()),
                 name.data());
    return 1;
  }
  std::vector<std::filesystem::path> files;
  for (int i = 2; i < count; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(arguments[i])) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    const std::vector<char> content{std::istreambuf_iterator<char>(stream), {}};
    // On the last line of a crash's output: which file it was.
    std::printf("%s\n", file.c_str());
    std::fflush(stdout);
    // A copy of the exact size, so that a sanitizer sees a read behind the end.
    const std::vector<std::uint8_t> bytes(content.begin(), content.end());
    target->run(bytes.data(), bytes.size());
  }
  std::printf("%zu files\n", files.size());
  return files.empty() ? 1 : 0;
}

}  // namespace longspan::fuzz
