#include "model/label_fields.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "base/parse_number.h"
#include "io/json.h"
#include "longspan/counted.h"
#include "longspan/files.h"

namespace longspan {
namespace {

using limits::kMostLabelBytes;
using limits::kMostLabelGaps;
using limits::kMostLabels;
using nlohmann::json;

constexpr std::size_t kMostListed = 5;

constexpr std::pair<ProblemType, std::string_view> kProblems[] = {
    {ProblemType::kRegression, "regression"},
    {ProblemType::kSingleLabel, "single_label_classification"},
    {ProblemType::kMultiLabel, "multi_label_classification"},
};

// Digits as a number: "0", "07". Nothing else, and nothing beyond 64 bits.
std::optional<idx_t> WholeNumber(std::string_view text) {
  return text.starts_with('-') ? std::nullopt : ParseNumber<idx_t>(text);
}

// A name: text, or a number as it is written.
std::string NameOf(const json& value, std::string_view field, std::string_view key,
                   std::string_view source) {
  const bool scalar = value.is_string() || value.is_number() || value.is_boolean();
  Check(scalar, ErrorCode::kFormat, "{}: {} {} is no text", source, field, io::Escape(key));
  std::string name = value.is_string() ? value.get<std::string>() : value.dump();
  Check(name.size() <= kMostLabelBytes, ErrorCode::kFormat,
        "{}: {} {} has {} bytes, at most {} are allowed", source, field, io::Escape(key),
        name.size(), kMostLabelBytes);
  return name;
}

idx_t IdOf(std::string_view text, std::string_view field, std::string_view source) {
  const auto id = WholeNumber(text);
  Check(id && *id < kMostLabels, ErrorCode::kFormat,
        "{}: {} has the id '{}', need integers from 0 to {}", source, field, io::Escape(text, 60),
        kMostLabels - 1);
  return *id;
}

using Names = std::map<idx_t, std::string>;

Names NamesById(const json& labels, std::string_view source) {
  Check(labels.is_object() || labels.is_array(), ErrorCode::kFormat,
        "{}: id2label is neither an object nor a list", source);
  Names names;
  const auto add = [&](idx_t id, const json& value, std::string_view key) {
    const bool added = names.emplace(id, NameOf(value, "id2label", key, source)).second;
    Check(added, ErrorCode::kFormat, "{}: id2label names id {} twice", source, id);
  };
  if (labels.is_array()) {
    Check(labels.size() <= static_cast<std::size_t>(kMostLabels), ErrorCode::kFormat,
          "{}: id2label has {} labels, need 1 to {}", source, labels.size(), kMostLabels);
    for (const json& value : labels) {
      const auto id = static_cast<idx_t>(names.size());
      add(id, value, std::to_string(id));
    }
  } else {
    for (const auto& [key, value] : labels.items()) {
      add(IdOf(key, "id2label", source), value, key);
    }
  }
  return names;
}

// label2id the other way round. Of two names for one id the first one in the alphabet counts.
Names NamesOfIds(const json& ids, std::string_view source, std::vector<std::string>* notes) {
  Check(ids.is_object(), ErrorCode::kFormat, "{}: label2id is no object", source);
  Names names;
  for (const auto& [name, id] : ids.items()) {
    const std::string text = id.is_string() ? id.get<std::string>() : id.dump();
    const auto [place, added] =
        names.emplace(IdOf(text, "label2id", source), NameOf(json(name), "label2id", text, source));
    if (!added) {
      notes->push_back(fmt::format("{}: label2id gives '{}' and '{}' the id {}; its name is '{}'",
                                   source, io::Escape(place->second, 60), io::Escape(name, 60),
                                   place->first, io::Escape(place->second, 60)));
    }
  }
  return names;
}

// The config's number of labels, under its current name or that of 2020.
std::optional<idx_t> Count(const json& object, std::string_view source) {
  for (const char* field : {"num_labels", "_num_labels"}) {
    if (const auto count = io::GetOptionalInt(object, field, 1, kMostLabels, source)) return count;
  }
  return std::nullopt;
}

idx_t FirstGap(const Names& names) {
  idx_t id = 0;
  for (const auto& [named, name] : names) {
    if (named != id) break;
    ++id;
  }
  return id;
}

// LABEL_k for ids [from, to) that have no name, and a note that lists them.
void FillGaps(const Names& names, idx_t from, idx_t to, std::string_view source,
              LabelFields* labels) {
  std::string list;
  std::size_t gaps = 0;
  labels->names.resize(static_cast<std::size_t>(to));
  for (idx_t id = from; id < to; ++id) {
    const auto found = names.find(id);
    std::string& name = labels->names[static_cast<std::size_t>(id)];
    name = found != names.end() ? found->second : DefaultLabel(id);
    if (found != names.end()) continue;
    if (gaps++ < kMostListed) list += fmt::format("{}{}", list.empty() ? "" : ", ", id);
  }
  if (gaps == 0) return;
  labels->certain = false;
  labels->notes.push_back(fmt::format("{}: no name for class{} {}{}; named LABEL_k", source,
                                      gaps == 1 ? "" : "es", list,
                                      gaps > kMostListed ? ", ..." : ""));
}

void NoteTwins(std::string_view source, LabelFields* labels) {
  std::map<std::string_view, std::size_t> first;
  for (std::size_t i = 0; i < labels->names.size(); ++i) {
    const auto [place, added] = first.emplace(labels->names[i], i);
    if (added) continue;
    labels->notes.push_back(fmt::format("{}: classes {} and {} have the same name, '{}'", source,
                                        place->second, i, io::Escape(labels->names[i], 60)));
    return;  // one line says it
  }
}

// "2", "02", "2.0", "-1", "+3": the integer. Absent for anything else.
std::optional<idx_t> Integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (const auto point = text.find('.'); point != text.npos && point > 0) {
    if (text.find_first_not_of('0', point + 1) != text.npos) return std::nullopt;
    text = text.substr(0, point);
  }
  const auto value = WholeNumber(text);
  if (!value) return std::nullopt;
  return negative ? -*value : *value;
}

}  // namespace

ProblemType ProblemOf(ProblemType configured, idx_t labels, bool integers) {
  if (configured != ProblemType::kInferred) return configured;
  if (labels == 1) return ProblemType::kRegression;
  return integers ? ProblemType::kSingleLabel : ProblemType::kMultiLabel;
}

std::string DefaultLabel(idx_t id) { return "LABEL_" + std::to_string(id); }

LabelFields ParseLabels(const json& object, std::string_view source) {
  LabelFields labels;
  const auto count = Count(object, source);
  const bool by_id = !io::IsNullOrAbsent(object, "id2label");
  Names names;
  if (by_id) {
    names = NamesById(object["id2label"], source);
    Check(!names.empty(), ErrorCode::kFormat, "{}: id2label has 0 labels, need 1 to {}", source,
          kMostLabels);
  } else if (!io::IsNullOrAbsent(object, "label2id")) {
    names = NamesOfIds(object["label2id"], source, &labels.notes);
  }
  if (names.empty()) {
    labels.certain = labels.said = count.has_value();
    for (idx_t id = 0; id < count.value_or(2); ++id) labels.names.push_back(DefaultLabel(id));
    return labels;
  }
  labels.said = true;
  const idx_t named = names.rbegin()->first + 1;
  const idx_t gaps = named - static_cast<idx_t>(names.size());
  Check(gaps <= kMostLabelGaps, ErrorCode::kFormat,
        "{}: {} names the class {}, but leaves {} before it without a name (the first is {}), at "
        "most {} are allowed",
        source, by_id ? "id2label" : "label2id", named - 1, gaps, FirstGap(names), kMostLabelGaps);
  // label2id alone names some of the classes that num_labels counts; id2label names all.
  const bool some = !by_id && count.value_or(0) > named;
  FillGaps(names, 0, some ? *count : named, source, &labels);
  NoteTwins(source, &labels);
  if (count && *count != named && !some) {
    labels.certain = false;
    labels.notes.push_back(
        fmt::format("{}: num_labels is {}, but {} names {} classes; the names count", source,
                    *count, by_id ? "id2label" : "label2id", named));
  }
  return labels;
}

void FitLabels(idx_t classes, std::string_view source, LabelFields* labels) {
  const auto named = static_cast<idx_t>(labels->names.size());
  if (labels->certain || classes <= 0 || classes > kMostLabels || classes == named) return;
  if (!labels->said) {  // HF's two, which nobody wrote down
    labels->names.clear();
    for (idx_t id = 0; id < classes; ++id) labels->names.push_back(DefaultLabel(id));
    labels->notes.push_back(
        fmt::format("{}: says nothing of labels; the weights have {}, named LABEL_k", source,
                    Counted(classes, "class", "classes")));
  } else if (classes > named) {
    FillGaps({}, named, classes, source, labels);
  }
}

ProblemType ParseProblemType(const json& object, std::string_view source) {
  const auto problem = io::GetOptionalString(object, "problem_type", source);
  if (!problem) return ProblemType::kInferred;
  for (const auto& [type, name] : kProblems) {
    if (name == *problem) return type;
  }
  Fail(ErrorCode::kFormat,
       "{}: problem_type '{}' is unknown; need regression, single_label_classification or "
       "multi_label_classification",
       source, io::Escape(*problem));
}

void CheckProblem(std::string_view source, ProblemType* problem, LabelFields* labels) {
  if (*problem != ProblemType::kSingleLabel || labels->names.size() != 1) return;
  *problem = ProblemType::kInferred;
  labels->notes.push_back(fmt::format(
      "{}: single_label_classification with one label tells nothing; its score is a number",
      source));
}

void WriteLabels(const std::vector<std::string>& labels, ProblemType problem, json* object) {
  json& o = *object;
  o["id2label"] = json::object();
  o["label2id"] = json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    o["id2label"][std::to_string(i)] = labels[i];
    o["label2id"][labels[i]] = i;
  }
  for (const auto& [type, name] : kProblems) {
    if (type == problem) o["problem_type"] = name;
  }
}

std::optional<idx_t> FindLabel(std::span<const std::string> labels, std::string_view name) {
  const auto exact = std::find(labels.begin(), labels.end(), name);
  if (exact != labels.end()) return exact - labels.begin();
  const auto wanted = Integer(name);
  if (!wanted) return std::nullopt;
  std::optional<idx_t> by_default, by_value;
  bool all_default = true, all_integers = true;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto id = static_cast<idx_t>(i);
    const auto value = Integer(labels[i]);
    all_default = all_default && labels[i] == DefaultLabel(id);
    all_integers = all_integers && value.has_value();
    if (id == *wanted) by_default = id;
    if (value == wanted && !by_value) by_value = id;
  }
  if (all_default) return by_default;
  return all_integers ? by_value : std::nullopt;
}

}  // namespace longspan
