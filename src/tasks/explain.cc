#include <algorithm>
#include <cmath>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "longspan/tasks.h"
#include "tasks/scores.h"
#include "tasks/sentences.h"
#include "tasks/task_model.h"

namespace longspan {
namespace {

// Texts without a sentence that are encoded at once: bounds their memory.
constexpr std::size_t kTogether = 256;

// At most `most` pieces of about as many neighbours each.
std::vector<Sentence> Joined(const std::vector<Sentence>& sentences, idx_t most) {
  const auto count = static_cast<idx_t>(sentences.size());
  const idx_t each = CeilDiv(count, std::max<idx_t>(1, most));
  std::vector<Sentence> joined;
  for (idx_t i = 0; i < count; i += each) {
    const Sentence& last = sentences[static_cast<std::size_t>(std::min(count, i + each) - 1)];
    joined.push_back(sentences[static_cast<std::size_t>(i)]);
    joined.back().chars.end = last.chars.end;
    joined.back().bytes.end = last.bytes.end;
  }
  return joined;
}

std::vector<LeftOut> SentencesOf(const TaskText& text) {
  std::vector<Sentence> first = SplitSentences(text.text), second;
  if (text.pair) second = SplitSentences(*text.pair);
  if (first.size() + second.size() > static_cast<std::size_t>(kMostLeftOut)) {
    const idx_t share = text.pair ? kMostLeftOut / 2 : kMostLeftOut;
    first = Joined(first, share);
    second = Joined(second, share);
  }
  std::vector<LeftOut> sentences;
  for (const Sentence& s : first) sentences.push_back({0, s, {}});
  for (const Sentence& s : second) sentences.push_back({1, s, {}});
  if (sentences.size() < 2) sentences.clear();
  return sentences;
}

TaskText Without(const TaskText& text, const LeftOut& sentence) {
  TaskText rest = text;
  std::string& part = sentence.sequence == 0 ? rest.text : *rest.pair;
  const text::Span bytes = sentence.place.bytes;
  part.erase(static_cast<std::size_t>(bytes.begin),
             static_cast<std::size_t>(bytes.end - bytes.begin));
  return rest;
}

}  // namespace

double ExplainedText::Influence(idx_t sentence, idx_t label) const {
  const auto at = static_cast<std::size_t>(label);
  return scores[at] - sentences[static_cast<std::size_t>(sentence)].scores[at];
}

std::vector<idx_t> ExplainedText::MostInfluential(idx_t label, idx_t most) const {
  std::vector<double> changes;
  for (idx_t i = 0; i < static_cast<idx_t>(sentences.size()); ++i) {
    changes.push_back(std::abs(Influence(i, label)));
  }
  return Largest(changes, most);
}

bool ExplainedText::Decided(idx_t label, ScoreKind kind) const {
  double largest = 0.0;
  for (idx_t i = 0; i < static_cast<idx_t>(sentences.size()); ++i) {
    largest = std::max(largest, std::abs(Influence(i, label)));
  }
  const double unit =
      kind == ScoreKind::kValues ? std::abs(scores[static_cast<std::size_t>(label)]) : 1.0;
  return largest > 0.0 && largest >= kDecides * unit;
}

void Explain(Context& context, const TaskModel& model, std::span<const TaskText> texts,
             std::span<const ClassifiedText> whole, const TakeExplained& take) {
  Check(whole.size() == texts.size(), ErrorCode::kUsage, "explain: {} texts, and scores of {}",
        texts.size(), whole.size());
  std::vector<ExplainedText> open;  // texts whose sentences have no scores yet
  std::vector<TaskText> variants;
  std::vector<std::pair<std::size_t, std::size_t>> places;  // in open, and among its sentences
  std::size_t next = 0;                                     // to be taken
  idx_t tokens = 0;                                         // of the variants, about
  const auto ask = [&] {
    const TaskRows rows = model.Encode(context, variants, text::Overflow::kWindow);
    const std::vector<ClassifiedText> scores = Classify(context, model, rows);
    for (std::size_t i = 0; i < places.size(); ++i) {
      open[places[i].first].sentences[places[i].second].scores = scores[i].scores;
    }
    variants.clear();
    places.clear();
    tokens = 0;
  };
  const auto take_all = [&] {
    for (const ExplainedText& explained : open) take(next++, explained);
    open.clear();
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    open.push_back({whole[i].scores, SentencesOf(texts[i])});
    const std::size_t sentences = open.back().sentences.size();
    idx_t own = 0;
    for (const ClassifiedWindow& window : whole[i].windows) own += window.tokens;
    for (std::size_t s = 0; s < sentences; ++s) {
      variants.push_back(Without(texts[i], open.back().sentences[s]));
      places.emplace_back(open.size() - 1, s);
      tokens += own;
      if (places.size() == kTogether) ask();
    }
    if (tokens >= model.options().batch_tokens) ask();
    if (places.empty()) take_all();
  }
  if (!places.empty()) ask();
  take_all();
}

std::vector<ExplainedText> Explain(Context& context, const TaskModel& model,
                                   std::span<const TaskText> texts,
                                   std::span<const ClassifiedText> whole) {
  std::vector<ExplainedText> all;
  Explain(context, model, texts, whole,
          [&](std::size_t, const ExplainedText& explained) { all.push_back(explained); });
  return all;
}

}  // namespace longspan
