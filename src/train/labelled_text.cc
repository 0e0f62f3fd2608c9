#include "train/labelled_text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "base/parse_number.h"
#include "io/json.h"
#include "longspan/files.h"
#include "train/label_sets.h"
#include "train/row_files.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr std::pair<ProblemType, const char*> kProblems[] = {
    {ProblemType::kInferred, "auto"},
    {ProblemType::kRegression, "regression"},
    {ProblemType::kSingleLabel, "single"},
    {ProblemType::kMultiLabel, "multi"}};

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

void CheckName(const std::string& name, const std::string& where) {
  Check(name.size() <= limits::kMostLabelBytes, ErrorCode::kFormat,
        "{}: a label of {} bytes, at most {} are a name", where, name.size(),
        limits::kMostLabelBytes);
}

RowLabel TableLabel(const std::string& field, char separator, const std::string& where) {
  RowLabel label;
  try {
    label.set = ParseLabelSet(field);
  } catch (const Error& error) {
    throw Error(error.code(), where + ": " + error.what());
  }
  if (label.set) {
    label.names = label.set->items;
  } else if (separator != '\0') {
    label.names = Split(field, separator);
  } else {
    Check(!field.empty(), ErrorCode::kFormat, "{}: the label is empty", where);
    label.names = {field};
  }
  return label;
}

// The same of an item of a list, as tables have it: truth values are what TruthItem says, and 1.0
// is 1.
std::string JsonItem(const json& item, const std::string& where) {
  constexpr double kMostExact = 9007199254740992.0;  // beyond it a double does not tell integers
  if (item.is_boolean()) return TruthItem(item.get<bool>());
  if (item.is_number_float()) {
    const auto number = item.get<double>();
    const bool whole = number >= 0.0 && number <= kMostExact && number == std::floor(number);
    if (whole) return fmt::format("{:.0f}", number);
  }
  return JsonLabel(item, where);
}

RowLabel ValueLabel(const json& value, const std::string& where) {
  if (!value.is_array()) return {{JsonLabel(value, where)}, std::nullopt};
  LabelSet set;
  set.zeros_and_ones = !value.empty();
  for (const json& item : value) {
    set.items.push_back(JsonItem(item, where));
    set.zeros_and_ones = set.zeros_and_ones && !item.is_string() && IsZeroOrOne(set.items.back());
  }
  return {set.items, std::move(set)};
}

class TableReader {
 public:
  TableReader(const DataOptions& options, ProblemType problem, LabelledTexts* out)
      : options_(options), pair_(PairFieldOf(options)), problem_(problem), out_(out) {
    rules_.options = options;
    rules_.fields = {{options.text_field, true}, {options.label_field, true}};
    if (pair_) rules_.fields.push_back(*pair_);
    WantId(&rules_);
    rules_.labels = true;
  }

  // Reads the files, and says which one was the first.
  void Read(const std::vector<std::filesystem::path>& files, std::vector<std::string>* notes) {
    out_->source = ReadRowFiles(
        files, rules_, "texts with labels", "classify",
        [&](const data::Row& row, bool table) { Add(row, table); }, notes);
    if (notes != nullptr) AddNotes(notes);
    Finish();
    out_->fingerprint = digest_.Fingerprint();
  }

 private:
  // What was decided by a column that nobody named, and what may be meant as sets.
  void AddNotes(std::vector<std::string>* notes) const {
    if (pairs_ > 0 && !options_.pair_field) {
      notes->push_back(fmt::format(
          "{}: pairs: \"{}\" is the second text of {} of {} rows; --text-pair-column '' reads none",
          out_->source, pair_->name, pairs_, out_->rows.size()));
    }
    if (joined_ > 0) {
      notes->push_back(fmt::format(
          "{}: the label \"{}\" is read as one name, as are all of {} rows with '{}' in it; "
          "--problem multi reads sets of names",
          first_joined_.where, io::Escape(first_joined_.labels.front(), 60), joined_,
          options_.label_separator));
    }
  }

  // Whether a row of zeros and ones stands for the labels is seen when all rows are there.
  void Finish() {
    if (sets_ != out_->rows.size()) return;
    out_->one_hot = one_hot_.width();
    Check(out_->one_hot > 0 || twice_.empty(), ErrorCode::kFormat,
          "{}: a label stands twice in its set; a row of zeros and ones must be as long as all "
          "others, a set of names is written a|b",
          twice_);
    if (out_->one_hot == 0) return;
    StoredRows<LabelledText> named(out_->rows.place());
    for (LabelledText row : out_->rows) {
      row.labels = NamesOfOnes({std::move(row.labels), true});
      named.push_back(row);
    }
    out_->rows = std::move(named);
  }

  void Add(const data::Row& row, bool table) {
    LabelledText labelled;
    labelled.where = io::EscapeName(row.name);
    labelled.line = row.line;
    labelled.text = row.Text(options_.text_field);
    labelled.id = IdOf(row);
    if (pair_) {
      // Half of a pair may be missing in a table; a field of JSON that was named must be there.
      labelled.pair = table || !pair_->required
                          ? row.OptionalText(pair_->name).value_or("")
                          : io::GetString(row.fields, pair_->name, io::kRequired, labelled.where);
    }
    const json* label = nullptr;
    if (row.fields.contains(options_.label_field)) label = &row.fields[options_.label_field];
    Check(table || label != nullptr, ErrorCode::kFormat, "{}: \"{}\" is missing", labelled.where,
          io::Escape(options_.label_field));
    TakeLabel(label == nullptr ? json(std::string()) : *label, table, row.labelled, &labelled);
    pairs_ += labelled.pair.empty() ? 0 : 1;
    Digest(labelled);
    out_->rows.push_back(labelled);
  }

 private:
  // A resumed run must see the same texts and labels.
  void Digest(const LabelledText& row) {
    digest_.Add(row.text);
    digest_.Add(row.pair);
    for (const std::string& label : row.labels) digest_.Add(label);
    if (row.labels.empty()) digest_.Add(fmt::format("{}", row.value));
  }

  void TakeLabel(const json& value, bool table, bool prose, LabelledText* row) {
    if (problem_ == ProblemType::kRegression) {
      const bool text = table || (prose && value.is_string());
      row->value = ParseRowNumber(value, text, "label", row->where);
      return;
    }
    const bool many = problem_ == ProblemType::kMultiLabel;
    RowLabel label =
        ParseRowLabel(value, table, many ? options_.label_separator : '\0', row->where);
    row->labels = std::move(label.names);
    if (!label.set) {
      const bool joined = table && problem_ == ProblemType::kInferred &&
                          row->labels.front().find(options_.label_separator) != std::string::npos;
      if (joined && ++joined_ == 1) first_joined_ = *row;
      return;
    }
    Check(problem_ != ProblemType::kSingleLabel, ErrorCode::kFormat,
          "{}: the label is a list; sets of labels are learned with --problem multi", row->where);
    out_->sets = true;
    ++sets_;
    one_hot_.Add(*label.set);
    const std::set<std::string> items(label.set->items.begin(), label.set->items.end());
    if (twice_.empty() && items.size() < label.set->items.size()) twice_ = row->where;
  }

  const DataOptions& options_;
  const std::optional<WantedField> pair_;  // of the second text; none: it is not read
  ProblemType problem_;
  LabelledTexts* out_;
  data::RowRules rules_;
  std::size_t sets_ = 0;  // rows with one
  idx_t pairs_ = 0;       // rows with a second text
  idx_t joined_ = 0;      // rows whose one label looks like a set
  LabelledText first_joined_;
  OneHotRule one_hot_;
  std::string twice_;  // the first row with a label that stands twice in its set
  RowDigest digest_;
};

}  // namespace

RowLabel ParseRowLabel(const json& value, bool table, char separator, const std::string& where) {
  RowLabel label = table ? TableLabel(value.get_ref<const std::string&>(), separator, where)
                         : ValueLabel(value, where);
  for (const std::string& name : label.names) CheckName(name, where);
  return label;
}

double ParseRowNumber(const json& value, bool table, const char* what, const std::string& where) {
  std::optional<double> number;
  if (table) {
    const std::string& text = value.get_ref<const std::string&>();
    number = ParseNumber<double>(text);
    Check(number && std::isfinite(*number), ErrorCode::kFormat, "{}: {} \"{}\" is no number", where,
          what, io::Escape(text, 60));
  } else {
    Check(value.is_number(), ErrorCode::kFormat, "{}: {} {} is no number", where, what,
          io::Escape(value.dump(), 60));
    number = value.get<double>();
  }
  Check(std::abs(*number) <= std::numeric_limits<float>::max(), ErrorCode::kFormat,
        "{}: {} {:g} is too large to be learned; need numbers from -3.4e38 to 3.4e38", where, what,
        *number);
  return *number;
}

ProblemType ParseProblem(std::string_view name) {
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

LabelledTexts ReadLabelledTexts(const std::vector<std::filesystem::path>& files,
                                const DataOptions& options, ProblemType problem,
                                std::vector<std::string>* notes, const data::ScratchPlace& place) {
  LabelledTexts texts;
  texts.rows = StoredRows<LabelledText>(place);
  TableReader(options, problem, &texts).Read(files, notes);
  return texts;
}

std::vector<std::string> LabelNames(const StoredRows<LabelledText>& rows) {
  std::set<std::string> all;
  for (const LabelledText& row : rows) all.insert(row.labels.begin(), row.labels.end());
  return SortedLabels(all);
}

std::vector<std::string> SortedLabels(const std::set<std::string>& all) {
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

bool KnowsAll(const std::vector<std::string>& known, const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return FindLabel(known, name).has_value(); });
}

}  // namespace longspan
