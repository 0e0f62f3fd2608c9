#include "text/text_pieces.h"

namespace longspan::text {
namespace {

// The length of the first piece of a text that is longer than `most`.
std::size_t PieceLength(std::string_view text, std::size_t most) {
  for (const char mark : {'\n', ' '}) {
    const std::size_t end = text.rfind(mark, most - 1);
    if (end != std::string_view::npos && end > 0) return end + 1;
  }
  std::size_t end = most;
  while (end > most - 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return end;
}

}  // namespace

void CutAtLines(std::string_view text, std::size_t most, std::vector<std::string_view>* pieces) {
  while (text.size() > most) {
    const std::size_t end = PieceLength(text, most);
    pieces->push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  if (!text.empty()) pieces->push_back(text);
}

}  // namespace longspan::text
