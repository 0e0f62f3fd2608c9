#include "io/shard_index.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/file_name.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan::io {

ShardIndex ParseShardIndex(std::string_view text, std::string_view source) {
  const nlohmann::json document = ParseJson(text, source);
  const bool has_map =
      document.is_object() && document.contains("weight_map") && document["weight_map"].is_object();
  Check(has_map, ErrorCode::kFormat, "{}: weight_map must be an object", source);
  ShardIndex index;
  for (const auto& [name, file] : document["weight_map"].items()) {
    Check(file.is_string(), ErrorCode::kFormat, "{}: weight_map[\"{}\"] must be a string", source,
          Escape(name));
    const auto& shard = file.get_ref<const std::string&>();
    Check(IsPlainFileName(shard), ErrorCode::kFormat,
          "{}: weight_map[\"{}\"] is \"{}\", must be a file name of letters, digits, '.', '_' "
          "and '-' without a folder",
          source, Escape(name), Escape(shard));
    index.shard_of.emplace(name, shard);
  }
  Check(!index.shard_of.empty(), ErrorCode::kFormat, "{}: weight_map is empty", source);
  if (document.contains("metadata") && document["metadata"].is_object()) {
    const auto& metadata = document["metadata"];
    if (metadata.contains("total_size") && metadata["total_size"].is_number()) {
      index.total_bytes = metadata["total_size"].get<double>();
    }
  }
  return index;
}

std::string ShardIndexText(const std::map<std::string, std::string, std::less<>>& shard_of,
                           std::uint64_t total_bytes, std::uint64_t total_elements) {
  nlohmann::json document;
  document["metadata"] = {{"total_parameters", total_elements}, {"total_size", total_bytes}};
  document["weight_map"] = nlohmann::json::object();
  for (const auto& [name, shard] : shard_of) document["weight_map"][name] = shard;
  return DumpJson(document);
}

}  // namespace longspan::io
