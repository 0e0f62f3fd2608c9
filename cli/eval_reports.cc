#include "cli/eval_reports.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/visual/clipped.h"
#include "cli/visual/json_text.h"
#include "cli/visual/text.h"
#include "longspan/counted.h"
#include "longspan/evaluate.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

constexpr idx_t kMostColumns = 100;            // of the text for people
constexpr idx_t kMostMatrixClasses = 10;       // shown as a matrix; of more the worst pairs
constexpr std::size_t kMostPairs = 10;         // of classes that are taken for each other
constexpr std::size_t kMostJsonClasses = 100;  // with a whole matrix in JSON

// The names of the classes, fit for a terminal, and the columns that the longest takes.
struct ClassNames {
  std::vector<std::string> shown;
  idx_t width = 0;
  ClassNames(const std::vector<std::string>& labels, idx_t most) {
    for (const std::string& label : labels) {
      shown.push_back(ClipWithDots(Printable(label), most));
      width = std::max(width, Columns(shown.back()));
    }
  }
  std::string Padded(std::size_t i) const { return PadColumns(shown[i], width); }
};

std::string PadLeft(const std::string& text, idx_t columns) {
  const auto blanks = std::max<idx_t>(0, columns - Columns(text));
  return std::string(static_cast<std::size_t>(blanks), ' ') + text;
}

// JSON has no NaN.
ordered_json NumberOrNull(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

// Of sets each label has a matrix of its own, which stands in its line: how many texts have the
// label and get it, have it and do not get it, get it and do not have it.
std::string ClassTable(const ClassifierEval& e, const Predictions& all) {
  const bool sets = e.problem == ProblemType::kMultiLabel;
  ClassNames names(all.labels, 40);
  names.width = std::max<idx_t>(names.width, 8);
  std::string text = PadColumns(sets ? "label" : "class", names.width) +
                     fmt::format("  {:>9} {:>9} {:>9} {:>9}", "precision", "recall", "F1", "texts");
  text += sets ? fmt::format(" {:>7} {:>7} {:>7}\n", "right", "missed", "wrong") : "\n";
  for (std::size_t i = 0; i < e.classes.size(); ++i) {
    const ClassScore& s = e.classes[i];
    text += names.Padded(i) + fmt::format("  {:>9.4f} {:>9.4f} {:>9.4f} {:>9}", s.precision,
                                          s.recall, s.f1, s.support);
    const idx_t hits = sets ? CountHits(all.rows, static_cast<idx_t>(i)) : 0;
    text += sets ? fmt::format(" {:>7} {:>7} {:>7}\n", hits, s.support - hits, s.predicted - hits)
                 : "\n";
  }
  const std::pair<const char*, const metrics::AverageScore*> means[] = {
      {"macro", &e.macro}, {"micro", &e.micro}, {"weighted", &e.weighted}};
  for (const auto& [name, mean] : means) {
    text += PadColumns(name, names.width) +
            fmt::format("  {:>9.4f} {:>9.4f} {:>9.4f}\n", mean->precision, mean->recall, mean->f1);
  }
  return text;
}

// "0.9123", or "-" for what has no value.
std::string ValueText(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.4f}", value);
}

// Of classes and of sets: how well scores order the texts.
std::string AreasText(const ClassifierEval& e) {
  const bool sets = e.problem == ProblemType::kMultiLabel;
  return (sets ? std::string() : fmt::format("MCC {}, ", ValueText(e.mcc))) +
         fmt::format("ROC AUC {}, average precision {}\n", ValueText(e.auc),
                     ValueText(e.average_precision));
}

// "no text has the class "nda": ..." where classes or labels have none; what that means for the
// areas.
std::string UnusedText(const ClassifierEval& e) {
  constexpr idx_t kMostNamed = 8;
  std::string names;
  idx_t none = 0;
  for (const ClassScore& s : e.classes) {
    if (s.support > 0 || ++none > kMostNamed) continue;
    names += (names.empty() ? "" : ", ") + PrintableName(s.name);
  }
  if (none == 0) return "";
  if (none > kMostNamed) names += fmt::format(" and {} more", none - kMostNamed);
  const bool sets = e.problem == ProblemType::kMultiLabel;
  const bool mean = sets || e.classes.size() > 2;
  return fmt::format("no text has the {} {}: ROC AUC has no value{}\n",
                     sets ? (none == 1 ? "label" : "labels") : (none == 1 ? "class" : "classes"),
                     names, mean ? ", and the average precision is the mean over the others" : "");
}

// Columns have the classes' names where they fit, else numbers that stand before the rows' names.
std::string Matrix(const Predictions& all, const std::vector<Confusion>& pairs) {
  const auto count = static_cast<idx_t>(all.labels.size());
  std::vector<idx_t> rows(static_cast<std::size_t>(count * count), 0);
  idx_t cell = 5;
  for (const Confusion& c : pairs) {
    rows[static_cast<std::size_t>(c.gold * count + c.predicted)] = c.texts;
    cell = std::max(cell, static_cast<idx_t>(std::to_string(c.texts).size()));
  }
  ClassNames names(all.labels, 32);
  const bool named = names.width + 2 + count * (std::max(cell, names.width) + 2) <= kMostColumns;
  const auto number = [&](idx_t i) { return "(" + std::to_string(i + 1) + ")"; };
  if (named) cell = std::max(cell, names.width);
  const idx_t margin = named ? names.width : names.width + 5;
  std::string text =
      "\nconfusion matrix: a line for each true class, a column for each predicted one\n" +
      PadColumns("", margin);
  for (idx_t k = 0; k < count; ++k) {
    text += "  " + PadLeft(named ? names.shown[static_cast<std::size_t>(k)] : number(k), cell);
  }
  for (idx_t g = 0; g < count; ++g) {
    const std::string name = names.Padded(static_cast<std::size_t>(g));
    text += "\n" + (named ? name : PadLeft(number(g), 4) + " " + name);
    for (idx_t k = 0; k < count; ++k) {
      text += fmt::format("  {:>{}}", rows[static_cast<std::size_t>(g * count + k)], cell);
    }
  }
  return text + "\n";
}

std::string WorstPairs(const ClassifierEval& e, const Predictions& all,
                       std::vector<Confusion> pairs) {
  pairs = MostConfused(std::move(pairs));
  if (pairs.empty()) return "";
  const std::size_t shown = std::min(kMostPairs, pairs.size());
  ClassNames names(all.labels, 32);
  names.width = std::max<idx_t>(names.width, 10);
  std::string text =
      fmt::format("\nclasses that were taken for others: {} pairs of {}\n", shown, pairs.size());
  text += PadColumns("true class", names.width) + "  " + PadColumns("predicted", names.width) +
          fmt::format("  {:>9}  {:>12}\n", "texts", "of the class");
  for (std::size_t i = 0; i < shown; ++i) {
    const Confusion& c = pairs[i];
    const auto gold = static_cast<std::size_t>(c.gold);
    text += names.Padded(gold) + "  " + names.Padded(static_cast<std::size_t>(c.predicted)) +
            fmt::format("  {:>9}  {:>10.1f} %\n", c.texts,
                        100.0 * static_cast<double>(c.texts) /
                            static_cast<double>(e.classes[gold].support));
  }
  return text;
}

std::string ConfusionText(const ClassifierEval& e, const Predictions& all) {
  if (e.problem != ProblemType::kSingleLabel) return "";
  std::vector<Confusion> pairs = CountConfusions(all.rows);
  return static_cast<idx_t>(all.labels.size()) <= kMostMatrixClasses
             ? Matrix(all, pairs)
             : WorstPairs(e, all, std::move(pairs));
}

// "confusion": rows of the matrix, true classes by predicted ones, where they are not too many;
// "confused": pairs of different classes, the most frequent first.
void AddConfusion(const ClassifierEval& e, const Predictions& all, ordered_json& j) {
  if (e.problem != ProblemType::kSingleLabel) return;
  const std::vector<Confusion> pairs = CountConfusions(all.rows);
  const std::size_t count = all.labels.size();
  if (count <= kMostJsonClasses) {
    std::vector<std::vector<idx_t>> rows(count, std::vector<idx_t>(count, 0));
    for (const Confusion& c : pairs) {
      rows[static_cast<std::size_t>(c.gold)][static_cast<std::size_t>(c.predicted)] = c.texts;
    }
    j["confusion"] = rows;
  }
  j["confused"] = ordered_json::array();
  for (const Confusion& c : MostConfused(pairs)) {
    j["confused"].push_back({{"gold", all.labels[static_cast<std::size_t>(c.gold)]},
                             {"predicted", all.labels[static_cast<std::size_t>(c.predicted)]},
                             {"texts", c.texts}});
  }
}

ordered_json ClassifierJson(const ClassifierEval& e, const Predictions& all) {
  ordered_json j;
  j["problem"] = ProblemName(e.problem);
  j["rows"] = e.rows;
  j["tokens"] = e.tokens;
  j["cut"] = e.cut;
  j["in_windows"] = e.in_windows;
  j["windows"] = e.windows;
  j["longest"] = e.longest;
  j["loss"] = e.loss;
  if (e.problem == ProblemType::kRegression) {
    j["mse"] = e.mse;
    j["pearson"] = e.pearson;
    j["spearman"] = e.spearman;
    return j;
  }
  j["accuracy"] = e.accuracy;
  j["macro_f1"] = e.macro.f1;
  j["micro_f1"] = e.micro.f1;
  j["weighted_f1"] = e.weighted.f1;
  j["exact_match"] = e.exact_match;
  if (e.problem == ProblemType::kSingleLabel) j["mcc"] = e.mcc;
  j["auc"] = e.auc;
  j["average_precision"] = e.average_precision;
  idx_t place = 0;
  for (const ClassScore& s : e.classes) {
    j["classes"].push_back({{"name", s.name},
                            {"precision", s.precision},
                            {"recall", s.recall},
                            {"f1", s.f1},
                            {"support", s.support},
                            {"predicted", s.predicted},
                            {"hits", CountHits(all.rows, place++)}});
  }
  AddConfusion(e, all, j);
  return j;
}

}  // namespace

std::string EmbedderReport(const EmbedderEval& e, bool json) {
  if (json) {
    ordered_json j = {{"task", "embed"},  {"loss", e.loss},     {"rows", e.rows},
                      {"texts", e.texts}, {"tokens", e.tokens}, {"cut", e.cut}};
    if (e.scored) {
      j["pearson"] = NumberOrNull(e.pearson);
      j["spearman"] = NumberOrNull(e.spearman);
      return DumpJson(j);
    }
    j["queries"] = e.queries;
    j["candidates"] = e.candidates;
    j["recall_1"] = e.recall_1;
    j["recall_5"] = e.recall_5;
    j["recall_10"] = e.recall_10;
    j["mrr"] = e.mrr;
    if (e.triplets > 0) j["triplets"] = {{"rows", e.triplets}, {"nearer", e.nearer}};
    return DumpJson(j);
  }
  if (e.scored) {
    return fmt::format("cosines and scores of {}: spearman {:.4f}, pearson {:.4f}, loss {:.4f}\n",
                       Counted(e.rows, "pair"), e.spearman, e.pearson, e.loss);
  }
  std::string text = fmt::format(
      "{} among {}: recall at 1 {:.4f}, at 5 {:.4f}, at 10 {:.4f}, mrr {:.4f}, loss "
      "{:.4f}\n",
      Counted(e.queries, "anchor"), Counted(e.candidates, "text"), e.recall_1, e.recall_5,
      e.recall_10, e.mrr, e.loss);
  if (e.triplets > 0) {
    text += fmt::format("{}: the positive is nearer in {:.1f} %\n", Counted(e.triplets, "triplet"),
                        100.0 * e.nearer);
  }
  return text;
}

std::string RerankerReport(const RerankerEval& e, bool json) {
  if (json) {
    return DumpJson({{"task", "rerank"},
                     {"loss", e.loss},
                     {"pairs", e.pairs},
                     {"tokens", e.tokens},
                     {"cut", e.cut},
                     {"accuracy", e.accuracy},
                     {"average_precision", e.average_precision},
                     {"queries", e.queries},
                     {"without_relevant", e.without},
                     {"mrr", e.mrr},
                     {"ndcg", e.ndcg}});
  }
  return fmt::format(
      "{}: loss {:.4f}, accuracy {:.4f}, average precision {:.4f}\n{}, the first ten texts of "
      "each: mrr {:.4f}, ndcg {:.4f}\n",
      Counted(e.pairs, "pair"), e.loss, e.accuracy, e.average_precision,
      Counted(e.queries, "query", "queries"), e.mrr, e.ndcg);
}

std::string MaskedLmReport(const MaskedLmEval& e, bool json) {
  if (json) {
    const ordered_json j = {{"loss", e.loss},
                            {"perplexity", e.perplexity},
                            {"accuracy", e.accuracy},
                            {"masked", e.counted},
                            {"tokens", e.tokens}};
    return DumpJson(j);
  }
  return fmt::format(
      "loss {:.4f} nats a masked token, perplexity {:.2f}, {:.1f} % guessed ({} masked tokens, "
      "rows "
      "of {})\n",
      e.loss, e.perplexity, 100.0 * e.accuracy, e.counted, e.tokens);
}

std::string ClassifierReport(const ClassifierEval& e, const Predictions& all, bool json) {
  if (json) return DumpJson(ClassifierJson(e, all));
  const std::string texts = fmt::format(
      "{} of at most {} tokens{}{}\n", Counted(e.rows, "text"), e.tokens,
      e.cut > 0 ? fmt::format(", {} of them cut", e.cut) : std::string(),
      e.in_windows > 0 ? fmt::format(", {} of them in windows", e.in_windows) : std::string());
  if (e.problem == ProblemType::kRegression) {
    return texts +
           fmt::format("mean squared error {:.4f}, correlation {} (Pearson), {} (Spearman)\n",
                       e.mse, ValueText(e.pearson), ValueText(e.spearman));
  }
  const idx_t right = std::count(e.right.begin(), e.right.end(), true);
  const ShareInterval exact = WilsonInterval(right, e.rows);
  const bool sets = e.problem == ProblemType::kMultiLabel;
  return texts + ClassTable(e, all) + AreasText(e) + UnusedText(e) +
         fmt::format(
             "{} {:.4f} (95 % between {:.4f} and {:.4f}), macro F1 {:.4f}, loss {:.4f}\n",
             sets ? fmt::format("accuracy of labels {:.4f}, whole sets", e.accuracy) : "accuracy",
             e.exact_match, exact.low, exact.high, e.macro.f1, e.loss) +
         ConfusionText(e, all);
}

}  // namespace longspan::cli
