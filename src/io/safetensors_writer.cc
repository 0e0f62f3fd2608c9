#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/limits.h"
#include "base/memory_limit.h"
#include "io/atomic_file.h"
#include "io/paths.h"
#include "io/posix.h"
#include "io/safetensors.h"
#include "io/shard_index.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

std::string Quote(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    Fail(ErrorCode::kUsage, "safetensors: \"{}\" is not UTF-8", Escape(text));
  }
}

// Elements times their width; kLimit when that overflows.
std::uint64_t EntryBytes(const TensorEntry& entry) {
  const auto width = static_cast<idx_t>(ElementBytes(entry.dtype));
  idx_t size = 1;
  for (const idx_t extent : entry.shape) {
    Check(extent >= 0, ErrorCode::kUsage, "safetensors: tensor \"{}\" of shape {}",
          Escape(entry.name), ShapeText(entry.shape));
    Check(extent == 0 || size <= std::numeric_limits<idx_t>::max() / width / extent,
          ErrorCode::kLimit, "safetensors: tensor \"{}\" of shape {} overflows", Escape(entry.name),
          ShapeText(entry.shape));
    size *= extent;
  }
  return static_cast<std::uint64_t>(size * width);
}

void CheckEntry(const TensorEntry& entry) {
  Check(entry.name != "__metadata__" && entry.name.size() <= limits::kTensorName, ErrorCode::kUsage,
        "safetensors: \"{}\" cannot be a tensor's name", Escape(entry.name));
  Check(entry.shape.size() <= limits::kTensorRank, ErrorCode::kUsage,
        "safetensors: tensor \"{}\" has {} axes, at most {} are read back", Escape(entry.name),
        entry.shape.size(), limits::kTensorRank);
  Check(entry.data != nullptr || entry.write || EntryBytes(entry) == 0, ErrorCode::kUsage,
        "safetensors: tensor \"{}\" has no data", Escape(entry.name));
}

struct Plan {
  std::vector<const TensorEntry*> order;
  std::string header;  // padded, without its length
  std::uint64_t bytes = 0;
};

Plan MakePlan(std::span<const TensorEntry> entries,
              const std::map<std::string, std::string>& metadata) {
  Plan plan;
  for (const TensorEntry& entry : entries) {
    CheckEntry(entry);
    plan.order.push_back(&entry);
  }
  const auto before = [](const TensorEntry* a, const TensorEntry* b) {
    const std::size_t wide_a = ElementBytes(a->dtype), wide_b = ElementBytes(b->dtype);
    return wide_a != wide_b ? wide_a > wide_b : a->name < b->name;
  };
  std::sort(plan.order.begin(), plan.order.end(), before);
  std::vector<std::string_view> names;
  for (const TensorEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    Fail(ErrorCode::kUsage, "safetensors: two tensors are named \"{}\"", Escape(*twice));
  }

  std::vector<std::string> fields;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) {
      pairs.push_back(fmt::format("{}:{}", Quote(key), Quote(value)));
    }
    fields.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::uint64_t end = 0;
  for (const TensorEntry* entry : plan.order) {
    const std::uint64_t begin = end;
    end += EntryBytes(*entry);
    fields.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                                 Quote(entry->name), DTypeName(entry->dtype),
                                 fmt::join(entry->shape, ","), begin, end));
  }
  plan.header = fmt::format("{{{}}}", fmt::join(fields, ","));
  plan.header.resize((plan.header.size() + 7) / 8 * 8, ' ');
  plan.bytes = 8 + plan.header.size() + end;
  return plan;
}

void WritePlan(ByteSink& sink, const Plan& plan) {
  unsigned char length[8];
  for (std::size_t i = 0; i < 8; ++i) {
    length[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(plan.header.size()) >> 8 * i);
  }
  sink.Write(length, sizeof(length));
  sink.Write(plan.header);
  for (const TensorEntry* entry : plan.order) {
    const std::uint64_t bytes = EntryBytes(*entry);
    if (bytes == 0) continue;
    if (entry->write) {
      entry->write(sink);
    } else {
      sink.Write(entry->data, bytes);
    }
  }
}

}  // namespace

std::uint64_t SafetensorsBytes(std::span<const TensorEntry> entries,
                               const std::map<std::string, std::string>& metadata) {
  return MakePlan(entries, metadata).bytes;
}

void WriteSafetensors(ByteSink& sink, std::span<const TensorEntry> entries,
                      const std::map<std::string, std::string>& metadata) {
  WritePlan(sink, MakePlan(entries, metadata));
}

void WriteSafetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                      const std::map<std::string, std::string>& metadata) {
  const Plan plan = MakePlan(entries, metadata);
  AtomicFile file(path, plan.bytes);
  WritePlan(file, plan);
  file.Commit();
}

namespace {

// Ends of the shards in `entries`, which are in the order of their names.
std::vector<std::size_t> ShardEnds(std::span<const TensorEntry> entries, std::uint64_t most_bytes) {
  std::vector<std::size_t> ends;
  std::uint64_t filled = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t bytes = EntryBytes(entries[i]);
    const bool first = i == (ends.empty() ? 0 : ends.back());
    if (!first && bytes > most_bytes - std::min(filled, most_bytes)) {
      ends.push_back(i);
      filled = 0;
    }
    filled += bytes;
  }
  ends.push_back(entries.size());
  return ends;
}

// A shard is loaded whole.
void CheckLargestShard(std::span<const TensorEntry> entries, std::span<const std::size_t> ends) {
  std::uint64_t largest = 0;
  for (std::size_t s = 0; s < ends.size(); ++s) {
    std::uint64_t bytes = 0;
    for (std::size_t i = s == 0 ? 0 : ends[s - 1]; i < ends[s]; ++i) {
      bytes = SaturatingSum({bytes, EntryBytes(entries[i])});
    }
    largest = std::max(largest, bytes);
  }
  CheckMemory("safetensors: the largest file to write; a smaller --max-shard-size takes less",
              largest);
}

}  // namespace

ShardedWrite WriteModel(const std::filesystem::path& directory, std::vector<TensorEntry> entries,
                        std::uint64_t most_bytes, const LoadShard& load,
                        const std::map<std::string, std::string>& metadata) {
  Check(most_bytes > 0, ErrorCode::kUsage, "safetensors: shards of 0 bytes");
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  const auto same = [](const TensorEntry& a, const TensorEntry& b) { return a.name == b.name; };
  const auto twice = std::adjacent_find(entries.begin(), entries.end(), same);
  if (twice != entries.end()) {
    Fail(ErrorCode::kUsage, "safetensors: two tensors are named \"{}\"", Escape(twice->name));
  }
  const std::vector<std::size_t> ends = ShardEnds(entries, most_bytes);
  Check(ends.size() <= limits::kShards, ErrorCode::kUsage,
        "safetensors: {} shards of at most {} bytes, at most {} shards are read back; raise the "
        "size",
        ends.size(), most_bytes, limits::kShards);
  const bool hidden = ends.size() > 1 && Exists(directory / "model.safetensors");
  Check(!hidden, ErrorCode::kUsage,
        "{}: has a model.safetensors, which would hide the shards; write to another folder",
        PathText(directory));
  if (load) CheckLargestShard(entries, ends);
  ShardedWrite written{0, ends.size()};
  std::uint64_t elements = 0;
  std::map<std::string, std::string, std::less<>> shard_of;
  for (std::size_t s = 0; s < ends.size(); ++s) {
    const std::size_t begin = s == 0 ? 0 : ends[s - 1];
    const std::span<TensorEntry> shard(entries.data() + begin, ends[s] - begin);
    const std::string name =
        ends.size() == 1 ? std::string("model.safetensors")
                         : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, ends.size());
    if (load) load(shard);
    WriteSafetensors(directory / name, shard, metadata);
    for (const TensorEntry& entry : shard) {
      written.bytes += EntryBytes(entry);
      elements += EntryBytes(entry) / ElementBytes(entry.dtype);
      shard_of.emplace(entry.name, name);
    }
  }
  if (ends.size() > 1) {
    WriteFileAtomic(directory / "model.safetensors.index.json",
                    ShardIndexText(shard_of, written.bytes, elements));
  }
  return written;
}

}  // namespace longspan::io
