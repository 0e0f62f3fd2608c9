// model.safetensors.index.json and pytorch_model.bin.index.json: which file holds which tensor.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace longspan::io {

struct ShardIndex {
  std::map<std::string, std::string, std::less<>> shard_of;  // tensor name, file name
  std::optional<double> total_bytes;  // as stated: nothing is allocated by it
};

// kFormat unless every shard's name is one plain component (io/file_name.h): no file has been
// opened by then. Duplicate keys are refused.
ShardIndex ParseShardIndex(std::string_view text, std::string_view source);

// The text of an index, ready to be written. Sorted: the same index gives the same bytes.
std::string ShardIndexText(const std::map<std::string, std::string, std::less<>>& shard_of,
                           std::uint64_t total_bytes, std::uint64_t total_elements);

}  // namespace longspan::io
