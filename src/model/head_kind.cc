#include "model/head_kind.h"

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/folders.h"

namespace longspan {
namespace {

struct Row {
  HeadKind head;
  std::string_view name, command, way;
};

constexpr Row kRows[] = {
    {HeadKind::kNone, "none", "embed", ""},
    {HeadKind::kCausalLm, "lm", "generate", "longspan init and longspan train lm"},
    {HeadKind::kMaskedLm, "mlm", "fill-mask", "longspan train mlm"},
    {HeadKind::kSequence, "classify", "classify", "longspan train classify"},
    {HeadKind::kToken, "token-classify", "token-classify", "longspan train token-classify"},
    {HeadKind::kQuestion, "qa", "qa", "longspan train qa"},
    {HeadKind::kChoice, "multiple-choice", "multiple-choice", "longspan train multiple-choice"},
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

std::string HeadNames(std::span<const HeadClass> classes) {
  std::string names;
  for (const Row& row : kRows) {
    if (row.head == HeadKind::kNone || ClassOf(classes, row.head).empty()) continue;
    names.append(names.empty() ? "" : ", ").append(row.name);
  }
  return names;
}

void CheckHasHead(std::span<const HeadClass> classes, HeadKind wanted, std::string_view title) {
  Check(!ClassOf(classes, wanted).empty(), ErrorCode::kUsage,
        "model: a {} has no such head ({}); use one of {}", title, NameOf(wanted),
        HeadNames(classes));
}

HeadKind ParseHead(std::string_view name) {
  std::string known;
  for (const Row& row : kRows) {
    if (row.name == name) return row.head;
    known.append(known.empty() ? "" : ", ").append(row.name);
  }
  Fail(ErrorCode::kUsage, "head: '{}' is unknown; use one of {}", io::Escape(name), known);
}

std::string_view NameOf(HeadKind head) { return RowOf(head).name; }
std::string_view CommandOf(HeadKind head) { return RowOf(head).command; }
std::string_view WayTo(HeadKind head) { return RowOf(head).way; }

}  // namespace longspan
