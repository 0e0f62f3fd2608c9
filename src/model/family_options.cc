#include "model/family_options.h"

#include "base/errors.h"
#include "base/parse_number.h"
#include "longspan/files.h"

namespace longspan {

idx_t IntegerOption(const std::string& name, const std::string& value, idx_t least, idx_t most) {
  const auto number = ParseNumber<idx_t>(value);
  Check(number && *number >= least && *number <= most, ErrorCode::kUsage,
        "{}: {} is not from {} to {}", name, io::Escape(value), least, most);
  return *number;
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
