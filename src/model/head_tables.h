// The heads that each kind of model can have, and the classes that Hugging Face calls them by.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "model/head_kind.h"
#include "model/weight_heads.h"

namespace longspan {

struct HeadClass {
  HeadKind head;
  std::string_view class_name;
};

inline constexpr HeadClass kLongformerHeads[] = {
    {HeadKind::kNone, "LongformerModel"},
    {HeadKind::kMaskedLm, "LongformerForMaskedLM"},
    {HeadKind::kSequence, "LongformerForSequenceClassification"},
    {HeadKind::kToken, "LongformerForTokenClassification"},
    {HeadKind::kQuestion, "LongformerForQuestionAnswering"},
    {HeadKind::kChoice, "LongformerForMultipleChoice"},
};
inline constexpr HeadClass kReformerHeads[] = {
    {HeadKind::kNone, "ReformerModel"},
    {HeadKind::kCausalLm, "ReformerModelWithLMHead"},
    {HeadKind::kMaskedLm, "ReformerForMaskedLM"},
    {HeadKind::kSequence, "ReformerForSequenceClassification"},
    {HeadKind::kQuestion, "ReformerForQuestionAnswering"},
};

// Empty where such a model has no such head.
constexpr std::string_view ClassOf(std::span<const HeadClass> heads, HeadKind wanted) {
  for (const HeadClass& row : heads) {
    if (row.head == wanted) return row.class_name;
  }
  return {};
}

// The classes among which config.json chooses.
inline std::vector<NamedHead> ClassesIn(std::span<const HeadClass> heads) {
  std::vector<NamedHead> classes;
  for (const HeadClass& row : heads) classes.emplace_back(row.head, row.class_name);
  return classes;
}

}  // namespace longspan
