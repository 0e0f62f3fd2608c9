#include <algorithm>
#include <limits>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/file_hint.h"
#include "io/json_events.h"
#include "io/safetensors.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;  // of the header's length

struct NamedType {
  std::string_view name;
  DType dtype;
};
constexpr NamedType kTypes[] = {{"F64", DType::kF64},   {"F32", DType::kF32}, {"F16", DType::kF16},
                                {"BF16", DType::kBF16}, {"I64", DType::kI64}, {"I32", DType::kI32},
                                {"I16", DType::kI16},   {"I8", DType::kI8},   {"U8", DType::kU8},
                                {"BOOL", DType::kBool}};
// In the format, but without a use here.
constexpr std::string_view kOtherTypes[] = {"U16",     "U32",     "U64",     "F8_E4M3", "F8_E5M2",
                                            "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4",      "C64"};

const std::string kLongName = fmt::format("a name is longer than {} bytes", limits::kTensorName);
const std::string kManyTensors = fmt::format("more than {} tensors", limits::kTensors);

// What the parser keeps of a header is bounded before it runs: it copies a number or a string
// several times while it reads it, and a tensor takes more memory than its entry's text. One look
// at every byte, no memory.
void CheckTokens(std::string_view text, std::string_view source) {
  const auto refuse = [&](std::size_t at, std::string_view what) {
    Fail(ErrorCode::kFormat, "{}: byte {}: {}", source, kLengthBytes + at, what);
  };
  const auto in_number = [](char c) {
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
  };
  std::size_t objects = 0, depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      const std::size_t begin = ++at;
      while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
      if (at - begin > limits::kHeaderText) {
        refuse(begin - 1, fmt::format("a string of {} bytes, at most {} are read", at - begin,
                                      limits::kHeaderText));
      }
    } else if (c == '{' || c == '[') {
      // The metadata are one object more.
      if (++depth == 2 && c == '{' && ++objects > limits::kTensors + 1) {
        refuse(at, kManyTensors);
      }
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (in_number(c)) {
      const std::size_t begin = at;
      while (at + 1 < text.size() && in_number(text[at + 1])) ++at;
      if (at + 1 - begin > limits::kHeaderNumber) {
        refuse(begin, fmt::format("a number of {} digits, at most {} are read", at + 1 - begin,
                                  limits::kHeaderNumber));
      }
    }
  }
}

// Follows {"__metadata__": {string: string}, name: {"dtype", "shape", "data_offsets"}, ...}.
class HeaderReader final : public JsonEvents {
 public:
  HeaderReader(std::string_view text, std::uint64_t data_bytes, std::string_view from)
      : JsonEvents(text, from, limits::kSafetensorsDepth, kLengthBytes),
        header_bytes_(text.size()),
        data_bytes_(data_bytes) {}

  SafetensorsHeader Take() {
    CheckCoverage();
    return std::move(header_);
  }

  bool null() override { return Other("null"); }
  bool boolean(bool) override { return Other("a truth value"); }
  bool number_float(json::number_float_t, const std::string&) override {
    return Other("not an integer");
  }
  bool binary(json::binary_t&) override { return false; }
  bool number_integer(json::number_integer_t value) override {
    return value < 0 ? Other("negative") : Number(static_cast<std::uint64_t>(value));
  }
  bool number_unsigned(json::number_unsigned_t value) override { return Number(value); }

  bool string(std::string& value) override {
    if (state_ == State::kMetadata) {
      Require(header_.metadata.size() < limits::kMetadataEntries, "too many entries of metadata");
      if (!header_.metadata.emplace(key_, std::move(value)).second) {
        Require(false, fmt::format("metadata \"{}\" occurs twice", Escape(key_)));
      }
      return true;
    }
    if (state_ == State::kTensor && key_ == "dtype") return SetType(value);
    return Other("a string");
  }

  bool start_object(std::size_t) override {
    Enter();
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTop) {
      state_ = key_ == "__metadata__" ? State::kMetadata : State::kTensor;
      if (state_ == State::kTensor) StartTensor();
    } else {
      Skip("an object");
    }
    return true;
  }

  bool end_object() override {
    Leave();
    if (skipping_ > 0) {
      --skipping_;
    } else if (state_ == State::kTensor) {
      FinishTensor();
      state_ = State::kTop;
    } else {
      state_ = state_ == State::kTop ? State::kStart : State::kTop;
    }
    return true;
  }

  bool start_array(std::size_t) override {
    Enter();
    if (skipping_ == 0 && state_ == State::kTensor && key_ == "shape") {
      state_ = State::kShape;
    } else if (skipping_ == 0 && state_ == State::kTensor && key_ == "data_offsets") {
      state_ = State::kOffsets;
    } else {
      Skip("a list");
    }
    return true;
  }

  bool end_array() override {
    Leave();
    if (skipping_ > 0) {
      --skipping_;
    } else {
      state_ = State::kTensor;
    }
    return true;
  }

  bool key(std::string& name) override {
    if (skipping_ > 0) return true;
    if (state_ == State::kTop) {
      Require(name.size() <= limits::kTensorName, kLongName);
      if (name == "__metadata__") {
        Require(!has_metadata_, "\"__metadata__\" occurs twice");
        has_metadata_ = true;
      }
      name_ = name;
    } else if (state_ == State::kTensor) {
      const int bit = name == "dtype" ? 1 : name == "shape" ? 2 : name == "data_offsets" ? 4 : 0;
      if ((seen_ & bit) != 0) FailTensor(fmt::format("{} occurs twice", name));
      seen_ |= bit;
    }
    key_ = std::move(name);
    return true;
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets };

  [[noreturn]] void FailTensor(std::string_view what) const {
    Fail(ErrorCode::kFormat, "{}: byte {}: tensor \"{}\": {}", source(), offset(), Escape(name_),
         what);
  }

  // A value that is not what its place asks for: fine in an unknown field only.
  bool Other(std::string_view what) {
    if (skipping_ > 0) return true;
    switch (state_) {
      case State::kStart:
        Require(false, "the header is no object");
        break;
      case State::kTop:
        FailTensor("its entry is no object");
      case State::kMetadata:
        Require(false, fmt::format("metadata \"{}\" is no string", Escape(key_)));
        break;
      case State::kTensor:
        if ((key_ == "dtype" || key_ == "shape" || key_ == "data_offsets")) {
          FailTensor(fmt::format("{} is {}", key_, what));
        }
        break;
      case State::kShape:
        FailTensor(fmt::format("a value of its shape is {}", what));
      case State::kOffsets:
        FailTensor(fmt::format("a value of its data_offsets is {}", what));
    }
    return true;
  }
  void Skip(std::string_view what) {
    Other(what);
    ++skipping_;
  }

  bool Number(std::uint64_t value) {
    if (skipping_ > 0) return true;
    if (state_ == State::kShape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<idx_t>::max())) {
        FailTensor(fmt::format("extent {} of its shape overflows", value));
      }
      if (info_.shape.size() == limits::kTensorRank)
        FailTensor(fmt::format("more than {} axes", limits::kTensorRank));
      info_.shape.push_back(static_cast<idx_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (offsets_ == 2) FailTensor("data_offsets are more than two");
      (offsets_++ == 0 ? begin_ : end_) = value;
      return true;
    }
    return Other("a number");
  }

  bool SetType(std::string_view text) {
    for (const NamedType& type : kTypes) {
      if (text == type.name) {
        info_.dtype = type.dtype;
        return true;
      }
    }
    const bool known =
        std::find(std::begin(kOtherTypes), std::end(kOtherTypes), text) != std::end(kOtherTypes);
    FailTensor(fmt::format("{} dtype \"{}\"", known ? "unsupported" : "unknown", Escape(text)));
  }

  void StartTensor() {
    if (header_.tensors.size() == limits::kTensors) Require(false, kManyTensors);
    info_ = TensorInfo();
    seen_ = 0;
    offsets_ = 0;
  }

  void FinishTensor() {
    if (seen_ != 7) {
      const char* missing = (seen_ & 1) == 0   ? "dtype"
                            : (seen_ & 2) == 0 ? "shape"
                                               : "data_offsets";
      FailTensor(fmt::format("{} is missing", missing));
    }
    if (offsets_ != 2) FailTensor("data_offsets are not two");
    if (begin_ > end_) FailTensor(fmt::format("data_offsets [{}, {}] run backwards", begin_, end_));
    if (end_ > data_bytes_) {
      FailTensor(fmt::format("data_offsets [{}, {}] end behind the {} bytes of data", begin_, end_,
                             data_bytes_));
    }
    const auto width = static_cast<idx_t>(ElementBytes(info_.dtype));
    info_.size = 1;
    for (const idx_t extent : info_.shape) {
      if (extent > 0 && info_.size > std::numeric_limits<idx_t>::max() / width / extent) {
        FailTensor(fmt::format("shape {} overflows", ShapeText(info_.shape)));
      }
      info_.size *= extent;
    }
    if (info_.bytes() != end_ - begin_) {
      FailTensor(fmt::format("data_offsets [{}, {}] span {} bytes, shape {} of {} needs {}", begin_,
                             end_, end_ - begin_, ShapeText(info_.shape), DTypeName(info_.dtype),
                             info_.bytes()));
    }
    info_.begin = kLengthBytes + header_bytes_ + begin_;
    ranges_.push_back({begin_, end_});
    // Most files are sorted: the place is at the end, found without a search.
    const std::size_t before = header_.tensors.size();
    header_.tensors.emplace_hint(header_.tensors.end(), name_, std::move(info_));
    if (header_.tensors.size() == before) FailTensor("occurs twice");
  }

  // The tensors lie side by side and fill the data: nothing hides between or behind them.
  void CheckCoverage() {
    std::sort(ranges_.begin(), ranges_.end());
    std::uint64_t reached = 0;
    for (const auto& [begin, end] : ranges_) {
      if (begin < reached) {
        Fail(ErrorCode::kFormat, "{}: two tensors overlap at data byte {}", source(), begin);
      }
      if (begin > reached) {
        Fail(ErrorCode::kFormat, "{}: a hole between tensors, data bytes {} to {}", source(),
             reached, begin);
      }
      reached = end;
    }
    if (reached < data_bytes_) {
      Fail(ErrorCode::kFormat, "{}: {} bytes behind the last tensor", source(),
           data_bytes_ - reached);
    }
  }

  SafetensorsHeader header_;
  std::uint64_t header_bytes_, data_bytes_;
  State state_ = State::kStart;
  int skipping_ = 0;  // containers open inside an unknown field
  std::string name_, key_;
  bool has_metadata_ = false;

  TensorInfo info_;  // of the tensor being read
  int seen_ = 0, offsets_ = 0;
  std::uint64_t begin_ = 0, end_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges_;
};

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::string_view header, std::uint64_t data_bytes,
                                         std::string_view source) {
  CheckTokens(header, source);
  HeaderReader reader(header, data_bytes, source);
  reader.Run();
  return reader.Take();
}

SafetensorsFile SafetensorsFile::Open(const std::filesystem::path& path) {
  SafetensorsFile opened(File::OpenRegular(path));
  const File& file = opened.file_;
  std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 64)), '\0');
  file.ReadAt(0, start.data(), start.size());
  const std::string hint = FileHint(start);
  Check(file.size() >= kLengthBytes, ErrorCode::kFormat,
        "{}: {} bytes, a safetensors file begins with 8{}", file.source(), file.size(), hint);
  std::uint64_t length = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) {
    length = (length << 8) | static_cast<unsigned char>(start[i]);
  }
  Check(length <= limits::kSafetensorsHeader, ErrorCode::kFormat,
        "{}: byte 0: a header of {} bytes, at most {} are read{}", file.source(), length,
        limits::kSafetensorsHeader, hint);
  Check(length > 0, ErrorCode::kFormat, "{}: byte 0: an empty header", file.source());
  Check(length <= file.size() - kLengthBytes, ErrorCode::kFormat,
        "{}: byte 0: a header of {} bytes in a file of {}{}", file.source(), length, file.size(),
        hint);
  std::string header(static_cast<std::size_t>(length), '\0');
  file.ReadAt(kLengthBytes, header.data(), header.size());
  opened.header_ =
      ParseSafetensorsHeader(header, file.size() - kLengthBytes - length, file.source());
  return opened;
}

void SafetensorsFile::ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                                std::size_t bytes) const {
  file_.ReadAt(info.begin + offset, out, bytes);
}

}  // namespace longspan::io
