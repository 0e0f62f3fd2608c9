// Tokens and their ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/types.h"

namespace longspan::text {

// A vocabulary from a file that nobody vouches for. Memory is bounded by the file: an id lies below
// the number of entries plus limits::kMostVocabularyGap.
class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // Refuses (kFormat, naming `source`) an id outside [0, entries +
  // limits::kMostVocabularyGap), an id with two tokens, a token with two ids. `entries` is how many
  // the file has.
  void Add(std::string_view token, idx_t id, idx_t entries, std::string_view source);

  std::optional<std::int32_t> IdOf(std::string_view token) const;
  // nullptr when no token has this id.
  const std::string* TokenOf(std::int32_t id) const;
  idx_t size() const { return static_cast<idx_t>(ids_.size()); }      // entries
  idx_t bound() const { return static_cast<idx_t>(tokens_.size()); }  // the largest id + 1

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // keys of ids_, which stay where they are
};

}  // namespace longspan::text
