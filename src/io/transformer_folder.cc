#include "io/transformer_folder.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/file_name.h"
#include "io/json.h"
#include "longspan/error.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

// Whether a module is what the others stand behind, and not a pooling that comes first in a list
// without the transformer. Versions call it Transformer or by the family ("...models.RoBERTa").
bool IsTransformer(std::string_view type, std::string_view path) {
  constexpr std::string_view kOthers[] = {"Pooling", "Normalize", "Dense", "LayerNorm", "Dropout"};
  if (type.empty()) return path.starts_with("0_");
  const std::string_view name = type.substr(type.rfind('.') + 1);
  return std::find(std::begin(kOthers), std::end(kOthers), name) == std::end(kOthers);
}

// The path of the first module: "" for the folder itself, "0_Transformer" in old layouts.
std::string FirstModule(const fs::path& file) {
  try {
    const nlohmann::json modules = ReadJsonFile(file);
    if (!modules.is_array() || modules.empty() || !modules.front().is_object()) return {};
    const std::string path = GetString(modules.front(), "path", "", "modules.json");
    const std::string type = GetString(modules.front(), "type", "", "modules.json");
    return IsTransformer(type, path) ? path : std::string();
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

fs::path TransformerFolder(const fs::path& folder) {
  std::error_code error;
  const bool modules = fs::is_regular_file(folder / "modules.json", error);
  if (!modules && fs::exists(folder / "config.json", error)) return folder;
  const std::string inner = modules ? FirstModule(folder / "modules.json") : "0_Transformer";
  if (inner.empty() || !IsPlainFileName(inner)) return folder;
  // A link could lead anywhere, and what lies beside a model is copied with it.
  if (!fs::is_directory(fs::symlink_status(folder / inner, error))) return folder;
  return fs::exists(folder / inner / "config.json", error) ? folder / inner : folder;
}

}  // namespace longspan::io
