#include "data/encoding.h"

#include <iconv.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "base/errors.h"
#include "io/ascii.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

// What people write, where iconv has no such name.
constexpr std::pair<const char*, const char*> kEncodingNames[] = {
    {"UTF8", kUtf8},          {"LATIN-1", "ISO-8859-1"},  {"LATIN1", "ISO-8859-1"},
    {"ASCII", "US-ASCII"},    {"WINDOWS-1252", "CP1252"}, {"CP-1252", "CP1252"},
    {"UTF16", "UTF-16"},      {"BYTES", kVerbatim},       {"UTF-16-LE", "UTF-16LE"},
    {"UTF-16-BE", "UTF-16BE"}};

const iconv_t kNone = reinterpret_cast<iconv_t>(-1);  // NOLINT: what iconv_open returns

}  // namespace

std::string EncodingName(const std::string& name) {
  std::string upper = io::UpperAscii(name);
  for (const auto& [given, known] : kEncodingNames) {
    if (upper == given) upper = known;
  }
  if (upper == kUtf8 || upper == kVerbatim) return upper;
  // "//TRANSLIT" and the like are orders to iconv, no names.
  const bool plain = !upper.empty() && upper.find('/') == std::string::npos;
  iconv_t handle = plain ? iconv_open(kUtf8, upper.c_str()) : kNone;
  Check(handle != kNone, ErrorCode::kUsage,
        "encoding: '{}' is unknown; there are utf-8, latin-1, cp1252, utf-16 and what iconv -l "
        "lists; bytes: prose as it stands",
        io::Escape(name));
  iconv_close(handle);
  return upper;
}

std::string UnmarkedUtf16(std::string_view start) {
  constexpr std::size_t kLeast = 8;  // bytes: less may be anything
  start = start.substr(0, start.size() / 2 * 2);
  if (start.size() < kLeast) return {};
  std::size_t zeros[2] = {0, 0};
  for (std::size_t i = 0; i < start.size(); ++i) zeros[i % 2] += start[i] == '\0';
  // Latin letters have one zero byte of two, and no character of a text has two.
  const auto mostly = [&](std::size_t place) { return zeros[place] >= start.size() / 2 * 3 / 4; };
  if (zeros[0] == 0 && mostly(1)) return "utf-16le";
  return zeros[1] == 0 && mostly(0) ? "utf-16be" : "";
}

void RefuseUnmarkedUtf16(std::string_view start, const std::string& source) {
  const std::string encoding = UnmarkedUtf16(start);
  Check(encoding.empty(), ErrorCode::kFormat, "{}: {}; --encoding {} reads it", source,
        kIsUnmarkedUtf16, encoding);
}

struct Decoder::Handle {
  iconv_t iconv = kNone;
  ~Handle() {
    if (iconv != kNone) iconv_close(iconv);
  }
};

Decoder::Decoder(const std::string& name, std::string source)
    : handle_(std::make_unique<Handle>()), name_(name), source_(std::move(source)) {
  handle_->iconv = iconv_open(kUtf8, name.c_str());
  Check(handle_->iconv != kNone, ErrorCode::kUsage, "encoding: '{}' is unknown", io::Escape(name));
}

Decoder::~Decoder() = default;

void Decoder::Decode(std::string_view piece, std::string* out) {
  held_.append(piece);
  char* in = held_.data();
  std::size_t left = held_.size();
  std::array<char, 16384> buffer{};
  while (left > 0) {
    char* to = buffer.data();
    std::size_t room = buffer.size();
    const std::size_t status = ::iconv(handle_->iconv, &in, &left, &to, &room);
    out->append(buffer.data(), buffer.size() - room);
    if (status != static_cast<std::size_t>(-1) || errno == E2BIG) continue;
    if (errno == EINVAL) break;  // a character goes on in the next piece
    const std::size_t at = offset_ + held_.size() - left;
    Fail(ErrorCode::kFormat, "{}: byte {} is 0x{:02x}, which is no {}", source_, at,
         static_cast<std::uint8_t>(*in), name_);
  }
  offset_ += held_.size() - left;
  held_.erase(0, held_.size() - left);
}

void Decoder::Finish() const {
  Check(held_.empty(), ErrorCode::kFormat, "{}: ends inside of a character of {}, at byte {}",
        source_, name_, offset_);
}

}  // namespace longspan::data
