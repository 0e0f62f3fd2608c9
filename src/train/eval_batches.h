// The batches of an evaluation. Ranks share them, and what they find is used in the order of one
// process, so that the number of ranks changes no bit.
#pragma once

#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "train/eval_hooks.h"
#include "train/run_ranks.h"

namespace longspan {

// How much is evaluated: batches, and the rows or tokens of all of them, which the hooks tell.
struct EvalSize {
  idx_t batches = 0, all = 0;
};

// ForEachBatch of several ranks, with what is found as bytes. Together. Batches are dealt in turn,
// one to each group of ranks that share rows. After each turn all ranks get what it found: a
// message of that many bytes from each group to rank 0, and from there to all ranks.
void DealBatches(const RunRanks& ranks, const EvalHooks& hooks, const EvalSize& size,
                 const std::function<std::string(idx_t batch)>& find,
                 const std::function<idx_t(idx_t batch, std::string_view found)>& use);

// For each batch, in order: found = find(batch), which gives plain values T in a std::vector, and
// done = use(batch, found), the rows or tokens that are finished then. `use` gets all batches on
// each rank of the context's world, and `find` those of this rank; it may compute together with the
// ranks that share its rows. Throws Cancelled on all ranks where the hooks of one ask for it;
// kFormat where ranks evaluate different numbers of batches, rows or tokens; kPeer.
template <class T, class Find, class Use>
void ForEachBatch(const Context& context, const EvalHooks& hooks, const EvalSize& size,
                  const Find& find, const Use& use) {
  static_assert(std::is_trivially_copyable_v<T>);
  const RunRanks ranks(context);
  if (!ranks.many()) {
    for (idx_t batch = 0; batch < size.batches; ++batch) {
      const std::vector<T> found = find(batch);
      Tell(hooks, use(batch, std::span<const T>(found)), size.all);
    }
    return;
  }
  DealBatches(
      ranks, hooks, size,
      [&](idx_t batch) {
        const std::vector<T> found = find(batch);
        return std::string(reinterpret_cast<const char*>(found.data()), found.size() * sizeof(T));
      },
      [&](idx_t batch, std::string_view bytes) {
        std::vector<T> found(bytes.size() / sizeof(T));
        if (!found.empty()) std::memcpy(found.data(), bytes.data(), found.size() * sizeof(T));
        return use(batch, std::span<const T>(found));
      });
}

}  // namespace longspan
