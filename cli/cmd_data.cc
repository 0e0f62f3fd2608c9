// longspan data: stats.

#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/option_checks.h"
#include "cli/pair_options.h"
#include "cli/row_stats_report.h"
#include "cli/token_class_options.h"
#include "cli/visual/clipped.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/text.h"
#include "cli/waiting.h"
#include "longspan/context.h"
#include "longspan/counted.h"
#include "longspan/data_stats.h"
#include "longspan/files.h"
#include "longspan/model.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kMostShownLabels = 20;   // in the text for people
constexpr std::size_t kMostJsonLabels = 1000;  // the most frequent ones

struct DataCommand {
  DataStatsOptions options;
  std::vector<std::string> files;
  std::string model, documents = "file", eval, task = "documents", problem = "auto";
  TokenClassFields words;
  PairOptions pairs;
  std::vector<std::string> list_columns;
  bool json = false;
};

// Documents are what language models learn from.
bool CountsDocuments(const std::string& task) {
  return task == "documents" || task == "lm" || task == "mlm";
}

nlohmann::ordered_json Json(const LengthStats& s) {
  nlohmann::ordered_json j = {
      {"total", s.total}, {"shortest", s.shortest}, {"longest", s.longest}, {"mean", s.mean}};
  for (const auto& p : s.percentiles) {
    j["percentiles"][std::to_string(p.share)] = p.length;
  }
  for (const LengthBin& bin : s.bins) {
    j["bins"].push_back(
        {{"from", bin.low}, {"to", bin.high}, {"documents", bin.documents}, {"total", bin.total}});
  }
  return j;
}

nlohmann::ordered_json Json(const LabelStats& s, const std::string& field) {
  nlohmann::ordered_json j = {{"field", field},
                              {"documents", s.rows},
                              {"documents_without", s.without},
                              {"unusable", s.unusable}};
  if (s.unusable > 0) j["first_unusable"] = s.first_unusable;
  j["sets"] = s.sets;
  if (s.numbers) {
    j["numbers"] = {
        {"lowest", s.numbers->lowest}, {"highest", s.numbers->highest}, {"mean", s.numbers->mean}};
    return j;
  }
  j["different"] = s.counts.size();
  j["counts"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < std::min(s.counts.size(), kMostJsonLabels); ++i) {
    const LabelCount& c = s.counts[i];
    j["counts"].push_back({{"label", c.label},
                           {"documents", c.rows},
                           {"share", static_cast<double>(c.rows) / static_cast<double>(s.rows)}});
  }
  return j;
}

nlohmann::ordered_json Json(const DataStats& s, const std::string& label_field) {
  nlohmann::ordered_json j = {{"files", s.files},
                              {"bytes", s.bytes},
                              {"bytes_between_documents", s.separators},
                              {"documents", s.documents},
                              {"characters", s.characters},
                              {"duplicates", s.duplicates},
                              {"duplicate_bytes", s.duplicate_bytes},
                              {"invalid_utf8_documents", s.invalid_documents},
                              {"invalid_utf8_pieces", s.invalid_pieces},
                              {"unreadable_rows", s.unreadable}};
  j["rows_without_text"] = s.without_text;
  if (s.held_out_documents > 0) {
    j["held_out_documents"] = s.held_out_documents;
    j["held_out_in_training"] = s.held_out_in_training;
  }
  if (s.unreadable > 0) j["first_unreadable"] = s.first_unreadable;
  j["byte_lengths"] = Json(s.byte_lengths);
  if (s.token_lengths) {
    j["token_lengths"] = Json(*s.token_lengths);
    j["unknown_tokens"] = s.unknown_tokens;
  }
  if (s.labels) j["labels"] = Json(*s.labels, label_field);
  j["rows"] = nlohmann::ordered_json::array();
  for (const CutStats& cut : s.cuts) {
    j["rows"].push_back({{"length", cut.length},
                         {"cut_documents", cut.cut_documents},
                         {"cut_tokens", cut.cut_tokens},
                         {"padding", cut.padding},
                         {"packed_padding", cut.packed_padding}});
  }
  return j;
}

double Share(idx_t part, idx_t all) {
  return all == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(all);
}

std::string Histogram(const LengthStats& s, const char* unit) {
  constexpr idx_t kWidth = 40;
  idx_t most = 1;
  for (const LengthBin& bin : s.bins) most = std::max(most, bin.documents);
  std::string text = fmt::format("\n{:>19}  {:>10}  {:>6}\n", unit, "documents", "%");
  idx_t all = 0;
  for (const LengthBin& bin : s.bins) all += bin.documents;
  for (const LengthBin& bin : s.bins) {
    const std::string range =
        bin.low == bin.high ? std::to_string(bin.low) : fmt::format("{}-{}", bin.low, bin.high);
    const auto marks = static_cast<std::size_t>((bin.documents * kWidth + most - 1) / most);
    text += fmt::format("{:>19}  {:>10}  {:>6.2f}  {}\n", range, bin.documents,
                        Share(bin.documents, all), std::string(marks, '#'));
  }
  return text;
}

std::string Lengths(const LengthStats& s, const char* unit) {
  std::string text = fmt::format("{} a document: mean {:.1f}, from {} to {};", unit, s.mean,
                                 s.shortest, s.longest);
  for (const auto& p : s.percentiles) text += fmt::format(" {}%: {}", p.share, p.length);
  return text + "\n";
}

// What rows of each length would cut and pad.
std::string Cuts(const DataStats& s, const LengthStats& shown) {
  if (s.cuts.empty()) return "";
  std::string text = fmt::format("\n{:>10}  {:>14}  {:>12}  {:>9}  {:>12}\n", "row", "longer",
                                 "cut off", "padding", "packed: pad.");
  for (const CutStats& cut : s.cuts) {
    text += fmt::format("{:>10}  {:>7} {:>4.1f} %  {:>10.2f} %  {:>7.2f} %  {:>10.2f} %\n",
                        cut.length, cut.cut_documents, Share(cut.cut_documents, s.documents),
                        Share(cut.cut_tokens, shown.total), 100.0 * cut.padding,
                        100.0 * cut.packed_padding);
  }
  return text;
}

// A line for each of the most frequent labels. A set counts for each of its labels.
std::string Labels(const LabelStats& s, const std::string& field) {
  constexpr idx_t kLabelColumns = 40;
  const std::string what =
      s.numbers ? fmt::format("numbers from {:.6g} to {:.6g}, mean {:.6g}", s.numbers->lowest,
                              s.numbers->highest, s.numbers->mean)
                : Counted(static_cast<idx_t>(s.counts.size()), s.sets ? "label" : "class",
                          s.sets ? "labels" : "classes") +
                      (s.sets ? " in sets" : "");
  std::string text =
      fmt::format("\ncolumn \"{}\": {}, {}\n", Printable(field), what, Counted(s.rows, "document"));
  if (s.without > 0) text += fmt::format("without a label: {}\n", Counted(s.without, "document"));
  if (s.unusable > 0) {
    text += fmt::format("labels that cannot be used: {}, the first one: {}\n", s.unusable,
                        s.first_unusable);
  }
  if (s.counts.empty()) return text;
  text += fmt::format("{:>19}  {:>10}  {:>6}\n", "label", "documents", "%");
  idx_t others = 0;
  for (std::size_t i = 0; i < s.counts.size(); ++i) {
    const LabelCount& c = s.counts[i];
    if (i >= kMostShownLabels) {
      others += c.rows;
      continue;
    }
    const std::string name = ClipWithDots(PrintableName(c.label), kLabelColumns);
    const auto blanks = static_cast<std::size_t>(std::max<idx_t>(0, 19 - Columns(name)));
    text += fmt::format("{}{}  {:>10}  {:>6.2f}\n", std::string(blanks, ' '), name, c.rows,
                        Share(c.rows, s.rows));
  }
  if (s.counts.size() > kMostShownLabels) {
    text += fmt::format("{:>19}  {:>10}  {:>6.2f}\n",
                        fmt::format("{} others", s.counts.size() - kMostShownLabels), others,
                        Share(others, s.rows));
  }
  return text;
}

std::string Report(const DataStats& s, const std::string& label_field) {
  std::string text =
      fmt::format("{} in {}, {}, {}\n", Counted(s.documents, "document"), Counted(s.files, "file"),
                  Counted(s.bytes, "byte"), Counted(s.characters, "character"));
  text += fmt::format("duplicates: {} ({:.2f} %), {}\n", Counted(s.duplicates, "document"),
                      Share(s.duplicates, s.documents), Counted(s.duplicate_bytes, "byte"));
  if (s.held_out_documents > 0) {
    text += fmt::format("held out: {}, {} of them ({:.2f} %) also in the files\n",
                        Counted(s.held_out_documents, "document"), s.held_out_in_training,
                        Share(s.held_out_in_training, s.held_out_documents));
  }
  text += fmt::format("invalid UTF-8: {}, {}\n", Counted(s.invalid_documents, "document"),
                      Counted(s.invalid_pieces, "place"));
  if (s.unreadable > 0) {
    text += fmt::format("unreadable: {}, the first one: {}\n", Counted(s.unreadable, "row"),
                        s.first_unreadable);
  }
  if (s.without_text > 0) text += fmt::format("without text: {}\n", Counted(s.without_text, "row"));
  text += Lengths(s.byte_lengths, "bytes");
  const LengthStats& shown = s.token_lengths ? *s.token_lengths : s.byte_lengths;
  const char* unit = s.token_lengths ? "tokens" : "bytes";
  if (s.token_lengths) {
    text += Lengths(shown, unit);
    text += fmt::format("tokens: {}, {:.3f} bytes each, {} unknown\n", shown.total,
                        static_cast<double>(s.byte_lengths.total) /
                            static_cast<double>(std::max<idx_t>(1, shown.total)),
                        s.unknown_tokens);
  }
  text += Histogram(shown, unit);
  text += Cuts(s, shown);
  if (s.labels) text += Labels(*s.labels, label_field);
  return text;
}

// An option that not every task heeds, and the tasks that do.
struct OptionOfTasks {
  const char* name;
  std::vector<std::string_view> tasks;
};

void CheckIdleOptions(const CLI::App& command, const std::string& task) {
  static const OptionOfTasks kOptions[] = {
      {"--documents", {"documents", "lm", "mlm"}},
      {"--text-column",
       {"documents", "lm", "mlm", "classify", "token-classify", "qa", "multiple-choice"}},
      {"--text-pair-column", {"classify"}},
      {"--label-column", {"documents", "lm", "mlm", "classify", "multiple-choice"}},
      {"--problem", {"classify"}},
      {"--token-column", {"token-classify"}},
      {"--tag-column", {"token-classify"}},
      {"--span-field", {"token-classify"}},
      {"--label-names", {"token-classify"}},
      {"--columns", {"embed", "rerank"}},
      {"--scored-columns", {"embed"}},
      {"--list-columns", {"rerank"}}};
  for (const OptionOfTasks& option : kOptions) {
    if (std::find(option.tasks.begin(), option.tasks.end(), task) != option.tasks.end()) continue;
    RefuseIdle(command, {&option.name, 1},
               fmt::format("on --task {}, only on {}", task, fmt::join(option.tasks, ", ")));
  }
}

int RunRowStats(const DataCommand& c, Context& context) {
  RowStatsOptions options;
  options.task = ParseDataTask(c.task);
  options.files = c.options.files;
  options.eval = c.eval;
  options.data = c.options.data;
  options.tokenizer = c.options.tokenizer;
  options.lengths = c.options.lengths;
  options.problem = ParseProblem(c.problem);
  c.words.PutInto(&options.words);
  if (options.task == DataTask::kRerank) {
    TakeJudgedColumns({c.pairs.columns, c.list_columns}, &options.judged);
  } else {
    EmbedTrainingOptions embed;
    TakePairOptions(c.pairs, &embed);
    options.pairs = embed.columns;
  }
  Waiting counting("counting rows");
  const RowStats stats = CollectRowStats(context, options);
  counting.End();
  TellNotes(stats.notes);
  PrintResult(c.json ? DumpJson(RowStatsJson(stats, options)) : RowStatsText(stats, options));
  return 0;
}

int RunStats(DataCommand c, int threads) {
  Context context(threads);
  std::unique_ptr<text::Tokenizer> tokenizer;
  if (!c.model.empty()) {
    tokenizer = c.model == "bytes" ? text::MakeBytesTokenizer() : OpenModelTokenizer(c.model);
  }
  c.options.documents = ParseDocuments(c.documents);
  c.options.tokenizer = tokenizer.get();
  c.options.files.assign(c.files.begin(), c.files.end());
  if (!CountsDocuments(c.task)) return RunRowStats(c, context);
  c.options.eval = c.eval;
  Waiting counting("counting texts");
  const DataStats stats = CollectDataStats(context, c.options);
  counting.End();
  TellNotes(stats.notes);
  const std::string& label = c.options.data.label_field;
  PrintResult(c.json ? DumpJson(Json(stats, label)) : Report(stats, label));
  return 0;
}

}  // namespace

void RegisterData(CLI::App* data, const Globals& globals, Action& action) {
  data->require_subcommand(1);
  data->fallthrough();
  data->footer("Examples:\n  longspan data stats book.txt");
  auto* stats = data->add_subcommand(
      "stats", "Count documents, lengths, duplicates and broken text of files and folders");
  const auto c = std::make_shared<DataCommand>();
  c->options.lengths = {512, 1024, 4096};
  stats->add_option("FILE", c->files, "Texts, tables, JSON or folders of them")->required();
  stats
      ->add_option("--task", c->task,
                   "Whose rows are counted: documents (lm, mlm), classify, token-classify, qa, "
                   "multiple-choice, embed or rerank")
      ->type_name("NAME")
      ->capture_default_str();
  stats->add_option("--eval", c->eval,
                    "Held-out file or folder: it is counted too, and what it shares with the "
                    "training");
  BeginGroup(stats, heading::kTexts);
  stats->add_option("-m,--tokenizer", c->model,
                    "Folder of a model or tokenizer, or bytes, whose tokens are counted");
  stats
      ->add_option("--documents", c->documents,
                   "Where a document ends in a text, as in train mlm: file, blank-line or line")
      ->capture_default_str();
  AddReadOptions(stats, &c->options.data);
  auto* label = AddLabelOption(stats, &c->options.data,
                               "Column or field whose labels are counted (default: label)");
  AddPairOption(stats, &c->options.data);
  stats
      ->add_option("--problem", c->problem,
                   "Kind of labels of classify: single, multi (sets), regression or auto")
      ->capture_default_str();
  AddTokenClassFields(stats, &c->words);
  AddColumnsOfAnyRows(stats, &c->pairs, &c->list_columns);
  stats
      ->add_option("--lengths", c->options.lengths,
                   "Row lengths that texts are compared with, in tokens, or bytes without a "
                   "tokenizer")
      ->delimiter(',')
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1)
      ->capture_default_str();
  BeginGroup(stats, heading::kOutput);
  stats->add_flag("--json", c->json, "Print one JSON document");
  stats->footer(
      "Examples:\n  longspan data stats book.txt\n"
      "  longspan data stats train.jsonl -m long --lengths 512,4096 --json\n"
      "  longspan data stats squad-train.json -m long --task qa\n"
      "  longspan data stats train.csv --eval test.csv --task classify\n"
      "  longspan data stats *.txt --documents blank-line -m bytes");
  stats->callback([stats, c, label, &globals, &action] {
    if (!CountsDocuments(c->task)) ParseDataTask(c->task);
    CheckIdleOptions(*stats, c->task);
    c->options.need_labels = label->count() > 0;  // who names a column means that it is there
    action = [c, &globals] { return RunStats(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
