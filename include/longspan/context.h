// What an operation runs with: how many threads, and the memory for its scratch.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

class Arena;

// Passed to every operation, never global; results do not depend on its number of threads.
//
// Who may share what: a Context serves one thread at a time. Threads that each have one of their
// own may run operations at once, on one Model too (longspan/model.h). Inside an OpenMP region of
// the caller's an operation runs on the thread that calls it.
//
// After fork(): a child has none of its parent's threads. An operation on more than one is refused
// there (kUsage) by the thread that had used several before; one thread works, and so does a child
// that was forked before the first operation. Do not fork while another thread is inside an
// operation.
//
// Stacks: a thread that runs operations needs 512 KiB of stack, the others' size is OMP_STACKSIZE's
// or that of `ulimit -s`. Where the system gives fewer threads than asked for, operations go on
// with what there is, and Warning() says so.
//
// Waiting: between operations OpenMP's threads look for work for some milliseconds before they
// sleep, in time that other processes of a busy machine need. GOMP_SPINCOUNT=1000 in the
// environment, before the process starts, makes it microseconds; the program does so by itself.
class Context {
 public:
  // threads 0: LONGSPAN_THREADS, else the CPUs that this process may use.
  explicit Context(int threads = 0);
  // A context in which an operation checks its arguments and books its scratch, but runs no task:
  // arena().peak() then says what the operation would need, however much that is. Results are
  // meaningless, and nothing but the context's own memory should be given for large tensors.
  static Context Rehearsal(int threads = 0);
  ~Context();
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;

  int threads() const { return threads_; }
  Arena& arena() { return *arena_; }
  bool rehearsal() const { return rehearsal_; }

  // One line for logs and bug reports: threads, instruction set.
  std::string Describe() const;
  // Empty, or one line: operations run on fewer threads than threads(), and why.
  const std::string& Warning() const { return warning_; }

 private:
  friend int TeamThreads(const Context& context);
  Context(int threads, bool rehearsal);

  int threads_;
  mutable int granted_;          // of threads_, those that could be had
  mutable std::string warning_;  // when that is fewer
  bool rehearsal_;
  std::unique_ptr<Arena> arena_;
};

// Caps the instruction set of the whole process ("portable", "sse4", "avx2", "avx512",
// "avx512_bf16", "amx"), before the first operation. The environment's LONGSPAN_ISA does the same.
void CapIsa(std::string_view name);

}  // namespace longspan
