#include "model/family_options.h"

#include <charconv>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {

idx_t IntegerOption(const std::string& name, const std::string& value, idx_t least, idx_t most) {
  idx_t number = 0;
  const char* end = value.data() + value.size();
  const auto [next, error] = std::from_chars(value.data(), end, number);
  Check(error == std::errc() && next == end && number >= least && number <= most, ErrorCode::kUsage,
        "{}: {} is not from {} to {}", name, io::Escape(value), least, most);
  return number;
}

bool FlagOption(const std::string& name, const std::string& value) {
  Check(value == "true" || value == "false", ErrorCode::kUsage, "{}: {} is neither true nor false",
        name, io::Escape(value));
  return value == "true";
}

void RefuseOption(std::string_view title, const std::string& name) {
  Fail(ErrorCode::kUsage, "{}: a {} has no such option; leave it out", io::Escape(name), title);
}

}  // namespace longspan
