// Labels that only a typing error tells apart: a training refuses them, and statistics list them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "train/labelled_text.h"

namespace longspan {

// "reviews.csv:12", escaped: of several files each row knows its own.
std::string WhereOf(const LabelledTexts& texts, const LabelledText& row);

// The name without blanks around it and in small letters (ASCII), a number in one way of writing:
// names of which that is the same are taken for one by people.
std::string FoldedLabel(std::string_view name);

// A label, and the first one that differs from it only by blanks around it, by case, or by the way
// in which one number is written (1, 1.0 and 1e0).
struct LabelTwin {
  std::string name, where;  // where it stands first, escaped
  std::string other, other_where;

  // "data.csv:4: label "pos " differs from "pos" of data.csv:2 only by blanks around it or by
  // case".
  std::string Text() const;
};
// All of them, in the order of the rows; each name once.
std::vector<LabelTwin> FindLabelTwins(const LabelledTexts& texts);

// kFormat, with all twins in one line (the first 20), if there are any.
void CheckNoLabelTwins(const LabelledTexts& texts);

}  // namespace longspan
