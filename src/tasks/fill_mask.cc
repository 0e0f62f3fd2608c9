#include <algorithm>

#include "base/errors.h"
#include "io/ascii.h"
#include "longspan/files.h"
#include "longspan/tasks.h"
#include "ops/embedding/embedding.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {
namespace {

// A mask's place among all rows, and where its answer goes.
struct Place {
  idx_t token = 0, text = 0, mask = 0;
};

// Fills in where the masks of each text stand; returns each row's places.
std::vector<std::vector<Place>> FindMasks(const TaskRows& rows, std::int32_t mask,
                                          std::vector<FilledText>& filled) {
  std::vector<std::vector<Place>> places(rows.rows.size());
  for (idx_t text = 0; text < rows.texts(); ++text) {
    const auto windows = rows.of(text);
    std::vector<FilledMask>& masks = filled[static_cast<std::size_t>(text)].masks;
    const auto own = OwnTokens(windows, 0);
    for (std::size_t w = 0; w < windows.size(); ++w) {
      for (idx_t t = own[w].begin; t < own[w].end; ++t) {
        const auto at = static_cast<std::size_t>(t);
        if (windows[w].ids[at] != mask) continue;
        places[static_cast<std::size_t>(rows.begin(text)) + w].push_back(
            {t, text, static_cast<idx_t>(masks.size())});
        masks.push_back({windows[w].chars[at], windows[w].bytes[at], {}});
      }
    }
  }
  return places;
}

// Sets how a guess joins a text. What its tokens read as behind a mask says it, because tokenizers
// leave out the space of the first token; only WordPiece's vocabulary says it by itself.
void SetJoin(const text::Tokenizer& tokenizer, std::int32_t mask, MaskGuess& guess) {
  const std::int32_t pair[] = {mask, guess.id};
  const std::string before = tokenizer.Decode({pair, 1}, false);
  std::string both = tokenizer.Decode(pair, false);
  const bool parts = both.starts_with(before);
  std::string behind = parts ? both.substr(before.size()) : guess.text;
  const std::optional<bool> continues = tokenizer.ContinuesWord(guess.id);
  guess.continues_word = continues.value_or(!behind.starts_with(' '));
  // A word of WordPiece does not tell whether a space stands before it.
  guess.in_text = continues == false ? guess.text : std::move(behind);
}

std::vector<MaskGuess> Guesses(const text::Tokenizer& tokenizer, std::int32_t mask,
                               std::span<const float> logits, idx_t most) {
  const std::vector<double> scores = Softmax(logits);
  std::vector<MaskGuess> guesses;
  for (const idx_t best : Largest(scores, most)) {
    MaskGuess guess;
    guess.id = static_cast<std::int32_t>(best);
    guess.score = scores[static_cast<std::size_t>(best)];
    if (best < tokenizer.vocabulary()) {  // tables may have rows behind the last token
      guess.token = tokenizer.TokenOf(guess.id);
      guess.text = tokenizer.Decode({&guess.id, 1}, false);
      SetJoin(tokenizer, mask, guess);
    }
    guesses.push_back(std::move(guess));
  }
  return guesses;
}

}  // namespace

void CheckHasMask(const TaskModel& model, std::span<const text::Encoding> rows,
                  const std::string& name) {
  const auto mask = model.tokenizer().special().mask;
  Check(mask.has_value(), ErrorCode::kUsage, "fill-mask: this model's tokenizer has no mask token");
  const bool any = std::any_of(rows.begin(), rows.end(), [&](const text::Encoding& row) {
    return std::find(row.ids.begin(), row.ids.end(), *mask) != row.ids.end();
  });
  Check(any, ErrorCode::kFormat, "{}: has no {}; write it where a word is to be found",
        io::EscapeName(name), model.tokenizer().TokenOf(*mask));
}

std::vector<FilledText> FillMasks(Context& context, const TaskModel& model,
                                  std::span<const TaskText> texts, idx_t most) {
  return FillMasks(context, model, texts, model.Encode(context, texts), most);
}

std::vector<FilledText> FillMasks(Context& context, const TaskModel& model,
                                  std::span<const TaskText> texts, const TaskRows& rows, idx_t most,
                                  std::span<const std::string> names) {
  RequireHead(model, HeadKind::kMaskedLm);
  CheckRows(rows);
  Check(most >= 1, ErrorCode::kUsage, "fill-mask: {} guesses, need at least 1", most);
  const auto mask = model.tokenizer().special().mask;
  Check(mask.has_value(), ErrorCode::kUsage, "fill-mask: this model's tokenizer has no mask token");
  Check(static_cast<idx_t>(texts.size()) == rows.texts(), ErrorCode::kUsage,
        "fill-mask: {} texts, and rows of {}", texts.size(), rows.texts());
  std::vector<FilledText> filled(texts.size());
  const auto places = FindMasks(rows, *mask, filled);
  for (std::size_t i = 0; i < filled.size(); ++i) {
    Check(!filled[i].masks.empty(), ErrorCode::kUsage,
          "{}: has no {}; write it where a word is to be found",
          i < names.size() ? io::Escape(names[i]) : fmt::format("text {}", i + 1),
          model.tokenizer().TokenOf(*mask));
  }
  const idx_t channels = model.info().width;
  RunRows(context, model, rows.rows, [&](const TaskBatch& batch) {
    std::vector<std::int32_t> tokens;
    std::vector<Place> asked;
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      for (const Place& place : places[static_cast<std::size_t>(batch.rows[b])]) {
        tokens.push_back(static_cast<std::int32_t>(batch.begins[b] + place.token));
        asked.push_back(place);
      }
    }
    if (tokens.empty()) return;
    const auto n = static_cast<idx_t>(tokens.size());
    Tensor hidden({n, channels});
    EmbeddingForward(context, tokens, batch.hidden, hidden.view<2>());
    BatchView masks;  // a masked LM's logits are each token's own
    masks.rows = 1;
    masks.tokens = n;
    const std::vector<std::int32_t> ids(tokens.size(), *mask);
    masks.ids = ids;
    const Tensor logits = LogitsOf(context, model, masks, std::as_const(hidden).view<2>());
    CheckNumbers(model, logits, "its logits");
    const idx_t vocabulary = logits.shape()[1];
    for (idx_t i = 0; i < n; ++i) {
      const Place& place = asked[static_cast<std::size_t>(i)];
      const std::span<const float> row(logits.data<float>() + i * vocabulary,
                                       static_cast<std::size_t>(vocabulary));
      filled[static_cast<std::size_t>(place.text)]
          .masks[static_cast<std::size_t>(place.mask)]
          .guesses = Guesses(model.tokenizer(), *mask, row, most);
    }
  });
  return filled;
}

std::string TextWithGuesses(std::string_view text, std::span<const FilledMask> masks,
                            std::span<const MaskGuess> guesses) {
  Check(masks.size() == guesses.size(), ErrorCode::kUsage,
        "fill-mask: {} guesses for {} masks, need one for each", guesses.size(), masks.size());
  std::string filled;
  idx_t at = 0;
  const auto piece = [&](idx_t end) {
    return text.substr(static_cast<std::size_t>(at), static_cast<std::size_t>(end - at));
  };
  for (std::size_t i = 0; i < masks.size(); ++i) {
    const text::Span& mask = masks[i].bytes;
    Check(at <= mask.begin && mask.begin <= mask.end && mask.end <= std::ssize(text),
          ErrorCode::kUsage,
          "fill-mask: mask {} at bytes {} to {}, need places of a text of {} bytes in its order", i,
          mask.begin, mask.end, text.size());
    filled += piece(mask.begin);
    std::string_view word = guesses[i].in_text;
    if (guesses[i].continues_word) {
      filled.erase(filled.find_last_not_of(' ') + 1);
    } else if (word.starts_with(' ') && (filled.empty() || io::IsBlank({&filled.back(), 1}))) {
      word.remove_prefix(1);
    }
    filled += word;
    at = mask.end;
  }
  return filled += piece(std::ssize(text));
}

}  // namespace longspan
