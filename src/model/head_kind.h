// The classes that stand for heads (longspan/model_info.h) in Hugging Face's configs.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "longspan/model_info.h"

namespace longspan {

// A class of "architectures" and the head it has.
struct HeadClass {
  HeadKind head;
  std::string_view class_name;
};
// Empty where a model with these classes has no such head.
std::string_view ClassOf(std::span<const HeadClass> classes, HeadKind wanted);
// "lm, mlm": the heads of a model with these classes, but for that of an encoder alone.
std::string HeadNames(std::span<const HeadClass> classes);

// kUsage, naming those that there are, if a model with these classes, `title` of whose family is
// given ("Longformer"), has no such head.
void CheckHasHead(std::span<const HeadClass> classes, HeadKind wanted, std::string_view title);

// The command that makes one of a folder with another head; empty: none of this program does.
std::string_view WayTo(HeadKind head);

}  // namespace longspan
