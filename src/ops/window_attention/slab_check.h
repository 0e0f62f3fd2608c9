// What calls of slabs ask of their arguments, and where their global tokens stand.
#pragma once

#include <algorithm>
#include <array>

#include "ops/window_attention/setup.h"
#include "ops/window_attention/window_slab.h"

namespace longspan {

// kUsage unless there is such a slab, with all keys that its window reaches; shape is that of q.
void CheckWindowSlab(const WindowSpec& spec, const WindowSlab& slab,
                     const std::array<idx_t, 4>& shape, const TokenRoles& roles);
// The same for rows of global tokens: the shapes are those of qg and kg.
void CheckGlobalSlab(const WindowSpec& spec, const WindowSlab& slab,
                     const std::array<idx_t, 4>& queries, const std::array<idx_t, 4>& keys,
                     const TokenRoles& roles);
template <class T>
void CheckSlabQkv(const WindowSlab& slab, const QkvOf<T>& qkv) {
  std::array<idx_t, 4> keys = qkv.q.extent;
  CheckWindow(qkv.q, "q", keys);
  keys[2] = slab.GlobalKeys() + slab.Globals();
  if (slab.global_keys > 0) keys[2] = std::max(keys[2], qkv.k.extent[2]);
  CheckWindow(qkv.k, "k", keys);
  CheckWindow(qkv.v, "v", keys);
}

// The list of global keys: they lie behind the slab's.
GlobalTokens GlobalKeysOf(const WindowSlab& slab);
// The list of global tokens by their places in the row.
GlobalTokens GlobalPlacesOf(const WindowSlab& slab);

}  // namespace longspan
