// What trainings over rows of a table have in common: which rows are held out, how many updates an
// epoch has, notes for people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "longspan/train.h"

namespace longspan {

// Which of `rows` rows are held out: floor(rows * share) of them, drawn by `seed`.
std::vector<bool> HeldOutRows(std::size_t rows, double share, std::uint64_t seed);

// Takes rows apart: those that are held out (HeldOutRows) become the second part. Both keep the
// order of `all`.
template <typename Row>
std::pair<std::vector<Row>, std::vector<Row>> SplitRows(std::vector<Row> all, double share,
                                                        std::uint64_t seed) {
  const std::vector<bool> held = HeldOutRows(all.size(), share, seed);
  std::vector<Row> train, rest;
  for (std::size_t i = 0; i < all.size(); ++i)
    (held[i] ? rest : train).push_back(std::move(all[i]));
  return {std::move(train), std::move(rest)};
}

// kUsage unless there is a row to train on and one that is held out.
void CheckBothParts(std::size_t train, std::size_t held_out);

// kUsage unless epochs are from 0 to a million; 0 lets the number of steps count.
void CheckEpochs(double epochs);
// The updates of so many passes over `rows` rows, at least one (train/length_batches.h).
idx_t UpdatesOf(double epochs, idx_t rows, idx_t batch, idx_t accumulate);

void TellNote(const TrainHooks& hooks, const std::string& note);

}  // namespace longspan
