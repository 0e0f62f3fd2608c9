// How the vectors of tokens become the vector of a text, as sentence-transformers has it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan {

//   kCls           the first token's
//   kMean          the mean
//   kMax           the largest of each channel
//   kMeanSqrtLen   the sum over the root of the number of tokens
//   kWeightedMean  the mean, token i weighing i + 1
//   kLastToken     the last token's
enum class PoolingMode { kCls, kMean, kMax, kMeanSqrtLen, kWeightedMean, kLastToken };
std::string_view PoolingName(PoolingMode mode);
PoolingMode ParsePooling(std::string_view name);  // kUsage lists the names

struct Pooling {
  std::vector<PoolingMode> modes = {PoolingMode::kMean};  // one after another
  bool normalize = false;                                 // to length 1
  std::optional<idx_t> max_tokens;                        // longer texts are cut there
  bool from_files = false;                                // a folder said so
};

// What a folder of sentence-transformers says in modules.json, the pooling's config.json and
// sentence_bert_config.json; the default for a folder without modules.json. kFormat for what cannot
// be done (a Dense module, texts in lower case, vectors that are not `channels` wide).
Pooling ReadPooling(const std::filesystem::path& directory, idx_t channels);

}  // namespace longspan
