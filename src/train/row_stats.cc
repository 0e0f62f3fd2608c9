// Statistics of the rows of trainings.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>

#include "base/errors.h"
#include "io/checksum.h"
#include "longspan/data_stats.h"
#include "longspan/files.h"
#include "parallel/parallel_for.h"
#include "train/answer_task.h"
#include "train/answered_text.h"
#include "train/choice_text.h"
#include "train/label_twins.h"
#include "train/labelled_text.h"
#include "train/length_stats.h"
#include "train/pair_rows.h"
#include "train/rerank_task.h"
#include "train/tagged_text.h"

namespace longspan {
namespace {

constexpr std::size_t kMostBadRows = 10;     // that are named
constexpr std::size_t kMostRelevances = 20;  // different ones that are counted by value

// A row of the data: what the model reads of it, and what it learns from that.
struct CountedRow {
  // Texts or pairs of texts, each of which is a row of the model.
  std::vector<TaskText> inputs;
  std::string learnt;      // the label or answer
  text::Span answer = {};  // characters of the second text
};

struct CountedRows {
  const char* inputs = "rows";  // what people call CountedRow::inputs
  std::vector<CountedRow> rows;
  bool answers = false;  // their places are measured
  std::vector<NamedNumber> numbers;
  std::vector<NameCounts> names;
  std::vector<std::string> twins;  // of labels
};

using FileList = std::vector<std::filesystem::path>;
// Reads the rows of a task by the training's reader. `data` leaves out what cannot be used.
using CountRows = CountedRows(const RowStatsOptions& options, const FileList& files,
                              const DataOptions& data, std::vector<std::string>* notes);

NameCounts NamesByCount(const char* what, const char* of,
                        const std::map<std::string, idx_t>& counts) {
  NameCounts names{what, of, {}};
  for (const auto& [name, count] : counts) names.counts.push_back({name, count});
  std::stable_sort(names.counts.begin(), names.counts.end(),
                   [](const LabelCount& a, const LabelCount& b) { return a.rows > b.rows; });
  return names;
}

// Adds the lowest, the highest and the mean of some numbers.
void AddRange(const std::string& what, const std::vector<double>& values,
              std::vector<NamedNumber>* numbers) {
  if (values.empty()) return;
  double sum = 0.0;
  for (const double value : values) sum += value;
  numbers->push_back({"lowest " + what, *std::min_element(values.begin(), values.end())});
  numbers->push_back({"highest " + what, *std::max_element(values.begin(), values.end())});
  numbers->push_back({"mean " + what, sum / static_cast<double>(values.size())});
}

template <class Value>
NamedNumber NumberOf(const char* name, Value value) {
  return {name, static_cast<double>(value)};
}

CountedRows CountLabelled(const RowStatsOptions& options, const FileList& files,
                          const DataOptions& data, std::vector<std::string>* notes) {
  const LabelledTexts texts = ReadLabelledTexts(files, data, options.problem, notes);
  CountedRows counted;
  std::map<std::string, idx_t> labels;
  std::vector<double> values;
  idx_t several = 0, none = 0;
  for (LabelledText row : texts.rows) {
    CountedRow one;
    one.inputs = {{std::move(row.text), std::nullopt}};
    if (!row.pair.empty()) one.inputs.front().pair = std::move(row.pair);
    for (const std::string& label : row.labels) {
      ++labels[label];
      one.learnt += fmt::format("{} {}", label.size(), label);
    }
    several += row.labels.size() > 1 ? 1 : 0;
    none += row.labels.empty() ? 1 : 0;
    if (options.problem == ProblemType::kRegression) {
      values.push_back(row.value);
      one.learnt = fmt::format("{}", row.value);
    }
    counted.rows.push_back(std::move(one));
  }
  AddRange("number", values, &counted.numbers);
  if (!values.empty()) return counted;
  counted.numbers.push_back(NumberOf("different labels", labels.size()));
  if (texts.sets || options.problem == ProblemType::kMultiLabel) {
    counted.numbers.push_back(NumberOf("rows with several labels", several));
    counted.numbers.push_back(NumberOf("rows without a label", none));
  }
  counted.names.push_back(NamesByCount("labels", "rows", labels));
  for (const LabelTwin& twin : FindLabelTwins(texts)) counted.twins.push_back(twin.Text());
  return counted;
}

CountedRows CountTagged(const RowStatsOptions& options, const FileList& files,
                        const DataOptions& data, std::vector<std::string>* notes) {
  const TaggedTexts texts = ReadTaggedTexts(files, data, options.words, notes);
  CountedRows counted;
  std::map<std::string, idx_t> tags, types;
  for (const TaggedText& row : texts.rows) {
    for (const std::string& tag : row.tags) ++tags[tag];
  }
  std::vector<std::string> all;
  for (const auto& [tag, words] : tags) all.push_back(tag);
  const bool entities = MarkEntities(all);
  idx_t words = 0, found = 0, without = 0;
  for (TaggedText row : texts.rows) {
    words += static_cast<idx_t>(row.tags.size());
    if (entities) {
      const std::vector<metrics::Entity> own = metrics::FindEntities(row.tags);
      for (const metrics::Entity& entity : own) ++types[entity.type];
      found += static_cast<idx_t>(own.size());
      without += own.empty() ? 1 : 0;
    }
    CountedRow one;
    for (const std::string& tag : row.tags) one.learnt += tag + ' ';
    one.inputs = {{std::move(row.text), std::nullopt}};
    counted.rows.push_back(std::move(one));
  }
  counted.numbers.push_back(NumberOf("words", words));
  counted.numbers.push_back(NumberOf("different tags", tags.size()));
  if (entities) {
    counted.numbers.push_back(NumberOf("entities", found));
    counted.numbers.push_back(NumberOf("rows without an entity", without));
    counted.names.push_back(NamesByCount("types of entities", "entities", types));
  }
  counted.names.push_back(NamesByCount("tags", "words", tags));
  return counted;
}

CountedRows CountAnswered(const RowStatsOptions& /*options*/, const FileList& files,
                          const DataOptions& data, std::vector<std::string>* notes) {
  const AnsweredTexts texts = ReadAnsweredTexts(files, data, notes);
  CountedRows counted;
  counted.answers = true;
  std::set<std::string> contexts;
  idx_t without = 0, several = 0;
  for (AnsweredText row : texts.rows) {
    contexts.insert(io::ChecksumOf(row.context));
    without += row.answers.empty() ? 1 : 0;
    several += row.answers.size() > 1 ? 1 : 0;
    CountedRow one;
    if (!row.answers.empty()) one.learnt = fmt::format("{} {}", row.place.begin, row.place.end);
    one.answer = row.place;
    one.inputs = {{std::move(row.question), std::move(row.context)}};
    counted.rows.push_back(std::move(one));
  }
  const auto rows = static_cast<idx_t>(counted.rows.size());
  counted.numbers = {NumberOf("questions with an answer", rows - without),
                     NumberOf("questions without an answer", without),
                     NumberOf("questions with several answers", several),
                     NumberOf("different contexts", contexts.size())};
  return counted;
}

CountedRows CountChoices(const RowStatsOptions& /*options*/, const FileList& files,
                         const DataOptions& data, std::vector<std::string>* notes) {
  const ChoiceTexts texts = ReadChoiceTexts(files, data, notes);
  CountedRows counted;
  counted.inputs = "pairs of question and choice";
  std::map<std::string, idx_t> right;
  std::vector<double> choices;
  double chance = 0.0;
  for (const ChoiceText& row : texts.rows) {
    const std::size_t count = row.question.choices.size();
    choices.push_back(static_cast<double>(count));
    chance += 1.0 / static_cast<double>(count);
    ++right[fmt::format("number {}", row.label)];
    counted.rows.push_back({ChoicePairs({&row.question, 1}), fmt::format("{}", row.label), {}});
  }
  AddRange("number of choices", choices, &counted.numbers);
  counted.numbers.push_back(
      {"accuracy of choosing at random",
       chance / static_cast<double>(std::max<std::size_t>(1, choices.size()))});
  counted.names.push_back(NamesByCount("right choices", "questions", right));
  return counted;
}

CountedRows CountPairs(const RowStatsOptions& options, const FileList& files,
                       const DataOptions& data, std::vector<std::string>* notes) {
  const PairTexts texts = ReadPairTexts(files, data, options.pairs, notes);
  CountedRows counted;
  counted.inputs = "texts";
  std::set<std::string> anchors, all;
  idx_t negatives = 0, triplets = 0;
  std::vector<double> scores;
  for (PairRow row : texts.rows) {
    anchors.insert(io::ChecksumOf(row.anchor));
    triplets += row.negatives.empty() ? 0 : 1;
    negatives += static_cast<idx_t>(row.negatives.size());
    CountedRow one;
    one.inputs = {{std::move(row.anchor), std::nullopt}, {std::move(row.positive), std::nullopt}};
    for (std::string& negative : row.negatives) {
      one.inputs.push_back({std::move(negative), std::nullopt});
    }
    for (const TaskText& input : one.inputs) all.insert(io::ChecksumOf(input.text));
    if (texts.scored) {
      scores.push_back(row.score);
      one.learnt = fmt::format("{}", row.score);
    }
    counted.rows.push_back(std::move(one));
  }
  counted.numbers.push_back(NumberOf("different texts", all.size()));
  if (texts.scored) {
    AddRange("score", scores, &counted.numbers);
    return counted;
  }
  counted.numbers.push_back(NumberOf("different anchors", anchors.size()));
  counted.numbers.push_back(NumberOf("rows with negatives", triplets));
  counted.numbers.push_back(NumberOf("negatives", negatives));
  return counted;
}

CountedRows CountJudged(const RowStatsOptions& options, const FileList& files,
                        const DataOptions& data, std::vector<std::string>* notes) {
  const JudgedTexts texts = ReadJudgedTexts(files, data, options.judged, notes);
  CountedRows counted;
  counted.inputs = "pairs of query and text";
  std::map<std::string, idx_t> relevances;
  std::map<idx_t, idx_t> relevant;  // texts of each query
  idx_t all_relevant = 0;
  for (std::size_t i = 0; i < texts.pairs.rows.size(); ++i) {
    LabelledText row = texts.pairs.rows[i];
    const idx_t here = row.value > kRelevant ? 1 : 0;
    relevant[texts.queries[i]] += here;
    all_relevant += here;
    const std::string value = fmt::format("{}", row.value);
    ++relevances[value];
    counted.rows.push_back({{{std::move(row.text), std::move(row.pair)}}, value, {}});
  }
  const auto without = std::count_if(relevant.begin(), relevant.end(),
                                     [](const auto& query) { return query.second == 0; });
  const auto rows = static_cast<idx_t>(counted.rows.size());
  counted.numbers = {
      NumberOf("queries", relevant.size()),
      NumberOf("relevant texts", all_relevant),
      NumberOf("other texts", rows - all_relevant),
      NumberOf("queries without a relevant text", without),
      {"texts a query, mean",
       static_cast<double>(rows) / static_cast<double>(std::max<std::size_t>(1, relevant.size()))}};
  if (relevances.size() <= kMostRelevances) {
    counted.names.push_back(NamesByCount("relevances", "pairs", relevances));
  }
  return counted;
}

struct TaskRow {
  DataTask task;
  const char* name;
  CountRows* count;
};

// Every task: a new one is a function and a line.
constexpr TaskRow kDataTasks[] = {
    {DataTask::kClassify, "classify", CountLabelled},
    {DataTask::kTokenClassify, "token-classify", CountTagged},
    {DataTask::kAnswers, "qa", CountAnswered},
    {DataTask::kChoices, "multiple-choice", CountChoices},
    {DataTask::kEmbed, "embed", CountPairs},
    {DataTask::kRerank, "rerank", CountJudged},
};

const TaskRow& TaskRowOf(DataTask task) {
  return *std::find_if(std::begin(kDataTasks), std::end(kDataTasks),
                       [&](const TaskRow& row) { return row.task == task; });
}

// ---- what all rows are measured by --------------------------------------------------------------

idx_t MeasureInput(const TaskText& input, const text::Tokenizer* tokenizer, text::Span answer,
                   idx_t* place) {
  if (tokenizer == nullptr) {
    return static_cast<idx_t>(input.text.size() + (input.pair ? input.pair->size() : 0));
  }
  const text::Encoding row = (input.pair ? tokenizer->EncodePair(input.text, *input.pair, {})
                                         : tokenizer->Encode(input.text, {}))
                                 .front();
  if (answer.begin < answer.end) *place = TokensOfAnswer(row, answer).start;
  return row.size();
}

// Equal for rows of equal texts.
std::string ContentKey(const CountedRow& row) {
  io::Checksum checksum;
  const auto add = [&](std::string_view text) {
    const std::uint64_t size = text.size();
    checksum.Update(&size, sizeof(size));
    checksum.Update(text.data(), text.size());
  };
  for (const TaskText& input : row.inputs) {
    add(input.text);
    if (input.pair) add(*input.pair);
  }
  return checksum.Hex();
}

RowLengths MeasuredLengths(const char* what, std::vector<idx_t> lengths,
                           const std::vector<idx_t>& limits) {
  RowLengths measured;
  measured.what = what;
  for (const idx_t limit : limits) {
    measured.longer.push_back(std::count_if(lengths.begin(), lengths.end(),
                                            [&](idx_t length) { return length > limit; }));
  }
  measured.lengths = LengthsOf(std::move(lengths));
  return measured;
}

struct MeasuredRow {
  std::string key;
  std::vector<idx_t> lengths;
  idx_t answer = 0;  // its first token; 0: none
};

// What the rows with a key are: the label of the first one.
using SeenRows = std::map<std::string, std::string>;

RowPartStats CountPart(Context& context, const RowStatsOptions& options, const FileList& files,
                       const SeenRows* training, SeenRows* seen, std::vector<std::string>* notes) {
  RowPartStats part;
  DataOptions data = options.data;
  data.skip_bad = true;
  data.on_bad = [&](const Error& why) {
    ++part.bad;
    if (part.bad_rows.size() < kMostBadRows) part.bad_rows.emplace_back(why.what());
  };
  CountedRows counted;
  try {
    counted = TaskRowOf(options.task).count(options, files, data, notes);
  } catch (const Error& error) {
    const bool none = error.code() == ErrorCode::kFormat && !part.bad_rows.empty();
    if (none) throw Error(ErrorCode::kFormat, part.bad_rows.front());  // no row could be used
    throw;
  }
  std::vector<MeasuredRow> measured(counted.rows.size());
  ParallelFor(context, std::ssize(measured), [&](idx_t i, int) {
    const CountedRow& row = counted.rows[static_cast<std::size_t>(i)];
    MeasuredRow& own = measured[static_cast<std::size_t>(i)];
    own.key = ContentKey(row);
    for (const TaskText& input : row.inputs) {
      own.lengths.push_back(MeasureInput(input, options.tokenizer, row.answer, &own.answer));
    }
  });
  part.rows = std::ssize(counted.rows);
  part.numbers = std::move(counted.numbers);
  part.names = std::move(counted.names);
  part.label_twins = std::move(counted.twins);
  std::vector<idx_t> lengths, answers;
  for (std::size_t i = 0; i < measured.size(); ++i) {
    const MeasuredRow& own = measured[i];
    const auto [first, added] = seen->emplace(own.key, counted.rows[i].learnt);
    part.duplicates += added ? 0 : 1;
    part.contradictions += first->second == counted.rows[i].learnt ? 0 : 1;
    part.in_training += training != nullptr && training->contains(own.key) ? 1 : 0;
    lengths.insert(lengths.end(), own.lengths.begin(), own.lengths.end());
    if (own.answer > 0) answers.push_back(own.answer);
  }
  part.lengths.push_back(MeasuredLengths(counted.inputs, std::move(lengths), options.lengths));
  if (counted.answers && options.tokenizer != nullptr) {
    part.lengths.push_back(
        MeasuredLengths("answers begin at", std::move(answers), options.lengths));
  }
  return part;
}

}  // namespace

DataTask ParseDataTask(std::string_view name) {
  std::string all;
  for (const TaskRow& row : kDataTasks) {
    if (name == row.name) return row.task;
    all += (all.empty() ? "" : ", ") + std::string(row.name);
  }
  Fail(ErrorCode::kUsage, "task: '{}' is unknown; use one of {}", io::Escape(name), all);
}

const char* DataTaskName(DataTask task) { return TaskRowOf(task).name; }

RowStats CollectRowStats(Context& context, const RowStatsOptions& options) {
  for (const idx_t length : options.lengths) {
    Check(length >= 1, ErrorCode::kUsage, "lengths: {} is below 1", length);
  }
  RowStats stats;
  SeenRows training, held_out;
  stats.train = CountPart(context, options, options.files, nullptr, &training, &stats.notes);
  if (!options.eval.empty()) {
    stats.held_out =
        CountPart(context, options, {options.eval}, &training, &held_out, &stats.notes);
  }
  return stats;
}

}  // namespace longspan
