#include "train/tensorboard_log.h"

#include <bit>
#include <chrono>
#include <cmath>
#include <utility>

#include "io/atomic_file.h"
#include "io/crc32c.h"
#include "io/file.h"
#include "io/paths.h"

namespace longspan {
namespace {

constexpr std::uint64_t kMostEventBytes = std::uint64_t{4} << 30;

// ---- records: length (8 bytes), its checksum (4), payload, its checksum (4), little-endian ------

constexpr std::size_t kHeader = 12, kFooter = 4;

template <class T>
std::string LittleEndian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
  return bytes;
}

template <class T>
T FromLittleEndian(std::string_view bytes) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 8) | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

// Masked, so that the checksum of data that hold checksums is not weak.
std::uint32_t MaskedCrc(std::string_view bytes) {
  const std::uint32_t sum = io::Crc32c(bytes);
  return ((sum >> 15) | (sum << 17)) + 0xa282ead8U;
}

// ---- payloads: messages of protocol buffers -----------------------------------------------------

enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
// Fields of Event, Summary and Summary.Value.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5;
constexpr int kSummaryValue = 1, kTag = 1, kSimpleValue = 2;

std::string Varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string Key(int field, Wire wire) {
  return Varint(static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire));
}

std::string BytesField(int field, std::string_view bytes) {
  return Key(field, Wire::kBytes) + Varint(bytes.size()) + std::string(bytes);
}

std::string WallTime() {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return Key(kWallTime, Wire::kFixed64) + LittleEndian(std::bit_cast<std::uint64_t>(now.count()));
}

std::string Scalar(const std::string& tag, double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  return BytesField(kSummaryValue,
                    BytesField(kTag, tag) + Key(kSimpleValue, Wire::kFixed32) + LittleEndian(bits));
}

std::string FirstRecord() {
  return EventRecord(WallTime() + BytesField(kFileVersion, "brain.Event:2"));
}

// ---- what a resumed run keeps -------------------------------------------------------------------

// The update of an event as Payload writes it, and whether it is of an evaluation; none: it is no
// such event.
std::optional<std::pair<idx_t, bool>> StepOf(std::string_view payload) {
  constexpr std::size_t kTime = 1 + sizeof(double);
  if (payload.size() < kTime + 2 || payload.substr(kTime, 1) != Key(kStep, Wire::kVarint)) {
    return std::nullopt;
  }
  std::uint64_t step = 0;
  std::size_t at = kTime + 1;
  for (int shift = 0; at < payload.size() && shift < 63; shift += 7) {
    const auto byte = static_cast<unsigned char>(payload[at++]);
    step |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) break;
  }
  return std::pair{static_cast<idx_t>(step), payload.find("eval/loss") != payload.npos};
}

// The records that a run goes on from. Stops at the first that is damaged, or that another program
// wrote.
std::string RecordsUpTo(std::string_view text, const KeptLines& wanted) {
  std::string kept;
  EventRecords records(text);
  if (!records.Next()) return FirstRecord();
  kept = text.substr(0, text.size() - records.rest().size());
  for (;;) {
    const std::string_view before = records.rest();
    const auto payload = records.Next();
    if (!payload) return kept;
    const auto event = StepOf(*payload);
    if (!event || event->first > wanted.step) return kept;
    if (!wanted.Keeps(event->first, event->second)) continue;
    kept += before.substr(0, before.size() - records.rest().size());
  }
}

std::filesystem::path PreparedEvents(const std::filesystem::path& path, const KeptLines& wanted) {
  const bool resumes = wanted.step > 0 && io::Exists(path);
  io::WriteFileAtomic(path, resumes ? RecordsUpTo(io::ReadWholeFile(path, kMostEventBytes), wanted)
                                    : FirstRecord());
  return path;
}

}  // namespace

std::string EventRecord(std::string_view payload) {
  const std::string length = LittleEndian(static_cast<std::uint64_t>(payload.size()));
  return length + LittleEndian(MaskedCrc(length)) + std::string(payload) +
         LittleEndian(MaskedCrc(payload));
}

std::optional<std::string_view> EventRecords::Next() {
  if (rest_.size() < kHeader + kFooter) return std::nullopt;
  const auto length = FromLittleEndian<std::uint64_t>(rest_.substr(0, 8));
  if (FromLittleEndian<std::uint32_t>(rest_.substr(8, 4)) != MaskedCrc(rest_.substr(0, 8)) ||
      length > rest_.size() - kHeader - kFooter) {
    return std::nullopt;
  }
  const std::string_view payload = rest_.substr(kHeader, static_cast<std::size_t>(length));
  const std::string_view sum = rest_.substr(kHeader + payload.size(), kFooter);
  if (FromLittleEndian<std::uint32_t>(sum) != MaskedCrc(payload)) return std::nullopt;
  rest_.remove_prefix(kHeader + payload.size() + kFooter);
  return payload;
}

TensorboardLog::TensorboardLog(const std::filesystem::path& run_dir, const KeptLines& kept)
    : file_(PreparedEvents(run_dir / kEventsFile, kept)) {}

void TensorboardLog::Write(const TrainEvent& e) {
  const bool eval = e.kind == TrainEvent::Kind::kEval;
  const std::string group = eval ? "eval/" : "train/";
  std::string values = Scalar(group + "loss", e.loss);
  if (std::isfinite(e.bits_per_byte)) values += Scalar(group + "bits_per_byte", e.bits_per_byte);
  for (const TrainMetric& metric : e.metrics) values += Scalar(group + metric.name, metric.value);
  if (!eval) {
    values += Scalar(group + "learning_rate", e.learning_rate);
    values += Scalar(group + "grad_norm", e.gradient_norm);
    values += Scalar(group + "tokens_per_s", e.tokens_per_s);
  }
  file_.Append(EventRecord(WallTime() + Key(kStep, Wire::kVarint) +
                           Varint(static_cast<std::uint64_t>(e.step)) +
                           BytesField(kSummary, values)));
}

void TensorboardLog::Sync() { file_.Sync(); }

}  // namespace longspan
