// Times that users type.
#pragma once

#include <string_view>

namespace longspan::cli {

// "90s", "30m", "1.5h", "2d", "1h30m": seconds, above 0. kUsage names `option` otherwise.
double ParseDuration(std::string_view option, std::string_view text);

}  // namespace longspan::cli
