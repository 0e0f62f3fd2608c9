// A model's folder whose config.json has been read, once for all that ask.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace longspan {

struct ModelFolder {
  std::filesystem::path directory;    // as it was given
  std::filesystem::path config_file;  // the config.json of its model
  nlohmann::json config;              // an object
  std::string type;                   // model_type, or what the config's other fields say
  std::string what;                   // "a Longformer (LongformerForMaskedLM)", escaped

  std::string source() const;  // the config file's path, escaped, for messages
  // kFormat unless the model is of this family.
  void Require(std::string_view wanted_type, std::string_view title) const;
};

}  // namespace longspan
