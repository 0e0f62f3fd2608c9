#include "cli/openmp_start.h"

#include "cli/sanitized.h"

// libgomp reads its variables once, in a constructor that runs before main and before any other
// code of ours: but for the functions of an executable's preinit array. One of these lends it an
// entry of the environment that nobody reads so early, and main puts back what was there. Starting
// the program a second time with another environment would do the same for 30 ms, and show.
//
// Threads that wait spin for a while and then sleep. Left alone libgomp's do for 300,000 turns,
// some milliseconds, and where another process wants the CPU they take that time from it and from
// the threads that they wait for. Between the regions of a step lie microseconds.

namespace {

constexpr const char* kSpin = "GOMP_SPINCOUNT=1000";
// A smaller stack overflows (kLeastStack of parallel/team.h is what is needed at least).
constexpr const char* kStack = "OMP_STACKSIZE=1M";
constexpr const char* kOldStack = "GOMP_STACKSIZE=1M";
constexpr unsigned long kLeastKiB = 1024;

char** borrowed = nullptr;
char* lent = nullptr;

// Nothing of the C library may be called yet. What follows `name` and '=', or null.
const char* ValueOf(const char* entry, const char* name) {
  while (*name != '\0' && *entry == *name) ++entry, ++name;
  return *name == '\0' && *entry == '=' ? entry + 1 : nullptr;
}

// Whether it is a number below the least stack, as libgomp reads it: KiB, or with a unit.
bool IsSmallStack(const char* value) {
  while (*value == ' ' || *value == '\t') ++value;
  if (*value < '0' || *value > '9') return false;
  unsigned long number = 0;
  for (; *value >= '0' && *value <= '9'; ++value) {
    if (number < (1UL << 50)) number = number * 10 + static_cast<unsigned long>(*value - '0');
  }
  while (*value == ' ' || *value == '\t') ++value;
  switch (*value) {
    case 'b':
    case 'B':
      return number < kLeastKiB << 10;
    case 'm':
    case 'M':
    case 'g':
    case 'G':
      return number == 0;
    default:
      return number < kLeastKiB;
  }
}

[[maybe_unused]] void BeforeLibraries(int, char**, char** environment) {
  // No library's constructor asks for these; one of them is there wherever programs are started.
  constexpr const char* kUnread[] = {"_",        "OLDPWD",        "SHLVL", "PWD",
                                     "LOGNAME",  "MAIL",          "USER",  "SHELL",
                                     "HOSTNAME", "INVOCATION_ID", "HOME",  "PATH"};
  bool decided = false;
  for (char** entry = environment; *entry != nullptr; ++entry) {
    if (ValueOf(*entry, "GOMP_SPINCOUNT") || ValueOf(*entry, "OMP_WAIT_POLICY")) decided = true;
    const char* stack = ValueOf(*entry, "OMP_STACKSIZE");
    if (stack != nullptr && IsSmallStack(stack)) *entry = const_cast<char*>(kStack);
    stack = ValueOf(*entry, "GOMP_STACKSIZE");
    if (stack != nullptr && IsSmallStack(stack)) *entry = const_cast<char*>(kOldStack);
    for (const char* name : kUnread) {
      if (ValueOf(*entry, name)) borrowed = entry;
    }
  }
  if (decided) borrowed = nullptr;
  if (borrowed == nullptr) return;
  lent = *borrowed;
  *borrowed = const_cast<char*>(kSpin);
}

// A sanitizer is not there yet at this point, and its threads wait as they like.
#ifndef LONGSPAN_SANITIZED
__attribute__((section(".preinit_array"), used)) void (*before_libraries)(int, char**,
                                                                          char**) = BeforeLibraries;
#endif

}  // namespace

namespace longspan::cli {

void RestoreEnvironment() {
  if (borrowed != nullptr) *borrowed = lent;
  borrowed = nullptr;
}

}  // namespace longspan::cli
