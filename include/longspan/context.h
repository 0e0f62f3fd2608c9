// What an operation runs with: how many threads, and the memory for its scratch.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

class Arena;

// Passed to every operation, never global. One Context serves one caller at a time; results do
// not depend on its number of threads.
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

 private:
  Context(int threads, bool rehearsal);

  int threads_;
  bool rehearsal_;
  std::unique_ptr<Arena> arena_;
};

// Caps the instruction set of the whole process ("portable", "sse4", "avx2", "avx512",
// "avx512_bf16", "amx"), before the first operation. The environment's LONGSPAN_ISA does the same.
void CapIsa(std::string_view name);

}  // namespace longspan
