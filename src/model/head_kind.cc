#include "model/head_kind.h"

namespace longspan {
namespace {

struct Row {
  HeadKind head;
  std::string_view name, command, classes, way;
};

constexpr Row kRows[] = {
    {HeadKind::kNone, "none", "embed", "a LongformerModel or a ReformerModel", ""},
    {HeadKind::kCausalLm, "lm", "generate", "a ReformerModelWithLMHead",
     "longspan init and longspan train lm"},
    {HeadKind::kMaskedLm, "mlm", "fill-mask", "a LongformerForMaskedLM or a ReformerForMaskedLM",
     "longspan train mlm"},
    {HeadKind::kSequence, "classify", "classify",
     "a LongformerForSequenceClassification or a ReformerForSequenceClassification",
     "longspan train classify"},
    {HeadKind::kToken, "token-classify", "token-classify", "a LongformerForTokenClassification",
     ""},
    {HeadKind::kQuestion, "qa", "qa",
     "a LongformerForQuestionAnswering or a ReformerForQuestionAnswering", ""},
    {HeadKind::kChoice, "multiple-choice", "multiple-choice", "a LongformerForMultipleChoice", ""},
};

const Row& RowOf(HeadKind head) {
  for (const Row& row : kRows) {
    if (row.head == head) return row;
  }
  return kRows[0];
}

}  // namespace

std::string_view ClassOf(std::span<const HeadClass> classes, HeadKind wanted) {
  for (const HeadClass& row : classes) {
    if (row.head == wanted) return row.class_name;
  }
  return {};
}

std::string_view NameOf(HeadKind head) { return RowOf(head).name; }
std::string_view CommandOf(HeadKind head) { return RowOf(head).command; }
std::string_view ClassesFor(HeadKind head) { return RowOf(head).classes; }
std::string_view WayTo(HeadKind head) { return RowOf(head).way; }

}  // namespace longspan
