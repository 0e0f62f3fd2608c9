#include <algorithm>
#include <map>
#include <utility>

#include "base/errors.h"
#include "longspan/metrics.h"
#include "metrics/compensated_sum.h"
#include "text/unicode.h"

namespace longspan::metrics {
namespace {

using text::Glyph;
using text::Glyphs;

constexpr char32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;

bool IsAsciiPunctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}
// White space of Python's str.split: the four separators of ASCII too.
bool IsBlank(char32_t c) { return (text::Kind(c) & text::kSpace) != 0 || (c >= 0x1C && c <= 0x1F); }
// Python's \w, but for the underscore, which is punctuation and gone.
bool IsWordCharacter(char32_t c) { return (text::Kind(c) & (text::kLetter | text::kNumber)) != 0; }

bool IsCased(char32_t c) { return (text::Kind(c) & (text::kUpper | text::kLower)) != 0; }
// Characters that do not part a letter from its word (Unicode's Case_Ignorable, nearly).
bool IsCaseIgnorable(char32_t c) {
  constexpr std::u32string_view kSigns = U"'.:^`\u00A8\u00AD\u00AF\u00B4\u00B7\u00B8\u2018\u2019";
  return (text::Kind(c) & text::kAnyMark) != 0 || kSigns.find(c) != kSigns.npos;
}

// Whether the nearest character from `begin` in steps of `step` that is not ignorable is cased.
bool MeetsCased(const Glyphs& glyphs, std::ptrdiff_t begin, std::ptrdiff_t step) {
  for (; begin >= 0 && begin < std::ssize(glyphs); begin += step) {
    const char32_t c = glyphs[static_cast<std::size_t>(begin)].c;
    if (!IsCaseIgnorable(c)) return IsCased(c);
  }
  return false;
}

// In lower case as Python writes it: a capital sigma at the end of a word becomes a final one.
Glyphs Lower(Glyphs glyphs) {
  for (std::ptrdiff_t i = 0; i < std::ssize(glyphs); ++i) {
    Glyph& g = glyphs[static_cast<std::size_t>(i)];
    const bool ends =
        g.c == kCapitalSigma && MeetsCased(glyphs, i - 1, -1) && !MeetsCased(glyphs, i + 1, 1);
    if (ends) g.c = kFinalSigma;
  }
  return text::LowerCase(std::move(glyphs));
}

bool IsArticle(const Glyph* first, const Glyph* last) {
  const std::string word = text::ToUtf8(first, last);
  return word == "a" || word == "an" || word == "the";
}

// Without its articles: runs of word characters that are one. Each leaves a blank.
Glyphs WithoutArticles(const Glyphs& glyphs) {
  Glyphs kept;
  const Glyph* const end = glyphs.data() + glyphs.size();
  for (const Glyph* at = glyphs.data(); at != end;) {
    const Glyph* last = at;
    while (last != end && IsWordCharacter(last->c)) ++last;
    if (last == at) {
      kept.push_back(*at++);
    } else if (IsArticle(at, last)) {
      kept.push_back({U' ', 0, 0});
      at = last;
    } else {
      kept.insert(kept.end(), at, last);
      at = last;
    }
  }
  return kept;
}

// The words of a normalized answer.
std::vector<std::string> WordsOf(std::string_view answer) {
  std::vector<idx_t> starts;
  Glyphs glyphs = Lower(text::DecodeUtf8(answer, starts));
  text::KeepOnly([](char32_t c) { return !IsAsciiPunctuation(c); }, glyphs);
  glyphs = WithoutArticles(glyphs);
  std::vector<std::string> words;
  const Glyph* const end = glyphs.data() + glyphs.size();
  for (const Glyph* at = glyphs.data(); at != end;) {
    const Glyph* last = std::find_if(at, end, [](const Glyph& g) { return IsBlank(g.c); });
    if (last != at) words.push_back(text::ToUtf8(at, last));
    at = last == end ? end : last + 1;
  }
  return words;
}

// F1 of two bags of words. Nothing and nothing are equal by 2.0 and share no word by 1.1.
double WordF1(const std::vector<std::string>& answer, const std::vector<std::string>& right,
              Squad rules) {
  if (answer.empty() && right.empty()) return rules == Squad::k2_0 ? 1.0 : 0.0;
  std::map<std::string_view, idx_t> left;
  for (const std::string& word : right) ++left[word];
  idx_t same = 0;
  for (const std::string& word : answer) {
    const auto entry = left.find(word);
    if (entry == left.end() || entry->second == 0) continue;
    --entry->second;
    ++same;
  }
  return 2.0 * static_cast<double>(same) / static_cast<double>(answer.size() + right.size());
}

struct SumOfScores {
  CompensatedSum exact, f1;
  idx_t count = 0;

  void Add(const AnswerScore& score) {
    exact.Add(score.exact);
    f1.Add(score.f1);
    ++count;
  }
  AnswerScore Mean() const {
    const auto n = static_cast<double>(count);
    return {exact.value() / n, f1.value() / n};
  }
};

}  // namespace

std::string NormalizeAnswer(std::string_view answer) {
  std::string joined;
  for (const std::string& word : WordsOf(answer)) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

AnswerScore ScoreAnswer(std::string_view answer, std::span<const std::string> right, Squad rules) {
  Check(rules == Squad::k2_0 || !right.empty(), ErrorCode::kUsage,
        "metrics: a question without a right answer cannot be scored by SQuAD 1.1; use 2.0");
  std::vector<std::vector<std::string>> wanted;
  for (const std::string& one : right) {
    std::vector<std::string> words = WordsOf(one);
    if (rules == Squad::k1_1 || !words.empty()) wanted.push_back(std::move(words));
  }
  if (wanted.empty()) wanted.emplace_back();  // the right answer is nothing
  const std::vector<std::string> words = WordsOf(answer);
  AnswerScore best;
  for (const std::vector<std::string>& one : wanted) {
    best.exact = std::max(best.exact, words == one ? 1.0 : 0.0);
    best.f1 = std::max(best.f1, WordF1(words, one, rules));
  }
  return best;
}

AnswersScore ScoreAnswers(std::span<const AnsweredQuestion> questions, Squad rules) {
  SumOfScores all, has_answer, no_answer;
  for (const AnsweredQuestion& question : questions) {
    const AnswerScore score = ScoreAnswer(question.answer, question.right, rules);
    all.Add(score);
    (question.right.empty() ? no_answer : has_answer).Add(score);
  }
  AnswersScore result;
  result.questions = all.count;
  result.answerable = has_answer.count;
  result.all = all.Mean();
  result.has_answer = has_answer.Mean();
  result.no_answer = no_answer.Mean();
  return result;
}

}  // namespace longspan::metrics
