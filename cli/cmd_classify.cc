// longspan classify: what whole texts are about.

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string_view>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/explanation_html.h"
#include "cli/option_checks.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

struct ClassifyCommand {
  TaskCommand task;
  idx_t top = 0;
  std::optional<double> threshold;  // given; of labels that are shown else kLabelThreshold
  bool windows = false;
  idx_t explain = 0;                        // sentences to show; 0: none
  std::vector<std::string> explain_labels;  // whose scores are explained; none: those shown
  std::vector<idx_t> explained;             // these labels, once the model is known
  std::string html;
};

constexpr idx_t kExplained = 5;         // sentences that --explain shows
constexpr idx_t kSentenceColumns = 60;  // of a sentence on a line for people

// What a score is called: the label, but of numbers that nobody has named "value" instead of the
// LABEL_0 that files have for want of a name.
std::string ScoreName(const ModelInfo& info, idx_t label) {
  const std::string& name = info.labels[static_cast<std::size_t>(label)];
  if (ScoresOf(info) != ScoreKind::kValues || name != fmt::format("LABEL_{}", label)) return name;
  return info.labels.size() == 1 ? "value" : fmt::format("value {}", label);
}

void RemoveBelow(double threshold, const std::vector<double>& scores, std::vector<idx_t>* labels) {
  std::erase_if(*labels, [&](idx_t label) {
    return !HasLabel(scores[static_cast<std::size_t>(label)], threshold);
  });
}

// Places of the labels to show, the best first.
std::vector<idx_t> Shown(const ClassifyCommand& c, ScoreKind kind,
                         const std::vector<double>& scores) {
  const auto all = static_cast<idx_t>(scores.size());
  if (kind == ScoreKind::kValues) return Largest(scores, c.top > 0 ? c.top : all);
  if (kind == ScoreKind::kClasses) return Largest(scores, std::max<idx_t>(1, c.top));
  std::vector<idx_t> shown = Largest(scores, c.top > 0 ? c.top : all);
  if (c.top == 0 || c.threshold) RemoveBelow(c.threshold.value_or(kLabelThreshold), scores, &shown);
  return shown;
}

// kUsage for an option that says nothing about what this model gives.
void CheckScoreOptions(const ClassifyCommand& c, const ModelInfo& info) {
  const ScoreKind kind = ScoresOf(info);
  Check(!c.threshold || kind == ScoreKind::kLabels, ErrorCode::kUsage,
        "threshold: it is for models of sets of labels, and this one gives each text {}; --top "
        "says how many {} are shown",
        kind == ScoreKind::kClasses ? "one class" : "numbers",
        kind == ScoreKind::kClasses ? "classes" : "numbers");
  Check(c.top <= 1 || info.labels.size() > 1, ErrorCode::kUsage,
        "top: {} are asked for, and this model gives each text one {}", c.top,
        kind == ScoreKind::kValues ? "number" : "score");
}

// Whether another label of the model has the same name.
bool HasTwin(const ModelInfo& info, idx_t label) {
  const std::string& name = info.labels[static_cast<std::size_t>(label)];
  return std::count(info.labels.begin(), info.labels.end(), name) > 1;
}

// Labels of one name are told apart by "class", their number from 0.
nlohmann::ordered_json LabelsJson(const ClassifyCommand& c, const ModelInfo& info,
                                  const std::vector<double>& scores) {
  std::vector<idx_t> labels =
      Largest(scores, c.top > 0 ? c.top : static_cast<idx_t>(scores.size()));
  if (c.threshold) RemoveBelow(*c.threshold, scores, &labels);
  auto list = nlohmann::ordered_json::array();
  for (const idx_t label : labels) {
    const auto at = static_cast<std::size_t>(label);
    list.push_back({{"label", ScoreName(info, label)}, {"score", scores[at]}});
    if (HasTwin(info, label)) list.back()["class"] = label;
  }
  return list;
}

// Each window with its place in the text and its own scores.
void AddWindows(const ClassifyCommand& c, const ModelInfo& info, const ClassifiedText& text,
                TaskAnswer& answer) {
  auto list = nlohmann::ordered_json::array();
  for (const ClassifiedWindow& window : text.windows) {
    list.push_back({{"chars", SpanJson(window.chars)},
                    {"tokens", window.tokens},
                    {"labels", LabelsJson(c, info, window.scores)}});
    answer.shown += fmt::format("  characters {}-{}", window.chars.begin, window.chars.end);
    for (const idx_t label : Shown(c, ScoresOf(info), window.scores)) {
      const auto at = static_cast<std::size_t>(label);
      answer.shown +=
          fmt::format("\t{} {:.4f}", Printable(ScoreName(info, label)), window.scores[at]);
    }
    answer.shown += '\n';
  }
  answer.fields["window_scores"] = std::move(list);
}

// "good, bad and 3 more".
std::string ListedLabels(std::span<const std::string> labels) {
  constexpr std::size_t kMostListedLabels = 20;
  const auto first = labels.first(std::min(labels.size(), kMostListedLabels));
  const std::string more = labels.size() > first.size()
                               ? fmt::format(" and {} more", labels.size() - first.size())
                               : std::string();
  return Printable(fmt::format("{}", fmt::join(first, ", "))) + more;
}

// The labels that --explain-label names. kUsage for one that the model does not have.
std::vector<idx_t> NamedLabels(const ClassifyCommand& c, const ModelInfo& info) {
  std::vector<idx_t> labels;
  for (const std::string& name : c.explain_labels) {
    const std::optional<idx_t> label = FindLabel(info.labels, name);
    Check(label.has_value(), ErrorCode::kUsage,
          "explain-label: the model has no label '{}'; it has {}", io::Escape(name),
          ListedLabels(info.labels));
    labels.push_back(*label);
  }
  return labels;
}

// The labels whose scores are explained: those that were named; else the winning class, or those
// that are shown of sets and of numbers; at least the best one.
std::vector<ExplainedLabel> ExplainedLabels(const ClassifyCommand& c, const ModelInfo& info,
                                            const std::vector<double>& scores) {
  const ScoreKind kind = ScoresOf(info);
  std::vector<idx_t> labels = c.explained;
  if (labels.empty() && kind != ScoreKind::kClasses) labels = Shown(c, kind, scores);
  if (labels.empty()) labels = Largest(scores, 1);
  std::vector<ExplainedLabel> explained;
  for (const idx_t label : labels) {
    explained.push_back({label, ScoreName(info, label)});
  }
  return explained;
}

// Every sentence with its place and what it adds to the score of each label that is explained; for
// people those that add or take most.
void AddExplanation(const ClassifyCommand& c, ScoreKind kind, const TaskText& text,
                    const ExplainedText& explained, const std::vector<ExplainedLabel>& labels,
                    TaskAnswer& answer) {
  for (const ExplainedLabel& label : labels) {
    answer.fields["explained"].push_back(
        {{"label", label.name},
         {"score", explained.scores[static_cast<std::size_t>(label.label)]},
         {"decided", explained.Decided(label.label, kind)}});
  }
  auto list = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < explained.sentences.size(); ++i) {
    const LeftOut& sentence = explained.sentences[i];
    const std::string& whole = sentence.sequence == 0 ? text.text : *text.pair;
    nlohmann::ordered_json entry = {{"chars", SpanJson(sentence.place.chars)},
                                    {"text", Piece(whole, sentence.place.bytes)}};
    if (text.pair) entry["of"] = sentence.sequence == 0 ? "text" : "text_pair";
    for (const ExplainedLabel& label : labels) {
      entry["changes"].push_back(
          {{"label", label.name},
           {"change", explained.Influence(static_cast<idx_t>(i), label.label)}});
    }
    list.push_back(std::move(entry));
  }
  answer.fields["sentences"] = std::move(list);
  if (explained.sentences.empty()) {
    answer.shown += "  one sentence: nothing can be left out\n";
    return;
  }
  for (const ExplainedLabel& label : labels) {
    if (!explained.Decided(label.label, kind)) {
      answer.shown += fmt::format("  {}: {}\n", Printable(label.name), NoSentenceDecided(kind));
    }
    for (const idx_t i : explained.MostInfluential(label.label, c.explain)) {
      const LeftOut& sentence = explained.sentences[static_cast<std::size_t>(i)];
      answer.shown +=
          fmt::format("  {} {}\tcharacters {}-{}\t{}\n", Printable(label.name),
                      SignedChange(explained.Influence(i, label.label)), sentence.place.chars.begin,
                      sentence.place.chars.end, OneLine(text, sentence, kSentenceColumns));
    }
  }
}

TaskAnswer AnswerOf(const ClassifyCommand& c, const ModelInfo& info, const std::string& name,
                    const ClassifiedText& text) {
  const ScoreKind kind = ScoresOf(info);
  std::string line = ShownName(name);
  for (const idx_t label : Shown(c, kind, text.scores)) {
    const auto at = static_cast<std::size_t>(label);
    line += fmt::format("\t{} {:.4f}", Printable(ScoreName(info, label)), text.scores[at]);
  }
  TaskAnswer answer{
      {{"scores_are", ScoreKindName(kind)}, {"labels", LabelsJson(c, info, text.scores)}},
      line + "\n"};
  if (c.windows) AddWindows(c, info, text, answer);
  return answer;
}

// A line for each text: of classes the best one with its score, of sets a list of those that are
// shown; then a column "score NAME" for each label, as `eval --predictions` has them. --top and
// --threshold leave the scores of other labels empty. Of numbers the scores alone, in "score" if
// there is one.
AnswerTable TableOf(const ClassifyCommand& c, const ModelInfo& info) {
  const ScoreKind kind = ScoresOf(info);
  AnswerTable table;
  if (kind != ScoreKind::kValues) table.columns.emplace_back("label");
  const bool single = kind == ScoreKind::kValues && info.labels.size() == 1;
  if (kind == ScoreKind::kClasses || single) table.columns.emplace_back("score");
  const std::size_t count = info.labels.size();
  std::map<std::string, std::size_t> places;  // of names, as the fields have them
  for (std::size_t k = 0; k < count; ++k) {
    const std::string name = ScoreName(info, static_cast<idx_t>(k));
    places.emplace(name, k);
    if (!single) table.columns.push_back("score " + name);
  }
  table.lines = [&c, kind, single, count, places](const nlohmann::ordered_json& fields) {
    const nlohmann::ordered_json& given = fields.at("labels");  // the best first
    std::vector<std::string> cells;
    if (kind == ScoreKind::kClasses) cells.push_back(CellOf(given.at(0).at("label")));
    if (kind == ScoreKind::kLabels) {
      const double least = c.threshold.value_or(kLabelThreshold);
      auto shown = nlohmann::ordered_json::array();
      for (const nlohmann::ordered_json& one : given) {
        const nlohmann::ordered_json& score = one.at("score");
        const bool above = score.is_number() && HasLabel(score.get<double>(), least);
        if (c.top > 0 || above) shown.push_back(one.at("label"));
      }
      cells.push_back(CellOf(shown));
    }
    if (kind == ScoreKind::kClasses || single) cells.push_back(CellOf(given.at(0).at("score")));
    std::vector<std::string> scores(single ? 0 : count);
    for (const nlohmann::ordered_json& one : given) {
      const std::size_t label = one.contains("class")
                                    ? one.at("class").get<std::size_t>()
                                    : places.at(one.at("label").get_ref<const std::string&>());
      if (label < scores.size()) scores[label] = CellOf(one.at("score"));
    }
    cells.insert(cells.end(), scores.begin(), scores.end());
    return std::vector<std::vector<std::string>>{std::move(cells)};
  };
  return table;
}

// Adds the answers to a chunk of texts; `page` gets their explanations, where there is one.
void AnswerChunk(const ClassifyCommand& c, TaskRun& run, const TaskChunk& chunk,
                 ExplanationHtml* page, const AddAnswer& add) {
  const ModelInfo& info = run.model().info();
  const ScoreKind kind = ScoresOf(info);
  const std::vector<ClassifiedText> classified = Classify(run.context(), run.model(), chunk.rows);
  const auto answer_of = [&](std::size_t i) {
    return AnswerOf(c, info, chunk.names[i], classified[i]);
  };
  if (c.explain == 0) {
    for (std::size_t i = 0; i < classified.size(); ++i) add(answer_of(i));
    return;
  }
  run.CountCalls("explaining: token");
  Explain(run.context(), run.model(), chunk.texts, classified,
          [&](std::size_t i, const ExplainedText& explained) {
            const auto labels = ExplainedLabels(c, info, classified[i].scores);
            TaskAnswer answer = answer_of(i);
            AddExplanation(c, kind, chunk.texts[i], explained, labels, answer);
            if (page != nullptr) {
              page->Add(chunk.names[i], chunk.texts[i], explained, kind, labels, c.explain);
            }
            add(answer);
          });
}

int RunClassify(ClassifyCommand c, int threads) {
  std::optional<ExplanationHtml> page;
  if (!c.html.empty()) {
    Check(!IsInParts(c.task.output, c.task.inputs.paths), ErrorCode::kUsage,
          "html: the page is written by one process in one go, without mpirun and --resume");
    CheckIsNoInputOf(c.task.inputs.paths, c.task.model, c.html);
    page.emplace(c.html, c.task.model);
  }
  const bool explains = page || !c.explain_labels.empty();
  if (explains && c.explain == 0) c.explain = kExplained;
  const bool one_line = !c.windows && (c.explain == 0 || page);
  Check(one_line || !IsTableForm(FormOfAnswers(c.task)), ErrorCode::kUsage,
        "classify: a table has one line a text; --windows and --explain give more, and need text, "
        "json or jsonl");
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, "classify", HeadKind::kSequence, threads, [&c](const ModelInfo& info) {
    CheckScoreOptions(c, info);
    c.explained = NamedLabels(c, info);
  });
  run.table = TableOf(c, run.model().info());
  const int code =
      AnswerTexts(run, inputs, run.PlainText(), [&](const TaskChunk& chunk, const AddAnswer& add) {
        AnswerChunk(c, run, chunk, page ? &*page : nullptr, add);
      });
  if (page) page->Finish();
  return code;
}

}  // namespace

void RegisterClassify(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<ClassifyCommand>();
  AddTaskOptions(*command, c->task);
  AddAnswerOutput(*command, c->task);
  command
      ->add_option(
          "--top", c->top,
          "Number of labels to show (default: the best one; of sets those above --threshold)")
      ->check(CLI::Range(1, 100000));
  command
      ->add_option("--threshold", c->threshold,
                   "Least probability of a label of a set that is shown (default: 0.5; without "
                   "it JSON has all labels)")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("FLOAT");
  command->add_flag("--windows", c->windows,
                    "Show the scores of each window, with its place in characters");
  command
      ->add_flag("--explain{5}", c->explain,
                 "Show the 5 sentences that decided most (--explain=N: the N)")
      ->check(AtLeast(1));
  command
      ->add_option("--explain-label", c->explain_labels,
                   "Label whose score is explained; may be given again (default: the best one; of "
                   "sets and numbers those that are shown)")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1);
  command
      ->add_option("--html", c->html,
                   "Write a page (.html) with sentences shaded by what they decide")
      ->type_name("FILE");
  command->footer(
      "A text in several windows gets the mean over them, weighted by their tokens.\n"
      "--explain leaves each sentence out in turn and classifies the rest: +0.2 means that the\n"
      "score is 0.2 higher with the sentence than without it.\n"
      "Tables and JSON have \"text\", and \"text_pair\" where texts come in pairs.\n"
      "Examples:\n"
      "  longspan classify -m judge letters/\n"
      "  longspan classify -m judge reviews.jsonl --top 3 --json\n"
      "  longspan classify -m judge letters/ -o classes.json --resume\n"
      "  longspan classify -m judge reviews.jsonl -o classes.csv\n"
      "  longspan classify -m judge --text 'As good as it gets.' --overflow error\n"
      "  longspan classify -m judge letters/ --explain=3 --html why.html\n"
      "  longspan classify -m judge letters/ --explain-label bad");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunClassify(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
