#include "train/embed_rows.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/errors.h"
#include "io/checksum.h"
#include "longspan/tokenizer.h"
#include "parallel/parallel_for.h"
#include "tasks/sentence_folder.h"
#include "train/text_task.h"

namespace longspan {
namespace {

struct NumberedText {
  std::string text;
  idx_t content = 0;  // equal numbers are equal texts
  bool anchor_prompt = false;
  std::string where;  // the first row that has it
};

}  // namespace

template <>
struct RowFields<NumberedText> {
  static auto Of(auto& row) {
    return std::tie(row.text, row.content, row.anchor_prompt, row.where);
  }
};

namespace {

// Gives each text its number: those with one prompt and equal words share it.
class TextNumbers {
 public:
  TextNumbers(const VectorTextRules& rules, const data::ScratchPlace& place)
      : texts(place), rules_(rules) {}

  idx_t Of(const std::string& text, bool anchor, const std::string& where) {
    const bool other_prompt = anchor && rules_.anchor_prompt != rules_.text_prompt;
    const auto next = static_cast<idx_t>(contents_.size());
    const idx_t content = contents_.emplace(io::ChecksumOf(text), next).first->second;
    const auto [found, added] =
        numbers_.emplace(std::pair(content, other_prompt), static_cast<idx_t>(numbers_.size()));
    if (added) texts.push_back({text, content, other_prompt, where});
    return found->second;
  }

  StoredRows<NumberedText> texts;

 private:
  const VectorTextRules& rules_;
  std::unordered_map<std::string, idx_t> contents_;  // by checksums
  std::map<std::pair<idx_t, bool>, idx_t> numbers_;
};

// The rows of one text, and how its tokens take part.
struct TextWindows {
  std::vector<text::Encoding> rows;
  std::vector<RowTokens> tokens;
};

void AddText(const TextWindows& windows, const std::string& where, const TextModelInfo& info,
             EmbedRows* out) {
  VectorTexts& texts = out->texts;
  idx_t dropped = 0;
  for (const text::Encoding& row : windows.rows) {
    texts.rows.Add(row, info, where);
    dropped += row.dropped[0];
  }
  out->cut += dropped > 0 ? 1 : 0;
  out->in_windows += windows.rows.size() > 1 ? 1 : 0;
  for (const RowTokens& tokens : windows.tokens) texts.taking_part.push_back(tokens);
  texts.first.push_back(texts.rows.size());
}

}  // namespace

idx_t EmbedRows::negatives() const {
  idx_t count = 0;
  for (const EmbedRow& row : rows) count += static_cast<idx_t>(row.negatives.size());
  return count;
}

EmbedRows TokenizePairs(Context& context, const text::Tokenizer& tokenizer, const PairTexts& pairs,
                        const TextModelInfo& info, const VectorTextRules& rules) {
  CheckVocabulary(tokenizer.vocabulary(), info.vocab_size);
  EmbedRows out(pairs.rows.place());
  out.scored = pairs.scored;
  out.fingerprint = pairs.fingerprint;
  TextNumbers numbers(rules, pairs.rows.place());
  for (const PairRow& pair : pairs.rows) {
    // The two texts of a scored pair play one part.
    EmbedRow row{numbers.Of(pair.anchor, !pairs.scored, pair.where),
                 numbers.Of(pair.positive, false, pair.where),
                 {}};
    for (const std::string& negative : pair.negatives) {
      row.negatives.push_back(numbers.Of(negative, false, pair.where));
    }
    out.rows.push_back(std::move(row));
    out.where.push_back(pair.where);
    if (pairs.scored) out.scores.push_back(pair.score);
  }
  const auto cased = [&](const std::string& text) {
    return rules.lower_case ? LowerCaseText(text) : text;
  };
  const std::string prompts[] = {cased(rules.text_prompt), cased(rules.anchor_prompt)};
  PromptTokens left_out[2];
  for (int p = 0; p < 2 && !rules.pools_prompt; ++p) {
    left_out[p] = TokensOfPrompt(tokenizer, prompts[p]);
  }
  text::EncodeOptions encode;
  encode.max_length = rules.tokens;
  encode.overflow =
      rules.overflow == text::Overflow::kError ? text::Overflow::kTruncate : rules.overflow;
  numbers.texts.ForEachChunk([&](std::size_t, std::span<const NumberedText> some) {
    std::vector<TextWindows> windows(some.size());
    ParallelFor(context, std::ssize(some), [&](idx_t i, int) {
      const NumberedText& text = some[static_cast<std::size_t>(i)];
      const std::size_t prompt = text.anchor_prompt ? 1 : 0;
      TextWindows& own = windows[static_cast<std::size_t>(i)];
      own.rows = tokenizer.Encode(prompts[prompt] + cased(text.text), encode);
      own.tokens = TokensOfWindows(own.rows, left_out[prompt]);
    });
    for (std::size_t i = 0; i < windows.size(); ++i) {
      AddText(windows[i], some[i].where, info, &out);
      out.contents.push_back(some[i].content);
      Check(out.cut == 0 || rules.overflow != text::Overflow::kError, ErrorCode::kLimit,
            "{}: a text has more than {} tokens; raise --tokens, or read it with --overflow window "
            "or truncate",
            some[i].where, rules.tokens);
    }
  });
  return out;
}

VectorRows VectorRowsOf(const EmbedRows& data, std::span<const idx_t> chosen,
                        std::vector<idx_t>* numbers) {
  VectorRows rows;
  rows.rows = static_cast<idx_t>(chosen.size());
  numbers->clear();
  const auto row = [&](idx_t number) -> const EmbedRow& {
    return data.rows[static_cast<std::size_t>(number)];
  };
  for (const idx_t number : chosen) numbers->push_back(row(number).anchor);
  for (const idx_t number : chosen) numbers->push_back(row(number).positive);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    for (const idx_t negative : row(chosen[i]).negatives) {
      numbers->push_back(negative);
      rows.negatives_of.push_back(static_cast<idx_t>(i));
    }
    if (data.scored) rows.scores.push_back(data.scores[static_cast<std::size_t>(chosen[i])]);
  }
  for (const idx_t text : *numbers) {
    rows.texts.push_back(data.contents[static_cast<std::size_t>(text)]);
  }
  return rows;
}

}  // namespace longspan
