// What a run measured as a file of events, which TensorBoard draws, with the tags that Hugging
// Face's trainer has: train/loss, train/learning_rate, train/grad_norm, eval/loss, eval/accuracy,
// ...
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "io/append_file.h"
#include "longspan/train.h"

namespace longspan {

// The file in the run's folder. TensorBoard reads every file with "tfevents" in its name.
inline constexpr const char* kEventsFile = "events.out.tfevents.longspan";

// Which lines about a run a resumed one keeps: those of the steps that it does not repeat.
struct KeptLines {
  idx_t step = 0;  // of the checkpoint that the run goes on from; 0: the run starts, none is kept
  // The newest evaluation that the checkpoint knows. A later one, at the same step, is done again.
  std::optional<idx_t> evaluated;
  // Whether the checkpoint has sums of updates that await their line (RunState::unlogged). Then the
  // line of its step, if there is one, is that of a run that ended there, and the next line has the
  // means over those updates too.
  bool sums_open = false;

  bool Keeps(idx_t at, bool evaluation) const {
    if (evaluation) return evaluated && at <= *evaluated;
    return at < step || (at == step && !sums_open);
  }
};

// A record of that file: length and payload, each with its masked CRC-32C.
std::string EventRecord(std::string_view payload);

// Whole, undamaged records at the start of `text`, and what stands behind them.
class EventRecords {
 public:
  explicit EventRecords(std::string_view text) : rest_(text) {}
  // The next payload; none at the end, or where a record is cut off or damaged.
  std::optional<std::string_view> Next();
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// Appends to run_dir/events.out.tfevents.longspan.
class TensorboardLog {
 public:
  // Keeps the events that `kept` says, as MetricsLog does. kIo.
  TensorboardLog(const std::filesystem::path& run_dir, const KeptLines& kept);

  // One event with a scalar for each number of the line. kIo; the file holds whole records all the
  // same.
  void Write(const TrainEvent& event);
  void Sync();

 private:
  io::AppendFile file_;
};

}  // namespace longspan
