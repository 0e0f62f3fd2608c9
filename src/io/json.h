// Strict JSON (RFC 8259) from files that nobody vouches for, and typed access to its fields.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "longspan/types.h"

namespace longspan::io {

struct JsonLimits {
  std::size_t bytes = limits::kJsonBytes;
  int depth = limits::kJsonDepth;            // nested objects and arrays
  std::size_t values = limits::kJsonValues;  // bounds the memory of the parsed document
  // Integers beyond 64 bits are kept digit by digit, for JsonText to write, instead of as doubles.
  bool exact_integers = false;
};

// Parses one document. Refused with kFormat, in one line that names `source` and the byte offset:
// NaN and Infinity, numbers beyond double, comments, a byte-order mark, duplicate keys, invalid
// UTF-8, lone surrogates, anything behind the document, more depth or bytes than `limits`.
nlohmann::json ParseJson(std::string_view text, std::string_view source,
                         const JsonLimits& limits = {});

// The same for a regular file; `source` is its path. kIo when it cannot be read.
nlohmann::json ReadJsonFile(const std::filesystem::path& path, const JsonLimits& limits = {});

// kFormat unless a document is an object. The getters below see to it themselves.
void CheckObject(const nlohmann::json& document, std::string_view source);

// Fields of a config object. Every getter throws kFormat naming source, field, value and range;
// `fallback` is what an absent field means, kRequired makes absence an error. `null` counts as a
// wrong value, except in the GetOptional family, where it means the same as absence.
inline constexpr std::nullopt_t kRequired = std::nullopt;

// An integer in [lo, hi]. 1.5, 2.0, "768" and true are no integers.
idx_t GetInt(const nlohmann::json& object, std::string_view field, idx_t lo, idx_t hi,
             std::optional<idx_t> fallback, std::string_view source);
std::optional<idx_t> GetOptionalInt(const nlohmann::json& object, std::string_view field, idx_t lo,
                                    idx_t hi, std::string_view source);

// A finite number in [lo, hi]; integers count as numbers.
double GetFloat(const nlohmann::json& object, std::string_view field, double lo, double hi,
                std::optional<double> fallback, std::string_view source);
std::optional<double> GetOptionalFloat(const nlohmann::json& object, std::string_view field,
                                       double lo, double hi, std::string_view source);

// A probability that dropout can use: 0 <= p < 1.
double GetDropout(const nlohmann::json& object, std::string_view field,
                  std::optional<double> fallback, std::string_view source);
std::optional<double> GetOptionalDropout(const nlohmann::json& object, std::string_view field,
                                         std::string_view source);

bool GetBool(const nlohmann::json& object, std::string_view field, std::optional<bool> fallback,
             std::string_view source);

std::string GetString(const nlohmann::json& object, std::string_view field,
                      std::optional<std::string> fallback, std::string_view source);
std::optional<std::string> GetOptionalString(const nlohmann::json& object, std::string_view field,
                                             std::string_view source);

// One of `choices`; the message lists them.
std::string GetChoice(const nlohmann::json& object, std::string_view field,
                      const std::vector<std::string>& choices, std::optional<std::string> fallback,
                      std::string_view source);

// Lists. GetIntOrList takes a lone integer for a list of one (num_buckets, attention_window).
std::vector<idx_t> GetIntList(const nlohmann::json& object, std::string_view field, idx_t lo,
                              idx_t hi, std::optional<std::vector<idx_t>> fallback,
                              std::string_view source);
std::vector<idx_t> GetIntOrList(const nlohmann::json& object, std::string_view field, idx_t lo,
                                idx_t hi, std::optional<std::vector<idx_t>> fallback,
                                std::string_view source);
std::vector<std::string> GetStringList(const nlohmann::json& object, std::string_view field,
                                       std::optional<std::vector<std::string>> fallback,
                                       std::string_view source);

// A value as text: `indent` spaces a level (negative: one line). Bytes of a string that are not
// UTF-8 (a path, a name from the command line) become U+FFFD: it is always written, and is always
// JSON.
std::string JsonText(const nlohmann::json& value, int indent = -1);
std::string JsonText(const nlohmann::ordered_json& value, int indent = -1);
// A whole document, with a line break at its end.
std::string DumpJson(const nlohmann::json& document, int indent = 2);
std::string DumpJson(const nlohmann::ordered_json& document, int indent = 2);

// True when the field is absent or null.
bool IsNullOrAbsent(const nlohmann::json& object, std::string_view field);

}  // namespace longspan::io
