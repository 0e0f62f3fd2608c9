#include "io/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/file.h"
#include "io/paths.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

constexpr std::size_t kMostInMemory = std::size_t{1} << 20;

}  // namespace

AppendFile::AppendFile(const std::filesystem::path& path) : path_(path) {
  Open();
  durable_ = FileBytes(path_);
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) close(fd_);
}

void AppendFile::Open() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
  fd_ = Again([&] { return open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC); });
  if (fd_ < 0) FailSystem(path_, "open", errno);
}

void AppendFile::CutTornTail() {
  if (!torn_) return;
  const auto whole = static_cast<off_t>(durable_ + since_.size());
  if (Again([&] { return ftruncate(fd_, whole); }) != 0) FailSystem(path_, "shorten", errno);
  torn_ = false;
}

void AppendFile::Append(std::string_view text) {
  CutTornTail();
  if (since_.size() + text.size() > kMostInMemory) Sync();
  const std::size_t before = since_.size();
  since_ += text;
  torn_ = true;
  try {
    WriteAll(fd_, text.data(), text.size(), path_, 0);
  } catch (const Error&) {
    since_.resize(before);
    try {
      CutTornTail();
    } catch (const Error&) {  // then before the next one
    }
    throw;
  }
  torn_ = false;
}

void AppendFile::Sync() {
  CutTornTail();
  if (sync_failed_) {
    std::string whole = ReadWholeFile(path_, UINT64_MAX);
    Check(whole.size() >= durable_, ErrorCode::kIo, "{}: lost {} of its {} bytes", PathText(path_),
          durable_ - whole.size(), durable_);
    whole.resize(static_cast<std::size_t>(durable_));
    whole += since_;
    WriteFileAtomic(path_, whole);
    sync_failed_ = false;
    Open();
  } else if (Again([&] { return fdatasync(fd_); }) != 0) {
    sync_failed_ = true;
    FailSystem(path_, "sync", errno);
  }
  durable_ += since_.size();
  since_.clear();
}

}  // namespace longspan::io
