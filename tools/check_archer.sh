#!/bin/sh
# check_archer.sh BUILD: proves that the thread sanitizer sees OpenMP as it is, or exits 1.
# Archer must announce itself, a clean region must pass and a planted race must be found.
# The caller has set OMP_TOOL_LIBRARIES and TSAN_OPTIONS.
set -eu
folder=$1/archer
mkdir -p "$folder"
cat >"$folder/probe.cc" <<'CODE'
#include <omp.h>
#include <cstdio>
// Each thread adds to one sum: under a critical section, or without one when asked to race.
int main(int count, char**) {
  const bool race = count > 1;
  long sum = 0;
#pragma omp parallel for num_threads(4)
  for (int i = 0; i < 10000; ++i) {
    if (race) {
      sum += i;
    } else {
#pragma omp critical
      sum += i;
    }
  }
  std::printf("%ld\n", sum);
}
CODE
clang++-14 -O1 -g -fopenmp=libomp -fsanitize=thread "$folder/probe.cc" -o "$folder/probe"

complain() { echo "check_archer: $*" >&2; exit 1; }

ARCHER_OPTIONS=verbose=1 "$folder/probe" >"$folder/clean.log" 2>&1 ||
  complain "a program without a race is reported: $(cat "$folder/clean.log")"
grep -q 'Archer detected OpenMP application with TSan' "$folder/clean.log" ||
  complain "Archer is not active: $(cat "$folder/clean.log")"
if "$folder/probe" race >"$folder/race.log" 2>&1; then
  complain "a planted race was not found"
fi
grep -q 'data race' "$folder/race.log" || complain "no race report: $(cat "$folder/race.log")"
echo "check_archer: active, clean region passes, planted race found" >&2
