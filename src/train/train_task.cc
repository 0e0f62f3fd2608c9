#include "train/train_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/rng.h"
#include "io/atomic_directory.h"
#include "model/weight_files.h"

namespace longspan {

std::uint64_t KeyOf(std::uint64_t seed, RunKey purpose) {
  return DeriveKey(seed, static_cast<std::uint64_t>(purpose));
}

void TrainTask::SaveBeside(const std::filesystem::path& directory) const {
  for (const auto& file : FilesBeside()) io::CopyFile(file, directory / file.filename());
}

std::string ListedRows(const std::vector<std::string>& rows) {
  constexpr std::size_t kShown = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(rows.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + rows[i];
  }
  return rows.size() > kShown ? text + fmt::format(" and {} more", rows.size() - kShown) : text;
}

std::vector<io::TensorEntry> TrainTask::Weights() { return WeightEntries(parameters()); }

double TrainTask::BitsPerByte(double) const { return std::numeric_limits<double>::quiet_NaN(); }

}  // namespace longspan
