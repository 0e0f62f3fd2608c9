// How a classifier learns from whole texts in windows: from the mean of their scores.

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/errors.h"
#include "base/rng.h"
#include "longspan/files.h"
#include "tasks/scores.h"
#include "train/classify_task.h"
#include "train/window_mean.h"

namespace longspan {
namespace {

// Keys of the dropout of runs over windows, beyond the sites and groups of models.
constexpr std::uint64_t kWindowRuns = std::uint64_t{1} << 33;

constexpr std::pair<WindowLoss, std::string_view> kWindowLosses[] = {{WindowLoss::kEach, "each"},
                                                                     {WindowLoss::kMean, "mean"}};

// Places of rows of these lengths in groups of at most `most`, the longest first: next to nothing
// is padding, and a group is no larger than a micro-batch of rows.
std::vector<std::vector<idx_t>> GroupsOfWindows(std::span<const idx_t> lengths, idx_t most) {
  std::vector<idx_t> order(lengths.size());
  std::iota(order.begin(), order.end(), idx_t{0});
  std::stable_sort(order.begin(), order.end(), [&](idx_t a, idx_t b) {
    return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
  });
  std::vector<std::vector<idx_t>> groups;
  for (const idx_t place : order) {
    if (groups.empty() || std::ssize(groups.back()) == most) groups.emplace_back();
    groups.back().push_back(place);
  }
  return groups;
}

std::vector<idx_t> Picked(std::span<const idx_t> values, std::span<const idx_t> places) {
  std::vector<idx_t> picked;
  for (const idx_t place : places) picked.push_back(values[static_cast<std::size_t>(place)]);
  return picked;
}

}  // namespace

WindowLoss ParseWindowLoss(std::string_view name) {
  for (const auto& [loss, known] : kWindowLosses) {
    if (name == known) return loss;
  }
  Fail(ErrorCode::kUsage, "window-loss: '{}' is unknown; use each or mean", io::Escape(name));
}

std::string_view WindowLossName(WindowLoss loss) {
  for (const auto& [known, name] : kWindowLosses) {
    if (known == loss) return name;
  }
  return "?";
}

idx_t ClassifyTask::FirstRow(idx_t example) const {
  return by_text() ? train_.first[static_cast<std::size_t>(example)] : example;
}

idx_t ClassifyTask::RowCount(idx_t example) const {
  return by_text() ? train_.first[static_cast<std::size_t>(example) + 1] - FirstRow(example) : 1;
}

TaskLoss ClassifyTask::Accumulate(Context& context, idx_t micro, float scale,
                                  const StepDropout& dropout) {
  std::vector<idx_t> whole, parted;  // texts in one row, in several
  for (const idx_t example : Micro(micro)) {
    (RowCount(example) == 1 ? whole : parted).push_back(example);
  }
  TaskLoss loss;
  {
    const PassesToCome passes(parameters(), !parted.empty());
    loss = AccumulateRows(context, whole, scale, dropout);
  }
  if (!parted.empty()) AccumulateTexts(context, parted, scale, dropout, &loss);
  return loss;
}

// Two passes (gradient caching): the first one finds the logits of all windows and keeps nothing
// else, the second one runs each group again, with its dropout, from the gradients of the loss. So
// the memory is that of one group, however many windows a text has.
void ClassifyTask::AccumulateTexts(Context& context, std::span<const idx_t> texts, float scale,
                                   const StepDropout& dropout, TaskLoss* loss) {
  const auto labels = static_cast<idx_t>(target_.labels.size());
  std::vector<idx_t> rows, lengths;
  for (const idx_t text : texts) {
    for (idx_t i = 0; i < RowCount(text); ++i) {
      rows.push_back(FirstRow(text) + i);
      lengths.push_back(train_.length(rows.back()));
    }
  }
  const std::vector<std::vector<idx_t>> groups = GroupsOfWindows(lengths, options().batch);
  const auto dropout_of = [&](std::size_t group) {
    StepDropout own = dropout;
    if (own.active) own.key = DeriveKey(dropout.key, kWindowRuns + group);
    return own;
  };
  std::vector<float> logits(rows.size() * target_.labels.size()), dlogits(logits.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    context.CheckCancelled();
    Batch batch = TimedBatch([&] { return GatherRows(train_, Picked(rows, groups[g]), info()); });
    const Tensor found = LogitsInStep(context, batch, dropout_of(g));
    for (std::size_t b = 0; b < groups[g].size(); ++b) {
      std::copy_n(found.data<float>() + static_cast<idx_t>(b) * labels, labels,
                  logits.begin() + groups[g][b] * labels);
    }
  }
  idx_t begin = 0;
  for (const idx_t text : texts) {
    const auto at = static_cast<std::size_t>(begin * labels);
    AddTextLoss(text, std::span<const float>(logits).subspan(at), dlogits.data() + at, loss);
    begin += RowCount(text);
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    context.CheckCancelled();
    const PassesToCome passes(parameters(), g + 1 < groups.size());
    Batch batch = TimedBatch([&] { return GatherRows(train_, Picked(rows, groups[g]), info()); });
    for (const idx_t place : groups[g]) {
      const auto own = dlogits.begin() + place * labels;
      batch.dlogits.insert(batch.dlogits.end(), own, own + labels);
    }
    LossAndGradients(context, batch, scale, dropout_of(g));
  }
}

void ClassifyTask::AddTextLoss(idx_t text, std::span<const float> logits, float* dlogits,
                               TaskLoss* loss) const {
  const std::size_t labels = target_.labels.size(), t = static_cast<std::size_t>(text);
  const idx_t windows = RowCount(text);
  const std::vector<double> shares = train_.SharesOf(text);
  SequenceTargets targets{
      target_.problem, {}, {}, weights_, static_cast<float>(task_.label_smoothing)};
  if (labels_.empty()) {
    targets.values = std::span(train_.values).subspan(t * labels, labels);
  } else {
    targets.labels = std::span(labels_).subspan(t, 1);
  }
  const View<const float, 2> own(logits.data(), {windows, static_cast<idx_t>(labels)});
  loss->sum += LossOfWindowMean(targets, {own, shares}, dlogits);
  if (!CountsHits()) return;
  std::vector<std::vector<double>> scores;
  for (idx_t w = 0; w < windows; ++w) {
    scores.push_back(
        ScoresOfLogits(ScoresOf(target_.problem, own.extent[1]), {&own(w, 0), labels}));
  }
  const std::vector<double> mean = MeanOfWindows(scores, shares);
  if (!labels_.empty()) {
    loss->correct += Largest(mean, 1).front() == labels_[t] ? 1 : 0;
    return;
  }
  for (std::size_t k = 0; k < labels; ++k) {
    loss->correct += HasLabel(mean[k]) == HasLabel(targets.values[k]) ? 1 : 0;
  }
}

}  // namespace longspan
