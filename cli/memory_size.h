// Amounts of memory on the command line.
#pragma once

#include <cstddef>
#include <string_view>

#include "longspan/context.h"

namespace longspan::cli {

// "4G", "512M", "300000": units of 1024. kUsage, naming `command`, for anything else.
std::size_t ParseMemory(std::string_view command, std::string_view text);

// What `text` leaves a step beside the program; 0 for an empty text. kLimit when nothing is left.
// `program`, if not null, gets what the program takes, unless the text is empty.
std::size_t StepBudget(std::string_view command, Context& context, std::string_view text,
                       std::size_t* program = nullptr);

}  // namespace longspan::cli
