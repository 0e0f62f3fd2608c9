// From texts with labels to rows of ids.

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "base/parse_number.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "parallel/parallel_for.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"
#include "train/class_weights.h"
#include "train/classify_task.h"
#include "train/label_twins.h"
#include "train/row_training.h"

namespace longspan {
namespace {

bool LooksLikeFraction(std::string_view text) {
  const auto value = ParseNumber<double>(text);
  return value && *value != std::floor(*value);
}

// ", but has "pos"" where that is what `name` was meant to be; else empty.
std::string NearLabel(const std::vector<std::string>& labels, std::string_view name) {
  for (const std::string& label : labels) {
    if (FoldedLabel(label) == FoldedLabel(name))
      return fmt::format("; it has \"{}\"", io::Escape(label, 60));
  }
  return {};
}

std::int32_t LabelId(const ClassifyTarget& target, const std::string& name,
                     const std::string& where) {
  for (idx_t id = 0; target.by_id && id < static_cast<idx_t>(target.labels.size()); ++id) {
    if (name == DefaultLabel(id)) return static_cast<std::int32_t>(id);
  }
  const auto found = FindLabel(target.labels, name);
  Check(found.has_value(), ErrorCode::kFormat,
        "{}: label \"{}\" is not one of the {} that the model has{}", where, io::Escape(name, 60),
        target.labels.size(), NearLabel(target.labels, name));
  return static_cast<std::int32_t>(*found);
}

void AddLabel(const LabelledText& row, const ClassifyTarget& target, const std::string& where,
              ClassifyRows* rows) {
  switch (target.problem) {
    case ProblemType::kRegression:
      rows->values.push_back(static_cast<float>(row.value));
      break;
    case ProblemType::kMultiLabel: {
      const std::size_t begin = rows->values.size();
      rows->values.resize(begin + target.labels.size(), 0.0f);
      for (const std::string& name : row.labels) {
        rows->values[begin + static_cast<std::size_t>(LabelId(target, name, where))] = 1.0f;
      }
      break;
    }
    case ProblemType::kInferred:
    case ProblemType::kSingleLabel:
      rows->labels.push_back(LabelId(target, row.labels.front(), where));
      break;
  }
}

// The rows of one text.
std::vector<text::Encoding> EncodeLabelled(const text::Tokenizer& tokenizer,
                                           const LabelledText& row, const std::string& where,
                                           const ClassifyLimits& limits) {
  // What is too long is counted before it is refused.
  const bool windows = limits.overflow == text::Overflow::kWindow;
  const RowRule rule{limits.tokens, windows ? limits.overflow : text::Overflow::kTruncate,
                     windows ? limits.stride : 0};
  TaskText text{row.text, std::nullopt};
  if (limits.pairs || !row.pair.empty()) text.pair = row.pair;
  return EncodeRows(tokenizer, text, rule, where);
}

// The tokens of a text before anything is cut: windows move over the text, or over the second one.
idx_t WholeLength(const std::vector<text::Encoding>& windows) {
  const text::Encoding& last = windows.back();
  return last.size() + std::max(last.first_token[0], last.first_token[1]) + last.dropped[0] +
         last.dropped[1];
}

}  // namespace

idx_t ClassifyRows::text_of(idx_t row) const {
  return std::upper_bound(first.begin(), first.end(), row) - first.begin() - 1;
}

std::vector<double> ClassifyRows::SharesOf(idx_t text) const {
  const auto t = static_cast<std::size_t>(text);
  std::vector<idx_t> tokens;
  for (idx_t row = first[t]; row < first[t + 1]; ++row) tokens.push_back(length(row));
  return SharesOfWindows(tokens);
}

std::vector<idx_t> ClassifyRows::Counts(const ClassifyTarget& target) const {
  if (target.problem == ProblemType::kRegression) return {};
  const std::size_t count = target.labels.size();
  std::vector<idx_t> counts = CountsOf(labels, count);
  for (std::size_t i = 0; i < values.size(); ++i) counts[i % count] += HasLabel(values[i]) ? 1 : 0;
  return counts;
}

ClassifyTarget ChooseTarget(const LabelledTexts& texts, ProblemType problem,
                            const TextModelInfo& info, idx_t one_hot) {
  ClassifyTarget target{{"LABEL_0"}, problem};
  if (problem == ProblemType::kRegression) {
    // A head of one number fits, whatever the number is called.
    const bool number =
        info.problem == ProblemType::kInferred || info.problem == ProblemType::kRegression;
    if (info.head == HeadKind::kSequence && info.label_count() == 1 && number)
      target.labels = info.labels;
    return target;
  }
  const std::vector<std::string> names = LabelNames(texts.rows);
  if (problem == ProblemType::kInferred) {
    target.problem = texts.sets ? ProblemType::kMultiLabel : ProblemType::kSingleLabel;
    Check(texts.sets || !std::any_of(names.begin(), names.end(), LooksLikeFraction),
          ErrorCode::kUsage,
          "{}: labels are fractions; say --problem regression to learn numbers, --problem single "
          "for classes",
          texts.source);
  }
  const bool classifier =
      info.head == HeadKind::kSequence &&
      (info.problem == ProblemType::kInferred || info.problem == target.problem);
  if (one_hot > 0) {
    target.by_id = true;
    target.labels.clear();
    for (idx_t id = 0; id < one_hot; ++id) target.labels.push_back(DefaultLabel(id));
    if (classifier && info.label_count() == one_hot) target.labels = info.labels;
  } else if (classifier && KnowsAll(info.labels, names)) {
    target.labels = info.labels;
  } else {
    CheckNoLabelTwins(texts);
    target.labels = names;
  }
  const std::size_t least = target.problem == ProblemType::kSingleLabel ? 2 : 1;
  Check(target.labels.size() >= least, ErrorCode::kFormat, "{}: {}, need at least {}", texts.source,
        Counted(target.labels.size(), "different label"), least);
  return target;
}

ClassifyRows TokenizeRows(Context& context, const text::Tokenizer& tokenizer,
                          const LabelledTexts& texts, const ClassifyTarget& target,
                          const TextModelInfo& info, const ClassifyLimits& limits) {
  CheckVocabulary(tokenizer.vocabulary(), info.vocab_size);
  Check(limits.stride >= 0, ErrorCode::kUsage, "stride: {} is below 0", limits.stride);
  ClassifyRows rows(texts.rows.place());
  rows.fingerprint = texts.fingerprint;
  std::vector<idx_t> lengths;  // before anything is cut
  texts.rows.ForEachChunk([&](std::size_t, std::span<const LabelledText> some) {
    std::vector<std::vector<text::Encoding>> encoded(some.size());
    ParallelFor(context, std::ssize(some), [&](idx_t i, int) {
      const auto n = static_cast<std::size_t>(i);
      encoded[n] = EncodeLabelled(tokenizer, some[n], WhereOf(texts, some[n]), limits);
    });
    for (std::size_t n = 0; n < some.size(); ++n) {
      const std::string where = WhereOf(texts, some[n]);
      lengths.push_back(WholeLength(encoded[n]));
      for (const text::Encoding& row : encoded[n]) {
        Check(!row.ids.empty(), ErrorCode::kFormat, "{}: the text has no token", where);
        rows.Add(row, info, where);
      }
      rows.first.push_back(rows.size());
      rows.in_windows += encoded[n].size() > 1 ? 1 : 0;
      rows.longest = std::max(rows.longest, lengths.back());
      AddLabel(some[n], target, where, &rows);
      rows.names.push_back(some[n].id);
    }
  });
  const idx_t longer = CountTooLong(
      lengths, limits.tokens, limits.overflow != text::Overflow::kError, info,
      [&](std::size_t n) { return rows.where(rows.first[n]); },
      !limits.pairs);  // a reranker reads whole pairs
  if (limits.overflow == text::Overflow::kTruncate) rows.cut = longer;
  return rows;
}

std::string NoteOfLongTexts(const ClassifyRows& rows, idx_t tokens) {
  if (rows.cut + rows.in_windows == 0) return {};
  const std::string longest = fmt::format("the longest has {}", rows.longest);
  if (rows.cut > 0) {
    return fmt::format("{} of {} texts are cut to {} tokens; {}", rows.cut, rows.texts(), tokens,
                       longest);
  }
  const idx_t windows = rows.size() - (rows.texts() - rows.in_windows);
  return fmt::format("{} of {} texts have more than {} tokens and are read in {} windows; {}",
                     rows.in_windows, rows.texts(), tokens, windows, longest);
}

}  // namespace longspan
