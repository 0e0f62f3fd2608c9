#include "io/json.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "io/file.h"
#include "io/json_events.h"
#include "io/posix.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

using nlohmann::json;

// An integer that no number here can hold is a string behind this mark until it is written again.
constexpr std::string_view kInteger{"\0integer ", 9}, kWrittenInteger = "\"\\u0000integer ";

constexpr std::size_t kFewestDigits = 19;  // of what 64 bits cannot hold

bool IsInteger(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

// The text of a document with its marked integers as numbers.
std::string WithIntegers(std::string text) {
  for (std::size_t at = 0; (at = text.find(kWrittenInteger, at)) != text.npos; ++at) {
    const std::size_t begin = at + kWrittenInteger.size(), end = text.find('"', begin);
    const std::string digits = text.substr(begin, end - begin);
    const bool is_name = text.substr(std::min(end + 1, text.size()), 1) == ":";
    const bool inside = at > 0 && text[at - 1] == '\\';  // a quotation mark of a longer text
    const bool beyond = digits.size() >= kFewestDigits && IsInteger(digits);
    if (beyond && !is_name && !inside) text.replace(at, end + 1 - at, digits);
  }
  return text;
}

// Builds the document.
class DocumentBuilder final : public JsonEvents {
 public:
  DocumentBuilder(std::string_view text, std::string_view from, const JsonLimits& limits)
      : JsonEvents(text, from, limits.depth),
        most_values_(limits.values),
        exact_integers_(limits.exact_integers) {}

  json Take() { return std::move(root_); }

  bool null() override { return Add(json(nullptr)); }
  bool boolean(bool value) override { return Add(json(value)); }
  bool number_integer(json::number_integer_t value) override { return Add(json(value)); }
  bool number_unsigned(json::number_unsigned_t value) override { return Add(json(value)); }
  bool number_float(json::number_float_t value, const std::string& written) override {
    if (exact_integers_ && IsInteger(written)) return Add(json(std::string(kInteger) + written));
    return Add(json(value));
  }
  bool string(std::string& value) override { return Add(json(std::move(value))); }
  bool binary(json::binary_t&) override { return false; }

  bool start_object(std::size_t) override { return Open(json::object()); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& name) override {
    auto& object = open_.back()->get_ref<json::object_t&>();
    const auto [place, added] = object.try_emplace(name, nullptr);
    if (!added) Require(false, fmt::format("duplicate key \"{}\"", Escape(name)));
    value_ = &place->second;
    return true;
  }

 private:
  json* Place(json value) {
    Require(++values_ <= most_values_, "too many values");
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    // A pointer to an array's last element stays good while that element is open: the array grows
    // only after it is closed.
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *value_ = std::move(value);
    return value_;
  }
  bool Add(json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(json value) {
    Enter();
    open_.push_back(Place(std::move(value)));
    return true;
  }
  bool Close() {
    Leave();
    open_.pop_back();
    return true;
  }

  json root_;
  std::vector<json*> open_;
  json* value_ = nullptr;  // of the key that was read last
  std::size_t values_ = 0, most_values_;
  bool exact_integers_;
};

std::string Show(const json& value) {
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return Escape(value.dump(-1, ' ', true, json::error_handler_t::replace), 80);
}

const json* Find(const json& object, std::string_view field, std::string_view source) {
  CheckObject(object, source);
  const auto found = object.find(field);
  return found == object.end() ? nullptr : &*found;
}

// One scalar kind of field: how to convert and what to say it must be.
template <class Convert>
auto Get(const json& object, std::string_view field, std::string_view source, const auto& fallback,
         const Convert& convert, const auto& must) {
  const json* value = Find(object, field, source);
  if (value == nullptr) {
    Check(fallback.has_value(), ErrorCode::kFormat, "{}: {} is missing, must be {}", source, field,
          fallback.has_value() ? std::string() : must());
    return *fallback;
  }
  const auto converted = convert(*value);
  if (!converted) {
    Fail(ErrorCode::kFormat, "{}: {} is {}, must be {}", source, field, Show(*value), must());
  }
  return *converted;
}

template <class Convert>
auto GetList(const json& object, std::string_view field, std::string_view source,
             const auto& fallback, const Convert& convert, const auto& must, bool lone) {
  using Item = typename decltype(convert(object))::value_type;
  const auto list = [&](const json& value) -> std::optional<std::vector<Item>> {
    if (!value.is_array()) {
      const auto item = lone ? convert(value) : std::nullopt;
      return item ? std::optional(std::vector<Item>{*item}) : std::nullopt;
    }
    std::vector<Item> items;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const auto item = convert(value[i]);
      if (!item) {
        Fail(ErrorCode::kFormat, "{}: {}[{}] is {}, must be {}", source, field, i, Show(value[i]),
             must());
      }
      items.push_back(*item);
    }
    return items;
  };
  const auto must_list = [&] {
    return fmt::format("{}a list, each item {}", lone ? must() + " or " : std::string(), must());
  };
  return Get(object, field, source, fallback, list, must_list);
}

// What the kinds accept.
auto IntIn(idx_t lo, idx_t hi) {
  return [lo, hi](const json& value) -> std::optional<idx_t> {
    if (!value.is_number_integer()) return std::nullopt;
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX}) {
      return std::nullopt;
    }
    const auto number = value.get<idx_t>();
    return number < lo || number > hi ? std::nullopt : std::optional(number);
  };
}
auto IntText(idx_t lo, idx_t hi) {
  return [lo, hi] { return fmt::format("an integer in [{}, {}]", lo, hi); };
}

auto FloatIn(double lo, double hi) {
  return [lo, hi](const json& value) -> std::optional<double> {
    if (!value.is_number()) return std::nullopt;
    const auto number = value.get<double>();
    const bool fits = std::isfinite(number) && number >= lo && number <= hi;
    return fits ? std::optional(number) : std::nullopt;
  };
}
auto FloatText(double lo, double hi) {
  return [lo, hi] { return fmt::format("a number in [{:.9g}, {:.9g}]", lo, hi); };
}

const double kBelowOne = std::nextafter(1.0, 0.0);
std::string DropoutText() { return "a number in [0, 1)"; }

std::optional<bool> AsBool(const json& value) {
  return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
}
std::string BoolText() { return "true or false"; }

std::optional<std::string> AsString(const json& value) {
  return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}
std::string StringText() { return "a string"; }

}  // namespace

nlohmann::json ParseJson(std::string_view text, std::string_view source, const JsonLimits& limits) {
  Check(text.size() <= limits.bytes, ErrorCode::kFormat,
        "{}: {} bytes of JSON, at most {} are read", source, text.size(), limits.bytes);
  DocumentBuilder builder(text, source, limits);
  builder.Run();
  return builder.Take();
}

nlohmann::json ReadJsonFile(const std::filesystem::path& path, const JsonLimits& limits) {
  return ParseJson(ReadWholeFile(path, limits.bytes), PathText(path), limits);
}

std::string JsonText(const json& value, int indent) {
  return WithIntegers(value.dump(indent, ' ', false, json::error_handler_t::replace));
}
std::string JsonText(const nlohmann::ordered_json& value, int indent) {
  return WithIntegers(value.dump(indent, ' ', false, json::error_handler_t::replace));
}

std::string DumpJson(const json& document, int indent) { return JsonText(document, indent) + "\n"; }
std::string DumpJson(const nlohmann::ordered_json& document, int indent) {
  return JsonText(document, indent) + "\n";
}

void CheckObject(const json& document, std::string_view source) {
  Check(document.is_object(), ErrorCode::kFormat, "{}: {} instead of an object", source,
        Show(document));
}

bool IsNullOrAbsent(const json& object, std::string_view field) {
  const auto found = object.find(field);
  return found == object.end() || found->is_null();
}

idx_t GetInt(const json& object, std::string_view field, idx_t lo, idx_t hi,
             std::optional<idx_t> fallback, std::string_view source) {
  return Get(object, field, source, fallback, IntIn(lo, hi), IntText(lo, hi));
}

std::optional<idx_t> GetOptionalInt(const json& object, std::string_view field, idx_t lo, idx_t hi,
                                    std::string_view source) {
  if (Find(object, field, source) == nullptr || object.at(field).is_null()) return std::nullopt;
  return GetInt(object, field, lo, hi, kRequired, source);
}

double GetFloat(const json& object, std::string_view field, double lo, double hi,
                std::optional<double> fallback, std::string_view source) {
  return Get(object, field, source, fallback, FloatIn(lo, hi), FloatText(lo, hi));
}

std::optional<double> GetOptionalFloat(const json& object, std::string_view field, double lo,
                                       double hi, std::string_view source) {
  if (Find(object, field, source) == nullptr || object.at(field).is_null()) return std::nullopt;
  return GetFloat(object, field, lo, hi, kRequired, source);
}

double GetDropout(const json& object, std::string_view field, std::optional<double> fallback,
                  std::string_view source) {
  return Get(object, field, source, fallback, FloatIn(0.0, kBelowOne), DropoutText);
}

std::optional<double> GetOptionalDropout(const json& object, std::string_view field,
                                         std::string_view source) {
  if (Find(object, field, source) == nullptr || object.at(field).is_null()) return std::nullopt;
  return GetDropout(object, field, kRequired, source);
}

bool GetBool(const json& object, std::string_view field, std::optional<bool> fallback,
             std::string_view source) {
  return Get(object, field, source, fallback, AsBool, BoolText);
}

std::string GetString(const json& object, std::string_view field,
                      std::optional<std::string> fallback, std::string_view source) {
  return Get(object, field, source, fallback, AsString, StringText);
}

std::optional<std::string> GetOptionalString(const json& object, std::string_view field,
                                             std::string_view source) {
  if (Find(object, field, source) == nullptr || object.at(field).is_null()) return std::nullopt;
  return GetString(object, field, kRequired, source);
}

std::string GetChoice(const json& object, std::string_view field,
                      const std::vector<std::string>& choices, std::optional<std::string> fallback,
                      std::string_view source) {
  const auto choice = [&](const json& value) {
    auto text = AsString(value);
    if (text && std::find(choices.begin(), choices.end(), *text) == choices.end()) text.reset();
    return text;
  };
  const auto must = [&] { return fmt::format("one of {}", fmt::join(choices, ", ")); };
  return Get(object, field, source, fallback, choice, must);
}

std::vector<idx_t> GetIntList(const json& object, std::string_view field, idx_t lo, idx_t hi,
                              std::optional<std::vector<idx_t>> fallback, std::string_view source) {
  return GetList(object, field, source, fallback, IntIn(lo, hi), IntText(lo, hi), false);
}

std::vector<idx_t> GetIntOrList(const json& object, std::string_view field, idx_t lo, idx_t hi,
                                std::optional<std::vector<idx_t>> fallback,
                                std::string_view source) {
  return GetList(object, field, source, fallback, IntIn(lo, hi), IntText(lo, hi), true);
}

std::vector<std::string> GetStringList(const json& object, std::string_view field,
                                       std::optional<std::vector<std::string>> fallback,
                                       std::string_view source) {
  return GetList(object, field, source, fallback, AsString, StringText, false);
}

}  // namespace longspan::io
