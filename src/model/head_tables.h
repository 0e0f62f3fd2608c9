// The heads that each kind of model can have, and the classes that Hugging Face calls them by.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/longformer_config.h"
#include "model/reformer_config.h"
#include "model/text_head.h"
#include "model/weight_heads.h"

namespace longspan {

template <class Head>
struct HeadRow {
  TextHead text;
  Head head;
  std::string_view class_name;
};

inline constexpr HeadRow<LongformerHead> kLongformerHeads[] = {
    {TextHead::kNone, LongformerHead::kNone, "LongformerModel"},
    {TextHead::kMaskedLm, LongformerHead::kMaskedLm, "LongformerForMaskedLM"},
    {TextHead::kSequence, LongformerHead::kSequence, "LongformerForSequenceClassification"},
    {TextHead::kToken, LongformerHead::kToken, "LongformerForTokenClassification"},
    {TextHead::kQuestion, LongformerHead::kQuestion, "LongformerForQuestionAnswering"},
    {TextHead::kChoice, LongformerHead::kChoice, "LongformerForMultipleChoice"},
};
inline constexpr HeadRow<ReformerHead> kReformerHeads[] = {
    {TextHead::kNone, ReformerHead::kNone, "ReformerModel"},
    {TextHead::kCausalLm, ReformerHead::kLanguageModel, "ReformerModelWithLMHead"},
    {TextHead::kMaskedLm, ReformerHead::kMaskedLanguageModel, "ReformerForMaskedLM"},
    {TextHead::kSequence, ReformerHead::kSequence, "ReformerForSequenceClassification"},
    {TextHead::kQuestion, ReformerHead::kQuestion, "ReformerForQuestionAnswering"},
};

// Each table names every head of its model.
template <class Head, std::size_t N>
constexpr const HeadRow<Head>& RowOf(const HeadRow<Head> (&rows)[N], Head wanted) {
  for (const HeadRow<Head>& row : rows) {
    if (row.head == wanted) return row;
  }
  return rows[0];
}

// Nothing where such a model has no head for it.
template <class Head, std::size_t N>
constexpr std::optional<Head> HeadFor(const HeadRow<Head> (&rows)[N], TextHead wanted) {
  for (const HeadRow<Head>& row : rows) {
    if (row.text == wanted) return row.head;
  }
  return std::nullopt;
}

// The classes among which config.json chooses.
template <class Head, std::size_t N>
std::vector<NamedHead> ClassesIn(const HeadRow<Head> (&rows)[N]) {
  std::vector<NamedHead> classes;
  for (const HeadRow<Head>& row : rows) classes.emplace_back(row.text, row.class_name);
  return classes;
}

}  // namespace longspan
