// Training and evaluating answers on files: from options to a task.

#include <utility>

#include "families/families.h"
#include "tasks/task_model.h"
#include "train/answer_task.h"
#include "train/row_training.h"
#include "train/task_options.h"
#include "train/trainer.h"

namespace longspan {

TrainResult TrainQuestionAnswering(Context& context, const TrainOptions& given,
                                   const AnswerTaskOptions& task, const TrainHooks& hooks) {
  CheckTaskOptions(given, "qa", {"exact_match", "f1"});
  auto [info, options] = PrepareRowTraining(context, given, task.epochs);
  std::vector<std::string> notes;
  const auto read = [&, &options = options](const std::vector<std::filesystem::path>& files) {
    return ReadAnsweredTexts(files, options.data.read, &notes, data::ScratchPlace{options.output});
  };
  AnsweredTexts train = read(options.data.train);
  AnsweredTexts held_out = TakeHeldOut(options, read, &train);
  const bool may_be_none = train.unanswerable() || held_out.unanswerable();
  const auto tokenizer = OpenModelTokenizer(options.model);
  AnswerRows rows = TokenizeAnswered(context, *tokenizer, train, info, task, options.tokens, false);
  train.rows = {};  // what is learnt stands in the rows
  AnswerRows held =
      TokenizeAnswered(context, *tokenizer, held_out, info, task, options.tokens, true);
  for (const std::string& note : notes) TellNote(hooks, note);
  TellAboutCuts(hooks, "train", rows.cut, rows.questions(), options.tokens);
  TellAboutCuts(hooks, "held out", held.cut, held.questions(), options.tokens);
  SetUpdates(task.epochs, rows.size(), &options);
  AnswerTask run(options, task, *tokenizer, info, std::move(rows), std::move(held),
                 std::move(held_out), may_be_none);
  return RunTraining(context, options, run, hooks);
}

AnswerEval EvaluateQuestionAnswering(Context& context, const AnswerEvalOptions& o,
                                     std::vector<AnsweredPair>* predictions) {
  std::vector<std::string> notes;
  if (o.task.overflow == text::Overflow::kWindow) {
    CheckStrideFits(o.model, {.tokens = o.tokens, .stride = o.task.stride.value_or(0)});
  }
  const auto model = LoadToEvaluate(o.model, o.reformer, HeadKind::kQuestion, &notes);
  const TextModelInfo& info = model->info();
  const idx_t tokens = TokensOfRows(o.tokens, info);
  const AnsweredTexts texts = ReadAnsweredTexts({o.file}, o.data, &notes);
  const auto tokenizer = OpenModelTokenizer(o.model);
  const idx_t longest = RowTokensFor(o.tokens, *tokenizer, tokens);
  const AnswerRows rows = TokenizeAnswered(context, *tokenizer, texts, info, o.task, longest, true);
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &notes);
  AnswerEval result =
      EvaluateAnswers(context, *model, global, rows, texts, o.task.longest, texts.unanswerable(),
                      AgreedHooks(context, model->parameters(), rows.fingerprint), predictions);
  result.tokens = longest;
  result.notes = std::move(notes);
  return result;
}

}  // namespace longspan
