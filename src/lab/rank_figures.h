// What the ranks of a benchmark have exchanged, and what each of them takes.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "longspan/context.h"
#include "longspan/world.h"
#include "train/step_bench.h"

namespace longspan {

// Of one rank. Seconds and bytes are those of one step.
struct RankFigures {
  idx_t peak_rss_bytes = 0;
  ExchangeCounts exchanged{};

  double waited_s() const;
  double sent_bytes() const;
  // The fields of metrics.jsonl, of a step of so many seconds.
  nlohmann::ordered_json Json(double seconds) const;
};

// Adds up what a rank's steps exchange. Without other ranks it does nothing.
class ExchangeMeter {
 public:
  explicit ExchangeMeter(World* world) : world_(world) {}  // null: one process

  // All ranks come here together, so that none begins a step late.
  void Begin();
  void End();
  // The figures of all ranks, by rank; together.
  std::vector<RankFigures> OfAll(idx_t peak_rss_bytes) const;

 private:
  World* world_;
  idx_t steps_ = 0;
  ExchangeCounts before_{}, sum_{};
};

}  // namespace longspan
