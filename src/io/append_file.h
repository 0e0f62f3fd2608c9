// A file of lines that grows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace longspan::io {

// Appends to a file. Whatever fails, the file has whole appendices only: what a failed one left is
// cut off before the next. All errors are kIo and name the path and the system's reason.
class AppendFile {
 public:
  // The file must be there.
  explicit AppendFile(const std::filesystem::path& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void Append(std::string_view text);
  // Makes everything durable. When the system refuses, what it then has of this file is unknown
  // (the next fsync would succeed and write nothing): the next call writes it anew from memory.
  void Sync();

 private:
  void Open();
  void CutTornTail();
  std::filesystem::path path_;
  int fd_ = -1;
  std::uint64_t durable_ = 0;  // bytes of the file that a Sync has made so
  std::string since_;          // and what was appended behind them
  bool torn_ = false;          // the last append stopped in the middle
  bool sync_failed_ = false;
};

}  // namespace longspan::io
