#include "train/row_task.h"

#include <map>
#include <utility>

#include "base/rng.h"
#include "model/model_folder.h"

namespace longspan {

RowTask::RowTask(const TrainOptions& options, const TextModelInfo& info, WantedHead head,
                 const GlobalPolicy& global, std::vector<idx_t> lengths)
    : TextTask(options, info, std::move(head), global),
      lengths_(std::move(lengths)),
      order_(lengths_, options.batch, options.accumulate, KeyOf(options.seed, RunKey::kData)) {}

StepSize RowTask::Draw(idx_t step) {
  micros_ = order_.Update(step);
  StepSize size;
  for (const std::vector<idx_t>& micro : micros_) {
    for (const idx_t row : micro) {
      size.tokens += lengths_[static_cast<std::size_t>(row)];
      size.counted += Counted(row);
      size.weight += Weight(row);
    }
  }
  return size;
}

std::span<const idx_t> RowTask::Micro(idx_t micro) const {
  if (micro >= static_cast<idx_t>(micros_.size())) return {};
  return micros_[static_cast<std::size_t>(micro)];
}

TaskLoss RowTask::Accumulate(Context& context, idx_t micro, float scale,
                             const StepDropout& dropout) {
  return AccumulateRows(context, Micro(micro), scale, dropout);
}

TaskLoss RowTask::AccumulateRows(Context& context, std::span<const idx_t> all, float scale,
                                 const StepDropout& dropout) {
  std::map<idx_t, std::vector<idx_t>> groups;
  for (const idx_t row : all) groups[Group(row)].push_back(row);
  TaskLoss loss{0.0, CountsHits() ? 0 : -1};
  StepDropout own = dropout;
  std::size_t done = 0;
  for (const auto& [number, rows] : groups) {
    const PassesToCome passes(parameters(), ++done < groups.size());
    Batch batch = TimedBatch([&, &rows = rows] { return Gather(rows); });
    const HeadLoss part = LossAndGradients(context, batch, scale, own);
    loss.sum += part.sum;
    if (CountsHits()) loss.correct += part.correct;
    own.key = DeriveKey(own.key, 1);
  }
  return loss;
}

std::vector<std::string> RowTask::RowsOf(idx_t micro) const {
  std::vector<std::string> rows;
  for (const idx_t row : Micro(micro)) rows.push_back(Where(row));
  return rows;
}

void RowTask::SaveBeside(const std::filesystem::path& directory) const {
  TextTask::SaveBeside(directory);
  SetLongestText(directory, options().tokens, {});
}

void RowTask::Save(const std::filesystem::path& directory) {
  TextTask::Save(directory);
  SetLongestText(directory, options().tokens, {});
}

}  // namespace longspan
