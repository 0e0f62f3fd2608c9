// For tests: pickles and zip archives, piece by piece, right and wrong.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longspan::io::pieces {

inline std::string Little(std::uint64_t value, std::size_t width) {
  std::string bytes(width, '\0');
  for (std::size_t i = 0; i < std::min<std::size_t>(width, 8); ++i) {
    bytes[i] = static_cast<char>(value >> 8 * i);
  }
  return bytes;
}

// Pieces of a pickle: each leaves one value on the stack.
inline std::string PText(std::string_view text) {
  return "X" + Little(text.size(), 4) + std::string(text);
}
inline std::string PInt(std::int64_t value) {
  return "\x8a\x08" + Little(static_cast<std::uint64_t>(value), 8);
}
inline std::string PGlobal(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string PTuple(const std::vector<std::int64_t>& values) {
  std::string text = "(";
  for (const std::int64_t value : values) text += PInt(value);
  return text + "t";
}
inline std::string PStorage(std::string_view type, std::string_view key, std::int64_t elements,
                            std::string_view view = "") {
  return "(" + PText("storage") + PGlobal("torch", type) + PText(key) + PText("cpu") +
         PInt(elements) + std::string(view) + "tQ";
}
inline std::string PDict() { return PGlobal("collections", "OrderedDict") + ")R"; }
inline std::string PTensor(const std::string& storage, std::int64_t offset,
                           const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& stride) {
  return PGlobal("torch._utils", "_rebuild_tensor_v2") + "(" + storage + PInt(offset) +
         PTuple(shape) + PTuple(stride) + "\x89" + PDict() + "tR";
}
inline std::string Program(const std::string& body) { return "\x80\x02" + body + "."; }
// A state_dict of names and values.
inline std::string PTable(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string text = PDict() + "(";
  for (const auto& [name, value] : entries) text += PText(name) + value;
  return Program(text + "u");
}

// What an archive may get wrong.
struct ZipPart {
  std::string name, data;
  std::uint64_t method = 0, flags = 0;
  std::string local_name = {};              // instead of `name`
  std::optional<std::uint64_t> checksum{};  // instead of the right one
  std::optional<std::uint64_t> header{};    // where the directory says it begins
};

inline std::string Zip(const std::vector<ZipPart>& parts, const std::string& comment = "") {
  std::string archive, directory;
  for (const ZipPart& part : parts) {
    const std::uint64_t begin = archive.size();
    const std::string& local = part.local_name.empty() ? part.name : part.local_name;
    const std::uint64_t checksum = part.checksum.value_or(crc32(
        0, reinterpret_cast<const Bytef*>(part.data.data()), static_cast<uInt>(part.data.size())));
    const std::string middle = Little(part.flags, 2) + Little(part.method, 2) + Little(0, 4) +
                               Little(checksum, 4) + Little(part.data.size(), 4) +
                               Little(part.data.size(), 4);
    archive += Little(0x04034b50, 4) + Little(20, 2) + middle + Little(local.size(), 2) +
               Little(0, 2) + local + part.data;
    directory += Little(0x02014b50, 4) + Little(20, 2) + Little(20, 2) + middle +
                 Little(part.name.size(), 2) + Little(0, 12) +
                 Little(part.header.value_or(begin), 4) + part.name;
  }
  const std::string end = Little(0x06054b50, 4) + Little(0, 4) + Little(parts.size(), 2) +
                          Little(parts.size(), 2) + Little(directory.size(), 4) +
                          Little(archive.size(), 4) + Little(comment.size(), 2) + comment;
  return archive + directory + end;
}

inline std::string Floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// A legacy stream around a state_dict: the storages' keys and data in order.
inline std::string Legacy(const std::string& table,
                          const std::vector<std::pair<std::string, std::string>>& storages,
                          std::size_t width = 4, const std::string& little = "\x88") {
  std::string text("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  text += Program(PInt(1001)) + Program("}(" + PText("little_endian") + little + "u") + table;
  std::string keys = "](";
  for (const auto& [key, data] : storages) keys += PText(key);
  text += Program(keys + "e");
  for (const auto& [key, data] : storages) text += Little(data.size() / width, 8) + data;
  return text;
}

}  // namespace longspan::io::pieces
