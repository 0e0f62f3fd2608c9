#include "model/weight_files.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/policy.h"
#include "longspan/counted.h"
#include "longspan/files.h"

namespace longspan {
namespace {

bool Skipped(const WeightNames& names, std::string_view name) {
  return names.skipped && names.skipped(name);
}

// As the file, or the model's own class, has it.
std::string Told(const WeightNames& names, const std::string& name) {
  return names.told ? names.told(name) : name;
}

// One line per parameter that cannot be read.
std::vector<std::string> Problems(const io::TensorSource& source, const WeightNames& names,
                                  const ParameterTable& table) {
  std::vector<std::string> problems;
  for (const ParameterInfo& info : table.list()) {
    if (Skipped(names, info.name)) continue;
    const std::string name = names.find(source, info.name);
    if (name.empty()) {
      problems.push_back(fmt::format("{} is missing", Told(names, info.name)));
    } else if (source.Info(name).shape != info.shape) {
      problems.push_back(fmt::format("{} has shape {}, the config needs {}", Told(names, info.name),
                                     ShapeText(source.Info(name).shape), ShapeText(info.shape)));
    }
  }
  return problems;
}

// "; the shard ... is missing": why something may not be there.
std::string Incomplete(const io::TensorSource& source) {
  std::string text;
  for (const std::string& what : source.incomplete()) {
    if (text.size() > 400) return text + "; ...";
    text += "; " + what;
  }
  return text;
}

}  // namespace

std::string UnfitTensors(const io::TensorSource& source, const WeightNames& names,
                         const ParameterTable& table) {
  const std::vector<std::string> problems = Problems(source, names, table);
  if (problems.empty()) return {};
  std::string list;
  for (std::size_t i = 0; i < std::min(problems.size(), limits::kToldTensors); ++i) {
    list += (i == 0 ? "" : "; ") + problems[i];
  }
  const std::vector<std::string> foreign = UnreadTensors(source, names, table);
  return fmt::format(
      "{} not fit config.json: {}{}{}{}", Counted(problems.size(), "tensor does", "tensors do"),
      list, problems.size() > limits::kToldTensors ? "; ..." : "",
      foreign.empty() ? "" : "; the model has no place for " + NameList(ToldNames(names, foreign)),
      Incomplete(source));
}

void CheckFileHolds(const io::TensorSource& source, std::uint64_t needed,
                    const std::function<std::string()>& unfit) {
  std::uint64_t elements = 0;
  for (const auto& [name, info] : source.tensors())
    elements += static_cast<std::uint64_t>(info.size);
  if (needed <= elements) return;
  const std::string tensors = unfit();
  Check(tensors.empty(), ErrorCode::kFormat, "{}: {}", source.source(), tensors);
  Fail(ErrorCode::kFormat, "{}: the weights hold {} numbers, config.json needs {}{}",
       source.source(), elements, needed, Incomplete(source));
}

std::vector<std::string> ReadParameters(const io::TensorSource& source, const WeightNames& names,
                                        io::NonFinite non_finite, ParameterTable& table) {
  const std::string unfit = UnfitTensors(source, names, table);
  Check(unfit.empty(), ErrorCode::kFormat, "{}: {}", source.source(), unfit);
  const ParameterWriter writer = table.Write();
  for (const ParameterInfo& info : table.list()) {
    if (Skipped(names, info.name)) continue;
    const View<float, 1> values = writer.vector(info.name);
    const std::string name = names.find(source, info.name);
    const std::span<float> read{values.data, static_cast<std::size_t>(values.size())};
    source.ReadFloatInto(name, read, io::NonFinite::kAllow);
    if (non_finite == io::NonFinite::kRefuse) {
      io::CheckFiniteTensor(source, Told(names, name), read);
    }
  }
  return UnreadTensors(source, names, table);
}

std::vector<std::string> UnreadTensors(const io::TensorSource& source, const WeightNames& names,
                                       const ParameterTable& table) {
  std::set<std::string, std::less<>> read;
  for (const ParameterInfo& info : table.list()) {
    if (!Skipped(names, info.name)) read.insert(names.find(source, info.name));
  }
  std::vector<std::string> unread;
  for (const auto& [name, info] : source.tensors()) {
    if (read.count(name) == 0 && !names.ignored(name)) unread.push_back(name);
  }
  return unread;
}

std::vector<std::string> ToldNames(const WeightNames& names, std::vector<std::string> tensors) {
  for (std::string& name : tensors) name = Told(names, name);
  return tensors;
}

WeightNames NamesWithoutHead(const WeightRules& rules, const LoadOptions& options) {
  WeightNames names = rules.names;
  if (!options.head) return names;
  names.skipped = rules.of_head;
  names.ignored = [ignored = names.ignored, head = rules.of_known_head](std::string_view name) {
    return ignored(name) || head(name);
  };
  return names;
}

void CheckUnread(const io::TensorSource& source, const std::vector<std::string>& unread) {
  Check(unread.empty() || !io::GetPolicy().strict_weights, ErrorCode::kFormat,
        "{}: {} tensor{} not part of the model, which --strict refuses: {}", source.source(),
        unread.size(), unread.size() == 1 ? " is" : "s are", NameList(unread));
}

void AddWarnings(const io::TensorSource& source, const std::vector<std::string>& unread,
                 std::vector<std::string>* warnings) {
  CheckUnread(source, unread);
  if (warnings == nullptr) return;
  warnings->insert(warnings->end(), source.warnings().begin(), source.warnings().end());
  for (std::size_t i = 0; i < std::min(unread.size(), limits::kToldTensors); ++i) {
    warnings->push_back(fmt::format("{}: tensor '{}' is not part of the model", source.source(),
                                    io::Escape(unread[i])));
  }
  if (unread.size() > limits::kToldTensors) {
    warnings->push_back(fmt::format("{}: {} more tensors are not part of the model",
                                    source.source(), unread.size() - limits::kToldTensors));
  }
}

void AddConfigWarnings(const std::filesystem::path& directory, bool custom_code,
                       std::vector<std::string>* warnings) {
  if (!custom_code) return;
  warnings->push_back(fmt::format(
      "{}: auto_map names Python code of the model's own, which is never run; what the other "
      "fields say is what is computed",
      io::Escape((directory / "config.json").native(), 4096)));
}

namespace {

// The head's parameters that the files do not give.
std::set<std::string, std::less<>> NewParameters(const io::TensorSource& source,
                                                 const WeightRules& rules, bool take_head,
                                                 const ParameterTable& table) {
  std::set<std::string, std::less<>> fresh;
  for (const ParameterInfo& info : table.list()) {
    if (!rules.of_head(info.name)) continue;
    const std::string name = rules.names.find(source, info.name);
    if (!take_head || name.empty() || source.Info(name).shape != info.shape) {
      fresh.insert(info.name);
    }
  }
  return fresh;
}

void Append(const std::vector<std::string>& lines, std::vector<std::string>* to) {
  to->insert(to->end(), lines.begin(), lines.end());
}

}  // namespace

void LoadWeights(const std::filesystem::path& directory, const OpenedWeights& files,
                 const WeightRules& rules, const LoadOptions& options, bool take_head,
                 ParameterTable& table, const DrawParameters& draw,
                 std::vector<std::string>* warnings) {
  const io::TensorSource& source = files.source;
  std::set<std::string, std::less<>> fresh;
  if (options.head) fresh = NewParameters(source, rules, take_head, table);
  WeightNames names = rules.names;
  names.skipped = [&](std::string_view name) { return fresh.count(name) != 0; };
  std::vector<std::string> unread = ReadParameters(
      source, names, options.allow_nonfinite ? io::NonFinite::kAllow : io::NonFinite::kRefuse,
      table);
  if (!fresh.empty()) draw(options.head->seed, names.skipped);
  Append(files.dropped, &unread);
  std::vector<std::string> foreign;  // that no other head explains
  std::copy_if(
      unread.begin(), unread.end(), std::back_inserter(foreign),
      [&](const std::string& name) { return !options.head || !rules.of_known_head(name); });
  CheckUnread(source, ToldNames(names, std::move(foreign)));
  if (warnings == nullptr) return;
  unread = ToldNames(names, std::move(unread));
  AddConfigWarnings(directory, files.custom_code, warnings);
  Append(files.notes, warnings);
  if (!options.head) return AddWarnings(source, unread, warnings);
  Append(source.warnings(), warnings);
  Append(files.changes, warnings);
  if (!fresh.empty()) warnings->push_back("new: " + NameList({fresh.begin(), fresh.end()}));
  if (!unread.empty()) warnings->push_back("left out: " + NameList(unread));
}

std::string NameList(const std::vector<std::string>& names) {
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), limits::kToldTensors); ++i) {
    list += (list.empty() ? "" : ", ") + io::Escape(names[i]);
  }
  if (names.size() > limits::kToldTensors) list += fmt::format(", ... ({} in all)", names.size());
  return list;
}

std::vector<io::TensorEntry> WeightEntries(const ParameterTable& table) {
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
