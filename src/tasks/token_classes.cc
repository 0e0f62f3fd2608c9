#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/tasks.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {
namespace {

constexpr std::pair<std::string_view, Aggregation> kAggregations[] = {
    {"none", Aggregation::kNone},   {"simple", Aggregation::kSimple},
    {"first", Aggregation::kFirst}, {"average", Aggregation::kAverage},
    {"max", Aggregation::kMax},
};
constexpr std::string_view kOutside = "O";

// A token or a word with the probability of each class.
struct Unit {
  text::Span chars, bytes;
  std::optional<bool> continues;  // a token: whether it is a later piece of a word
  std::vector<double> scores;
  idx_t best() const { return Largest(scores, 1).front(); }
  double score() const { return scores[static_cast<std::size_t>(best())]; }
};
using Units = std::vector<Unit>;

void Extend(const Unit& unit, text::Span& chars, text::Span& bytes) {
  chars.end = unit.chars.end;
  bytes.end = unit.bytes.end;
}

// What a word is, from what its tokens are.
std::vector<double> WordScores(const Unit* first, const Unit* last, Aggregation aggregation) {
  if (aggregation == Aggregation::kFirst) return first->scores;
  if (aggregation == Aggregation::kMax) {
    return std::max_element(first, last,
                            [](const Unit& a, const Unit& b) { return a.score() < b.score(); })
        ->scores;
  }
  std::vector<double> mean(first->scores.size(), 0.0);
  for (const Unit* unit = first; unit != last; ++unit) {
    for (std::size_t i = 0; i < mean.size(); ++i) {
      mean[i] += unit->scores[i] / static_cast<double>(last - first);
    }
  }
  return mean;
}

// The tokens of one word: pieces as the tokenizer marks them, else those that touch each other.
// (Hugging Face's rules; there the second one takes a line break for a part of a word.)
bool SameWord(const Unit& before, const Unit& token) {
  const bool space = before.chars.begin == before.chars.end;  // a token of white space alone
  return token.continues.value_or(!space && token.chars.begin <= before.chars.end);
}

Units Words(const Units& tokens, Aggregation aggregation) {
  Units words;
  for (std::size_t begin = 0; begin < tokens.size();) {
    std::size_t end = begin + 1;
    while (end < tokens.size() && SameWord(tokens[end - 1], tokens[end])) ++end;
    Unit word{tokens[begin].chars, tokens[begin].bytes, std::nullopt,
              WordScores(&tokens[begin], tokens.data() + end, aggregation)};
    Extend(tokens[end - 1], word.chars, word.bytes);
    words.push_back(std::move(word));
    begin = end;
  }
  return words;
}

// "B-PER" is PER and begins; "I-PER" and "PER" are PER and go on.
std::pair<std::string_view, bool> TagOf(std::string_view label) {
  if (label.substr(0, 2) == "B-") return {label.substr(2), true};
  if (label.substr(0, 2) == "I-") return {label.substr(2), false};
  return {label, false};
}

std::vector<TokenClass> Spans(const Units& units, const std::vector<std::string>& labels,
                              bool group) {
  std::vector<TokenClass> spans;
  std::optional<std::string_view> last;  // the tag of the unit before
  idx_t members = 0;
  for (const Unit& unit : units) {
    const std::string& label = labels[static_cast<std::size_t>(unit.best())];
    const auto [tag, begins] = TagOf(label);
    const bool goes_on = group && last == tag && !begins;
    last = tag;
    if (tag == kOutside) continue;
    if (!goes_on) {
      spans.push_back(
          {std::string(group ? tag : std::string_view(label)), 0.0, unit.chars, unit.bytes});
      members = 0;
    }
    TokenClass& span = spans.back();
    Extend(unit, span.chars, span.bytes);
    ++members;
    span.score += (unit.score() - span.score) / static_cast<double>(members);
  }
  return spans;
}

}  // namespace

Aggregation ParseAggregation(std::string_view name) {
  for (const auto& [known, aggregation] : kAggregations) {
    if (known == name) return aggregation;
  }
  Fail(ErrorCode::kUsage, "aggregate: '{}' is unknown; use none, simple, first, average or max",
       io::Escape(name));
}

std::vector<std::vector<TokenClass>> ClassifyTokens(Context& context, const TaskModel& model,
                                                    std::span<const TaskText> texts,
                                                    Aggregation aggregation) {
  return ClassifyTokens(context, model, model.Encode(context, texts), aggregation);
}

std::vector<std::vector<TokenClass>> ClassifyTokens(Context& context, const TaskModel& model,
                                                    const TaskRows& rows, Aggregation aggregation) {
  RequireHead(model, HeadKind::kToken);
  CheckRows(rows);
  const auto labels = model.info().labels.size();
  std::vector<TokenRange> own;  // of each row
  for (idx_t text = 0; text < rows.texts(); ++text) {
    const auto ranges = OwnTokens(rows.of(text), 0);
    own.insert(own.end(), ranges.begin(), ranges.end());
  }
  std::vector<Units> units(rows.rows.size());
  RunRows(context, model, rows.rows, [&](const TaskBatch& batch) {
    const Tensor logits = LogitsOf(context, model, batch);
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const auto row = static_cast<std::size_t>(batch.rows[b]);
      for (idx_t t = own[row].begin; t < own[row].end; ++t) {
        const auto at = static_cast<std::size_t>(batch.begins[b] + t);
        const text::Encoding& e = rows.rows[row];
        units[row].push_back({e.chars[static_cast<std::size_t>(t)],
                              e.bytes[static_cast<std::size_t>(t)],
                              model.tokenizer().ContinuesWord(e.ids[static_cast<std::size_t>(t)]),
                              Softmax({logits.data<float>() + at * labels, labels})});
      }
    }
  });
  std::vector<std::vector<TokenClass>> result;
  for (idx_t text = 0; text < rows.texts(); ++text) {
    Units all;
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      Units& part = units[static_cast<std::size_t>(row)];
      std::move(part.begin(), part.end(), std::back_inserter(all));
    }
    const bool by_word = aggregation != Aggregation::kNone && aggregation != Aggregation::kSimple;
    result.push_back(Spans(by_word ? Words(all, aggregation) : all, model.info().labels,
                           aggregation != Aggregation::kNone));
  }
  return result;
}

}  // namespace longspan
