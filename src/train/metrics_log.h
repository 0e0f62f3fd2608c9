// metrics.jsonl: one JSON object a line, what a run measured; and the same as events.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "io/append_file.h"
#include "longspan/train.h"
#include "train/tensorboard_log.h"

namespace longspan {

// {"gradients": {"waited_s": ..., "sent_bytes": ...}, ...}, without kinds that are not exchanged.
nlohmann::ordered_json ExchangedJson(const ExchangeCounts& counts);

// Appends to run_dir/metrics.jsonl. {"kind":"train"|"eval","step":..,"loss":..,...}
class MetricsLog {
 public:
  // Keeps the lines that `kept` says and drops the others. Throws kIo if the file cannot be
  // written. With `tensorboard` the same goes to the file of events.
  MetricsLog(const std::filesystem::path& run_dir, const KeptLines& kept, bool tensorboard = false);

  // kIo; the files hold whole lines all the same, and the same call again finishes what is missing.
  void Write(const TrainEvent& event);
  // On disk before the checkpoint that counts on it.
  void Sync();

 private:
  void WriteLine(const TrainEvent& event);

  io::AppendFile file_;
  std::optional<TensorboardLog> events_;
  bool line_is_written_ = false;  // of the event whose Write failed after it
};

}  // namespace longspan
