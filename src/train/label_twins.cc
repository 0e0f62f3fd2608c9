#include "train/label_twins.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/errors.h"
#include "io/ascii.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::size_t kShownLabelBytes = 60;  // of a name in a message
constexpr std::size_t kMostNamedTwins = 20;   // in one message

// What follows an "e": up to three digits, which are more than a double has. Absent for anything
// else.
std::optional<idx_t> Exponent(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.size() > 3 || text.find_first_not_of(kDigits) != text.npos) {
    return std::nullopt;
  }
  idx_t value = 0;
  for (const char c : text) value = 10 * value + (c - '0');
  return negative ? -value : value;
}

// A number in the one way that equal numbers share: "+1.0", "01", "1e0" and "1" are "1", "-0.0" is
// "0", and of long ones every digit counts. Absent for what is no such number.
std::optional<std::string> FoldedNumber(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::size_t mark = std::min(text.find_first_of("eE"), text.size());
  const std::optional<idx_t> exponent =
      mark == text.size() ? std::optional<idx_t>(0) : Exponent(text.substr(mark + 1));
  text = text.substr(0, mark);
  const std::size_t point = std::min(text.find('.'), text.size());
  std::string all(text.substr(0, point));
  all += text.substr(std::min(point + 1, text.size()));
  if (!exponent || all.empty() || all.find_first_not_of(kDigits) != all.npos) return std::nullopt;
  // The exponent moves the point, to zeros where there are no digits.
  auto place = static_cast<idx_t>(point) + *exponent;
  if (place < 0) all.insert(0, static_cast<std::size_t>(-place), '0');
  place = std::max<idx_t>(place, 0);
  if (place > std::ssize(all)) all.append(static_cast<std::size_t>(place - std::ssize(all)), '0');
  std::string_view whole = std::string_view(all).substr(0, static_cast<std::size_t>(place));
  std::string_view fraction = std::string_view(all).substr(static_cast<std::size_t>(place));
  whole.remove_prefix(std::min(whole.find_first_not_of('0'), whole.size()));
  fraction = fraction.substr(0, fraction.find_last_not_of('0') + 1);
  const bool zero = whole.empty() && fraction.empty();
  std::string folded = negative && !zero ? "-" : "";
  folded += whole.empty() ? "0" : whole;
  if (!fraction.empty()) folded += fmt::format(".{}", fraction);
  return folded;
}

}  // namespace

std::string WhereOf(const LabelledTexts& texts, const LabelledText& row) {
  return row.where.empty() ? fmt::format("{}:{}", texts.source, row.line) : row.where;
}

std::string FoldedLabel(std::string_view name) {
  constexpr std::string_view blanks = " \t\r\n\v\f";
  name.remove_prefix(std::min(name.find_first_not_of(blanks), name.size()));
  name = name.substr(0, name.find_last_not_of(blanks) + 1);
  return FoldedNumber(name).value_or(io::LowerAscii(name));
}

std::string LabelTwin::Text() const {
  return fmt::format("{}: label \"{}\" differs from \"{}\" of {} only by {}", where,
                     io::Escape(name, kShownLabelBytes), io::Escape(other, kShownLabelBytes),
                     other_where,
                     FoldedNumber(FoldedLabel(name)) ? "the way in which the number is written"
                                                     : "blanks around it or by case");
}

std::vector<LabelTwin> FindLabelTwins(const LabelledTexts& texts) {
  std::map<std::string, std::pair<std::string, std::string>, std::less<>> first;
  std::set<std::string, std::less<>> named;
  std::vector<LabelTwin> twins;
  for (const LabelledText& row : texts.rows) {
    for (const std::string& name : row.labels) {
      if (!named.insert(name).second) continue;
      const std::string where = WhereOf(texts, row);
      const auto [place, added] = first.emplace(FoldedLabel(name), std::pair(name, where));
      if (!added) twins.push_back({name, where, place->second.first, place->second.second});
    }
  }
  return twins;
}

void CheckNoLabelTwins(const LabelledTexts& texts) {
  const std::vector<LabelTwin> twins = FindLabelTwins(texts);
  if (twins.empty()) return;
  std::string more;
  for (std::size_t i = 1; i < std::min(twins.size(), kMostNamedTwins); ++i) {
    more += fmt::format("{}\"{}\" of {} and \"{}\"", i == 1 ? "; so do " : ", ",
                        io::Escape(twins[i].name, kShownLabelBytes), twins[i].where,
                        io::Escape(twins[i].other, kShownLabelBytes));
  }
  if (twins.size() > kMostNamedTwins) {
    more += fmt::format(" and {} more, which `longspan data stats --task classify` lists",
                        twins.size() - kMostNamedTwins);
  }
  Fail(ErrorCode::kFormat, "{}{}; write them alike", twins.front().Text(), more);
}

}  // namespace longspan
