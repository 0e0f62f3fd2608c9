// The cosines and sines of a pass, for both kinds of layers.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "families/modernbert/modernbert_config.h"
#include "families/modernbert/visible_batch.h"
#include "longspan/context.h"
#include "ops/rotary/rotary.h"

namespace longspan {

// How the heads of a layer turn: what RotaryForward takes.
struct RotaryTurn {
  RotaryTable table;
  std::span<const std::int32_t> positions;  // (n): each token's row of the table
};

// One table for both kinds of layers if they turn alike. Texts whose lengths give them other
// frequencies (RotaryLength) have rows of their own, so that each turns as it does alone.
class RotaryTables {
 public:
  // In the context's arena, as long as this lives. `texts` must outlive it.
  RotaryTables(Context& context, const ModernBertConfig& config, const VisibleBatch& texts);
  RotaryTables(const RotaryTables&) = delete;
  RotaryTables& operator=(const RotaryTables&) = delete;

  const RotaryTurn& full() const { return full_; }
  const RotaryTurn& window() const { return window_; }

 private:
  // Rows of texts with the same frequencies.
  struct Part {
    idx_t length;    // RotaryLength of these texts
    idx_t rows = 0;  // as many as the longest of them has tokens
    idx_t begin = 0;
  };
  struct Plan {
    RotarySpec spec;
    std::vector<Part> parts;
    std::vector<std::int32_t> positions;  // empty: those of the texts
    idx_t rows = 0;
  };
  RotaryTables(Context& context, const VisibleBatch& texts, Plan full, Plan window, idx_t half);
  static Plan PlanOf(const RotarySpec& spec, const VisibleBatch& texts);
  RotaryTurn Fill(Context& context, const VisibleBatch& texts, const Plan& plan, idx_t half);

  Plan full_plan_, window_plan_;
  Arena::Frame frame_;
  RotaryTurn full_, window_;
};

}  // namespace longspan
