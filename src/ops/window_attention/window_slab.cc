#include "ops/window_attention/window_slab.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/window_attention/slab_check.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// What both kinds of rows ask.
void CheckPlaces(const WindowSpec& spec, const WindowSlab& slab) {
  Check(slab.begin >= 0 && slab.begin < slab.end && slab.end <= slab.tokens, ErrorCode::kUsage,
        "window attention: a slab from token {} to {} is not in a row of {}", slab.begin, slab.end,
        slab.tokens);
  Check(
      spec.globals == nullptr && spec.starts.empty(), ErrorCode::kUsage,
      "window attention: a slab has its global tokens from its own list, and is of one text; give "
      "no others and no starts");
  Check(!spec.causal || slab.globals.empty(), ErrorCode::kUsage,
        "window attention: a slab of a causal row cannot have global tokens; there are {}",
        slab.Globals());
  for (std::size_t i = 0; i < slab.globals.size(); ++i) {
    const idx_t before = i == 0 ? -1 : slab.globals[i - 1];
    Check(slab.globals[i] > before && slab.globals[i] < slab.tokens, ErrorCode::kUsage,
          "window attention: global token {} at place {} of a row of {}; places must ascend", i,
          slab.globals[i], slab.tokens);
  }
}

void CheckOneRow(const std::array<idx_t, 4>& shape) {
  Check(shape[0] == 1, ErrorCode::kUsage, "window attention: a slab of {} rows; it is of one",
        shape[0]);
}

}  // namespace

WindowSlab WindowSlab::Of(const WindowSpec& spec, idx_t tokens, idx_t begin, idx_t end) {
  const idx_t most =
      spec.dilation.empty() ? 1 : *std::max_element(spec.dilation.begin(), spec.dilation.end());
  // In whole steps; a reach beyond the row is cut before it could overflow.
  const auto reach = [&](idx_t width, idx_t room) {
    return width > room / most ? room : std::min(room, width * most);
  };
  WindowSlab slab;
  slab.tokens = tokens;
  slab.begin = begin;
  slab.end = end;
  slab.before = reach(spec.Left(tokens), begin);
  slab.after = reach(spec.Right(tokens), tokens - end);
  return slab;
}

void CheckWindowSlab(const WindowSpec& spec, const WindowSlab& slab,
                     const std::array<idx_t, 4>& shape, const TokenRoles& roles) {
  CheckPlaces(spec, slab);
  CheckOneRow(shape);
  const WindowSlab least = WindowSlab::Of(spec, slab.tokens, slab.begin, slab.end);
  const bool enough = slab.before >= least.before && slab.before <= slab.begin &&
                      slab.after >= least.after && slab.after <= slab.tokens - slab.end;
  Check(enough, ErrorCode::kUsage,
        "window attention: a slab from token {} to {} of {} has {} keys before it and {} after it; "
        "it needs {} and {}, and no more than there are",
        slab.begin, slab.end, slab.tokens, slab.before, slab.after, least.before, least.after);
  Check(shape[2] == slab.Queries(), ErrorCode::kUsage,
        "window attention: q has {} rows for a slab of {} tokens", shape[2], slab.Queries());
  Check(slab.GlobalKeys() >= slab.Keys(), ErrorCode::kUsage,
        "window attention: the keys of global tokens begin at {}, among the {} of a slab",
        slab.GlobalKeys(), slab.Keys());
  CheckWindow.Tokens(roles, "the roles", {1, shape[1], slab.Keys(), shape[3]});
  const auto is_global = [&](idx_t t) {
    const idx_t token = slab.begin - slab.before + t;
    return std::binary_search(slab.globals.begin(), slab.globals.end(), token);
  };
  for (idx_t t = 0; t < slab.Keys() && (!roles.empty() || !slab.globals.empty()); ++t) {
    const bool role = !roles.empty() && roles(0, t) == kGlobalToken;
    Check(role == is_global(t), ErrorCode::kUsage,
          "window attention: token {} of the row is global by its role or by the slab's list, and "
          "not by the other",
          slab.begin - slab.before + t);
  }
}

void CheckGlobalSlab(const WindowSpec& spec, const WindowSlab& slab,
                     const std::array<idx_t, 4>& queries, const std::array<idx_t, 4>& keys,
                     const TokenRoles& roles) {
  CheckPlaces(spec, slab);
  CheckOneRow(keys);
  Check(keys[2] == slab.Queries(), ErrorCode::kUsage,
        "window attention: kg has {} rows for a slab of {} tokens", keys[2], slab.Queries());
  Check(queries[2] == slab.Globals(), ErrorCode::kUsage,
        "window attention: qg has {} rows for {} global tokens", queries[2], slab.Globals());
  CheckWindow.Tokens(roles, "the roles", keys);
}

GlobalTokens GlobalKeysOf(const WindowSlab& slab) {
  GlobalTokens keys{slab.Globals(), {}, {0, slab.Globals()}};
  for (idx_t g = 0; g < slab.Globals(); ++g) keys.positions.push_back(slab.GlobalKeys() + g);
  return keys;
}

GlobalTokens GlobalPlacesOf(const WindowSlab& slab) {
  return {slab.Globals(), slab.globals, {0, slab.Globals()}};
}

void JoinParts(Context& context, const std::vector<AttentionSaved>& parts,
               const AttentionSaved& saved) {
  const auto& shape = saved.out.extent;
  CheckWindow.Outputs(saved, shape);
  for (const AttentionSaved& part : parts) CheckWindow.Outputs(part, shape);
  ParallelFor(context, shape[0] * shape[1], [&](idx_t head, int) {
    const idx_t b = head / shape[1], h = head % shape[1];
    for (idx_t t = 0; t < shape[2]; ++t) {
      constexpr float kNone = -std::numeric_limits<float>::infinity();
      float most = kNone;
      bool any = false;  // or a NaN, which shall be seen
      for (const AttentionSaved& part : parts) {
        most = std::max(most, part.lse(b, h, t));
        any = any || part.lse(b, h, t) != kNone;
      }
      float* out = &saved.out(b, h, t, 0);
      std::fill_n(out, shape[3], 0.0f);
      saved.lse(b, h, t) = most;
      if (!any) continue;
      float sum = 0.0f;
      for (const AttentionSaved& part : parts) sum += std::exp(part.lse(b, h, t) - most);
      for (const AttentionSaved& part : parts) {
        const float weight = std::exp(part.lse(b, h, t) - most) / sum;
        if (weight == 0.0f) continue;
        for (idx_t d = 0; d < shape[3]; ++d) out[d] += weight * part.out(b, h, t, d);
      }
      saved.lse(b, h, t) = most + std::log(sum);
    }
  });
}

}  // namespace longspan
