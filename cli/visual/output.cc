#include "cli/visual/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/check.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/text.h"
#include "longspan/files.h"

namespace longspan::cli {

void WritePicture(const std::filesystem::path& file, std::string_view bytes) {
  io::WriteFileAtomic(file, bytes);
  TellLine(fmt::format("wrote {}", Printable(file.string())));
}

void CheckIsNoInput(const std::filesystem::path& output, std::span<const std::string> inputs) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(output, none)) return;
  for (const std::string& input : inputs) {
    Check(!std::filesystem::equivalent(output, input == "-" ? "/dev/stdin" : input, none),
          ErrorCode::kUsage, "output: {} is one of the files that are read; write to another one",
          Printable(output.string()));
  }
}

namespace {

// 0, or the system's reason.
int Print(std::string_view text) {
  bool whole = std::fflush(stdout) == 0;
  while (whole && !text.empty()) {
    const ssize_t wrote = write(STDOUT_FILENO, text.data(), text.size());
    whole = wrote >= 0 || errno == EINTR;
    if (wrote > 0) text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return whole ? 0 : errno;
}

}  // namespace

void PrintResult(std::string_view text) {
  const int error = Print(text);
  Check(error == 0, ErrorCode::kIo, "stdout: {}", std::strerror(error));
}

void PrintResultIfRead(std::string_view text) {
  const int error = Print(text);
  Check(error == 0 || error == EPIPE, ErrorCode::kIo, "stdout: {}", std::strerror(error));
}

}  // namespace longspan::cli
