// The hidden states of texts in windows until all of a text's windows are there. A text in one row
// is used where it lies.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "longspan/tensor.h"

namespace longspan {

class WindowStates {
 public:
  // `first` (texts + 1): the first row of each text, and how many there are. Rows may come in any
  // order.
  explicit WindowStates(std::vector<idx_t> first)
      : first_(std::move(first)),
        kept_(static_cast<std::size_t>(first_.back())),
        missing_(first_.size() - 1) {
    for (std::size_t i = 0; i < missing_.size(); ++i) missing_[i] = first_[i + 1] - first_[i];
  }

  // Adds the states (tokens, channels) of a row; use(text, states of its rows) if they are all.
  template <class Use>
  void Add(idx_t row, const View<const float, 2>& hidden, const Use& use) {
    const auto next = std::upper_bound(first_.begin(), first_.end(), row);
    const auto text = static_cast<std::size_t>(next - first_.begin() - 1);
    const auto begin = static_cast<std::size_t>(first_[text]);
    const auto end = static_cast<std::size_t>(first_[text + 1]);
    std::vector<View<const float, 2>> states;
    if (end - begin == 1) {
      states.push_back(hidden);
    } else {
      Tensor& own = kept_[static_cast<std::size_t>(row)];
      own = Tensor({hidden.extent[0], hidden.extent[1]});
      std::copy_n(hidden.data, own.size(), own.data<float>());
    }
    if (--missing_[text] > 0) return;
    for (std::size_t i = begin; end - begin > 1 && i < end; ++i) {
      states.push_back(std::as_const(kept_[i]).view<2>());
    }
    use(static_cast<idx_t>(text), states);
    for (std::size_t i = begin; i < end; ++i) kept_[i] = Tensor();
  }

 private:
  const std::vector<idx_t> first_;
  std::vector<Tensor> kept_;    // (rows)
  std::vector<idx_t> missing_;  // (texts): rows that are still to come
};

}  // namespace longspan
