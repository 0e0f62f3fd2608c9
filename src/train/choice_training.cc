// Training and evaluating choices on files: from options to a task.

#include <algorithm>
#include <utility>

#include "families/families.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"
#include "train/choice_task.h"
#include "train/row_training.h"
#include "train/task_options.h"
#include "train/trainer.h"

namespace longspan {
namespace {

std::vector<ChosenAnswer> ChosenAnswersOf(const ChoiceTexts& texts, const ChoiceRows& rows,
                                          std::span<const float> logits) {
  std::vector<ChosenAnswer> all;
  for (std::size_t q = 0; q < texts.rows.size(); ++q) {
    ChoiceText text = texts.rows[q];
    const auto own =
        logits.subspan(static_cast<std::size_t>(rows.first[q]), text.question.choices.size());
    const idx_t said = std::max_element(own.begin(), own.end()) - own.begin();
    all.push_back({text.where, text.id, std::move(text.question), text.label, said, Softmax(own)});
  }
  return all;
}

}  // namespace

TrainResult TrainMultipleChoice(Context& context, const TrainOptions& given,
                                const ChoiceTaskOptions& task, const TrainHooks& hooks) {
  CheckTaskOptions(given, "multiple-choice", {"accuracy"});
  auto [info, options] = PrepareRowTraining(context, given, task.epochs);
  std::vector<std::string> notes;
  const auto read = [&, &options = options](const std::vector<std::filesystem::path>& files) {
    return ReadChoiceTexts(files, options.data.read, &notes, data::ScratchPlace{options.output});
  };
  ChoiceTexts train = read(options.data.train);
  ChoiceTexts held_out = TakeHeldOut(options, read, &train);
  const auto tokenizer = OpenModelTokenizer(options.model);
  ChoiceRows rows = TokenizeChoices(context, *tokenizer, train, info, task, options.tokens);
  ChoiceRows held = TokenizeChoices(context, *tokenizer, held_out, info, task, options.tokens);
  train = {};  // what is learnt stands in the rows
  held_out = {};
  for (const std::string& note : notes) TellNote(hooks, note);
  TellAboutCuts(hooks, "train", rows.cut, rows.questions(), options.tokens);
  TellAboutCuts(hooks, "held out", held.cut, held.questions(), options.tokens);
  SetUpdates(task.epochs, rows.questions(), &options);
  ChoiceTask run(options, task, *tokenizer, info, std::move(rows), std::move(held));
  return RunTraining(context, options, run, hooks);
}

ChoiceEval EvaluateMultipleChoice(Context& context, const ChoiceEvalOptions& o,
                                  std::vector<ChosenAnswer>* predictions) {
  std::vector<std::string> notes;
  const auto model = LoadToEvaluate(o.model, o.reformer, HeadKind::kChoice, &notes);
  const TextModelInfo& info = model->info();
  const idx_t tokens = TokensOfRows(o.tokens, info);
  const ChoiceTexts texts = ReadChoiceTexts({o.file}, o.data, &notes);
  const auto tokenizer = OpenModelTokenizer(o.model);
  const idx_t longest = RowTokensFor(o.tokens, *tokenizer, tokens);
  const ChoiceRows rows = TokenizeChoices(context, *tokenizer, texts, info, o.task, longest);
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &notes);
  std::vector<float> logits;
  ChoiceEval result =
      EvaluateChoices(context, *model, global, rows,
                      AgreedHooks(context, model->parameters(), rows.fingerprint), &logits);
  result.tokens = longest;
  result.notes = std::move(notes);
  if (predictions != nullptr) *predictions = ChosenAnswersOf(texts, rows, logits);
  return result;
}

}  // namespace longspan
