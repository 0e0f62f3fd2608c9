// Where the sentences of a text begin and end, by simple rules.
#pragma once

#include <string_view>
#include <vector>

#include "longspan/tasks.h"

namespace longspan {

// Characters of a piece at most; what is longer is cut at a line break, else at white space, else
// anywhere.
inline constexpr idx_t kLongestSentence = 600;

// The sentences of a text, which together are the whole text: white space belongs to the sentence
// before it, at the beginning of the text to the first one. A sentence ends
//   - behind ., !, ? or an ellipsis (and the quotation marks and brackets that close behind it)
//   when
//     white space follows; a full stop does not end one behind a single capital letter or a common
//     abbreviation (Mr., e.g.), nor before a small letter;
//   - behind the full stops of Chinese and Japanese;
//   - at an empty line.
// An empty text has none, white space alone is one. Invalid UTF-8 counts as in text::Tokenizer.
// kLimit for a text that a tokenizer would refuse.
std::vector<Sentence> SplitSentences(std::string_view text);

}  // namespace longspan
