#include "cli/answer_parts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "cli/check.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kPartMagic = "longspan-answers 1\n";
constexpr std::string_view kPartPrefix = "part-";
constexpr std::size_t kHexDigits = 32;  // of a checksum
// A part is read back whole. A text of 64 MB with explanations stays far below.
constexpr std::uint64_t kMostPartBytes = std::uint64_t{4} << 30;
constexpr seconds kBetweenLooks{2};
// A network file system may show a file of another machine so much later.
constexpr seconds kForOtherMachines{90};

std::uint64_t PartBytes(const std::vector<InputText>& texts) {
  std::uint64_t bytes = 1;
  for (const InputText& text : texts) bytes += BytesOf(text);
  return bytes;
}

std::string ChecksumOfTexts(const std::vector<InputText>& texts) {
  std::string all;
  const auto add = [&](std::string_view piece) {
    all += fmt::format("{}:", piece.size());
    all += piece;
  };
  for (const InputText& text : texts) {
    add(text.name);
    add(text.text);
    for (const auto& [name, value] : text.fields) {
      add(name);
      add(value);
    }
    add(text.refused ? text.refused->what() : "");
  }
  return io::ChecksumOf(all);
}

std::string PartText(const AnswerPart& part, const std::string& setup, const std::string& texts) {
  std::vector<std::uint8_t> vectors;
  vectors.resize(part.vectors.size() * sizeof(float));
  if (!vectors.empty()) std::memcpy(vectors.data(), part.vectors.data(), vectors.size());
  const PartCounts& c = part.counts;
  const nlohmann::ordered_json all = {
      {"counts", {c.texts, c.rows, c.tokens, c.globals}},
      {"records", part.records},
      {"vectors", nlohmann::ordered_json::binary(std::move(vectors))}};
  std::string body;  // CBOR holds every double as it is
  nlohmann::ordered_json::to_cbor(all, body);
  return std::string(kPartMagic) + setup + texts + io::ChecksumOf(body) + body;
}

struct PartFile {
  std::string setup, texts, body;
};

// Nothing: no whole part.
std::optional<PartFile> ReadPartFile(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return std::nullopt;
  const std::string text = io::ReadWholeFile(file, kMostPartBytes);
  const std::size_t begin = kPartMagic.size() + 3 * kHexDigits;
  if (!text.starts_with(kPartMagic) || text.size() < begin) return std::nullopt;
  const auto digits = [&](std::size_t i) {
    return text.substr(kPartMagic.size() + i * kHexDigits, kHexDigits);
  };
  PartFile part{digits(0), digits(1), text.substr(begin)};
  if (io::ChecksumOf(part.body) != digits(2)) return std::nullopt;
  return part;
}

AnswerPart ParsePart(const std::string& body, const fs::path& file) {
  try {
    nlohmann::ordered_json all = nlohmann::ordered_json::from_cbor(body);
    AnswerPart part;
    part.records = std::move(all.at("records"));
    const auto& counts = all.at("counts");
    part.counts = {counts.at(0), counts.at(1), counts.at(2), counts.at(3)};
    const auto& vectors = all.at("vectors").get_binary();
    part.vectors.resize(vectors.size() / sizeof(float));
    if (!vectors.empty()) std::memcpy(part.vectors.data(), vectors.data(), vectors.size());
    return part;
  } catch (const nlohmann::ordered_json::exception&) {
    Fail(ErrorCode::kFormat, "{}: no part of this program's; remove it, and --resume makes it anew",
         io::EscapeName(file.string()));
  }
}

// The number of a part's file; nothing: it is none.
std::optional<std::size_t> PartNumber(const fs::path& file) {
  const std::string name = file.filename().string();
  if (!name.starts_with(kPartPrefix)) return std::nullopt;
  std::size_t number = 0;
  const char* begin = name.data() + kPartPrefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

fs::path PartsFolderOf(const fs::path& output) {
  return fs::path(output).replace_filename("." + output.filename().string() + ".longspan-parts");
}

void CheckNoPartsIn(const fs::path& folder) {
  std::error_code error;
  idx_t parts = 0;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (PartNumber(at->path())) ++parts;
  }
  Check(parts == 0, ErrorCode::kUsage,
        "{}: it has {} finished parts of an earlier run; go on from them with --resume, or remove "
        "that folder to start again",
        io::EscapeName(folder.string()), parts);
}

}  // namespace

void CheckNoParts(const fs::path& output) { CheckNoPartsIn(PartsFolderOf(output)); }

void PartCounts::Add(const PartCounts& other) {
  texts += other.texts;
  rows += other.rows;
  tokens += other.tokens;
  globals += other.globals;
}

std::vector<int> DealParts(std::span<const std::uint64_t> bytes, int ranks) {
  std::vector<std::size_t> order(bytes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return bytes[a] > bytes[b]; });
  std::vector<std::uint64_t> load(static_cast<std::size_t>(ranks), 0);
  std::vector<int> owner(bytes.size(), -1);
  for (const std::size_t part : order) {
    if (bytes[part] == 0) continue;
    const auto least = std::min_element(load.begin(), load.end());
    *least += bytes[part];
    owner[part] = static_cast<int>(least - load.begin());
  }
  return owner;
}

AnswerParts::AnswerParts(World& world, const fs::path& output, bool resume)
    : world_(world), folder_(PartsFolderOf(output)), resume_(resume) {}

AnswerParts::~AnswerParts() {
  if (lock_ >= 0) close(lock_);
}

fs::path AnswerParts::FileOf(std::size_t part) const {
  return folder_ / fmt::format("{}{:09}", kPartPrefix, part);
}

void AnswerParts::Scan(TextInputs& texts, const std::function<void(const std::string&)>& note) {
  for (;;) {
    const std::vector<InputText> chunk = texts.NextChunk();
    for (const std::string& line : texts.TakeNotes()) note(line);
    if (chunk.empty()) return;
    bytes_.push_back(PartBytes(chunk));
    checksums_.push_back(ChecksumOfTexts(chunk));
  }
}

void AnswerParts::FindDone() {
  std::error_code error;
  fs::create_directory(folder_, error);
  const std::string name = io::EscapeName(folder_.string());
  Check(!error, ErrorCode::kIo, "{}: cannot be made: {}", name, error.message());
  lock_ = open((folder_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  const int reason = errno;
  Check(lock_ >= 0, ErrorCode::kIo, "{}: cannot be written: {}", name, std::strerror(reason));
  // Where locks do not work, nobody can be told from a run that died.
  Check(flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, ErrorCode::kLocked,
        "{}: in use by another process, which writes the same output", name);
  before_.assign(bytes_.size(), 0);
  if (!resume_) CheckNoPartsIn(folder_);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    const auto part = PartNumber(entry.path());
    if (!part) continue;
    const auto found = resume_ ? ReadPartFile(entry.path()) : std::nullopt;
    Check(!found || found->setup == setup_, ErrorCode::kUsage,
          "resume: the parts in {} are of other options, files of other names, another model, "
          "another longspan or another instruction set; remove that folder to start again",
          name);
    const bool done = found && *part < bytes_.size() && found->texts == checksums_[*part];
    std::error_code stays;
    if (done) {
      before_[*part] = 1;
    } else {
      fs::remove(entry.path(), stays);
    }
  }
}

// The others get what rank 0 knows.
void AnswerParts::Share() {
  const nlohmann::json own = {{"bytes", bytes_}, {"checksums", checksums_}, {"before", before_}};
  std::string text;
  if (world_.is_first()) nlohmann::json::to_cbor(own, text);
  const nlohmann::json all = nlohmann::json::from_cbor(world_.Broadcast(text));
  bytes_ = all.at("bytes").get<std::vector<std::uint64_t>>();
  checksums_ = all.at("checksums").get<std::vector<std::string>>();
  before_ = all.at("before").get<std::vector<char>>();
}

void AnswerParts::Begin(TextInputs texts, const std::string& setup,
                        const std::function<void(const std::string&)>& note) {
  setup_ = setup;
  if (world_.is_first()) {
    Scan(texts, note);
    FindDone();
  }
  if (world_.size() > 1) Share();
  std::vector<std::uint64_t> missing = bytes_;
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (before_[i] != 0) missing[i] = 0;
  }
  owner_ = DealParts(missing, world_.size());
  state_.all = static_cast<idx_t>(bytes_.size());
  state_.done = static_cast<idx_t>(std::count(before_.begin(), before_.end(), 1));
  state_.all_bytes = std::accumulate(missing.begin(), missing.end(), std::uint64_t{0});
}

std::vector<InputText> AnswerParts::Next(TextInputs& inputs) {
  open_ = 0;
  for (;;) {
    std::vector<InputText> texts = inputs.NextChunk();
    inputs.TakeNotes();  // rank 0 has told them
    const std::size_t part = next_;
    Check(texts.empty() == (part >= owner_.size()), ErrorCode::kFormat,
          "the texts: {} parts here and {} at the start; they changed meanwhile, or rank 0 sees "
          "others",
          texts.empty() ? fmt::format("{}", part) : "more", owner_.size());
    if (texts.empty()) return texts;
    ++next_;
    if (owner_[part] != world_.rank()) continue;
    Check(ChecksumOfTexts(texts) == checksums_[part], ErrorCode::kFormat,
          "{}: these texts are not what was there at the start; they changed meanwhile, or rank 0 "
          "sees others",
          io::EscapeName(texts.front().name));
    open_ = next_;
    return texts;
  }
}

void AnswerParts::Write(const AnswerPart& part) {
  if (open_ == 0) return;
  const std::size_t number = std::exchange(open_, 0) - 1;
  io::WriteFileAtomic(FileOf(number), PartText(part, setup_, checksums_[number]));
}

PartsState AnswerParts::Look() {
  const auto now = Clock::now();
  if (now - looked_ < kBetweenLooks) return state_;
  looked_ = now;
  PartsState state{0, state_.all, 0, state_.all_bytes};
  std::error_code error;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    const auto part = PartNumber(at->path());
    if (!part || *part >= bytes_.size()) continue;
    ++state.done;
    if (before_[*part] == 0) state.done_bytes += bytes_[*part];
  }
  return state_ = state;
}

void AnswerParts::Meet(const std::function<void(const PartsState&)>& show) {
  std::jthread watcher;
  try {
    if (world_.size() > 1 && show) {
      watcher = std::jthread([this, &show](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any ended;
        std::unique_lock lock(mutex);
        while (!stop.stop_requested()) {
          ended.wait_for(lock, stop, kBetweenLooks, [] { return false; });
          if (!stop.stop_requested()) show(Look());
        }
      });
    }
  } catch (const std::system_error&) {  // no thread is to be had: nothing is shown
  }
  world_.Barrier();
}

void AnswerParts::ForEach(
    const std::function<void(const AnswerPart& part, bool before)>& take) const {
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    std::optional<PartFile> file;
    for (const auto begin = Clock::now(); !(file = ReadPartFile(FileOf(i)));) {
      Check(Clock::now() - begin < kForOtherMachines, ErrorCode::kIo,
            "{}: not there, or damaged; all ranks need the same folder for the output",
            io::EscapeName(FileOf(i).string()));
      std::this_thread::sleep_for(milliseconds(100));
    }
    Check(file->setup == setup_ && file->texts == checksums_[i], ErrorCode::kFormat,
          "{}: of another run", io::EscapeName(FileOf(i).string()));
    take(ParsePart(file->body, FileOf(i)), before_[i] != 0);
  }
}

void AnswerParts::Remove() noexcept {
  std::error_code error;  // what stays is in nobody's way
  fs::remove_all(folder_, error);
}

}  // namespace longspan::cli
