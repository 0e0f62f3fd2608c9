#include "cli/eval_reports.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/escape.h"
#include "io/json.h"
#include "train/class_metrics.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

std::string ClassTable(const ClassifierEval& e) {
  std::size_t width = 5;
  for (const ClassScore& s : e.classes) width = std::max(width, io::Escape(s.name, 40).size());
  std::string text = fmt::format("{:<{}}  {:>9} {:>9} {:>9} {:>9}\n", "class", width, "precision",
                                 "recall", "F1", "texts");
  for (const ClassScore& s : e.classes) {
    text += fmt::format("{:<{}}  {:>9.4f} {:>9.4f} {:>9.4f} {:>9}\n", io::Escape(s.name, 40), width,
                        s.precision, s.recall, s.f1, s.support);
  }
  return text;
}

ordered_json ClassifierJson(const ClassifierEval& e) {
  ordered_json j;
  j["problem"] = e.problem;
  j["rows"] = e.rows;
  j["tokens"] = e.tokens;
  j["cut"] = e.cut;
  j["loss"] = e.loss;
  if (e.problem == "regression") {
    j["mse"] = e.mse;
    j["pearson"] = e.pearson;
    return j;
  }
  j["accuracy"] = e.accuracy;
  j["macro_f1"] = e.macro_f1;
  j["exact_match"] = e.exact_match;
  for (const ClassScore& s : e.classes) {
    j["classes"].push_back({{"name", s.name},
                            {"precision", s.precision},
                            {"recall", s.recall},
                            {"f1", s.f1},
                            {"support", s.support}});
  }
  return j;
}

}  // namespace

std::string MaskedLmReport(const MaskedLmEval& e, bool json) {
  if (json) {
    const ordered_json j = {{"loss", e.loss},
                            {"perplexity", e.perplexity},
                            {"accuracy", e.accuracy},
                            {"masked", e.counted},
                            {"tokens", e.tokens}};
    return io::DumpJson(j);
  }
  return fmt::format(
      "loss {:.4f} nats a masked token, perplexity {:.2f}, {:.1f} % guessed ({} masked tokens, "
      "rows "
      "of {})\n",
      e.loss, e.perplexity, 100.0 * e.accuracy, e.counted, e.tokens);
}

std::string ClassifierReport(const ClassifierEval& e, bool json) {
  if (json) return io::DumpJson(ClassifierJson(e));
  const std::string texts =
      fmt::format("{} texts of at most {} tokens{}\n", e.rows, e.tokens,
                  e.cut > 0 ? fmt::format(", {} of them cut", e.cut) : std::string());
  if (e.problem == "regression") {
    return texts + fmt::format("mean squared error {:.4f}, correlation {:.4f}\n", e.mse, e.pearson);
  }
  const idx_t right = std::count(e.right.begin(), e.right.end(), true);
  const ShareInterval exact = WilsonInterval(right, e.rows);
  const bool sets = e.problem == "multi";
  return texts + ClassTable(e) +
         fmt::format(
             "{} {:.4f} (95 % between {:.4f} and {:.4f}), macro F1 {:.4f}, loss {:.4f}\n",
             sets ? fmt::format("accuracy of labels {:.4f}, whole sets", e.accuracy) : "accuracy",
             e.exact_match, exact.low, exact.high, e.macro_f1, e.loss);
}

}  // namespace longspan::cli
