// A component of tokenizer.json. Internal.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan::text {

// An object with a type. `where` names it in messages: "file: pre_tokenizer[1]".
class JsonComponent {
 public:
  JsonComponent(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {
    type_ = io::GetString(object, "type", io::kRequired, where_);
  }

  const std::string& type() const { return type_; }
  const std::string& where() const { return where_; }
  const nlohmann::json& at(std::string_view field) const {
    const auto found = object_.find(field);
    Check(found != object_.end(), ErrorCode::kFormat, "{}: {} is missing", where_, field);
    return *found;
  }

  // Refuses fields that are not among these (and "type").
  const JsonComponent& Only(std::initializer_list<std::string_view> fields) const {
    for (const auto& [name, value] : object_.items()) {
      const bool known =
          name == "type" || std::find(fields.begin(), fields.end(), name) != fields.end();
      Check(known, ErrorCode::kFormat, "{}: {} has a field \"{}\", which is not known", where_,
            io::Escape(type_), io::Escape(name));
    }
    return *this;
  }

  bool Bool(std::string_view field, std::optional<bool> fallback = std::nullopt) const {
    return io::GetBool(object_, field, fallback, where_);
  }
  std::string String(std::string_view field) const {
    return io::GetString(object_, field, io::kRequired, where_);
  }

  // The elements of a list of components, each with its own `where`.
  template <class Use>
  void ForEach(std::string_view field, std::size_t most, const Use& use) const {
    const nlohmann::json& list = at(field);
    Check(list.is_array() && list.size() <= most, ErrorCode::kFormat,
          "{}: {} must be a list of at most {} elements", where_, field, most);
    for (std::size_t i = 0; i < list.size(); ++i) {
      use(list[i], fmt::format("{}: {}[{}]", where_, field, i));
    }
  }

  [[noreturn]] void Unknown(std::string_view known) const {
    Fail(ErrorCode::kFormat, "{}: {} is not read, only {}", where_, io::Escape(type_), known);
  }

 private:
  const nlohmann::json& object_;
  std::string where_, type_;
};

}  // namespace longspan::text
