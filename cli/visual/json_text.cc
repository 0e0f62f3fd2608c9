#include "cli/visual/json_text.h"

#include <utility>
#include <vector>

namespace longspan::cli {
namespace {

// Stands before the digits of an integer that is beyond 64 bits, in a string that holds nothing
// else. No text of a user's begins so: it has a character that UTF-8 does not know.
constexpr std::string_view kDigits = "\xF8longspan-digits:";

bool IsInteger(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

// A copy of the value whose strings with that mark are split off: `digits` gets them, in order, and
// `mark` stands in their place.
void TakeDigits(nlohmann::ordered_json& value, const std::string& mark,
                std::vector<std::string>* digits) {
  if (value.is_structured()) {
    for (auto& item : value) TakeDigits(item, mark, digits);
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (!text.starts_with(kDigits)) return;
    digits->push_back(text.substr(kDigits.size()));
    value = mark;
  }
}

// Builds a value as the parser reads it. The text is JSON that the library has checked.
class DigitKeeper : public nlohmann::json_sax<nlohmann::ordered_json> {
 public:
  using Json = nlohmann::ordered_json;
  DigitKeeper() noexcept(false) {}  // a JSON value may allocate
  DigitKeeper(const DigitKeeper&) = delete;
  DigitKeeper& operator=(const DigitKeeper&) = delete;
  Json Take() { return std::move(whole_); }

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  // The parser takes an integer beyond 64 bits for a fraction.
  bool number_float(number_float_t value, const std::string& written) override {
    return IsInteger(written) ? Add(std::string(kDigits) + written) : Add(value);
  }
  bool string(std::string& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool key(std::string& name) override {
    name_ = std::move(name);
    return true;
  }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;
  }

 private:
  Json* Put(Json value) {
    if (open_.empty()) {
      whole_ = std::move(value);
      return &whole_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    return &(parent[name_] = std::move(value));
  }
  bool Add(Json value) {
    Put(std::move(value));
    return true;
  }
  bool Open(Json value) {
    open_.push_back(Put(std::move(value)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  Json whole_;
  std::string name_;
  std::vector<Json*> open_;  // a parent's vector does not grow while its last child is open
};

}  // namespace

std::string JsonText(const nlohmann::ordered_json& value, int indent) {
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  std::string plain = value.dump(indent, ' ', false, kReplace);
  if (plain.find("longspan-digits:") == std::string::npos) return plain;
  std::string mark = "longspan-number";  // that no text of the document holds
  while (plain.find(mark) != std::string::npos) mark += '-';
  nlohmann::ordered_json copy = value;
  std::vector<std::string> digits;
  TakeDigits(copy, mark, &digits);
  std::string text = copy.dump(indent, ' ', false, kReplace);
  std::size_t at = 0;
  for (const std::string& number : digits) {
    at = text.find('"' + mark + '"', at);
    text.replace(at, mark.size() + 2, number);
    at += number.size();
  }
  return text;
}

std::string DumpJson(const nlohmann::ordered_json& document, int indent) {
  return JsonText(document, indent) + "\n";
}

nlohmann::ordered_json ParsedJson(const std::string& text) {
  DigitKeeper keeper;
  nlohmann::ordered_json::sax_parse(text, &keeper);
  return keeper.Take();
}

}  // namespace longspan::cli
