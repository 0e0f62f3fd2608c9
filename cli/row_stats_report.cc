#include "cli/row_stats_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <vector>

#include "cli/visual/clipped.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kMostShownNames = 20;   // of a table for people
constexpr std::size_t kMostJsonNames = 1000;  // the most frequent ones
constexpr idx_t kNameColumns = 36;

using OrderedJson = nlohmann::ordered_json;

double ShareOf(idx_t part, idx_t all) {
  return static_cast<double>(part) / static_cast<double>(std::max<idx_t>(1, all));
}

std::string CountWithShare(idx_t part, idx_t all) {
  return fmt::format("{} ({:.1f} %)", part, 100.0 * ShareOf(part, all));
}

std::string NumberText(double value) {
  return value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value);
}

// The table as it is written: a name, and a cell for each part of the data.
class PartTable {
 public:
  explicit PartTable(const RowStats& stats) {
    parts_.push_back(&stats.train);
    if (stats.held_out) parts_.push_back(&*stats.held_out);
  }

  const std::vector<const RowPartStats*>& parts() const { return parts_; }

  void Title(const std::string& title) { text_ += "\n" + title + "\n"; }
  // `cell` of each part; nothing: the part does not have it.
  using Cell = std::function<std::optional<std::string>(const RowPartStats& part)>;
  void Line(const std::string& name, const Cell& cell) {
    text_ += PadColumns(ClipWithDots(Printable(name), kNameColumns), kNameColumns);
    for (const RowPartStats* part : parts_)
      text_ += fmt::format("  {:>18}", cell(*part).value_or("-"));
    text_ += '\n';
  }
  void Head() {
    if (parts_.size() < 2) return;
    text_ +=
        fmt::format("{}  {:>18}  {:>18}\n", PadColumns("", kNameColumns), "training", "held out");
  }
  const std::string& text() const { return text_; }

 private:
  std::vector<const RowPartStats*> parts_;
  std::string text_;
};

template <class Named>
const Named* FindNamed(const std::vector<Named>& all, const std::string& what,
                       std::string Named::*name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Named& one) { return one.*name == what; });
  return found == all.end() ? nullptr : &*found;
}

idx_t SumOf(const NameCounts& names) {
  idx_t sum = 0;
  for (const LabelCount& count : names.counts) sum += count.rows;
  return sum;
}

void AddCounts(const RowStats& stats, PartTable* table) {
  table->Line("rows", [](const RowPartStats& p) { return std::to_string(p.rows); });
  table->Line("rows that cannot be used",
              [](const RowPartStats& p) { return std::to_string(p.bad); });
  table->Line("duplicates of earlier rows",
              [](const RowPartStats& p) { return CountWithShare(p.duplicates, p.rows); });
  table->Line("  with another label or answer",
              [](const RowPartStats& p) { return std::to_string(p.contradictions); });
  if (stats.held_out) {
    table->Line("also in the training", [&](const RowPartStats& p) -> std::optional<std::string> {
      if (&p == &stats.train) return std::nullopt;
      return CountWithShare(p.in_training, p.rows);
    });
  }
  for (const NamedNumber& number : stats.train.numbers) {
    table->Line(number.name, [&](const RowPartStats& p) -> std::optional<std::string> {
      const NamedNumber* own = FindNamed(p.numbers, number.name, &NamedNumber::name);
      return own == nullptr ? std::nullopt : std::optional(NumberText(own->value));
    });
  }
}

void AddLengths(const RowStats& stats, const RowStatsOptions& options, PartTable* table) {
  for (const RowLengths& lengths : stats.train.lengths) {
    const auto of = [&](const RowPartStats& p) {
      return FindNamed(p.lengths, lengths.what, &RowLengths::what);
    };
    const char* unit = options.tokenizer != nullptr ? "tokens" : "bytes";
    table->Title(fmt::format("{}, in {}", lengths.what, unit));
    const auto line = [&](const std::string& name, const auto& value) {
      table->Line(name, [&](const RowPartStats& p) -> std::optional<std::string> {
        const RowLengths* own = of(p);
        return own == nullptr ? std::nullopt : std::optional<std::string>(value(*own));
      });
    };
    line("shortest", [](const RowLengths& l) { return std::to_string(l.lengths.shortest); });
    line("mean", [](const RowLengths& l) { return fmt::format("{:.1f}", l.lengths.mean); });
    for (std::size_t i = 0; i < lengths.lengths.percentiles.size(); ++i) {
      const int share = lengths.lengths.percentiles[i].share;
      if (share < 50 || share == 75) continue;  // short ones do no harm
      line(fmt::format("{} % are at most", share), [i](const RowLengths& l) {
        return i < l.lengths.percentiles.size() ? std::to_string(l.lengths.percentiles[i].length)
                                                : "-";
      });
    }
    line("longest", [](const RowLengths& l) { return std::to_string(l.lengths.longest); });
    for (std::size_t i = 0; i < options.lengths.size(); ++i) {
      line(fmt::format("above {}", options.lengths[i]), [i](const RowLengths& l) {
        idx_t all = 0;
        for (const LengthBin& bin : l.lengths.bins) all += bin.documents;
        return CountWithShare(l.longer[i], all);
      });
    }
  }
}

// The names of the training, then those that are held out alone.
std::vector<std::string> NamesOf(const PartTable& table, const std::string& what) {
  std::vector<std::string> names;
  for (const RowPartStats* part : table.parts()) {
    const NameCounts* own = FindNamed(part->names, what, &NameCounts::what);
    if (own == nullptr) continue;
    for (const LabelCount& count : own->counts) {
      if (std::find(names.begin(), names.end(), count.label) == names.end()) {
        names.push_back(count.label);
      }
      if (names.size() > kMostShownNames + 1) break;
    }
  }
  return names;
}

void AddNameCounts(const RowStats& stats, PartTable* table) {
  for (const NameCounts& group : stats.train.names) {
    table->Title(
        fmt::format("{} ({} different), {} with each", group.what, group.counts.size(), group.of));
    std::vector<std::string> names = NamesOf(*table, group.what);
    const bool more = names.size() > kMostShownNames;
    if (more) names.resize(kMostShownNames);
    for (const std::string& name : names) {
      table->Line(PrintableName(name), [&](const RowPartStats& p) -> std::optional<std::string> {
        const NameCounts* own = FindNamed(p.names, group.what, &NameCounts::what);
        if (own == nullptr) return std::nullopt;
        const LabelCount* count = FindNamed(own->counts, name, &LabelCount::label);
        const idx_t all = group.of == "rows" ? p.rows : SumOf(*own);
        return CountWithShare(count == nullptr ? 0 : count->rows, all);
      });
    }
    if (more) table->Line("... (--json has more)", [](const RowPartStats&) { return ""; });
  }
}

std::string BadRows(const RowPartStats& part) {
  std::string text;
  for (const std::string& bad : part.bad_rows) text += "  " + Printable(bad) + "\n";
  const auto more = part.bad - static_cast<idx_t>(part.bad_rows.size());
  if (more > 0) text += fmt::format("  and {} more\n", more);
  return text;
}

std::string LabelTwins(const RowPartStats& part) {
  std::string text;
  for (const std::string& twin : part.label_twins) text += "  " + Printable(twin) + "\n";
  return text;
}

OrderedJson LengthsJson(const RowLengths& own, const std::vector<idx_t>& limits) {
  const LengthStats& s = own.lengths;
  OrderedJson j = {
      {"total", s.total}, {"shortest", s.shortest}, {"longest", s.longest}, {"mean", s.mean}};
  for (const auto& p : s.percentiles) j["percentiles"][std::to_string(p.share)] = p.length;
  idx_t all = 0;
  for (const LengthBin& bin : s.bins) all += bin.documents;
  j["longer"] = OrderedJson::array();
  for (std::size_t i = 0; i < limits.size(); ++i) {
    j["longer"].push_back(
        {{"length", limits[i]}, {"count", own.longer[i]}, {"share", ShareOf(own.longer[i], all)}});
  }
  return j;
}

OrderedJson PartJson(const RowPartStats& part, const RowStatsOptions& options, bool held_out) {
  OrderedJson j = {{"rows", part.rows},
                   {"unusable_rows", part.bad},
                   {"first_unusable", part.bad_rows},
                   {"duplicates", part.duplicates},
                   {"contradictions", part.contradictions}};
  if (held_out) j["in_training"] = part.in_training;
  if (!part.label_twins.empty()) j["label_twins"] = part.label_twins;
  j["numbers"] = OrderedJson::object();
  for (const NamedNumber& number : part.numbers) {
    std::string key = number.name;
    std::replace(key.begin(), key.end(), ' ', '_');
    std::erase(key, ',');
    const bool whole = number.value == std::floor(number.value);
    j["numbers"][key] =
        whole ? OrderedJson(static_cast<idx_t>(number.value)) : OrderedJson(number.value);
  }
  j["counts"] = OrderedJson::array();
  for (const NameCounts& group : part.names) {
    OrderedJson names = OrderedJson::array();
    for (std::size_t i = 0; i < std::min(group.counts.size(), kMostJsonNames); ++i) {
      names.push_back({{"name", group.counts[i].label}, {"count", group.counts[i].rows}});
    }
    j["counts"].push_back({{"what", group.what},
                           {"of", group.of},
                           {"different", group.counts.size()},
                           {"names", std::move(names)}});
  }
  j["lengths"] = OrderedJson::array();
  for (const RowLengths& own : part.lengths) {
    OrderedJson lengths = {{"what", own.what}};
    lengths.update(LengthsJson(own, options.lengths));
    j["lengths"].push_back(std::move(lengths));
  }
  return j;
}

}  // namespace

std::string RowStatsText(const RowStats& stats, const RowStatsOptions& options) {
  PartTable table(stats);
  table.Head();
  AddCounts(stats, &table);
  AddLengths(stats, options, &table);
  AddNameCounts(stats, &table);
  std::string text = fmt::format("rows of train {}\n", DataTaskName(options.task)) + table.text();
  std::string bad = BadRows(stats.train);
  if (stats.held_out) bad += BadRows(*stats.held_out);
  if (!bad.empty()) text += "\nrows that cannot be used\n" + bad;
  std::string twins = LabelTwins(stats.train);
  if (stats.held_out) twins += LabelTwins(*stats.held_out);
  if (!twins.empty()) text += "\nlabels that a training stops at: write them alike\n" + twins;
  return text;
}

nlohmann::ordered_json RowStatsJson(const RowStats& stats, const RowStatsOptions& options) {
  OrderedJson j = {{"task", DataTaskName(options.task)},
                   {"unit", options.tokenizer != nullptr ? "tokens" : "bytes"},
                   {"training", PartJson(stats.train, options, false)}};
  if (stats.held_out) j["held_out"] = PartJson(*stats.held_out, options, true);
  return j;
}

}  // namespace longspan::cli
