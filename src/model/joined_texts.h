// A batch's texts as one attention call takes them.
#pragma once

#include <cstdint>
#include <vector>

#include "model/batch.h"

namespace longspan {

struct JoinedTexts {
  explicit JoinedTexts(const BatchView& batch);
  JoinedTexts(const JoinedTexts&) = delete;
  JoinedTexts& operator=(const JoinedTexts&) = delete;

  // (B, T), or, of documents, one row with all of them.
  idx_t rows, tokens;
  std::vector<idx_t> starts;  // of documents, and the end of the last one; else empty
  TokenRoles roles;           // (rows, tokens)

  idx_t n() const { return rows * tokens; }
  // Pairs of two tokens of one text.
  double Pairs() const;

 private:
  std::vector<std::uint8_t> joined_;  // roles, where the batch's own do not lie row after row
};

}  // namespace longspan
