// The version of longspan: MAJOR.MINOR.PATCH as semver.org means it. The build reads this file.
#pragma once

#include <string_view>

#define LONGSPAN_VERSION "0.2.0"
// For comparisons by the preprocessor: 10000 * major + 100 * minor + patch.
#define LONGSPAN_VERSION_NUMBER 200

namespace longspan {

inline constexpr std::string_view kVersion = LONGSPAN_VERSION;

}  // namespace longspan
