#include "model/sentence_config.h"

#include "base/limits.h"
#include "io/json.h"

namespace longspan {

namespace fs = std::filesystem;

std::optional<fs::path> FindSentenceConfig(const fs::path& folder) {
  std::error_code unknown;
  for (const char* family :
       {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"}) {
    const fs::path file = folder / (std::string("sentence_") + family + "_config.json");
    if (fs::is_regular_file(file, unknown)) return file;
  }
  std::optional<fs::path> first;
  fs::directory_iterator entries(folder, unknown);
  for (; !unknown && entries != fs::directory_iterator(); entries.increment(unknown)) {
    const std::string name = entries->path().filename().native();
    if (!name.starts_with("sentence_") || !name.ends_with("_config.json")) continue;
    std::error_code odd;  // a link to nowhere is no regular file
    if (entries->is_regular_file(odd) && (!first || entries->path() < *first)) {
      first = entries->path();
    }
  }
  return first;
}

std::optional<idx_t> SentenceTokens(const nlohmann::json& config, const std::string& source) {
  return io::GetOptionalInt(config, "max_seq_length", 1, limits::kMostSentenceTokens, source);
}

}  // namespace longspan
