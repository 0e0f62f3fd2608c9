// Pools the vectors of tokens to the vector of a text, as sentence-transformers does.
#pragma once

#include <filesystem>
#include <vector>

#include "longspan/tasks.h"

namespace longspan {

struct Pooling {
  std::vector<PoolingMode> modes = {PoolingMode::kMean};  // one after another
  bool include_prompt = true;                             // false: a prompt's tokens take no part
};

// A pooling's config.json of any age. Its ways are flags (`pooling_mode_cls_token: true`; several
// stand in the package's order: cls, max, mean, mean-sqrt-len, weighted-mean, last-token), a text
// (`"pooling_mode": "cls"`) or a list of texts (in the list's order); flags are not looked at
// beside the latter two. kFormat for a way that is unknown, for none, and for a width that is not
// `channels`.
Pooling ReadPooling(const std::filesystem::path& file, idx_t channels);

// What ReadPooling and all versions of sentence-transformers read back. kIo.
void WritePooling(const std::filesystem::path& file, const Pooling& pooling, idx_t channels);

}  // namespace longspan
