// Sets of labels as tables hold them: lists that other programs wrote into one field.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan {

struct LabelSet {
  // Items as written, without quotation marks: names, or integers ("2"). True and False become 1
  // and 0, 1.0 becomes 1.
  std::vector<std::string> items;
  bool zeros_and_ones = false;  // every item is a bare 0 or 1, and there is one
};

// The item that a truth value is in a set, in tables and in JSON alike: "1" or "0".
std::string TruthItem(bool truth);
// Whether an item that stood there without quotation marks is 0 or 1.
bool IsZeroOrOne(std::string_view item);

// A field that begins with '[' and ends with ']', blanks around it aside: ['a', 'b'], ["a", "b"],
// [1, 0, 1], [1 0 1] as numpy writes it, [2, 5], [] for no label. Absent for every other field:
// that is one name, or names with a separator between them. kFormat, without file and line, for a
// field in brackets that is no such list; it says how sets are written.
std::optional<LabelSet> ParseLabelSet(std::string_view field);

// Finds out whether labels stand as ones in rows of zeros.
class OneHotRule {
 public:
  void Add(const LabelSet& set);
  // The width of all sets: the same, 2 or more, and all of them zeros and ones. 0: they are
  // something else, and items are names or numbers of classes.
  idx_t width() const { return broken_ ? 0 : static_cast<idx_t>(width_); }

 private:
  std::size_t width_ = 0;
  bool broken_ = false;
};
// "LABEL_k" for each one at place k: what a row of such a file means until a model's labels are
// known (ChooseTarget).
std::vector<std::string> NamesOfOnes(const LabelSet& set);

}  // namespace longspan
