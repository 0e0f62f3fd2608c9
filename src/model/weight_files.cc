#include "model/weight_files.h"

#include <algorithm>
#include <set>

#include "base/errors.h"
#include "io/escape.h"

namespace longspan {
namespace {

constexpr std::size_t kMostListed = 10;

bool Skipped(const WeightNames& names, std::string_view name) {
  return names.skipped && names.skipped(name);
}

// One line per parameter that cannot be read.
std::vector<std::string> Problems(const io::TensorSource& source, const WeightNames& names,
                                  const ParameterTable& table) {
  std::vector<std::string> problems;
  for (const ParameterInfo& info : table.list()) {
    if (Skipped(names, info.name)) continue;
    const std::string name = names.find(source, info.name);
    if (name.empty()) {
      problems.push_back(fmt::format("{} is missing", info.name));
    } else if (source.Info(name).shape != info.shape) {
      problems.push_back(fmt::format("{} has shape {}, the config needs {}", info.name,
                                     ShapeText(source.Info(name).shape), ShapeText(info.shape)));
    }
  }
  return problems;
}

}  // namespace

void CheckFileHolds(const io::TensorSource& source, std::uint64_t needed) {
  std::uint64_t elements = 0;
  for (const auto& [name, info] : source.tensors())
    elements += static_cast<std::uint64_t>(info.size);
  Check(needed <= elements, ErrorCode::kFormat,
        "{}: the weights hold {} numbers, config.json needs {}", source.source(), elements, needed);
}

std::vector<std::string> ReadParameters(const io::TensorSource& source, const WeightNames& names,
                                        io::NonFinite non_finite, ParameterTable& table) {
  const std::vector<std::string> problems = Problems(source, names, table);
  if (!problems.empty()) {
    std::string list;
    for (std::size_t i = 0; i < std::min(problems.size(), kMostListed); ++i) {
      list += (i == 0 ? "" : "; ") + problems[i];
    }
    Fail(ErrorCode::kFormat, "{}: {} tensor{} do not fit config.json: {}{}", source.source(),
         problems.size(), problems.size() == 1 ? "" : "s", list,
         problems.size() > kMostListed ? "; ..." : "");
  }
  std::set<std::string, std::less<>> read;
  for (const ParameterInfo& info : table.list()) {
    if (Skipped(names, info.name)) continue;
    const View<float, 1> values = table.vector(info.name);
    const std::string name = names.find(source, info.name);
    source.ReadFloatInto(name, {values.data, static_cast<std::size_t>(values.size())}, non_finite);
    read.insert(name);
  }
  std::vector<std::string> unread;
  for (const auto& [name, info] : source.tensors()) {
    if (read.count(name) == 0 && !names.ignored(name)) unread.push_back(name);
  }
  return unread;
}

void AddWarnings(const io::TensorSource& source, const std::vector<std::string>& unread,
                 std::vector<std::string>* warnings) {
  warnings->insert(warnings->end(), source.warnings().begin(), source.warnings().end());
  for (const std::string& name : unread) {
    warnings->push_back(
        fmt::format("{}: tensor '{}' is not part of the model", source.source(), io::Escape(name)));
  }
}

std::vector<io::TensorEntry> WeightEntries(ParameterTable& table) {
  std::vector<io::TensorEntry> entries;
  for (const ParameterInfo& info : table.list()) {
    entries.push_back({info.name, DType::kF32, info.shape, table.vector(info.name).data});
  }
  return entries;
}

void AddAlias(std::string_view name, std::string_view alias,
              std::vector<io::TensorEntry>* entries) {
  const auto entry = std::find_if(entries->begin(), entries->end(),
                                  [&](const io::TensorEntry& e) { return e.name == name; });
  io::TensorEntry other = *entry;
  other.name = alias;
  entries->push_back(std::move(other));
}

}  // namespace longspan
