#include "train/labelled_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "io/csv.h"
#include "io/escape.h"
#include "io/json.h"
#include "text/mapped_file.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr io::JsonLimits kLineLimits{std::size_t{64} << 20, 16, 1'000'000};

constexpr std::pair<ProblemType, const char*> kProblems[] = {
    {ProblemType::kInferred, "auto"},
    {ProblemType::kRegression, "regression"},
    {ProblemType::kSingleLabel, "single"},
    {ProblemType::kMultiLabel, "multi"}};

template <class Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

double ParseValue(std::string_view text, const std::string& where) {
  const auto value = ParseNumber<double>(text);
  Check(value && std::isfinite(*value), ErrorCode::kFormat, "{}: label \"{}\" is no number", where,
        io::Escape(text, 60));
  return *value;
}

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

// A label of a JSON line as text: integers and booleans are names too.
std::string JsonLabel(const json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  Check(value.is_number_integer() || value.is_boolean(), ErrorCode::kFormat,
        "{}: label {} is no text, integer or list of them; numbers are learned with --problem "
        "regression",
        where, io::Escape(value.dump(), 60));
  return value.dump();
}

class TableReader {
 public:
  TableReader(const ClassifyColumns& columns, ProblemType problem, LabelledTexts* out)
      : columns_(columns), problem_(problem), out_(out) {}

  void ReadTable(std::string_view text, char separator) {
    io::CsvReader reader(text, separator, out_->source);
    std::vector<std::string> fields;
    Check(reader.Next(&fields), ErrorCode::kFormat, "{}: is empty, need a line of column names",
          out_->source);
    const std::size_t width = fields.size();
    const std::size_t text_at = Column(fields, columns_.text);
    const std::size_t label_at = Column(fields, columns_.label);
    const std::size_t pair_at = columns_.pair.empty() ? width : Column(fields, columns_.pair);
    while (reader.Next(&fields)) {
      const std::string where = fmt::format("{}:{}", out_->source, reader.line());
      Check(fields.size() == width, ErrorCode::kFormat,
            "{}: {} fields, but the first line names {} columns", where, fields.size(), width);
      LabelledText row;
      row.text = std::move(fields[text_at]);
      if (pair_at < width) row.pair = std::move(fields[pair_at]);
      row.line = reader.line();
      TableLabel(fields[label_at], where, &row);
      out_->rows.push_back(std::move(row));
    }
  }

  void ReadLines(std::string_view text) {
    for (idx_t number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      const std::string where = fmt::format("{}:{}", out_->source, number);
      const json object = io::ParseJson(line, where, kLineLimits);
      Check(object.is_object(), ErrorCode::kFormat, "{}: not a JSON object", where);
      LabelledText row;
      row.text = io::GetString(object, columns_.text, io::kRequired, where);
      if (!columns_.pair.empty()) {
        row.pair = io::GetString(object, columns_.pair, io::kRequired, where);
      }
      row.line = number;
      Check(object.contains(columns_.label), ErrorCode::kFormat, "{}: \"{}\" is missing", where,
            io::Escape(columns_.label));
      LineLabel(object[columns_.label], where, &row);
      out_->rows.push_back(std::move(row));
    }
  }

 private:
  std::size_t Column(const std::vector<std::string>& names, const std::string& name) const {
    const auto found = std::find(names.begin(), names.end(), name);
    std::string all;
    for (const std::string& n : names) all += (all.empty() ? "" : ", ") + io::Escape(n, 40);
    Check(found != names.end(), ErrorCode::kFormat,
          "{}: no column \"{}\"; there are {} (--text-column, --label-column name others)",
          out_->source, io::Escape(name), all);
    return static_cast<std::size_t>(found - names.begin());
  }

  void TableLabel(const std::string& field, const std::string& where, LabelledText* row) const {
    if (problem_ == ProblemType::kRegression) {
      row->value = ParseValue(field, where);
    } else if (problem_ == ProblemType::kMultiLabel) {
      row->labels = Split(field, columns_.label_separator);
    } else {
      Check(!field.empty(), ErrorCode::kFormat, "{}: the label is empty", where);
      row->labels = {field};
    }
  }

  void LineLabel(const json& value, const std::string& where, LabelledText* row) {
    if (problem_ == ProblemType::kRegression) {
      Check(value.is_number(), ErrorCode::kFormat, "{}: label {} is no number", where,
            io::Escape(value.dump(), 60));
      row->value = value.get<double>();
      return;
    }
    if (!value.is_array()) {
      row->labels = {JsonLabel(value, where)};
      return;
    }
    Check(problem_ != ProblemType::kSingleLabel, ErrorCode::kFormat,
          "{}: the label is a list; sets of labels are learned with --problem multi", where);
    out_->sets = true;
    for (const json& label : value) row->labels.push_back(JsonLabel(label, where));
  }

  const ClassifyColumns& columns_;
  ProblemType problem_;
  LabelledTexts* out_;
};

}  // namespace

ProblemType ParseProblem(const std::string& name) {
  for (const auto& [type, known] : kProblems) {
    if (name == known) return type;
  }
  Fail(ErrorCode::kUsage, "problem '{}' is unknown; use auto, single, multi or regression",
       io::Escape(name));
}

std::string ProblemName(ProblemType problem) {
  for (const auto& [type, name] : kProblems) {
    if (type == problem) return name;
  }
  return "?";
}

LabelledTexts ReadLabelledTexts(const std::filesystem::path& file, const ClassifyColumns& columns,
                                ProblemType problem) {
  const std::string ending = file.extension().string();
  const bool lines = ending == ".jsonl" || ending == ".ndjson" || ending == ".json";
  LabelledTexts texts;
  texts.source = io::Escape(file.string(), 400);
  Check(lines || ending == ".csv" || ending == ".tsv", ErrorCode::kUsage,
        "{}: texts with labels come as .csv, .tsv or .jsonl", texts.source);
  const auto mapped = text::MappedFile::Open(file);
  const std::string_view bytes(reinterpret_cast<const char*>(mapped.bytes().data()),
                               mapped.bytes().size());
  TableReader reader(columns, problem, &texts);
  if (lines) {
    reader.ReadLines(bytes);
  } else {
    reader.ReadTable(bytes, ending == ".tsv" ? '\t' : ',');
  }
  Check(!texts.rows.empty(), ErrorCode::kFormat, "{}: holds no text", texts.source);
  texts.fingerprint = mapped.Fingerprint();
  return texts;
}

std::vector<std::string> LabelNames(const std::vector<LabelledText>& rows) {
  std::set<std::string> all;
  for (const LabelledText& row : rows) all.insert(row.labels.begin(), row.labels.end());
  std::vector<std::string> names(all.begin(), all.end());
  const bool integers = std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return ParseNumber<idx_t>(name).has_value();
  });
  if (integers) {
    std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      return std::pair(*ParseNumber<idx_t>(a), a) < std::pair(*ParseNumber<idx_t>(b), b);
    });
  }
  return names;
}

}  // namespace longspan
