#include "train/token_class_task.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/errors.h"
#include "longspan/files.h"
#include "model/head_losses.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "parallel/parallel_for.h"
#include "tasks/task_model.h"
#include "train/class_weights.h"
#include "train/labelled_text.h"
#include "train/row_training.h"

namespace longspan {
namespace {

void CheckTokenClassOptions(const TokenClassOptions& task) {
  Check(task.overflow != text::Overflow::kTruncateFirst, ErrorCode::kUsage,
        "overflow: words are read whole, in windows or cut; use window, truncate or error");
  Check(task.stride >= 0, ErrorCode::kUsage, "stride: {} is below 0", task.stride);
}

std::vector<std::int32_t> ClassesOf(const TaggedText& text,
                                    const std::vector<std::string>& labels) {
  std::vector<std::int32_t> classes;
  for (std::size_t i = 0; i < text.tags.size(); ++i) {
    const auto found = FindLabel(labels, text.tags[i]);
    Check(found.has_value(), ErrorCode::kFormat,
          "{}: the tag \"{}\" of word {} is not one of the {} that the model has", text.where,
          io::Escape(text.tags[i], 60), i + 1, labels.size());
    classes.push_back(static_cast<std::int32_t>(*found));
  }
  return classes;
}

// Adds the windows of a text. A word's token is the first one that touches it and belongs to no
// word before it, in the window that sees more around it. Windows without such a token are left
// out: there is nothing to learn from them and nothing to ask. `classes`: of the text's words.
void AddWindows(const TaggedText& text, std::span<const std::int32_t> classes,
                const std::vector<text::Encoding>& windows, const TextModelInfo& info,
                TaggedRows* rows) {
  const std::vector<TokenRange> own = OwnTokens(windows, 0);
  const idx_t first = rows->first_word.back();
  std::size_t next = 0;  // the first word without a token
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const text::Encoding& row = windows[w];
    std::vector<std::int32_t> labels(static_cast<std::size_t>(row.size()), kIgnoreLabel);
    std::vector<idx_t> words(static_cast<std::size_t>(row.size()), -1);
    idx_t labelled = 0;
    for (idx_t t = own[w].begin; t < own[w].end; ++t) {
      const text::Span token = row.chars[static_cast<std::size_t>(t)];
      while (next < text.words.size() && text.words[next].end <= token.begin) ++next;
      if (next == text.words.size()) break;
      if (token.begin == token.end || token.end <= text.words[next].begin) continue;
      labels[static_cast<std::size_t>(t)] = classes[next];
      words[static_cast<std::size_t>(t)] = first + static_cast<idx_t>(next++);
      ++labelled;
    }
    if (labelled == 0) continue;
    rows->Add(row, info, text.where);
    rows->labels.Add(labels);
    rows->words.Add(words);
    rows->labelled.push_back(labelled);
  }
}

// The tags of each text's words.
std::vector<std::vector<std::string>> TagsOf(const TaggedRows& rows,
                                             std::span<const std::int32_t> classes,
                                             const std::vector<std::string>& labels) {
  std::vector<std::vector<std::string>> tags(static_cast<std::size_t>(rows.texts()));
  for (std::size_t n = 0; n < tags.size(); ++n) {
    for (idx_t word = rows.first_word[n]; word < rows.first_word[n + 1]; ++word) {
      const std::int32_t id = classes[static_cast<std::size_t>(word)];
      tags[n].push_back(id < 0 ? kOutsideTag : labels[static_cast<std::size_t>(id)]);
    }
  }
  return tags;
}

void ScoreTags(const TaggedRows& rows, std::span<const std::int32_t> said,
               const std::vector<std::string>& labels, TokenClassEval* e) {
  e->entities = MarkEntities(labels);
  if (e->entities) {
    e->entity =
        metrics::ScoreEntities(TagsOf(rows, rows.gold.all(), labels), TagsOf(rows, said, labels));
    return;
  }
  const std::size_t count = labels.size();
  const std::span<const std::int32_t> gold = rows.gold.all();
  std::vector<std::uint8_t> truth(count * said.size(), 0), predicted(count * said.size(), 0);
  for (std::size_t i = 0; i < said.size(); ++i) {
    truth[i * count + static_cast<std::size_t>(gold[i])] = 1;
    if (said[i] >= 0) predicted[i * count + static_cast<std::size_t>(said[i])] = 1;
  }
  e->tags = metrics::ScoreClasses(labels, truth, predicted);
  e->macro = metrics::AverageOf(e->tags, metrics::Average::kMacro);
}

}  // namespace

std::vector<std::string> ChooseTags(const TaggedTexts& texts, const TextModelInfo& info) {
  std::set<std::string> all;
  for (const TaggedText& row : texts.rows) all.insert(row.tags.begin(), row.tags.end());
  std::vector<std::string> names = SortedLabels(all);
  if (info.head == HeadKind::kToken && KnowsAll(info.labels, names)) return info.labels;
  Check(names.size() >= 2, ErrorCode::kFormat, "{}: {} different tags, need at least 2",
        texts.source, names.size());
  return names;
}

TaggedRows TokenizeTagged(Context& context, const text::Tokenizer& tokenizer,
                          const TaggedTexts& texts, const std::vector<std::string>& labels,
                          const TextModelInfo& info, const TokenClassOptions& task, idx_t tokens) {
  CheckTokenClassOptions(task);
  CheckVocabulary(tokenizer.vocabulary(), info.vocab_size);
  text::EncodeOptions options;
  options.max_length = tokens;
  options.stride = task.stride;
  options.overflow =
      task.overflow == text::Overflow::kWindow ? task.overflow : text::Overflow::kTruncate;
  TaggedRows rows(texts.rows.place());
  rows.fingerprint = texts.fingerprint;
  std::vector<idx_t> lengths;  // of texts that are one row, before anything is cut
  texts.rows.ForEachChunk([&](std::size_t, std::span<const TaggedText> some) {
    std::vector<std::vector<text::Encoding>> windows(some.size());
    ParallelFor(context, std::ssize(some), [&](idx_t i, int) {
      const auto n = static_cast<std::size_t>(i);
      windows[n] = tokenizer.Encode(some[n].text, options);
    });
    for (std::size_t n = 0; n < some.size(); ++n) {
      const std::vector<std::int32_t> classes = ClassesOf(some[n], labels);
      AddWindows(some[n], classes, windows[n], info, &rows);
      rows.gold.Add(classes);
      rows.first_word.push_back(static_cast<idx_t>(rows.gold.size()));
      const text::Encoding& first = windows[n].front();
      lengths.push_back(windows[n].size() > 1 ? 0 : first.size() + first.dropped[0]);
    }
  });
  rows.cut = CountTooLong(lengths, tokens, task.overflow == text::Overflow::kTruncate, info,
                          [&](std::size_t n) { return texts.rows[n].where; });
  Check(rows.size() > 0, ErrorCode::kFormat, "{}: no word has a token", texts.source);
  return rows;
}

TokenClassEval EvaluateTagged(Context& context, TextModel& model,
                              const std::vector<std::string>& labels, const GlobalPolicy& global,
                              const TaggedRows& rows, const EvalHooks& hooks,
                              std::vector<std::int32_t>* kept) {
  const auto count = static_cast<idx_t>(labels.size());
  const std::span<const std::int32_t> gold = rows.gold.all();
  const std::span<const idx_t> words = rows.words.all();
  std::vector<std::int32_t> said(rows.gold.size(), -1);
  std::vector<double> losses(rows.gold.size(), 0.0);
  const auto use = [&](std::span<const idx_t> numbers, std::span<const idx_t> begins,
                       std::span<const float> logits) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      for (idx_t t = 0; t < rows.length(numbers[i]); ++t) {
        const idx_t word = words[static_cast<std::size_t>(rows.begin(numbers[i]) + t)];
        if (word < 0) continue;
        const LogitRow own{logits.data() + (begins[i] + t) * count, count, 1};
        const auto at = static_cast<std::size_t>(word);
        said[at] = static_cast<std::int32_t>(LargestLogit(own));
        losses[at] = SoftmaxLoss(own, gold[at], 0.0f, nullptr);
      }
    }
  };
  ForEachLogits(context, model, global, rows, hooks, use);
  TokenClassEval e;
  e.texts = rows.texts();
  e.words = std::ssize(gold);
  e.unread = std::count(said.begin(), said.end(), -1);
  e.cut = rows.cut;
  // In the order of the words, whatever the batches were.
  for (const double loss : losses) e.loss += loss;
  e.loss /= static_cast<double>(e.words - e.unread);
  // What has no token counts as "O", the tag that a model says of nothing.
  const auto outside = std::find(labels.begin(), labels.end(), kOutsideTag);
  std::vector<std::int32_t> counted = said;
  if (outside != labels.end()) {
    std::replace(counted.begin(), counted.end(), std::int32_t{-1},
                 static_cast<std::int32_t>(outside - labels.begin()));
  }
  e.accuracy = metrics::Accuracy(gold, counted);
  ScoreTags(rows, counted, labels, &e);
  if (kept != nullptr) *kept = std::move(said);
  return e;
}

// ---- the task -----------------------------------------------------------------------------------

TokenClassTask::TokenClassTask(const TrainOptions& options, const TokenClassOptions& task,
                               const text::Tokenizer& tokenizer, const TextModelInfo& info,
                               std::vector<std::string> labels, TaggedRows train,
                               TaggedRows held_out)
    : RowTask(options, info,
              {HeadKind::kToken, labels,
               info.head == HeadKind::kToken ? info.problem : ProblemType::kInferred},
              GlobalPolicy(task.global, &tokenizer), train.lengths()),
      task_(task),
      labels_(std::move(labels)),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      weights_(ResolveClassWeights(task.weights, labels_,
                                   CountsOf(train_.labels.all(), labels_.size()))) {
  for (idx_t row = 0; !weights_.empty() && row < train_.size(); ++row) {
    double sum = 0.0;
    for (const std::int32_t label : Labels(row)) {
      if (label >= 0) sum += static_cast<double>(weights_[static_cast<std::size_t>(label)]);
    }
    row_weights_.push_back(sum);
  }
}

std::span<const std::int32_t> TokenClassTask::Labels(idx_t row) const {
  return train_.labels.all().subspan(static_cast<std::size_t>(train_.begin(row)),
                                     static_cast<std::size_t>(train_.length(row)));
}

nlohmann::json TokenClassTask::DecidingOptions() const {
  nlohmann::json deciding = {{"task", "token-classify"},
                             {"labels", labels_},
                             {"overflow", OverflowName(task_.overflow)},
                             {"stride", task_.stride},
                             {"text_column", options().data.read.text_field},
                             {"word_field", task_.word_field},
                             {"tag_field", task_.tag_field}};
  // Left out where there are none: runs from before there was a choice go on.
  if (!weights_.empty()) deciding["class_weights"] = weights_;
  return WithSharedOptions(std::move(deciding), task_.epochs);
}

Batch TokenClassTask::Gather(std::span<const idx_t> rows) const {
  Batch batch = GatherRows(train_, rows, info());
  batch.labels.assign(batch.ids.size(), kIgnoreLabel);
  const std::vector<idx_t> begins = BeginsIn(train_, rows, info());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::ranges::copy(Labels(rows[i]), batch.labels.begin() + begins[i]);
  }
  batch.class_weights = weights_;
  return batch;
}

std::vector<std::string> TokenMetricNames(const std::vector<std::string>& labels) {
  if (!MarkEntities(labels)) return {"accuracy", "macro_f1"};
  return {"accuracy", "f1", "precision", "recall"};
}

TaskEvaluation TokenClassTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const TokenClassEval e = EvaluateTagged(context, model(), labels_, global(), held_out_, hooks);
  if (!e.entities) return {e.loss, {{"accuracy", e.accuracy}, {"macro_f1", e.macro.f1}}};
  return {e.loss,
          {{"accuracy", e.accuracy},
           {"f1", e.entity.micro.f1},
           {"precision", e.entity.micro.precision},
           {"recall", e.entity.micro.recall}}};
}

}  // namespace longspan
