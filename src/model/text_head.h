// The heads of all kinds of models.
#pragma once

#include <string_view>

namespace longspan {

enum class TextHead { kNone, kCausalLm, kMaskedLm, kSequence, kToken, kQuestion, kChoice };

// The command that asks such a model: "fill-mask"; without a head "embed".
std::string_view CommandOf(TextHead head);

// The classes of models that serve it: "a LongformerForMaskedLM or a ReformerForMaskedLM".
std::string_view ClassesFor(TextHead head);

// The command that makes one of a folder with another head; empty: none of this program does.
std::string_view WayTo(TextHead head);

}  // namespace longspan
