#include "data/documents.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "io/ascii.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::pair<Documents, const char*> kDocumentsNames[] = {
    {Documents::kFile, "file"},
    {Documents::kBlankLine, "blank-line"},
    {Documents::kLine, "line"},
    {Documents::kJoined, "joined"}};

}  // namespace

const char* DocumentsName(Documents documents) {
  for (const auto& [kind, known] : kDocumentsNames) {
    if (kind == documents) return known;
  }
  return "?";
}

std::vector<std::string_view> SplitDocuments(std::string_view text, Documents documents) {
  std::vector<std::string_view> found;
  ForEachDocument(text, documents, [&](std::string_view document) { found.push_back(document); });
  return found;
}

void ForEachDocument(std::string_view text, Documents documents, const UseDocument& use) {
  const auto add = [&](std::string_view document) {
    if (io::IsBlank(document)) return;
    if (documents != Documents::kJoined && document.ends_with('\n')) document.remove_suffix(1);
    use(document);
  };
  const bool whole = documents == Documents::kFile || documents == Documents::kJoined;
  if (whole) add(text);
  std::size_t begin = 0;  // of the document that the current line belongs to
  for (std::size_t at = 0; !whole && at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const bool ends = documents == Documents::kLine || io::IsBlank(text.substr(at, end - at)) ||
                      end == text.size();
    if (ends) {
      add(text.substr(begin, end - begin));
      begin = std::min(end + 1, text.size());
    }
    at = end + 1;
  }
  if (!whole) add(text.substr(begin));
}

}  // namespace longspan::data

namespace longspan {

Documents ParseDocuments(std::string_view name, bool joined) {
  for (const auto& [kind, known] : data::kDocumentsNames) {
    if (name == known && (joined || kind != Documents::kJoined)) return kind;
  }
  Fail(ErrorCode::kUsage, "documents: '{}' is unknown; use file, blank-line{} line",
       io::Escape(name), joined ? ", joined or" : " or");
}

}  // namespace longspan
