#include "model/weight_heads.h"

#include <algorithm>

#include "base/errors.h"
#include "io/json.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "model/label_fields.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

// The rows of a matrix of classes.
idx_t RowsOf(const io::TensorInfo& info) { return info.shape.size() == 2 ? info.shape[0] : 0; }

bool Has(HeadKind head, const HeadRules& rules, const WeightHeads& w) {
  switch (head) {
    case HeadKind::kCausalLm:
      return w.language && rules.causal;
    case HeadKind::kMaskedLm:
      if (rules.one_classifier) return w.transform && w.classes == 0;
      return w.language && rules.masked;
    case HeadKind::kSequence:
      if (rules.one_classifier) return w.classes > 0;
      return rules.bare_pooled ? w.classes > 0 && w.pooler : w.dense_classes > 0;
    case HeadKind::kToken:
      return w.classes > 0 && rules.tokens;
    case HeadKind::kChoice:
      return w.classes == 1 && (w.pooler || rules.one_classifier) && rules.tokens;
    case HeadKind::kQuestion:
      return rules.one_classifier ? w.classes == 2 : w.question;
    case HeadKind::kNone:
      break;
  }
  return false;
}

// Heads that the weights could be of, after what the config says of labels.
std::vector<HeadKind> Candidates(const HeadRules& rules, const WeightHeads& weights,
                                 std::optional<idx_t> labels) {
  std::vector<HeadKind> heads;
  for (const HeadKind head : {HeadKind::kCausalLm, HeadKind::kMaskedLm, HeadKind::kSequence,
                              HeadKind::kToken, HeadKind::kQuestion, HeadKind::kChoice}) {
    if (!Has(head, rules, weights)) continue;
    // One row is one label, or the score of a choice, whose config has the two labels of everybody.
    const bool one = weights.classes == 1 && weights.dense_classes == 0;
    const bool over_labels = head == HeadKind::kToken || head == HeadKind::kSequence;
    if (one && over_labels && labels != 1) continue;
    if (head == HeadKind::kChoice && labels == 1) continue;
    // Classes of sequences read the pooler, classes of tokens have none.
    if (rules.bare_pooled && head == HeadKind::kToken && weights.pooler) continue;
    heads.push_back(head);
  }
  return heads;
}

// Number of labels that the config names.
std::optional<idx_t> LabelsNamed(const nlohmann::json& object, std::string_view source) {
  const LabelFields labels = ParseLabels(object, source);
  if (!labels.said) return std::nullopt;
  return static_cast<idx_t>(labels.names.size());
}

// Chooses the class of `list` (from the config) whose head the weights have. If `list` is empty,
// the head that the weights have.
HeadKind Chosen(std::span<const std::string> names, const std::string& list,
                std::span<const HeadClass> known, const HeadRules& rules,
                const WeightHeads& weights, std::optional<idx_t> labels, std::string_view source) {
  bool bare = false;
  for (const std::string& name : names) {
    for (const auto& [head, known_name] : known) {
      if (known_name != name) continue;
      if (Has(head, rules, weights)) return head;
      bare = bare || head == HeadKind::kNone;
    }
  }
  if (bare) return HeadKind::kNone;
  Check(names.empty(), ErrorCode::kFormat,
        "{}: architectures lists {}, but the weights have the head of none of them", source, list);
  const std::vector<HeadKind> heads = Candidates(rules, weights, labels);
  if (heads.size() == 1) return heads.front();
  if (!weights.any()) return HeadKind::kNone;
  std::string could;
  for (const HeadKind head : heads) {
    could += (could.empty() ? "" : " or ") + std::string(ClassOf(known, head));
  }
  const idx_t rows = std::max(weights.classes, weights.dense_classes);
  Check(!heads.empty(), ErrorCode::kFormat,
        "{}: architectures names no class, and the head in the weights ({}) could be {}; write "
        "the class into architectures",
        source, Counted(rows, "row"),
        rules.tokens ? "one of a token classifier with one label or of multiple choice"
                     : "another model's");
  Fail(ErrorCode::kFormat,
       "{}: architectures names no class, and the weights could be a {}; write the one that it is "
       "into architectures",
       source, could);
}

}  // namespace

WeightHeads HeadsIn(const io::TensorSource& source) {
  WeightHeads heads;
  for (const auto& [name, info] : source.tensors()) {
    const std::string canonical = CanonicalName(name).value_or("");
    heads.language = heads.language || canonical.starts_with("lm_head.");
    heads.question = heads.question || canonical.starts_with("qa_outputs.");
    heads.transform = heads.transform || canonical == "head.dense.weight";
    heads.pooler = heads.pooler || canonical == "longformer.pooler.dense.weight";
    if (canonical == "classifier.out_proj.weight") heads.dense_classes = RowsOf(info);
    if (canonical == "classifier.weight") heads.classes = RowsOf(info);
  }
  return heads;
}

std::optional<WeightHeads> HeadsInFolder(const std::filesystem::path& folder) {
  try {
    return HeadsIn(*WithoutExtraPrefix(io::OpenModel(folder)));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kIo) return std::nullopt;  // a config alone
    throw;
  }
}

std::vector<std::string> Architectures(const nlohmann::json& object, std::string_view source) {
  if (io::IsNullOrAbsent(object, "architectures")) return {};
  if (object["architectures"].is_string()) return {object["architectures"].get<std::string>()};
  return io::GetStringList(object, "architectures", io::kRequired, source);
}

bool WeightsDecide(const nlohmann::json& object, std::string_view source) {
  const std::vector<std::string> names = Architectures(object, source);
  if (names.size() != 1) return true;
  return names.front().ends_with("Classification") && !ParseLabels(object, source).certain;
}

std::optional<WeightHeads> DecidingWeights(const nlohmann::json& object,
                                           const std::filesystem::path& config_file) {
  const bool in_a_folder = config_file.filename() == "config.json";
  if (!in_a_folder || !WeightsDecide(object, io::Escape(config_file.string()))) return std::nullopt;
  return HeadsInFolder(config_file.parent_path().empty() ? "." : config_file.parent_path());
}

HeadKind ParseHead(const nlohmann::json& object, std::string_view source,
                   std::span<const HeadClass> known, const HeadRules& rules,
                   const std::optional<WeightHeads>& weights, HeadKind fallback) {
  const std::vector<std::string> names = Architectures(object, source);
  std::optional<HeadKind> first;
  std::string list;
  for (const std::string& name : names) {
    list += (list.empty() ? "" : ", ") + io::Escape(name, 80);
    for (const auto& [head, known_name] : known) {
      if (known_name == name && !first) first = head;
    }
  }
  if (names.size() != 1 && weights) {
    return Chosen(names, list, known, rules, *weights, LabelsNamed(object, source), source);
  }
  if (names.empty()) return fallback;
  if (first) return *first;
  std::string classes;
  for (const auto& [head, name] : known) classes.append(classes.empty() ? "" : ", ").append(name);
  Fail(ErrorCode::kFormat, "{}: architectures '{}' is not supported; use one of {}", source, list,
       classes);
}

}  // namespace longspan
