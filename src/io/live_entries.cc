// The table of what this process is writing. Whoever works it off may be a signal's thread or its
// handler: only system calls and atomics here, no memory taken, no lock.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <ctime>

#include "base/errors.h"
#include "io/posix.h"
#include "io/temporaries.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

enum SlotState : int {
  kFree,
  kBusy,     // being made, or on its way to the final name: a moment
  kLive,     // on disk
  kRemoving  // taken by RemoveLiveTemporaries
};

struct Slot {
  std::atomic<int> state{kFree};
  pid_t process;  // that writes it: a child after fork() is another one
  char path[PATH_MAX];
};

constexpr int kSlots = 64;  // many times what any command writes at once
constinit std::array<Slot, kSlots> slots{};
constinit std::atomic<bool> ending{false};

void Sleep(long ns) {
  const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
  nanosleep(&time, nullptr);
}

constexpr int kMostLevels = 8;  // of folders in a folder

// What the kernel's getdents64 writes.
struct Entry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t length;
  std::uint8_t type;
  char name[1];
};

// Removes a file, or a folder with what is in it. Follows no link.
void RemoveTree(int at, const char* name, int level) {
  if (Again([&] { return unlinkat(at, name, 0); }) == 0 || errno == ENOENT) return;
  if (level == kMostLevels) return;
  const int folder =
      Again([&] { return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); });
  if (folder < 0) return;
  alignas(Entry) char buffer[2048];
  // What is removed while it is read may shift the rest, and its writer may still add to it.
  for (int round = 0; round < 16; ++round) {
    lseek(folder, 0, SEEK_SET);
    for (;;) {
      const long got =
          Again([&] { return syscall(SYS_getdents64, folder, buffer, sizeof(buffer)); });
      if (got <= 0) break;
      for (long i = 0; i < got;) {
        const auto* entry = reinterpret_cast<const Entry*>(buffer + i);
        i += entry->length;
        const char* inner = entry->name;
        if (std::strcmp(inner, ".") == 0 || std::strcmp(inner, "..") == 0) continue;
        RemoveTree(folder, inner, level + 1);
      }
    }
    if (Again([&] { return unlinkat(at, name, AT_REMOVEDIR); }) == 0 || errno != ENOTEMPTY) break;
  }
  close(folder);
}

}  // namespace

LiveEntry::LiveEntry(const fs::path& path) : path_(path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);  // the process may change its folder
  const std::string& text = absolute.native();
  const bool fits = !error && text.size() < sizeof(Slot::path);
  for (int i = 0; fits && slot_ < 0 && i < kSlots; ++i) {
    int expected = kFree;
    if (slots[static_cast<std::size_t>(i)].state.compare_exchange_strong(expected, kBusy))
      slot_ = i;
  }
  // Looked at behind the claim: either this sees the removal, or the removal sees the claim.
  if (ending) {
    Set(kFree);
    AwaitEndAfterRemoval();
    slot_ = -1;
  }
  if (slot_ < 0) return;
  Slot& slot = slots[static_cast<std::size_t>(slot_)];
  std::memcpy(slot.path, text.c_str(), text.size() + 1);
  slot.process = getpid();
}

LiveEntry::~LiveEntry() {
  if (slot_ >= 0 && (!made_ || Claim())) Set(kFree);
}

void LiveEntry::Set(int state) {
  if (slot_ >= 0) slots[static_cast<std::size_t>(slot_)].state = state;
}

bool LiveEntry::Claim() {
  int expected = kLive;
  return slot_ < 0 ||
         slots[static_cast<std::size_t>(slot_)].state.compare_exchange_strong(expected, kBusy);
}

void LiveEntry::Made() {
  made_ = true;
  Set(kLive);
}

void LiveEntry::RenameTo(const fs::path& target) {
  if (!Claim()) FailSystem(target, "rename into place", ECANCELED);
  const int error = Again([&] { return rename(path_.c_str(), target.c_str()); }) == 0 ? 0 : errno;
  Set(error == 0 ? kFree : kLive);
  if (error != 0) FailSystem(target, "rename into place", error);
  slot_ = -1;
}

void AwaitEndAfterRemoval() noexcept {
  if (ending) Sleep(1'000'000'000);
}

void RemoveLiveTemporaries() noexcept {
  const int saved = errno;
  ending = true;
  int patience_ms = 500;
  for (Slot& slot : slots) {
    while (slot.state == kBusy && patience_ms-- > 0) Sleep(1'000'000);
    int expected = kLive;
    slot.state.compare_exchange_strong(expected, kRemoving);
  }
  for (const Slot& slot : slots) {
    if (slot.state == kRemoving && slot.process == getpid()) RemoveTree(AT_FDCWD, slot.path, 0);
  }
  errno = saved;
}

}  // namespace longspan::io
