// Many texts of one row in one call (TextStarts of longspan/attention.h): each is a call of its own
// with its own plan, and the tasks of all of them are one loop.
//
//   args = CheckArguments(...);                        // of the whole row
//   for (const TextOfRow& text : TextsInOrder(starts)) // a sub-call each
//     calls.push_back(Part(args, text));
//   ForEachTask(context, calls.size(), count, body);
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/arena.h"
#include "base/math.h"
#include "base/rng.h"
#include "longspan/attention.h"
#include "parallel/parallel_for.h"
#include "tensor/mixed_view.h"

namespace longspan {

// Tokens from which a text is cut into as many tasks as if it stood alone.
inline constexpr idx_t kLongText = 16384;

// How many tasks a call wants of one text that would be cut into `alone` by itself: beside others a
// short one is not cut finely, because each task packs its keys anew, and a batch of texts has
// tasks enough. It depends on the text's own length: bits follow from it.
inline idx_t TasksWanted(idx_t alone, idx_t tokens, bool beside) {
  return beside ? CeilDiv(alone * std::min(tokens, kLongText), kLongText) : alone;
}

// Text `number` of a row: tokens [begin, begin + length).
struct TextOfRow {
  idx_t number = 0, begin = 0, length = 0;

  // The text's own dropout.
  ProbabilityDropout Draw(ProbabilityDropout dropout) const {
    dropout.key = DeriveKey(dropout.key, static_cast<std::uint64_t>(number));
    return dropout;
  }
};

// The texts in the order in which they run: the longest first, so that no thread waits long at the
// end. Equal lengths stand together: their plans are made once.
inline std::vector<TextOfRow> TextsInOrder(TextStarts starts) {
  std::vector<TextOfRow> texts;
  texts.reserve(starts.size());
  for (std::size_t d = 0; d + 1 < starts.size(); ++d) {
    texts.push_back({static_cast<idx_t>(d), starts[d], starts[d + 1] - starts[d]});
  }
  std::stable_sort(texts.begin(), texts.end(),
                   [](const TextOfRow& a, const TextOfRow& b) { return a.length > b.length; });
  return texts;
}

// Entries [begin, begin + count) of one axis. An empty view stays empty.
template <class T, int R>
View<T, R> Part(View<T, R> view, std::size_t axis, idx_t begin, idx_t count) {
  if (view.empty()) return view;
  view.data += begin * view.stride[axis];
  view.extent[axis] = count;
  return view;
}
template <class Row>
MixedView<Row> Part(MixedView<Row> view, std::size_t axis, idx_t begin, idx_t count) {
  if (view.empty()) return view;
  view.data = view.At(begin * view.stride[axis]);
  view.extent[axis] = count;
  return view;
}

// Calls body(call, task, thread) for the tasks [0, count(call)) of all calls, in one loop.
template <class Count, class Body>
void ForEachTask(const Context& context, std::size_t calls, const Count& count, const Body& body) {
  if (calls == 1) {
    const auto only = [&](idx_t task, int thread) { body(std::size_t{0}, task, thread); };
    return ParallelFor(context, count(std::size_t{0}), only);
  }
  std::vector<idx_t> first(calls + 1);
  for (std::size_t call = 0; call < calls; ++call) first[call + 1] = first[call] + count(call);
  ParallelFor(context, first.back(), [&](idx_t task, int thread) {
    const auto next = std::upper_bound(first.begin(), first.end(), task);
    const auto call = static_cast<std::size_t>(next - first.begin() - 1);
    body(call, task - first[call], thread);
  });
}

// The scratch of each thread: memory for the call that needs most, laid out for the one at hand.
template <class Scratch>
class ThreadScratch {
 public:
  // `bytes` for each thread, booked in the frame.
  ThreadScratch(const Context& context, Arena::Frame& frame, std::size_t bytes) {
    each_.reserve(static_cast<std::size_t>(context.threads()));
    for (int i = 0; i < context.threads(); ++i) each_.push_back({frame.TakeBytes(bytes)});
  }

  // place(memory) lays a Scratch out for `call`.
  template <class Place>
  const Scratch& Of(std::size_t call, int thread, const Place& place) {
    Entry& entry = each_[static_cast<std::size_t>(thread)];
    if (entry.call != call) {
      entry.scratch = place(entry.memory);
      entry.call = call;
    }
    return entry.scratch;
  }

 private:
  struct alignas(64) Entry {
    void* memory;
    std::size_t call = SIZE_MAX;
    Scratch scratch{};
  };
  std::vector<Entry> each_;
};

}  // namespace longspan
