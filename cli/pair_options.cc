#include "cli/pair_options.h"

#include "cli/check.h"
#include "cli/train_options.h"
#include "cli/visual/command.h"

namespace longspan::cli {
namespace {

constexpr const char* kScoredText = "Columns of scored pairs (default: sentence1,sentence2,score)";
constexpr const char* kListText =
    "Columns of query, relevant texts and others (default: query,positive,negatives)";

void AddNames(CLI::App* command, const char* option, std::vector<std::string>* names,
              const char* text) {
  command->add_option(option, *names, text)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("NAMES");
}

// Puts the names of an option, `least` at least, into `columns`.
void Take(const char* option, const std::vector<std::string>& names, std::size_t least,
          std::initializer_list<std::string*> columns) {
  if (names.empty()) return;
  Check(names.size() >= least && names.size() <= columns.size(), ErrorCode::kUsage,
        "{}: {} names, need {}", option, names.size(),
        least == columns.size() ? fmt::format("{}", least)
                                : fmt::format("{} or {}", least, columns.size()));
  auto name = names.begin();
  for (std::string* column : columns) {
    if (name != names.end()) *column = *name++;
  }
}

}  // namespace

void AddColumnOptions(CLI::App* command, PairOptions* pairs) {
  AddNames(command, "--columns", &pairs->columns,
           "Columns of pairs (default: anchor,positive,negative)");
  AddNames(command, "--scored-columns", &pairs->scored_columns, kScoredText);
}

void AddColumnsOfAnyRows(CLI::App* command, PairOptions* pairs,
                         std::vector<std::string>* list_columns) {
  AddNames(command, "--columns", &pairs->columns,
           "Columns of pairs (default: anchor,positive,negative), or of query,text,label");
  AddNames(command, "--scored-columns", &pairs->scored_columns, kScoredText);
  AddNames(command, "--list-columns", list_columns, kListText);
}

void AddPairOptions(CLI::App* command, PairOptions* pairs, EmbedTrainingOptions* task) {
  AddColumnOptions(command, pairs);
  command
      ->add_option("--anchor-prompt", task->anchor_prompt,
                   "Text before every anchor (default: the folder's prompt for queries)")
      ->type_name("TEXT");
  command
      ->add_option("--text-prompt", task->text_prompt,
                   "Text before every other text (default: the folder's for documents)")
      ->type_name("TEXT");
  command
      ->add_option("--overflow", pairs->overflow,
                   "Texts that are too long: window, truncate, error")
      ->capture_default_str();
}

void AddVectorLossOptions(CLI::App* command, PairOptions* pairs, EmbedTrainingOptions* task) {
  command->add_option("--loss", pairs->loss, "Loss: in-batch, triplet, cosine or cosent")
      ->capture_default_str();
  command
      ->add_option("--negatives-batch", task->negatives_batch,
                   "Rows whose texts are compared with each other")
      ->capture_default_str();
  command
      ->add_option("--matryoshka", task->matryoshka,
                   "Widths whose losses are summed, for example 384,256,128")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("WIDTHS");
  // Which are seldom turned: the help's last lines name them.
  command->add_option("--scale", task->scale, "Factor of cosines (default: 20)")
      ->group(heading::kMore);
  command->add_option("--margin", task->margin, "Margin of triplets (default: 5, of cosines 0.5)")
      ->group(heading::kMore);
  command
      ->add_option("--distance", pairs->distance,
                   "Distance of triplets: euclidean (default) or cosine")
      ->check(CLI::IsMember({"euclidean", "cosine"}))
      ->group(heading::kMore);
}

void TakePairOptions(const PairOptions& pairs, EmbedTrainingOptions* task) {
  PairColumns& c = task->columns;
  Take("columns", pairs.columns, 2, {&c.anchor, &c.positive, &c.negative});
  Take("scored-columns", pairs.scored_columns, 3, {&c.first, &c.second, &c.score});
  task->loss = ParseEmbedLoss(pairs.loss);
  task->overflow = ParseOverflow(pairs.overflow).value_or(text::Overflow::kWindow);
  task->cosine_distance = pairs.distance == "cosine";
}

void AddJudgedColumns(CLI::App* command, JudgedOptions* judged) {
  AddNames(command, "--columns", &judged->columns,
           "Columns of query, text and label, which is from 0 to 1 (default: query,text,label)");
  AddNames(command, "--list-columns", &judged->list_columns, kListText);
}

void TakeJudgedColumns(const JudgedOptions& judged, JudgedColumns* columns) {
  Take("columns", judged.columns, 3, {&columns->query, &columns->text, &columns->label});
  Take("list-columns", judged.list_columns, 3,
       {&columns->query, &columns->positive, &columns->negatives});
}

}  // namespace longspan::cli
