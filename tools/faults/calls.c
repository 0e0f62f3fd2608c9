// Loaded before the program (LD_PRELOAD): the n-th call of one family on something below a folder
// fails, is cut short, or kills the process. What it does comes from the environment:
//
//   FAULT_CALL   read, write, open, fsync, rename, unlink, mkdir, truncate or lock
//   FAULT_N      which call of that family, from 1
//   FAULT_DO     an errno by number, "short" (half of a write), or "kill" (SIGKILL before the call)
//   FAULT_STAYS  1: every later call of the family fails likewise, as on a full disk
//   FAULT_BELOW  only calls on this folder and what lies below it count; a path without links
//   FAULT_TOLD   this file appears when the fault has happened
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static const char *family, *action, *below, *told;
static long wanted;
static int stays, error_number;
static atomic_long seen;

__attribute__((constructor)) static void Start(void) {
  family = getenv("FAULT_CALL");
  action = getenv("FAULT_DO");
  below = getenv("FAULT_BELOW");
  told = getenv("FAULT_TOLD");
  const char* n = getenv("FAULT_N");
  wanted = n ? atol(n) : 0;
  stays = getenv("FAULT_STAYS") != NULL;
  error_number = action ? atoi(action) : 0;
  if (!action || !below || !told) family = NULL;
}

// Whether `path` is the folder or lies below it.
static int Counts(const char* path) {
  const size_t length = strlen(below);
  return strncmp(path, below, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int PathOfDescriptor(int fd, char* path) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return 1;
}

enum Verdict { kPass, kFail, kShort };

static enum Verdict Happen(void) {
  const long n = atomic_fetch_add(&seen, 1) + 1;
  if (n != wanted && !(stays && n > wanted)) return kPass;
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd >= 0) syscall(SYS_close, fd);
  if (strcmp(action, "kill") == 0) kill(getpid(), SIGKILL);
  if (strcmp(action, "short") == 0) return kShort;
  errno = error_number;
  return kFail;
}

static enum Verdict OnDescriptor(const char* name, int fd) {
  char path[PATH_MAX];
  if (!family || strcmp(family, name) != 0) return kPass;
  return PathOfDescriptor(fd, path) && Counts(path) ? Happen() : kPass;
}

static enum Verdict OnPath(const char* name, int at, const char* path) {
  char whole[2 * PATH_MAX];
  if (!family || strcmp(family, name) != 0) return kPass;
  if (path[0] != '/' && at != AT_FDCWD) {
    char folder[PATH_MAX];
    if (!PathOfDescriptor(at, folder)) return kPass;
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    path = whole;
  }
  return Counts(path) ? Happen() : kPass;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void* data, size_t bytes) {
  const enum Verdict verdict = OnDescriptor("write", fd);
  if (verdict == kFail) return -1;
  return NEXT(write)(fd, data, verdict == kShort && bytes > 1 ? bytes / 2 : bytes);
}

#define PWRITE(name, off)                                                                \
  ssize_t name(int fd, const void* data, size_t bytes, off at) {                         \
    const enum Verdict verdict = OnDescriptor("write", fd);                              \
    if (verdict == kFail) return -1;                                                     \
    return NEXT(name)(fd, data, verdict == kShort && bytes > 1 ? bytes / 2 : bytes, at); \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t read(int fd, void* data, size_t bytes) {
  return OnDescriptor("read", fd) == kFail ? -1 : NEXT(read)(fd, data, bytes);
}
ssize_t pread(int fd, void* data, size_t bytes, off_t at) {
  return OnDescriptor("read", fd) == kFail ? -1 : NEXT(pread)(fd, data, bytes, at);
}
ssize_t pread64(int fd, void* data, size_t bytes, off64_t at) {
  return OnDescriptor("read", fd) == kFail ? -1 : NEXT(pread64)(fd, data, bytes, at);
}

int fsync(int fd) { return OnDescriptor("fsync", fd) == kFail ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return OnDescriptor("fsync", fd) == kFail ? -1 : NEXT(fdatasync)(fd); }

#define OPEN(name)                                                                \
  int name(const char* path, int flags, ...) {                                    \
    va_list rest;                                                                 \
    va_start(rest, flags);                                                        \
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                                 \
    if (OnPath("open", AT_FDCWD, path) == kFail) return -1;                       \
    return NEXT(name)(path, flags, mode);                                         \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                              \
  int name(int at, const char* path, int flags, ...) {                            \
    va_list rest;                                                                 \
    va_start(rest, flags);                                                        \
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                                 \
    if (OnPath("open", at, path) == kFail) return -1;                             \
    return NEXT(name)(at, path, flags, mode);                                     \
  }
OPENAT(openat)
OPENAT(openat64)

int rename(const char* from, const char* to) {
  return OnPath("rename", AT_FDCWD, to) == kFail ? -1 : NEXT(rename)(from, to);
}
int renameat(int at, const char* from, int to_at, const char* to) {
  return OnPath("rename", to_at, to) == kFail ? -1 : NEXT(renameat)(at, from, to_at, to);
}
int renameat2(int at, const char* from, int to_at, const char* to, unsigned flags) {
  if (OnPath("rename", to_at, to) == kFail) return -1;
  return NEXT(renameat2)(at, from, to_at, to, flags);
}

int unlink(const char* path) {
  return OnPath("unlink", AT_FDCWD, path) == kFail ? -1 : NEXT(unlink)(path);
}
int rmdir(const char* path) {
  return OnPath("unlink", AT_FDCWD, path) == kFail ? -1 : NEXT(rmdir)(path);
}
int unlinkat(int at, const char* path, int flags) {
  return OnPath("unlink", at, path) == kFail ? -1 : NEXT(unlinkat)(at, path, flags);
}

int mkdir(const char* path, mode_t mode) {
  return OnPath("mkdir", AT_FDCWD, path) == kFail ? -1 : NEXT(mkdir)(path, mode);
}
int mkdirat(int at, const char* path, mode_t mode) {
  return OnPath("mkdir", at, path) == kFail ? -1 : NEXT(mkdirat)(at, path, mode);
}

int ftruncate(int fd, off_t length) {
  return OnDescriptor("truncate", fd) == kFail ? -1 : NEXT(ftruncate)(fd, length);
}
int ftruncate64(int fd, off64_t length) {
  return OnDescriptor("truncate", fd) == kFail ? -1 : NEXT(ftruncate64)(fd, length);
}
int fallocate(int fd, int mode, off_t at, off_t length) {
  return OnDescriptor("truncate", fd) == kFail ? -1 : NEXT(fallocate)(fd, mode, at, length);
}
int fallocate64(int fd, int mode, off64_t at, off64_t length) {
  return OnDescriptor("truncate", fd) == kFail ? -1 : NEXT(fallocate64)(fd, mode, at, length);
}

int flock(int fd, int operation) {
  int (*next)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
  return OnDescriptor("lock", fd) == kFail ? -1 : next(fd, operation);
}
