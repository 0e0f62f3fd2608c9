#include "text/vocabulary.h"

#include "base/errors.h"
#include "base/limits.h"
#include "longspan/files.h"

namespace longspan::text {

void Vocabulary::Add(std::string_view token, idx_t id, idx_t entries, std::string_view source) {
  const idx_t most = entries + limits::kMostVocabularyGap;
  Check(id >= 0 && id < most, ErrorCode::kFormat,
        "{}: token \"{}\" has id {}, must be in [0, {}) for {} entries", source, io::Escape(token),
        id, most, entries);
  const auto at = static_cast<std::size_t>(id);
  if (at >= tokens_.size()) tokens_.resize(at + 1, nullptr);
  if (tokens_[at] != nullptr) {
    Fail(ErrorCode::kFormat, "{}: id {} is both \"{}\" and \"{}\"", source, id,
         io::Escape(*tokens_[at]), io::Escape(token));
  }
  const auto [place, added] = ids_.try_emplace(std::string(token), static_cast<std::int32_t>(id));
  if (!added) {
    Fail(ErrorCode::kFormat, "{}: token \"{}\" has two ids, {} and {}", source, io::Escape(token),
         place->second, id);
  }
  tokens_[at] = &place->first;
}

std::optional<std::int32_t> Vocabulary::IdOf(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const std::string* Vocabulary::TokenOf(std::int32_t id) const {
  return id < 0 || id >= bound() ? nullptr : tokens_[static_cast<std::size_t>(id)];
}

}  // namespace longspan::text
