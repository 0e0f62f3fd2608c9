// Fields of JSON text without reading what nobody asked for: a value that is not looked at may hold
// NaN, half a surrogate or bytes that are no UTF-8. Only the structure has to be right.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace longspan::data {

// Follows one JSON value byte by byte; it may arrive in pieces.
class JsonEnd {
 public:
  // Goes over bytes from `at` on. Returns the place behind the value once it is whole, and npos
  // when it goes on behind `text`; the next call continues there. kFormat, with `where`, for
  // brackets that do not match and for a text that begins no value.
  std::size_t Find(std::string_view text, std::size_t at, std::string_view where);
  // Whether a number or word that ends with the text is whole.
  bool IsScalar() const { return scalar_; }

 private:
  bool Step(char c, std::string_view where);

  std::string open_;  // brackets that are to be closed
  bool begun_ = false, in_string_ = false, escaped_ = false, scalar_ = false;
};

// Calls use(key, value) for each member of an object, or use("", item) for each item of a list,
// with the value's text as it stands. Keys are decoded. `text` may have white space around it.
// kFormat, with `where` and the byte, for damaged structure, and for text that is neither.
void ForEachMember(std::string_view text, std::string_view where,
                   const std::function<void(std::string_view key, std::string_view value)>& use);

// The text without JSON's white space on both sides.
std::string_view TrimJson(std::string_view text);

}  // namespace longspan::data
