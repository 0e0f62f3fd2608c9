/* Loaded before the C library: lets the n-th allocation fail, once or from then on.
 *
 * A file shared with the tool (ALLOCATIONS_STATE) holds what it sets and what it learns: see struct
 * state. Counting begins when a path that ends with the first mark is opened or made; how many
 * allocations each later mark has before it is noted, so that a count belongs to a phase. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { MARKS = 4, LONGEST = 64 };

struct state {
  uint64_t fail_at;  /* 1 is the first counted one, 0: none */
  uint64_t for_ever; /* and all that follow */
  _Atomic uint64_t count;
  _Atomic uint64_t failed;
  _Atomic uint64_t passed[MARKS]; /* 1 + the count when a mark came up first; 0: not yet */
  char marks[MARKS][LONGEST];
};

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

static struct state* state;
static void* (*next_mmap)(void*, size_t, int, int, int, off_t);

static void find_mmap(void) {
  next_mmap = (void* (*)(void*, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
}

__attribute__((constructor)) static void begin(void) {
  if (next_mmap == NULL) find_mmap();
  const char* path = getenv("ALLOCATIONS_STATE");
  const int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* memory = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory != MAP_FAILED) state = memory;
}

/* oneDNN 2.6 writes to what it allocates without a look at whether it got it. The program asks for
 * that much room before each call, so that a process without memory never gets there; what oneDNN
 * then takes for itself is not counted. */
static int from_onednn(void* caller) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
         strstr(info.dli_fname, "libdnnl") != NULL;
}

static int fails_for(void* caller) {
  if (state == NULL || state->passed[0] == 0 || from_onednn(caller)) return 0;
  const uint64_t number = atomic_fetch_add(&state->count, 1) + 1;
  if (state->fail_at == 0 || number < state->fail_at) return 0;
  if (number > state->fail_at && !state->for_ever) return 0;
  atomic_fetch_add(&state->failed, 1);
  errno = ENOMEM;
  return 1;
}

#define fails() fails_for(__builtin_return_address(0))

static void note(const char* path) {
  if (state == NULL) return;
  const size_t length = strlen(path);
  for (int i = 0; i < MARKS; ++i) {
    const size_t mark = strlen(state->marks[i]);
    if (mark == 0 || state->passed[i] != 0 || (i > 0 && state->passed[i - 1] == 0)) continue;
    if (length >= mark && strcmp(path + length - mark, state->marks[i]) == 0) {
      state->passed[i] = state->count + 1;
    }
  }
}

void* malloc(size_t bytes) { return fails() ? NULL : __libc_malloc(bytes); }
void* calloc(size_t count, size_t bytes) { return fails() ? NULL : __libc_calloc(count, bytes); }
void* realloc(void* old, size_t bytes) { return fails() ? NULL : __libc_realloc(old, bytes); }
void* memalign(size_t unit, size_t bytes) { return fails() ? NULL : __libc_memalign(unit, bytes); }
void* aligned_alloc(size_t unit, size_t bytes) {
  return fails() ? NULL : __libc_memalign(unit, bytes);
}

int posix_memalign(void** memory, size_t unit, size_t bytes) {
  void* found = fails() ? NULL : __libc_memalign(unit, bytes);
  if (found == NULL) return ENOMEM;
  *memory = found;
  return 0;
}

void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  if (next_mmap == NULL) find_mmap();
  if ((flags & MAP_ANONYMOUS) != 0 && fails()) return MAP_FAILED;
  return next_mmap(address, bytes, protection, flags, fd, offset);
}

static int open_at(const char* path, int flags, unsigned mode) {
  note(path);
  return openat(AT_FDCWD, path, flags, mode);
}

int open(const char* path, int flags, ...) {
  unsigned mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, unsigned);
    va_end(rest);
  }
  return open_at(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  unsigned mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, unsigned);
    va_end(rest);
  }
  return open_at(path, flags, mode);
}

int mkdir(const char* path, mode_t mode) {
  note(path);
  return mkdirat(AT_FDCWD, path, mode);
}
