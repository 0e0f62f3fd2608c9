#include "train/metrics_log.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "io/atomic_file.h"
#include "io/file.h"
#include "io/json.h"
#include "io/paths.h"

namespace longspan {

nlohmann::ordered_json ExchangedJson(const ExchangeCounts& counts) {
  nlohmann::ordered_json j = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i].bytes == 0 && counts[i].waited_s == 0.0) continue;
    j[std::string(NameOf(static_cast<ExchangeKind>(i)))] = {{"waited_s", counts[i].waited_s},
                                                            {"sent_bytes", counts[i].bytes}};
  }
  return j;
}

namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 30;

// The lines of `text` that a run goes on from. Stops at the first line that is damaged.
std::string LinesUpTo(const std::string& text, const KeptLines& wanted) {
  std::string kept;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut off by a crash
    const auto line =
        nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) break;
    const auto at = line["step"].get<idx_t>();
    if (at > wanted.step) break;
    const bool is_evaluation = line.contains("kind") && line["kind"] == "eval";
    if (wanted.Keeps(at, is_evaluation)) kept.append(text, begin, end + 1 - begin);
    begin = end + 1;
  }
  return kept;
}

std::filesystem::path Prepared(const std::filesystem::path& path, const KeptLines& wanted) {
  std::string kept;
  if (wanted.step > 0 && io::Exists(path)) {
    kept = LinesUpTo(io::ReadWholeFile(path, kMostBytes), wanted);
  }
  io::WriteFileAtomic(path, kept);
  return path;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& run_dir, const KeptLines& kept,
                       bool tensorboard)
    : file_(Prepared(run_dir / "metrics.jsonl", kept)) {
  if (tensorboard) events_.emplace(run_dir, kept);
}

void MetricsLog::Write(const TrainEvent& e) {
  if (!line_is_written_) WriteLine(e);
  line_is_written_ = true;
  if (events_) events_->Write(e);
  line_is_written_ = false;
}

void MetricsLog::WriteLine(const TrainEvent& e) {
  nlohmann::ordered_json line = nlohmann::ordered_json::object();
  const bool eval = e.kind == TrainEvent::Kind::kEval;
  line["kind"] = eval ? "eval" : "train";
  line["step"] = e.step;
  line["loss"] = e.loss;
  if (e.skipped) line["skipped"] = true;
  if (std::isfinite(e.bits_per_byte)) line["bits_per_byte"] = e.bits_per_byte;
  for (const TrainMetric& metric : e.metrics) line[metric.name] = metric.value;
  if (!eval) {
    line["learning_rate"] = e.learning_rate;
    line["grad_norm"] = e.gradient_norm;
  }
  line["tokens"] = e.tokens;
  if (!eval) line["tokens_per_s"] = e.tokens_per_s;
  if (!eval && e.ranks > 0) {
    line["ranks"] = e.ranks;
    line["waiting"] = e.waiting_share;
    line["sent_bytes"] = e.bytes_sent;
    line["exchanged"] = ExchangedJson(e.exchanged);
  }
  line["seconds"] = e.seconds;
  line["rss_bytes"] = e.rss_bytes;
  file_.Append(io::DumpJson(line, -1));
}

void MetricsLog::Sync() {
  file_.Sync();
  if (events_) events_->Sync();
}

}  // namespace longspan
