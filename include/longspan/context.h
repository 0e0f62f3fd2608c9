// A Context holds the number of threads and the scratch memory of an operation.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

class Arena;

// Passed to every operation, never global; results do not depend on its number of threads.
//
// Sharing: a Context serves one thread at a time. Several threads may run operations at once, each
// with its own Context, on one Model too (longspan/model.h). Inside the caller's OpenMP region an
// operation runs on the thread that calls it.
//
// After fork(): a child has none of its parent's threads. If the forking thread had run an
// operation on several threads, such an operation is refused in the child (kUsage). One thread
// works, and so does a child that was forked before the first operation. Do not fork during an
// operation.
//
// Stacks: a thread that runs operations needs 512 KiB of stack. OMP_STACKSIZE or `ulimit -s` sets
// the size for the others. If the system gives fewer threads than wanted, operations use those, and
// Warning() reports it.
//
// Waiting: between operations OpenMP's threads spin for some milliseconds before they sleep. On a
// busy machine other processes need that time. GOMP_SPINCOUNT=1000 in the environment, before the
// process starts, reduces it to microseconds. The program sets it by itself.
class Context {
 public:
  // threads 0: LONGSPAN_THREADS, else the CPUs that this process may use.
  explicit Context(int threads = 0);
  // In this context an operation checks its arguments and books its scratch, but runs no task. Then
  // arena().peak() is the memory that the operation would need, however large. Results are
  // meaningless. Give large tensors no memory of their own.
  static Context Rehearsal(int threads = 0);
  ~Context();
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;

  int threads() const { return threads_; }
  Arena& arena() { return *arena_; }
  bool rehearsal() const { return rehearsal_; }

  // One line for logs and bug reports: threads, instruction set.
  std::string Describe() const;
  // Empty, or one line that says why operations run on fewer threads than threads().
  const std::string& Warning() const { return warning_; }

 private:
  friend int TeamThreads(const Context& context);
  Context(int threads, bool rehearsal);

  int threads_;
  mutable int granted_;          // threads that the system gave
  mutable std::string warning_;  // not empty if those are fewer
  bool rehearsal_;
  std::unique_ptr<Arena> arena_;
};

// Caps the instruction set of the whole process ("portable", "sse4", "avx2", "avx512",
// "avx512_bf16", "amx"), before the first operation. The environment's LONGSPAN_ISA does the same.
void CapIsa(std::string_view name);

}  // namespace longspan
