// From texts with labels to rows of ids.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "io/escape.h"
#include "parallel/parallel_for.h"
#include "train/classify_task.h"

namespace longspan {
namespace {

bool LooksLikeFraction(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value != std::floor(value);
}

bool KnowsAll(const std::vector<std::string>& known, const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::find(known.begin(), known.end(), name) != known.end();
  });
}

std::int32_t LabelId(const ClassifyTarget& target, const std::string& name,
                     const std::string& where) {
  const auto found = std::find(target.labels.begin(), target.labels.end(), name);
  Check(found != target.labels.end(), ErrorCode::kFormat,
        "{}: label \"{}\" is not one of the {} that the model has", where, io::Escape(name, 60),
        target.labels.size());
  return static_cast<std::int32_t>(found - target.labels.begin());
}

void AddLabel(const LabelledText& row, const ClassifyTarget& target, const std::string& source,
              ClassifyRows* rows) {
  const std::string where = fmt::format("{}:{}", source, row.line);
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

text::Encoding EncodeRow(const text::Tokenizer& tokenizer, const LabelledText& row, bool pair,
                         idx_t most) {
  text::EncodeOptions options;
  options.max_length = most;
  options.overflow = text::Overflow::kTruncate;
  return std::move((pair ? tokenizer.EncodePair(row.text, row.pair, options)
                         : tokenizer.Encode(row.text, options))
                       .front());
}

}  // namespace

ClassifyTarget ChooseTarget(const LabelledTexts& texts, ProblemType problem,
                            const TextModelInfo& info) {
  ClassifyTarget target{{"LABEL_0"}, problem};
  if (problem == ProblemType::kRegression) return target;
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
      info.head == TextHead::kSequence &&
      (info.problem == ProblemType::kInferred || info.problem == target.problem);
  target.labels = classifier && KnowsAll(info.labels, names) ? info.labels : names;
  const std::size_t least = target.problem == ProblemType::kSingleLabel ? 2 : 1;
  Check(target.labels.size() >= least, ErrorCode::kFormat,
        "{}: {} different labels, need at least {}", texts.source, target.labels.size(), least);
  return target;
}

ClassifyRows TokenizeRows(Context& context, const text::Tokenizer& tokenizer,
                          const LabelledTexts& texts, const ClassifyTarget& target,
                          const TextModelInfo& info, const ClassifyLimits& limits) {
  CheckVocabulary(tokenizer.vocabulary(), info);
  const std::size_t count = texts.rows.size();
  std::vector<std::vector<std::int32_t>> ids(count), types(count);
  std::vector<idx_t> lengths(count);  // before anything is cut
  ParallelFor(context, static_cast<idx_t>(count), [&](idx_t i, int) {
    const auto n = static_cast<std::size_t>(i);
    text::Encoding e = EncodeRow(tokenizer, texts.rows[n], limits.pairs, limits.tokens);
    lengths[n] = e.size() + e.dropped[0] + e.dropped[1];
    ids[n] = std::move(e.ids);
    types[n] = std::move(e.type_ids);
  });
  ClassifyRows rows;
  rows.fingerprint = texts.fingerprint;
  const auto too_long = [&](idx_t length) { return length > limits.tokens; };
  rows.cut = std::count_if(lengths.begin(), lengths.end(), too_long);
  if (rows.cut > 0 && !limits.truncate) {
    const auto longest = std::max_element(lengths.begin(), lengths.end());
    Fail(ErrorCode::kLimit,
         "{}:{}: the text has {} tokens, rows {} at most; {} of {} texts are too long: raise "
         "--tokens, or cut them with --overflow truncate",
         texts.source, texts.rows[static_cast<std::size_t>(longest - lengths.begin())].line,
         *longest, limits.tokens, rows.cut, count);
  }
  for (std::size_t n = 0; n < count; ++n) {
    Check(!ids[n].empty(), ErrorCode::kFormat, "{}:{}: the text has no token", texts.source,
          texts.rows[n].line);
    const std::int32_t type = *std::max_element(types[n].begin(), types[n].end());
    Check(type < info.token_types, ErrorCode::kFormat,
          "{}:{}: the tokenizer gives token type {}, the model has {}", texts.source,
          texts.rows[n].line, type, info.token_types);
    rows.with_types = rows.with_types || type > 0;
    rows.ids.insert(rows.ids.end(), ids[n].begin(), ids[n].end());
    rows.types.insert(rows.types.end(), types[n].begin(), types[n].end());
    rows.begins.push_back(static_cast<idx_t>(rows.ids.size()));
    AddLabel(texts.rows[n], target, texts.source, &rows);
  }
  return rows;
}

}  // namespace longspan
