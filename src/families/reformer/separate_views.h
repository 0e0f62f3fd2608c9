// A call's tensors as the arguments of attention on queries, keys and values of their own:
// projected is (N, 3 H D) with query, key, value, and the one statistic is lse.
#pragma once

#include "families/reformer/attention_mechanism.h"

namespace longspan {

inline constexpr idx_t kSeparateStatistics = 1;

template <class T>
QkvOf<T> SeparateInputs(const AttentionTensorsOf<T>& t) {
  return {t.Input(0), t.Input(1), t.Input(2)};
}
template <class T>
AttentionSavedOf<T> SeparateSavedViews(const AttentionTensorsOf<T>& t) {
  AttentionSavedOf<T> saved;
  saved.out = t.Out();
  saved.lse = t.statistics[0];
  saved.delta = t.delta;
  return saved;
}
template <class T>
DQkv SeparateGradients(const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) {
  return {t.Part(dprojected, 0), t.Part(dprojected, 1), t.Part(dprojected, 2)};
}

}  // namespace longspan
