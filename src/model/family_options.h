// Options that only some families of models have, such as the rounds of hashing. Commands and tasks
// pass them through unread; the family says what is wrong with them.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

// An option that a family has, for help and for messages.
struct FamilyOption {
  std::string_view name;     // "num-hashes"
  std::string_view summary;  // "hash rounds of LSH layers"
};

class FamilyOptions {
 public:
  FamilyOptions& Set(std::string name, std::string value) {
    values_[std::move(name)] = std::move(value);
    return *this;
  }
  FamilyOptions& Set(std::string name, idx_t value) {
    return Set(std::move(name), std::to_string(value));
  }
  FamilyOptions& Set(std::string name, bool value) {
    return Set(std::move(name), std::string(value ? "true" : "false"));
  }

  bool empty() const { return values_.empty(); }
  const std::map<std::string, std::string>& values() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

// Values of an option as a family reads them. kUsage names the option, the value and the range.
idx_t IntegerOption(const std::string& name, const std::string& value, idx_t least, idx_t most);
bool FlagOption(const std::string& name, const std::string& value);
// kUsage: a model of this family ("Longformer") has no such option.
[[noreturn]] void RefuseOption(std::string_view title, const std::string& name);

}  // namespace longspan
