// A tokenizer for tests: words between white space, the special tokens of BERT or RoBERTa.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "longspan/tokenizer.h"

namespace longspan::test {

class WordTokenizer final : public text::Tokenizer {
 public:
  enum class Family { kBert, kRoberta, kNoFrame };
  // Ids 0 to 4 are [PAD] [UNK] [CLS] [SEP] [MASK], or <s> <pad> </s> <unk> <mask>; then the words.
  // kNoFrame: BERT's, but nothing stands around a text.
  explicit WordTokenizer(const std::vector<std::string>& words, Family family = Family::kBert) {
    if (family != Family::kRoberta) {
      tokens_ = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
      special_ = {std::nullopt, std::nullopt, 1, 3, 0, 2, 4};
      single_ = {{-1, 2, 0}, {0, 0, 0}, {-1, 3, 0}};
      pair_ = {{-1, 2, 0}, {0, 0, 0}, {-1, 3, 0}, {1, 0, 1}, {-1, 3, 1}};
    } else {
      tokens_ = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};
      special_ = {0, 2, 3, 2, 1, 0, 4};
      single_ = {{-1, 0, 0}, {0, 0, 0}, {-1, 2, 0}};
      pair_ = {{-1, 0, 0}, {0, 0, 0}, {-1, 2, 0}, {-1, 2, 0}, {1, 0, 0}, {-1, 2, 0}};
    }
    if (family == Family::kNoFrame) {
      special_ = {};
      special_.unk = 1;
      special_.mask = 4;
      single_ = {{0, 0, 0}};
      pair_ = {{0, 0, 0}, {1, 0, 1}};
    }
    tokens_.insert(tokens_.end(), words.begin(), words.end());
  }

  std::string_view kind() const override { return "words"; }
  idx_t vocabulary() const override { return static_cast<idx_t>(tokens_.size()); }
  std::string TokenOf(std::int32_t id) const override {
    return tokens_.at(static_cast<std::size_t>(id));
  }
  std::optional<std::int32_t> IdOf(std::string_view token) const override {
    const auto found = std::find(tokens_.begin(), tokens_.end(), token);
    if (found == tokens_.end()) return std::nullopt;
    return static_cast<std::int32_t>(found - tokens_.begin());
  }
  std::string Decode(std::span<const std::int32_t> ids, bool) const override {
    std::string text;
    for (const std::int32_t id : ids) text += (text.empty() ? "" : " ") + TokenOf(id);
    return text;
  }

 protected:
  text::TokenRow EncodeText(std::string_view text, bool) const override {
    text::TokenRow row;
    for (std::size_t i = 0; i <= text.size(); ++i) row.starts.push_back(static_cast<idx_t>(i));
    constexpr std::string_view kSpace = " \n\t\r";
    for (std::size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
      const std::size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
      row.ids.push_back(IdOf(text.substr(begin, end - begin)).value_or(*special_.unk));
      row.chars.push_back({static_cast<idx_t>(begin), static_cast<idx_t>(end)});
      begin = text.find_first_not_of(kSpace, end);
    }
    return row;
  }

 private:
  std::vector<std::string> tokens_;
};

}  // namespace longspan::test
