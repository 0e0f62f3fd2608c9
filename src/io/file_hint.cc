#include "io/file_hint.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/ascii.h"

namespace longspan::io {
namespace {

using namespace std::string_view_literals;

struct Mark {
  std::string_view bytes;
  KnownFile file;
  bool plain = false;  // letters that a text could begin with: bytes of no text must follow
};

constexpr std::string_view kUnpack = "unpack it first", kRows = "write it as .jsonl or .csv first";

constexpr Mark kMarks[] = {
    {"version https://git-lfs",
     {"a git-LFS pointer", "fetch the file that it stands for (git lfs pull)"}},
    {"PK\x03\x04", {"a zip archive (as .docx, .xlsx, .npz and PyTorch's files are)", kUnpack}},
    {"PK\x05\x06", {"an empty zip archive", ""}},
    {"\x1f\x8b", {"gzip", kUnpack}},
    {"BZh", {"bzip2", kUnpack}, true},
    {"\xfd"
     "7zXZ\0"sv,
     {"xz", kUnpack}},
    {"7z\xbc\xaf", {"a 7z archive", kUnpack}},
    {"Rar!\x1a", {"a rar archive", kUnpack}},
    {"\x04\"M\x18", {"lz4", kUnpack}},
    {"PAR1", {"Parquet", kRows}, true},
    {"ARROW1\0"sv, {"Arrow", kRows}},
    {"SQLite format 3\0"sv, {"a SQLite database", kRows}},
    {"\x89HDF", {"HDF5 (a TensorFlow model?)", ""}},
    {"\xd0\xcf\x11\xe0", {"a document of old Office", "save it as text first"}},
    {"\x89PNG", {"a picture (PNG)", ""}},
    {"\xff\xd8\xff", {"a picture (JPEG)", ""}},
    {"GIF8", {"a picture (GIF)", ""}, true},
};
constexpr KnownFile kPdf = {"a PDF", "take its text out first (pdftotext)"};
constexpr KnownFile kWebp = {"a picture (WebP)", ""};
constexpr KnownFile kTar = {"a tar archive", kUnpack};

// Whether one of the first bytes is none that texts have.
bool HasControl(std::string_view start) {
  return std::any_of(start.begin(), start.begin() + std::min<std::size_t>(start.size(), 64),
                     [](char c) {
                       const auto byte = static_cast<unsigned char>(c);
                       return byte < 0x20 && !IsBlank(std::string_view(&c, 1));
                     });
}

bool IsPdf(std::string_view start) {
  return start.starts_with("%PDF-") && start.size() > 8 && start[5] >= '1' && start[5] <= '9' &&
         start[6] == '.' && (start[8] == '\n' || start[8] == '\r');
}

}  // namespace

const KnownFile* KnownFileOf(std::string_view start) {
  for (const Mark& mark : kMarks) {
    if (start.starts_with(mark.bytes) && (!mark.plain || HasControl(start))) return &mark.file;
  }
  if (start.size() > 4 && start.starts_with("BZh") && start.substr(4).starts_with("1AY&SY")) {
    return KnownFileOf("BZh\x01");
  }
  if (IsPdf(start)) return &kPdf;
  if (start.starts_with("RIFF") &&
      start.substr(std::min<std::size_t>(8, start.size())).starts_with("WEBP")) {
    return &kWebp;
  }
  if (start.size() > 262 && start.substr(257, 5) == "ustar") return &kTar;
  return nullptr;
}

std::string FileHint(std::string_view start) {
  if (const KnownFile* file = KnownFileOf(start)) {
    return fmt::format("; this is {}{}{}", file->what, file->next.empty() ? "" : ", ", file->next);
  }
  if (start.starts_with("version ")) return FileHint(kMarks[0].bytes);
  if (start.starts_with("\xef\xbb\xbf")) start.remove_prefix(3);
  start.remove_prefix(std::min(start.find_first_not_of(" \t\r\n"), start.size()));
  const std::string lower = LowerAscii(start.substr(0, 16));
  for (const std::string_view page : {"<!", "<html", "<?xml", "<head", "<body"}) {
    if (lower.starts_with(page)) return "; this is a web page, not a file of a model";
  }
  for (const std::string_view answer : {"entry not found", "not found", "404", "repository not ",
                                        "invalid username", "access to"}) {
    if (lower.starts_with(answer)) return "; this is a server's refusal, not a file of a model";
  }
  return "";
}

std::string_view WideEncodingOf(std::string_view start) {
  if (start.starts_with("\xff\xfe\0\0"sv) || start.starts_with("\0\0\xfe\xff"sv)) return "utf-32";
  if (start.starts_with("\xff\xfe") || start.starts_with("\xfe\xff")) return "utf-16";
  // Without a mark: of most characters one of the two bytes is zero, and always the same one.
  std::size_t zeros[2] = {0, 0};
  for (std::size_t at = 0; at < start.size(); ++at) zeros[at % 2] += start[at] == '\0' ? 1 : 0;
  if ((zeros[0] > 0) == (zeros[1] > 0)) return "";
  if (8 * (zeros[0] + zeros[1]) < 3 * start.size()) return "";
  return zeros[1] > 0 ? "utf-16le" : "utf-16be";
}

}  // namespace longspan::io
