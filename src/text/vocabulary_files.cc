#include "text/vocabulary_files.h"

#include <algorithm>

#include "base/errors.h"
#include "io/utf8.h"
#include "longspan/files.h"
#include "text/tokenizer_limits.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

void CheckToken(std::string_view token, std::string_view source) {
  Check(token.size() <= kLongestToken, ErrorCode::kFormat,
        "{}: token \"{}\" has {} bytes, at most {} are read", source, io::Escape(token, 40),
        token.size(), kLongestToken);
}

// The text without the white space at its end.
std::string_view TrimEnd(std::string_view line) {
  while (!line.empty()) {
    std::size_t last = line.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(line[last]) & 0xC0) == 0x80) --last;
    std::vector<idx_t> starts;
    if ((Kind(DecodeUtf8(line.substr(last), starts).front().c) & kSpace) == 0) break;
    line = line.substr(0, last);
  }
  return line;
}

// Calls use(line, number from 1) for each line; a last line may lack its end.
template <class Use>
void ForEachLine(std::string_view text, const Use& use) {
  idx_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    use(text.substr(at, end - at), ++number);
    at = end + 1;
  }
}

void CheckUtf8(std::string_view text, std::string_view source) {
  const std::size_t bad = io::FirstInvalidUtf8(text);
  Check(bad == text.npos, ErrorCode::kFormat, "{}: byte {}: invalid UTF-8", source, bad);
}

}  // namespace

Vocabulary VocabularyOf(const nlohmann::json& object, std::string_view source) {
  Check(object.is_object(), ErrorCode::kFormat, "{}: must be an object of tokens and ids", source);
  const auto entries = static_cast<idx_t>(object.size());
  Check(entries >= 1 && entries <= kMostVocabularyEntries, ErrorCode::kFormat,
        "{}: {} tokens, must be 1 to {}", source, entries, kMostVocabularyEntries);
  Vocabulary vocabulary;
  for (const auto& [token, id] : object.items()) {
    CheckToken(token, source);
    const bool fits = id.is_number_integer() && id >= 0 && id <= kMostVocabularyEntries * 2;
    Check(fits, ErrorCode::kFormat, "{}: token \"{}\" has the id {}, must be an integer from 0",
          source, io::Escape(token), io::Escape(id.dump(-1, ' ', true), 40));
    vocabulary.Add(token, id.get<idx_t>(), entries, source);
  }
  return vocabulary;
}

Vocabulary ParseVocabTxt(std::string_view text, std::string_view source) {
  CheckUtf8(text, source);
  const auto lines = static_cast<idx_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  Check(!text.empty() && lines <= kMostVocabularyEntries, ErrorCode::kFormat,
        "{}: {} lines, must be 1 to {}", source, text.empty() ? 0 : lines, kMostVocabularyEntries);
  Vocabulary vocabulary;
  ForEachLine(text, [&](std::string_view line, idx_t number) {
    const std::string_view token = TrimEnd(line);
    CheckToken(token, source);
    vocabulary.Add(token, number - 1, lines, source);
  });
  return vocabulary;
}

std::pair<std::string, std::string> SplitMerge(std::string_view merge, std::string_view where) {
  const std::size_t space = merge.find(' ');
  Check(space != merge.npos && space > 0 && space + 1 < merge.size() &&
            merge.find(' ', space + 1) == merge.npos,
        ErrorCode::kFormat, "{}: \"{}\" must be two tokens with a space between", where,
        io::Escape(merge));
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

std::vector<std::pair<std::string, std::string>> ParseMerges(std::string_view text,
                                                             std::string_view source) {
  CheckUtf8(text, source);
  std::vector<std::pair<std::string, std::string>> merges;
  ForEachLine(text, [&](std::string_view line, idx_t number) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) return;
    Check(merges.size() < kMostTokenizerValues, ErrorCode::kFormat, "{}: more than {} merges",
          source, kMostTokenizerValues);
    merges.push_back(SplitMerge(line, fmt::format("{}: line {}", source, number)));
  });
  return merges;
}

}  // namespace longspan::text
