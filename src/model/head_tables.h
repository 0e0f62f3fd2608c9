// The heads that each kind of model can have, and the classes that Hugging Face calls them by.
#pragma once

#include "model/head_kind.h"

namespace longspan {

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

}  // namespace longspan
