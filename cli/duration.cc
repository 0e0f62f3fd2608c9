#include "cli/duration.h"

#include <charconv>
#include <utility>

#include "cli/check.h"
#include "longspan/files.h"

namespace longspan::cli {

double ParseDuration(std::string_view option, std::string_view text) {
  double seconds = 0.0;
  bool good = !text.empty();
  for (std::string_view rest = text; good && !rest.empty();) {
    double value = 0.0;
    const char* const last = rest.data() + rest.size();
    const auto [end, error] = std::from_chars(rest.data(), last, value, std::chars_format::fixed);
    double unit = 0.0;
    for (const auto& [name, length] :
         {std::pair{'s', 1.0}, {'m', 60.0}, {'h', 3600.0}, {'d', 86400.0}}) {
      if (end != last && *end == name) unit = length;
    }
    good = error == std::errc() && unit > 0.0 && value >= 0.0;
    seconds += value * unit;
    if (good) rest.remove_prefix(static_cast<std::size_t>(end + 1 - rest.data()));
  }
  Check(good && seconds > 0.0 && seconds < 1e12, ErrorCode::kUsage,
        "{}: '{}' is no time above 0; give numbers with s, m, h or d, for example 30m or 1h30m",
        option, io::Escape(text));
  return seconds;
}

}  // namespace longspan::cli
