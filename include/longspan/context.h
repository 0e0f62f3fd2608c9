// A Context holds the number of threads and the scratch memory of an operation.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "longspan/types.h"

namespace longspan {
class Arena;     // the library's own: no header has them
class RowGroup;  // so is this one
class World;
struct ContextAccess;
}  // namespace longspan

#pragma GCC visibility push(default)
namespace longspan {

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
  // PeakBytes() is the memory that the operation would need, however large. Results are
  // meaningless. Give large tensors no memory of their own.
  static Context Rehearsal(int threads = 0);
  ~Context();
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;

  // Threads that operations use at most.
  int threads() const { return threads_; }
  // The most scratch memory that operations have had, in bytes.
  std::size_t PeakBytes() const;
  // The scratch memory, for the library itself.
  Arena& arena() { return *arena_; }
  // Whether operations only book their scratch (Rehearsal).
  bool rehearsal() const { return rehearsal_; }

  // ---- limits and hooks of the calls that get this context

  // The bytes that a call may take beside its arguments: scratch, and what it returns or keeps. A
  // call of a model rehearses itself first; one that needs more throws kLimit, with both numbers,
  // before it allocates. Encoded texts count, each as soon as it is encoded. 0, the default: no
  // limit but the system's.
  void LimitMemory(std::size_t bytes);
  std::size_t memory_limit() const { return memory_limit_; }
  // Throws kLimit "<what>: needs ..., the limit is ..." if the call takes more than memory_limit().
  void CheckMemory(const char* what, std::size_t bytes) const;

  // While `flag` is true every call ends with Cancelled, as a rule within some milliseconds and
  // always within a second, unless one text of many megabytes is being encoded. Any thread may set
  // it, for as many contexts as it is given to. It must outlive the context's calls. Null, the
  // default: nothing ends a call.
  void CancelWhen(const std::atomic<bool>* flag) { cancel_ = flag; }
  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }
  void CheckCancelled() const {
    if (cancelled()) ThrowCancelled();
  }

  // Called between the batches of tasks, evaluations and conversions, on the thread that made the
  // call, with the tokens or rows that are done and, where it is known, of how many (else 0). What
  // it throws ends the call.
  using Progress = std::function<void(idx_t done, idx_t all)>;
  void OnProgress(Progress progress) { progress_ = std::move(progress); }
  void TellProgress(idx_t done, idx_t all) const {
    if (progress_) progress_(done, all);
  }

  // ---- other processes

  // Trainings and evaluations with this context are one rank's part of those of all of `world`'s
  // ranks (longspan/world.h); it must outlive its calls. Null, the default: this process alone.
  void Join(World* world) { world_ = world; }
  World* world() const { return world_; }
  // For the library itself: a model's calls work on this rank's slab of the tokens, together with
  // the other ranks of the group, which must outlive them. Null, the default: on all tokens.
  void SplitRows(RowGroup* group) { row_group_ = group; }
  RowGroup* row_group() const { return row_group_; }

  // One line for logs and bug reports: threads, instruction set.
  std::string Describe() const;
  // Empty, or one line that says why operations run on fewer threads than threads().
  const std::string& Warning() const { return warning_; }

 private:
  friend struct ContextAccess;
  Context(int threads, bool rehearsal);
  [[noreturn]] static void ThrowCancelled();

  int threads_;
  mutable int granted_;          // threads that the system gave
  mutable std::string warning_;  // not empty if those are fewer
  bool rehearsal_;
  std::unique_ptr<Arena> arena_;
  std::size_t memory_limit_ = 0;
  const std::atomic<bool>* cancel_ = nullptr;
  Progress progress_;
  World* world_ = nullptr;
  RowGroup* row_group_ = nullptr;
};

}  // namespace longspan
#pragma GCC visibility pop
