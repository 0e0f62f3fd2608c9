#include "model/text_head.h"

namespace longspan {
namespace {

struct Row {
  TextHead head;
  std::string_view command, classes, way;
};

constexpr Row kRows[] = {
    {TextHead::kNone, "embed", "a LongformerModel or a ReformerModel", ""},
    {TextHead::kCausalLm, "generate", "a ReformerModelWithLMHead",
     "longspan init and longspan train lm"},
    {TextHead::kMaskedLm, "fill-mask", "a LongformerForMaskedLM or a ReformerForMaskedLM",
     "longspan train mlm"},
    {TextHead::kSequence, "classify",
     "a LongformerForSequenceClassification or a ReformerForSequenceClassification",
     "longspan train classify"},
    {TextHead::kToken, "token-classify", "a LongformerForTokenClassification", ""},
    {TextHead::kQuestion, "qa",
     "a LongformerForQuestionAnswering or a ReformerForQuestionAnswering", ""},
    {TextHead::kChoice, "multiple-choice", "a LongformerForMultipleChoice", ""},
};

const Row& RowOf(TextHead head) {
  for (const Row& row : kRows) {
    if (row.head == head) return row;
  }
  return kRows[0];
}

}  // namespace

std::string_view CommandOf(TextHead head) { return RowOf(head).command; }
std::string_view ClassesFor(TextHead head) { return RowOf(head).classes; }
std::string_view WayTo(TextHead head) { return RowOf(head).way; }

}  // namespace longspan
