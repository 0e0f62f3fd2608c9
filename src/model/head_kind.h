// The heads of all kinds of models.
#pragma once

#include <span>
#include <string_view>

namespace longspan {

// Each model has some of them.
enum class HeadKind { kNone, kCausalLm, kMaskedLm, kSequence, kToken, kQuestion, kChoice };

// A class of "architectures" and the head it has.
struct HeadClass {
  HeadKind head;
  std::string_view class_name;
};
// Empty where a model with these classes has no such head.
std::string_view ClassOf(std::span<const HeadClass> classes, HeadKind wanted);

// kUsage if a model with these classes, `title` of whose family is given ("Longformer"), has no
// such head.
void CheckHasHead(std::span<const HeadClass> classes, HeadKind wanted, std::string_view title);

// What options call it: "mlm".
std::string_view NameOf(HeadKind head);

// The command that asks such a model: "fill-mask"; without a head "embed".
std::string_view CommandOf(HeadKind head);

// The command that makes one of a folder with another head; empty: none of this program does.
std::string_view WayTo(HeadKind head);

}  // namespace longspan
