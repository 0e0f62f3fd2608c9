#include "longspan/run_log.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/errors.h"
#include "io/file.h"
#include "io/json.h"
#include "io/paths.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr std::uint64_t kMostLogBytes = std::uint64_t{1} << 30;
constexpr io::JsonLimits kLineLimits{std::size_t{1} << 20, 8};

void AddRecord(const nlohmann::json& record, const std::string& where, RunLog& log) {
  const std::string kind = io::GetString(record, "kind", io::kRequired, where);
  const idx_t step = io::GetInt(record, "step", 0, idx_t{1} << 53, io::kRequired, where);
  MetricTable& table = log.kinds[kind];
  Check(table.step.empty() || static_cast<double>(step) > table.step.back(), ErrorCode::kFormat,
        "{}: \"{}\" record of step {} comes after one of step {}", where, io::Escape(kind), step,
        table.step.empty() ? 0.0 : table.step.back());
  constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
  const std::size_t row = table.step.size();
  table.step.push_back(static_cast<double>(step));
  for (const auto& [field, value] : record.items()) {
    if (field == "kind" || field == "step" || !(value.is_number() || value.is_null())) continue;
    std::vector<double>& column = table.columns[field];
    column.resize(row, kMissing);
    column.push_back(value.is_null() ? kMissing : value.get<double>());
  }
  for (auto& [field, column] : table.columns) column.resize(row + 1, kMissing);
}

std::string RunName(const std::filesystem::path& file) {
  std::error_code ignored;  // without a current folder the path is as good a name
  const std::filesystem::path folder = std::filesystem::absolute(file, ignored).lexically_normal();
  const std::string stem = folder.stem().string();
  return stem == "metrics" ? folder.parent_path().filename().string() : stem;
}

}  // namespace

const std::vector<double>* RunLog::Find(const std::string& kind, const std::string& metric) const {
  const auto table = kinds.find(kind);
  if (table == kinds.end()) return nullptr;
  const auto column = table->second.columns.find(metric);
  if (column == table->second.columns.end()) return nullptr;
  const bool any = std::any_of(column->second.begin(), column->second.end(),
                               [](double value) { return std::isfinite(value); });
  return any ? &column->second : nullptr;
}

std::vector<std::string> RunLog::Metrics() const {
  std::set<std::string> names;
  for (const auto& [kind, table] : kinds) {
    for (const auto& [field, column] : table.columns) names.insert(field);
  }
  return {names.begin(), names.end()};
}

RunLog ReadRunLog(const std::filesystem::path& run) {
  RunLog log;
  log.file = io::IsDirectory(run) ? run / "metrics.jsonl" : run;
  log.name = RunName(log.file);
  const std::string text = io::ReadWholeFile(log.file, kMostLogBytes);
  const std::string path = io::Escape(log.file.string(), 400);
  std::string_view rest = text;
  for (idx_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    const bool ended = end != std::string_view::npos;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(ended ? end + 1 : rest.size());
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    nlohmann::json record;
    try {
      record = io::ParseJson(line, where, kLineLimits);
    } catch (const Error&) {
      if (!ended) break;  // the writer was interrupted here
      throw;
    }
    AddRecord(record, where, log);
  }
  Check(
      !log.kinds.empty(), ErrorCode::kFormat,
      "{}: holds no record yet: the training writes one every 10 updates, or every --log-every N, "
      "and one at its end",
      path);
  return log;
}

}  // namespace longspan
