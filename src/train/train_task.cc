#include "train/train_task.h"

#include <limits>

#include "base/rng.h"
#include "model/weight_files.h"

namespace longspan {

std::uint64_t KeyOf(std::uint64_t seed, RunKey purpose) {
  return DeriveKey(seed, static_cast<std::uint64_t>(purpose));
}

std::vector<io::TensorEntry> TrainTask::Weights() { return WeightEntries(parameters()); }

double TrainTask::BitsPerByte(double) const { return std::numeric_limits<double>::quiet_NaN(); }

}  // namespace longspan
