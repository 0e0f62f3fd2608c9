// Relevance, choices, nearest vectors, and what is found in texts, for C.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "c_api/handles.h"

struct longspan_spans {
  struct Found {
    longspan_span span{};
    std::string label;  // empty: none
  };
  std::vector<Found> found;
};

namespace longspan {
namespace {

using SpansMade = std::unique_ptr<longspan_spans>;

// Adds a span of text number `text`.
longspan_span& AddSpan(longspan_spans& spans, std::size_t text, double score,
                       const text::Span& chars, const text::Span& bytes, std::string label = {}) {
  longspan_spans::Found& found = spans.found.emplace_back();
  found.label = std::move(label);
  longspan_span& span = found.span;
  span.text = text;
  span.score = score;
  span.chars_begin = chars.begin;
  span.chars_end = chars.end;
  span.bytes_begin = bytes.begin;
  span.bytes_end = bytes.end;
  span.token = -1;
  return span;
}

SpansMade TagsIn(longspan_context* context, const longspan_model* model,
                 const std::vector<TaskText>& texts, Aggregation aggregation) {
  auto made = std::make_unique<longspan_spans>();
  const auto all = ClassifyTokens(context->context, model->model, texts, aggregation);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (const TokenClass& one : all[i]) {
      AddSpan(*made, i, one.score, one.chars, one.bytes, one.label);
    }
  }
  return made;
}

SpansMade AnswersIn(longspan_context* context, const longspan_model* model,
                    const std::vector<TaskText>& pairs, const AnswerOptions& options) {
  auto made = std::make_unique<longspan_spans>();
  const auto all = FindAnswers(context->context, model->model, pairs, options);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (const Answer& one : all[i]) {
      AddSpan(*made, i, one.score, one.chars, one.bytes).none = one.none ? 1 : 0;
    }
  }
  return made;
}

SpansMade WordsIn(longspan_context* context, const longspan_model* model,
                  const std::vector<TaskText>& texts, idx_t most) {
  auto made = std::make_unique<longspan_spans>();
  const auto all = FillMasks(context->context, model->model, texts, most);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t m = 0; m < all[i].masks.size(); ++m) {
      const FilledMask& mask = all[i].masks[m];
      for (const MaskGuess& guess : mask.guesses) {
        longspan_span& span = AddSpan(*made, i, guess.score, mask.chars, mask.bytes, guess.in_text);
        span.part = m;
        span.token = guess.id;
      }
    }
  }
  return made;
}

// A view of the caller's fp32 rows.
Tensor RowsAt(const float* rows, idx_t count, idx_t width) {
  // Nothing writes into it.
  return Tensor::Adopt(const_cast<float*>(rows), {count, width}, DType::kF32, {});
}

}  // namespace
}  // namespace longspan

// ---- scores -------------------------------------------------------------------------------------

longspan_status longspan_nearest(const float* query, const float* vectors, size_t count,
                                 int64_t width, size_t most, int64_t* rows, double* cosines,
                                 size_t* found) {
  return longspan::Guard([&] {
    using longspan::CheckGiven;
    CheckGiven(query, "query");
    if (count > 0) CheckGiven(vectors, "vectors");
    CheckGiven(rows, "rows");
    CheckGiven(cosines, "cosines");
    CheckGiven(found, "found");
    longspan::Check(width >= 1, longspan::ErrorCode::kUsage, "width: {} is below 1", width);
    longspan::Check(most >= 1, longspan::ErrorCode::kUsage, "most: {} is below 1", most);
    *found = 0;
    if (count == 0) return;
    const auto all = static_cast<longspan::idx_t>(count);
    const longspan::Tensor of_query = longspan::RowsAt(query, 1, width);
    const longspan::Tensor of_texts = longspan::RowsAt(vectors, all, width);
    const auto wanted = static_cast<longspan::idx_t>(std::min(most, count));
    for (const auto& near : longspan::Nearest(of_query, of_texts, wanted)) {
      rows[*found] = near.row;
      cosines[(*found)++] = near.cosine;
    }
  });
}

longspan_status longspan_rerank(longspan_context* context, const longspan_model* model,
                                const char* query, size_t length, const char* const* texts,
                                const size_t* lengths, size_t count, double* scores) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(model, "model");
    longspan::CheckGiven(query, "query");
    longspan::CheckGiven(scores, "scores");
    const longspan::Reranker& reranker = model->Relevance();
    std::vector<longspan::TaskText> pairs;
    for (const std::string& text : longspan::TextsOf(texts, lengths, count)) {
      pairs.push_back(reranker.Prepare({query, length}, text));
    }
    const auto rows = reranker.model().Encode(context->context, pairs);
    for (const auto& ranked : reranker.Score(context->context, rows)) {
      scores[ranked.text] = ranked.score;
    }
  });
}

longspan_status longspan_choose(longspan_context* context, const longspan_model* model,
                                const char* question, size_t length, const char* const* choices,
                                const size_t* lengths, size_t count, double* scores) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(model, "model");
    longspan::CheckGiven(question, "question");
    longspan::CheckGiven(scores, "scores");
    const std::vector<longspan::Question> asked = {
        {std::string(question, length), longspan::TextsOf(choices, lengths, count, "choices")}};
    const auto found = longspan::ScoreChoices(context->context, model->model, asked);
    std::copy(found.front().begin(), found.front().end(), scores);
  });
}

// ---- spans --------------------------------------------------------------------------------------

size_t longspan_spans_count(const longspan_spans* spans) {
  return spans == nullptr ? 0 : spans->found.size();
}

longspan_status longspan_spans_at(const longspan_spans* spans, size_t number, longspan_span* span) {
  return longspan::Guard([&] {
    longspan::CheckGiven(spans, "spans");
    longspan::CheckGiven(span, "span");
    longspan::CheckSize(span->size, sizeof(*span), "span");
    longspan::Check(number < spans->found.size(), longspan::ErrorCode::kUsage,
                    "number: {} is not below {}, how many spans there are", number,
                    spans->found.size());
    const longspan_spans::Found& found = spans->found[number];
    longspan_span filled = found.span;
    filled.size = span->size;
    filled.label = found.label.empty() ? nullptr : found.label.c_str();
    std::memcpy(span, &filled, span->size);
  });
}

void longspan_spans_free(longspan_spans* spans) { delete spans; }

longspan_status longspan_classify_tokens(longspan_context* context, const longspan_model* model,
                                         const char* const* texts, const size_t* lengths,
                                         size_t count, const char* aggregation,
                                         longspan_spans** spans) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(model, "model");
    longspan::CheckGiven(spans, "spans");
    const std::string_view name = aggregation == nullptr ? "simple" : aggregation;
    const auto list = longspan::TaskTextsOf(texts, lengths, count);
    *spans = longspan::TagsIn(context, model, list, longspan::ParseAggregation(name)).release();
  });
}

longspan_status longspan_answer(longspan_context* context, const longspan_model* model,
                                const char* const* questions, const size_t* question_lengths,
                                const char* const* texts, const size_t* lengths, size_t count,
                                const longspan_answer_options* options, longspan_spans** spans) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(model, "model");
    longspan::CheckGiven(spans, "spans");
    const longspan_answer_options given = longspan::OptionsFrom(options, "answer options");
    longspan::AnswerOptions answers;
    if (given.most != 0) answers.most = given.most;
    if (given.longest != 0) answers.longest = given.longest;
    answers.may_be_none = given.may_be_none != 0;
    std::vector<std::string> asked =
        longspan::TextsOf(questions, question_lengths, count, "questions");
    std::vector<std::string> about = longspan::TextsOf(texts, lengths, count);
    std::vector<longspan::TaskText> pairs;
    for (std::size_t i = 0; i < count; ++i) {
      pairs.push_back({std::move(asked[i]), std::move(about[i])});
    }
    *spans = longspan::AnswersIn(context, model, pairs, answers).release();
  });
}

longspan_status longspan_fill_masks(longspan_context* context, const longspan_model* model,
                                    const char* const* texts, const size_t* lengths, size_t count,
                                    int64_t most, longspan_spans** spans) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(model, "model");
    longspan::CheckGiven(spans, "spans");
    longspan::Check(most >= 1, longspan::ErrorCode::kUsage, "most: {} is below 1", most);
    *spans = longspan::WordsIn(context, model, longspan::TaskTextsOf(texts, lengths, count), most)
                 .release();
  });
}

const char* longspan_mask(const longspan_model* model) {
  return model == nullptr || model->mask.empty() ? nullptr : model->mask.c_str();
}
