#include "text/tokenizer_file.h"

#include <string_view>

#include "base/errors.h"
#include "io/file.h"
#include "io/file_hint.h"
#include "longspan/files.h"
#include "text/tokenizer_limits.h"

namespace longspan::text {
namespace {

// A token of a vocabulary may begin as a web page does; the first line of a page, or of a pointer,
// is more than a word.
bool IsOneWord(std::string_view text) {
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  return line.find(' ') == line.npos && line != "<html>" && line.size() <= kLongestToken;
}

}  // namespace

std::string ReadTokenizerFile(const std::filesystem::path& path) {
  std::string text = io::ReadWholeFile(path, kMostTokenizerBytes);
  const std::string hint = io::FileHint(text);
  const bool word = (text.starts_with('<') || text.starts_with('v')) && IsOneWord(text);
  Check(hint.empty() || word, ErrorCode::kFormat, "{}: not a tokenizer's file{}",
        io::Escape(path.native(), 4096), hint);
  return text;
}

nlohmann::json ReadTokenizerJsonFile(const std::filesystem::path& path) {
  return io::ParseJson(ReadTokenizerFile(path), io::Escape(path.native(), 4096), kTokenizerJson);
}

}  // namespace longspan::text
