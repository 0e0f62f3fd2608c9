#include "train/label_sets.h"

#include <algorithm>

#include "base/errors.h"
#include "longspan/files.h"
#include "model/label_fields.h"

namespace longspan {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view Trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

// Reads the items between the brackets, one after the other.
class Items {
 public:
  Items(std::string_view field, std::string_view inside) : field_(field), rest_(inside) {}

  LabelSet Read() {
    LabelSet set;
    bool bare = true;
    for (Skip(); !rest_.empty(); Skip()) {
      const bool quoted = rest_[0] == '\'' || rest_[0] == '"';
      bare = bare && !quoted;
      set.items.push_back(quoted ? Quoted() : Bare());
      Separator();
    }
    set.zeros_and_ones =
        bare && !set.items.empty() && std::all_of(set.items.begin(), set.items.end(), IsZeroOrOne);
    return set;
  }

 private:
  [[noreturn]] void Refuse() const {
    Fail(ErrorCode::kFormat,
         "label \"{}\" is in brackets but no list of names or of 0 and 1; write a set of labels as "
         "a|b, or as ['a', 'b'] or [1, 0, 1]",
         io::Escape(field_, 60));
  }
  void Skip() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size())); }

  // A comma, or blanks before the next number.
  void Separator() {
    const std::size_t before = rest_.size();
    Skip();
    if (rest_.empty()) return;
    if (rest_[0] == ',') {
      rest_.remove_prefix(1);
    } else if (before == rest_.size() || rest_[0] == '\'' || rest_[0] == '"') {
      Refuse();
    }
  }

  std::string Quoted() {
    const char mark = rest_[0];
    std::string item;
    std::size_t i = 1;
    for (; i < rest_.size() && rest_[i] != mark; ++i) {
      if (rest_[i] == '\\' && i + 1 < rest_.size()) ++i;
      item += rest_[i];
    }
    if (i >= rest_.size()) Refuse();
    rest_.remove_prefix(i + 1);
    return item;
  }

  // A whole number, or a truth value.
  std::string Bare() {
    const std::size_t size = std::min(rest_.find_first_of(", \t\r\n"), rest_.size());
    std::string_view word = rest_.substr(0, size);
    rest_.remove_prefix(size);
    if (word == "True" || word == "true") return TruthItem(true);
    if (word == "False" || word == "false") return TruthItem(false);
    if (const auto point = word.find('.'); point != word.npos && point > 0) {
      if (word.find_first_not_of('0', point + 1) != word.npos) Refuse();
      word = word.substr(0, point);
    }
    if (word.empty() || word.find_first_not_of("0123456789") != word.npos) Refuse();
    return std::string(word);
  }

  std::string_view field_, rest_;
};

}  // namespace

std::string TruthItem(bool truth) { return truth ? "1" : "0"; }

bool IsZeroOrOne(std::string_view item) { return item == "0" || item == "1"; }

std::optional<LabelSet> ParseLabelSet(std::string_view field) {
  const std::string_view list = Trimmed(field);
  if (list.size() < 2 || !list.starts_with('[') || !list.ends_with(']')) return std::nullopt;
  return Items(list, list.substr(1, list.size() - 2)).Read();
}

void OneHotRule::Add(const LabelSet& set) {
  const std::size_t size = set.items.size();
  broken_ = broken_ || !set.zeros_and_ones || size < 2 || (width_ != 0 && size != width_);
  width_ = size;
}

std::vector<std::string> NamesOfOnes(const LabelSet& set) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < set.items.size(); ++i) {
    if (set.items[i] == "1") names.push_back(DefaultLabel(static_cast<idx_t>(i)));
  }
  return names;
}

}  // namespace longspan
