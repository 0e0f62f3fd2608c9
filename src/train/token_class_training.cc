// Training and evaluating classes of words on files: from options to a task.

#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "tasks/task_model.h"
#include "text/unicode.h"
#include "train/class_weights.h"
#include "train/row_training.h"
#include "train/selection.h"
#include "train/task_options.h"
#include "train/token_class_task.h"
#include "train/trainer.h"

namespace longspan {
namespace {

std::vector<TaggedWords> TaggedWordsOf(const TaggedTexts& texts, const TaggedRows& rows,
                                       std::span<const std::int32_t> said,
                                       const std::vector<std::string>& labels) {
  std::vector<TaggedWords> all;
  for (std::size_t n = 0; n < texts.rows.size(); ++n) {
    const TaggedText text = texts.rows[n];
    std::vector<idx_t> starts;
    text::DecodeUtf8(text.text, starts);
    TaggedWords tagged{text.where, text.id, {}, text.tags, {}};
    for (std::size_t i = 0; i < text.words.size(); ++i) {
      tagged.words.push_back(CharactersOf(text.text, starts, text.words[i]));
      const std::int32_t id = said[static_cast<std::size_t>(rows.first_word[n]) + i];
      tagged.said.push_back(id < 0 ? kOutsideTag : labels[static_cast<std::size_t>(id)]);
    }
    all.push_back(std::move(tagged));
  }
  return all;
}

}  // namespace

TrainResult TrainTokenClassifier(Context& context, const TrainOptions& given,
                                 const TokenClassOptions& task, const TrainHooks& hooks) {
  CheckTaskOptions(given, "token-classify", {"accuracy", "f1", "macro_f1", "precision", "recall"});
  auto [info, options] = PrepareRowTraining(context, given, task.epochs);
  std::vector<std::string> notes;
  const auto read = [&, &options = options](const std::vector<std::filesystem::path>& files) {
    return ReadTaggedTexts(files, options.data.read, task, &notes,
                           data::ScratchPlace{options.output});
  };
  TaggedTexts train = read(options.data.train);
  const std::vector<std::string> labels = ChooseTags(train, info);
  CheckSelection(options, "token-classify with these tags", TokenMetricNames(labels));
  TaggedTexts held_out = TakeHeldOut(options, read, &train);
  const auto tokenizer = OpenModelTokenizer(options.model);
  const auto tokenize = [&, &info = info, &options = options](const TaggedTexts& texts) {
    return TokenizeTagged(context, *tokenizer, texts, labels, info, task, options.tokens);
  };
  TaggedRows rows = tokenize(train), held = tokenize(held_out);
  const auto counts = CountsOf(rows.gold.all(), labels.size());
  const auto held_counts = CountsOf(held.gold.all(), labels.size());
  CheckClassesLeft(train.source, counts, held_counts);
  train = {};  // what is learnt stands in the rows
  held_out = {};
  for (const std::string& note : notes) TellNote(hooks, note);
  TellAboutCuts(hooks, "train", rows.cut, rows.texts(), options.tokens);
  TellAboutCuts(hooks, "held out", held.cut, held.texts(), options.tokens);
  TellAboutClasses(hooks, "word", labels, counts, held_counts);
  SetUpdates(task.epochs, rows.size(), &options);
  TokenClassTask run(options, task, *tokenizer, info, labels, std::move(rows), std::move(held));
  return RunTraining(context, options, run, hooks);
}

TokenClassEval EvaluateTokenClassifier(Context& context, const TokenClassEvalOptions& o,
                                       std::vector<TaggedWords>* predictions) {
  std::vector<std::string> notes;
  if (o.task.overflow == text::Overflow::kWindow) {
    CheckStrideFits(o.model, {.tokens = o.tokens, .stride = o.task.stride});
  }
  const auto model = LoadToEvaluate(o.model, o.reformer, HeadKind::kToken, &notes);
  const TextModelInfo& info = model->info();
  const idx_t tokens = TokensOfRows(o.tokens, info);
  const TaggedTexts texts = ReadTaggedTexts({o.file}, o.data, o.task, &notes);
  const auto tokenizer = OpenModelTokenizer(o.model);
  const idx_t longest = RowTokensFor(o.tokens, *tokenizer, tokens);
  const TaggedRows rows =
      TokenizeTagged(context, *tokenizer, texts, info.labels, info, o.task, longest);
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &notes);
  std::vector<std::int32_t> said;
  TokenClassEval result =
      EvaluateTagged(context, *model, info.labels, global, rows,
                     AgreedHooks(context, model->parameters(), rows.fingerprint), &said);
  result.tokens = longest;
  result.notes = std::move(notes);
  if (predictions != nullptr) *predictions = TaggedWordsOf(texts, rows, said, info.labels);
  return result;
}

}  // namespace longspan
