// What trainings over rows of a table have in common: which rows are held out, how many updates an
// epoch has, notes for people.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "longspan/train.h"
#include "model/text_model_info.h"
#include "train/stored_rows.h"

namespace longspan {

// Which of `rows` rows are held out: floor(rows * share) of them, drawn by `seed`.
std::vector<bool> HeldOutRows(std::size_t rows, double share, std::uint64_t seed);

// Takes rows apart: those that are held out (HeldOutRows) become the second part. Both keep the
// order of `all`.
template <typename Row>
std::pair<StoredRows<Row>, StoredRows<Row>> SplitRows(const StoredRows<Row>& all, double share,
                                                      std::uint64_t seed) {
  const std::vector<bool> held = HeldOutRows(all.size(), share, seed);
  StoredRows<Row> train = all.Empty(), rest = all.Empty();
  for (std::size_t i = 0; i < all.size(); ++i) (held[i] ? rest : train).Share(all, i);
  return {std::move(train), std::move(rest)};
}

// kUsage unless there is a row to train on and one that is held out.
void CheckBothParts(std::size_t train, std::size_t held_out);

// The texts held out of a training: those of options.data.eval, which read(files) gives, or rows
// that are taken out of `train`. Texts: rows, and what else was found while they were read. kUsage
// unless both parts have a row.
template <class Texts, class Read>
Texts TakeHeldOut(const TrainOptions& options, const Read& read, Texts* train) {
  Texts held_out;
  if (options.data.eval.empty()) {
    held_out = *train;
    std::tie(train->rows, held_out.rows) =
        SplitRows(train->rows, options.data.held_out, options.seed);
  } else {
    held_out = read(std::vector<std::filesystem::path>{options.data.eval});
  }
  CheckBothParts(train->rows.size(), held_out.rows.size());
  return held_out;
}

// kUsage unless epochs are from 0 to a million; 0 lets the number of steps count.
void CheckEpochs(double epochs);
// The updates of so many passes over `rows` rows, at least one (train/length_batches.h).
idx_t UpdatesOf(double epochs, idx_t rows, idx_t batch, idx_t accumulate);

void TellNote(const TrainHooks& hooks, const std::string& note);
// "train: 3 of 40 texts are cut to 512 tokens", unless `cut` is 0.
void TellAboutCuts(const TrainHooks& hooks, const char* part, idx_t cut, idx_t texts, idx_t tokens);

// kFormat where the rows had several classes and those to train on have one: then nothing can be
// learned. Counts are of each class, those of sets of labels excepted.
void CheckClassesLeft(const std::string& source, std::span<const idx_t> train,
                      std::span<const idx_t> held_out);
// "no row to train on has the label "b"; no held-out row has "c", "d" and 2 more", unless each
// label has one in both parts. `row` is what is counted.
void TellAboutClasses(const TrainHooks& hooks, const char* row,
                      const std::vector<std::string>& labels, std::span<const idx_t> train,
                      std::span<const idx_t> held_out);

// The start model, and the options checked as far as they are known without the data: tokens
// become all that the model has where they are 0.
struct RowTraining {
  TextModelInfo info;
  TrainOptions options;
};
RowTraining PrepareRowTraining(const Context& context, const TrainOptions& given, double epochs);
// The updates of so many epochs over `rows` rows, unless epochs are 0, and their warm-up.
void SetUpdates(double epochs, idx_t rows, TrainOptions* options);

// How many of the texts are longer than `most` tokens. kLimit, naming the longest by
// where(number), unless they may be cut. `windows`: they could be read in windows, which the
// message says then.
idx_t CountTooLong(std::span<const idx_t> lengths, idx_t most, bool may_cut,
                   const TextModelInfo& info,
                   const std::function<std::string(std::size_t text)>& where, bool windows = false);

}  // namespace longspan
