#include "train/metrics_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/escape.h"
#include "io/file.h"
#include "io/json.h"
#include "io/paths.h"

namespace longspan {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{4} << 30;

// The lines of `text` whose step is at most `step`; stops at the first line that is damaged.
std::string LinesUpTo(const std::string& text, idx_t step) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut off by a crash
    const auto line =
        nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) break;
    if (line["step"].get<idx_t>() > step) break;
    begin = end + 1;
  }
  return text.substr(0, begin);
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& run_dir, idx_t resume_step)
    : path_(run_dir / "metrics.jsonl") {
  std::string kept;
  if (resume_step > 0 && io::Exists(path_)) {
    kept = LinesUpTo(io::ReadWholeFile(path_, kMostBytes), resume_step);
  }
  io::WriteFileAtomic(path_, kept);
  fd_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  Check(fd_ >= 0, ErrorCode::kIo, "{}: {}", io::Escape(path_.string()), std::strerror(errno));
}

MetricsLog::~MetricsLog() {
  if (fd_ >= 0) close(fd_);
}

void MetricsLog::Write(const TrainEvent& e) {
  nlohmann::ordered_json line;
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
  line["seconds"] = e.seconds;
  line["rss_bytes"] = e.rss_bytes;
  const std::string text = io::DumpJson(line, -1);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    Check(n > 0, ErrorCode::kIo, "{}: {}", io::Escape(path_.string()), std::strerror(errno));
    done += static_cast<std::size_t>(n);
  }
}

void MetricsLog::Sync() {
  const int error = fdatasync(fd_) == 0 ? 0 : errno;
  Check(error == 0, ErrorCode::kIo, "{}: {}", io::Escape(path_.string()), std::strerror(error));
}

}  // namespace longspan
