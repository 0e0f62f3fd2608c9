#include "tasks/sentences.h"

#include <algorithm>
#include <array>
#include <string>

#include "text/unicode.h"

namespace longspan {
namespace {

using text::Glyphs;

bool IsSpace(char32_t c) { return (text::Kind(c) & text::kSpace) != 0; }
bool IsBreak(char32_t c) { return c == U'\n' || c == U'\r' || c == U'\u2028' || c == U'\u2029'; }
bool IsCapital(char32_t c) { return c >= U'A' && c <= U'Z'; }
bool IsSmall(char32_t c) { return c >= U'a' && c <= U'z'; }
bool In(std::u32string_view set, char32_t c) { return set.find(c) != std::u32string_view::npos; }

constexpr std::u32string_view kEnds = U".!?\u2026\u203d\u061f\u06d4\u0964";
constexpr std::u32string_view kEndsAlone = U"\u3002\uff01\uff1f\uff0e";  // no space follows them
constexpr std::u32string_view kCloses = U"\"')]}\u2019\u201d\u00bb\u203a\u300d\u300f\uff09";

class Splitter {
 public:
  explicit Splitter(std::string_view text) : glyphs_(text::DecodeUtf8(text, starts_)) {
    count_ = static_cast<idx_t>(glyphs_.size());
  }

  std::vector<Sentence> Split() {
    idx_t begin = 0;
    while (begin < count_ && IsSpace(At(begin))) ++begin;  // belongs to the first one
    for (idx_t i = begin; i < count_;) {
      const idx_t end = EndBehind(i);
      if (end > i) Take(end);
      i = std::max(end, i + 1);
    }
    Take(count_);
    return std::move(sentences_);
  }

 private:
  char32_t At(idx_t i) const { return glyphs_[static_cast<std::size_t>(i)].c; }

  // Where the next sentence begins when one ends at character i; i when none does.
  idx_t EndBehind(idx_t i) const {
    const char32_t c = At(i);
    if (IsBreak(c)) return EmptyLine(i) ? BehindSpace(i) : i;
    if (In(kEndsAlone, c)) return BehindSpace(BehindMarks(i));
    if (!In(kEnds, c)) return i;
    const idx_t end = BehindMarks(i);
    if (end < count_ && !IsSpace(At(end))) return i;  // 3.14, longspan.txt
    const idx_t next = BehindSpace(end);
    const bool stop = c == U'.' && end == i + 1;
    if (stop && next < count_ && (IsSmall(At(next)) || IsAbbreviation(i))) return i;
    return next;
  }
  // Behind further ends ("?!", "...") and closing marks.
  idx_t BehindMarks(idx_t i) const {
    while (i < count_ && (In(kEnds, At(i)) || In(kEndsAlone, At(i)))) ++i;
    while (i < count_ && In(kCloses, At(i))) ++i;
    return i;
  }
  idx_t BehindSpace(idx_t i) const {
    while (i < count_ && IsSpace(At(i))) ++i;
    return i;
  }
  // Nothing but white space between the line break at i and another one. CR LF is one break.
  bool EmptyLine(idx_t i) const {
    if (At(i) == U'\r' && i + 1 < count_ && At(i + 1) == U'\n') ++i;
    for (++i; i < count_ && IsSpace(At(i)); ++i) {
      if (IsBreak(At(i))) return true;
    }
    return false;
  }
  // Whether the full stop at i belongs to the word before it.
  bool IsAbbreviation(idx_t i) const {
    constexpr std::array<std::string_view, 22> kWords = {
        "Mr",  "Mrs", "Ms", "Dr", "Prof", "St", "Jr",  "Sr", "vs",   "etc", "e.g",
        "i.e", "cf",  "al", "No", "Fig",  "Nr", "bzw", "ca", "Capt", "Gen", "Lt"};
    std::string word;
    idx_t at = i;
    while (at > 0 && i - at < 6 && At(at - 1) < 128 && !IsSpace(At(at - 1)) &&
           !In(U"\"'([{", At(at - 1))) {
      --at;
      word.insert(word.begin(), static_cast<char>(At(at)));
    }
    if (word.size() == 1) return IsCapital(At(at));
    return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
  }

  // A sentence from the end of the last one to `end`, in pieces where it is long.
  void Take(idx_t end) {
    while (end > taken_) {
      const idx_t piece = end - taken_ <= kLongestSentence ? end : CutOf(taken_, end);
      sentences_.push_back({{taken_, piece}, {ByteOf(taken_), ByteOf(piece)}});
      taken_ = piece;
    }
  }
  // Where a piece ends that begins at `begin` and would be too long: behind the last line break, or
  // the last white space, that a piece has room for and behind which something follows.
  idx_t CutOf(idx_t begin, idx_t end) const {
    const idx_t most = begin + kLongestSentence;
    idx_t space = 0, line = 0;
    for (idx_t i = begin + 1; i <= most; ++i) {
      if (IsSpace(At(i)) || !IsSpace(At(i - 1))) continue;  // a word begins at i
      space = i;
      idx_t before = i;
      while (before > begin && IsSpace(At(before - 1)) && !IsBreak(At(before - 1))) --before;
      if (before > begin && IsBreak(At(before - 1))) line = i;
    }
    const idx_t cut = line > begin ? line : space > begin ? space : most;
    return std::min(cut, end);
  }
  idx_t ByteOf(idx_t i) const { return starts_[static_cast<std::size_t>(i)]; }

  std::vector<idx_t> starts_;
  Glyphs glyphs_;
  idx_t count_ = 0, taken_ = 0;
  std::vector<Sentence> sentences_;
};

}  // namespace

std::vector<Sentence> SplitSentences(std::string_view text) { return Splitter(text).Split(); }

}  // namespace longspan
