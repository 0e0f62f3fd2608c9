#include "train/row_training.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/errors.h"
#include "base/rng.h"
#include "families/families.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "train/length_batches.h"
#include "train/schedule.h"
#include "train/text_task.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// Of the split into training and held-out rows, beside the order of the rows.
constexpr std::uint64_t kSplit = 0x73706c6974;

// "b", "c" and 2 more: the labels that nothing has. Empty: there is none.
std::string LabelsOfNone(const std::vector<std::string>& labels, std::span<const idx_t> counts) {
  constexpr idx_t kMostNamed = 3;
  std::string names;
  idx_t none = 0;
  for (std::size_t k = 0; k < labels.size(); ++k) {
    if (counts[k] > 0 || ++none > kMostNamed) continue;
    names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", io::Escape(labels[k], 60));
  }
  if (none > kMostNamed) names += fmt::format(" and {} more", none - kMostNamed);
  return names;
}

// What is said of texts that need more positions than the model has: those of `tokens` need a
// multiple of 512.
std::string MorePositions(idx_t tokens) {
  constexpr idx_t kPositions = 512;
  return fmt::format(
      "the model has no more positions (a BERT or RoBERTa gets them by `longspan convert FROM TO "
      "--to longformer --max-pos {}`), so ",
      (tokens + kPositions - 1) / kPositions * kPositions);
}

}  // namespace

std::vector<bool> HeldOutRows(std::size_t rows, double share, std::uint64_t seed) {
  std::vector<idx_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  Shuffle(DeriveKey(seed, kSplit), order);
  const auto count = static_cast<std::size_t>(share * static_cast<double>(rows));
  std::vector<bool> held(rows, false);
  for (std::size_t i = 0; i < count; ++i) held[static_cast<std::size_t>(order[i])] = true;
  return held;
}

void CheckBothParts(std::size_t train, std::size_t held_out) {
  Check(train > 0 && held_out > 0, ErrorCode::kUsage,
        "train: {} texts to train on and {} held out, need one of each; give --eval or change "
        "--held-out",
        train, held_out);
}

void CheckEpochs(double epochs) {
  Check(epochs >= 0.0 && epochs <= 1e6, ErrorCode::kUsage, "epochs: {} is not from 0 to 1e6",
        epochs);
}

idx_t UpdatesOf(double epochs, idx_t rows, idx_t batch, idx_t accumulate) {
  const LengthBatches order(std::vector<idx_t>(static_cast<std::size_t>(rows), 1), batch,
                            accumulate, 0);
  const double updates = std::ceil(epochs * static_cast<double>(order.updates()));
  return std::max<idx_t>(1, std::llround(updates));
}

void TellNote(const TrainHooks& hooks, const std::string& note) {
  if (!hooks.on_event) return;
  TrainEvent event;
  event.kind = TrainEvent::Kind::kNote;
  event.text = note;
  hooks.on_event(event);
}

void TellAboutCuts(const TrainHooks& hooks, const char* part, idx_t cut, idx_t texts,
                   idx_t tokens) {
  if (cut == 0) return;
  TellNote(hooks, fmt::format("{}: {} of {} {} cut to {}", part, cut, Counted(texts, "text"),
                              cut == 1 ? "is" : "are", Counted(tokens, "token")));
}

void CheckClassesLeft(const std::string& source, std::span<const idx_t> train,
                      std::span<const idx_t> held_out) {
  idx_t all = 0, left = 0;
  for (std::size_t k = 0; k < train.size(); ++k) {
    all += train[k] + held_out[k] > 0 ? 1 : 0;
    left += train[k] > 0 ? 1 : 0;
  }
  Check(all < 2 || left >= 2, ErrorCode::kFormat,
        "{}: what is left to train on has {} of {} labels, need at least 2; another --seed, a "
        "smaller --held-out or --eval FILE holds out other rows",
        source, left, all);
}

void TellAboutClasses(const TrainHooks& hooks, const char* row,
                      const std::vector<std::string>& labels, std::span<const idx_t> train,
                      std::span<const idx_t> held_out) {
  const std::string untrained = LabelsOfNone(labels, train);
  const std::string unmeasured = LabelsOfNone(labels, held_out);
  std::string note;
  if (!untrained.empty()) note = fmt::format("no {} to train on has the label {}", row, untrained);
  if (!unmeasured.empty()) {
    note +=
        fmt::format("{}no held-out {} has the label {}", note.empty() ? "" : "; ", row, unmeasured);
  }
  if (!note.empty()) TellNote(hooks, note);
}

RowTraining PrepareRowTraining(const Context& context, const TrainOptions& given, double epochs) {
  RowTraining training{ReadTextModelInfo(given.model), OptionsFor(context, given)};
  training.options.tokens = TokensOfRows(training.options.tokens, training.info);
  CheckTrainOptions(training.options);
  CheckEpochs(epochs);
  return training;
}

void SetUpdates(double epochs, idx_t rows, TrainOptions* options) {
  if (epochs > 0.0) options->steps = UpdatesOf(epochs, rows, options->batch, options->accumulate);
  ResolveWarmup(options);
}

idx_t CountTooLong(std::span<const idx_t> lengths, idx_t most, bool may_cut,
                   const TextModelInfo& info,
                   const std::function<std::string(std::size_t text)>& where, bool windows) {
  const idx_t count =
      std::count_if(lengths.begin(), lengths.end(), [&](idx_t length) { return length > most; });
  if (count == 0 || may_cut) return count;
  const auto longest = std::max_element(lengths.begin(), lengths.end());
  Fail(ErrorCode::kLimit,
       "{}: the text has {} tokens, rows {} at most; {} of {} {} too long: {}{}cut them with "
       "--overflow truncate",
       where(static_cast<std::size_t>(longest - lengths.begin())), *longest, most, count,
       Counted(lengths.size(), "text"), count == 1 ? "is" : "are",
       most < info.longest ? std::string("raise --tokens, or ") : MorePositions(*longest),
       windows ? "read them with --overflow window, or " : "");
}

}  // namespace longspan
