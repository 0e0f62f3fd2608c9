#include "train/eval_batches.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/errors.h"

namespace longspan {
namespace {

// The first byte of what a rank sends after a turn.
constexpr char kGoesOn = '.', kStops = 's';

}  // namespace

void DealBatches(const RunRanks& ranks, const EvalHooks& hooks, const EvalSize& size,
                 const std::function<std::string(idx_t batch)>& find,
                 const std::function<idx_t(idx_t batch, std::string_view found)>& use) {
  // Ranks with other rows would wait for each other for ever.
  ranks.CheckSame({{"what is evaluated",
                    fmt::format("{} rows or tokens in {} batches", size.all, size.batches)}});
  const int shared = ranks.row_ranks();
  const idx_t groups = ranks.world()->size() / shared;
  const idx_t own = ranks.world()->rank() / shared;
  const bool speaks = ranks.world()->rank() % shared == 0;
  for (idx_t first = 0; first < size.batches; first += groups) {
    std::string found;
    if (first + own < size.batches) found = find(first + own);
    if (!speaks) found.clear();  // the group's first rank has found the same
    const bool stops = hooks.should_stop && hooks.should_stop();
    found.insert(found.begin(), stops ? kStops : kGoesOn);
    const std::vector<std::string> all = ranks.world()->Gather(found);
    idx_t done = 0;
    for (idx_t group = 0; group < groups && first + group < size.batches; ++group) {
      const std::string_view text = all[static_cast<std::size_t>(group * shared)];
      done = use(first + group, text.substr(1));
    }
    if (hooks.on_progress) hooks.on_progress(done, size.all);
    const bool stopped =
        std::any_of(all.begin(), all.end(), [](const auto& text) { return text[0] == kStops; });
    if (stopped && done < size.all) throw Cancelled();
  }
}

}  // namespace longspan
