// metrics.jsonl: one JSON object a line, what a run measured.
#pragma once

#include <filesystem>

#include "longspan/train.h"

namespace longspan {

// Appends to run_dir/metrics.jsonl. {"kind":"train"|"eval","step":..,"loss":..,...}
class MetricsLog {
 public:
  // Keeps the lines up to and including step `resume_step` and drops what lies behind: a resumed
  // run repeats those steps. kIo on a file that cannot be written.
  MetricsLog(const std::filesystem::path& run_dir, idx_t resume_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void Write(const TrainEvent& event);
  // On disk before the checkpoint that counts on it.
  void Sync();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace longspan
