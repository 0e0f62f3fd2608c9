// The files that a tokenizer is read from.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace longspan::text {

// The whole file: kFormat when it is larger than limits::kMostTokenizerBytes, or is what people
// download in the place of such a file: a git-LFS pointer, a web page, an archive.
std::string ReadTokenizerFile(const std::filesystem::path& path);
// The same of a JSON file.
nlohmann::json ReadTokenizerJsonFile(const std::filesystem::path& path);

}  // namespace longspan::text
