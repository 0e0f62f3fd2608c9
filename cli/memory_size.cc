#include "cli/memory_size.h"

#include <charconv>
#include <utility>

#include "cli/check.h"
#include "longspan/files.h"
#include "longspan/plan.h"

namespace longspan::cli {
std::size_t ParseMemory(std::string_view command, std::string_view text) {
  double value = 0.0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value, std::chars_format::fixed);
  const std::string_view unit(end, static_cast<std::size_t>(last - end));
  double factor = unit.empty() ? 1.0 : 0.0;
  for (const auto& [name, size] :
       {std::pair{"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}, {"T", 0x1p40}}) {
    if (unit == name) factor = size;
  }
  const double bytes = value * factor;
  Check(error == std::errc() && bytes >= 1.0 && bytes < 1e18, ErrorCode::kUsage,
        "{}: '{}' is not a number of bytes, alone or with K, M, G or T: 512M, 4G", command,
        io::Escape(text));
  return static_cast<std::size_t>(bytes);
}

std::size_t StepBudget(std::string_view command, Context& context, std::string_view text,
                       std::size_t* program) {
  if (text.empty()) return 0;
  const std::size_t bytes = ParseMemory(fmt::format("{}: --memory", command), text),
                    own = ProgramBytes(context);
  Check(bytes > own, ErrorCode::kLimit, "{}: {} bytes of memory, the program alone takes {}",
        command, bytes, own);
  if (program != nullptr) *program = own;
  return bytes - own;
}

}  // namespace longspan::cli
