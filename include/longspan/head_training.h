// Training and evaluation of models that say something of each word, answer questions about texts,
// or choose among answers. Data is read by the rules of docs/reference/data.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longspan/evaluate.h"
#include "longspan/metrics.h"
#include "longspan/tasks.h"
#include "longspan/train.h"

#pragma GCC visibility push(default)
namespace longspan {

// What every evaluation of such a model needs to know.
struct HeadEvalOptions {
  std::filesystem::path model, file;  // the model's folder; what it is measured on
  idx_t tokens = 0;                   // the longest row; 0: as the folder says, else all positions
  ReformerOptions reformer;           // of a Reformer
  DataOptions data;                   // how the file is read
};

// ---- classes of words ---------------------------------------------------------------------------

// How classes of words are read and learnt. A file is one of
//   CoNLL's columns  any file that is no table and no JSON: a word a line, a blank line after each
//                    sentence
//   words and tags   rows with a list of words and a list of their tags
//   texts and spans  rows with a text and a list of {"start", "end", "label"}: characters (Unicode
//                    code points) that are one entity. Its words become B-label and I-label, all
//                    others O. They are cut at blanks, around punctuation and at borders of spans.
// The first token of a word has the word's class; its other tokens have none, as in Hugging Face's
// examples. Words of a list are joined by single blanks.
struct TokenClassOptions {
  std::string word_field = "tokens";  // list of words
  std::string tag_field;              // list of their tags; empty: "tags", or else "ner_tags"
  std::string span_field = "spans";   // list of spans
  idx_t word_column = 1;              // of CoNLL's columns, from 1
  idx_t tag_column = 0;               // the same; 0: the last one
  // What tags that are numbers stand for: 0 for the first name. Empty: they are names.
  std::vector<std::string> label_names;
  double epochs = 3.0;  // over the training rows; 0: options.steps counts
  // What happens to a text with more tokens than a row: kWindow, kTruncate or kError.
  text::Overflow overflow = text::Overflow::kWindow;
  idx_t stride = 0;   // tokens that neighbouring windows share: each word counts in one of them
  GlobalRule global;  // head: none
  // How much words of each tag count in the loss of a training, as PyTorch's cross_entropy has it;
  // the mean is by the weights. `balanced` counts words. Evaluations do not use them.
  ClassWeights weights = {};
};

// Fine-tunes a model with classes of tokens. The tags' names are sorted and become the config's
// id2label; a head over the same labels continues to learn, any other starts from random weights.
// Of the data's texts, not of windows, a share is held out. Metrics: accuracy (of words) and, if
// the tags mark entities, f1, precision and recall of these, else macro_f1. Files and errors are
// those of TrainClassifier.
TrainResult TrainTokenClassifier(Context& context, const TrainOptions& options,
                                 const TokenClassOptions& task, const TrainHooks& hooks = {});

// What a model makes of tagged words.
struct TokenClassEval {
  idx_t texts = 0, words = 0;      // of the file
  idx_t unread = 0;                // words without a token of their own: each counts as O
  idx_t tokens = 0;                // of a row at most
  idx_t cut = 0;                   // texts that lost tokens
  double loss = 0.0;               // nats a word
  double accuracy = 0.0;           // of words
  bool entities = false;           // whether tags mark entities: B-PER, I-PER, O
  metrics::EntityScores entity;    // then: seqeval's measures
  std::vector<ClassScore> tags;    // else: each tag for itself
  metrics::AverageScore macro;     // and their mean
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated, and how its texts become rows.
struct TokenClassEvalOptions : HeadEvalOptions {
  TokenClassOptions task;  // epochs mean nothing here
};

// The words of a text, with the tags of the file and the model's.
struct TaggedWords {
  std::string input;                    // the text's place: "test.conll:12", escaped
  std::string id;                       // its field "id" as JSON text; empty: it has none
  std::vector<std::string> words;       // in their order
  std::vector<std::string> gold, said;  // a tag for each: the file's, the model's
};

// Evaluates a model on tagged words; `predictions`, if given, receives each text. kFormat for tags
// that the model does not have.
TokenClassEval EvaluateTokenClassifier(Context& context, const TokenClassEvalOptions& options,
                                       std::vector<TaggedWords>* predictions = nullptr);

// ---- answers ------------------------------------------------------------------------------------

// How answers are read and learnt. A file is SQuAD's own, of version 1.1 or 2.0, or has rows with
// "question", a context, and "answers": {"text": [...], "answer_start": [...]} or a list of
// {"text", "answer_start"}, where places count characters (Unicode code points); in tables as JSON.
// The context is the field that DataOptions::text_field names; if that is the default, "text", a
// field "context" comes first. A question without an answer has an empty list: the right answer is
// the first token of the row. The first one of several answers is learnt.
struct AnswerTaskOptions {
  double epochs = 3.0;  // over the windows; 0: options.steps counts
  // What happens to a pair with more tokens than a row: kWindow, kTruncate or kError. Windows over
  // the context are those of kAnswerRows; one that does not have the whole answer has none.
  text::Overflow overflow = text::Overflow::kWindow;
  std::optional<idx_t> stride;  // tokens that neighbouring windows share; none: kAnswerRows'
  idx_t longest = 30;           // tokens of an answer, where answers are looked for
  GlobalRule global;            // head: the question
};

// Fine-tunes a model that marks answers in texts. Of the questions, not of windows, a share is held
// out. Metrics: exact_match and f1, as SQuAD scores them, from 0 to 1; if a question of the data
// has no answer those of SQuAD 2.0, and the model may say that there is none. Files and errors are
// those of TrainClassifier. kFormat also for an answer that does not stand at its place.
TrainResult TrainQuestionAnswering(Context& context, const TrainOptions& options,
                                   const AnswerTaskOptions& task, const TrainHooks& hooks = {});

// What a model makes of questions.
struct AnswerEval {
  idx_t windows = 0, tokens = 0;   // rows of the questions; tokens of a row at most
  idx_t cut = 0;                   // questions whose text lost tokens
  double loss = 0.0;               // nats a window: the mean of its start's and its end's
  bool may_be_none = false;        // a question of the file has no answer: SQuAD 2.0
  metrics::AnswersScore score;     // of all questions, with an answer and without one
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated, and how its texts become rows.
struct AnswerEvalOptions : HeadEvalOptions {
  AnswerTaskOptions task;  // epochs mean nothing here
};

// A question with its answers.
struct AnsweredPair {
  std::string input;              // its place: "dev.json[12]", escaped
  std::string id;                 // its field "id" as JSON text; empty: it has none
  std::string question;           // as it is asked
  std::vector<std::string> gold;  // the right answers; none: the text does not say
  std::string said;               // the model's answer; empty: the text does not say
  Answer answer;                  // its score and its place in the context
  metrics::AnswerScore right;     // how good it is
};

// Evaluates a model on questions, as FindAnswers answers them; `predictions`, if given, receives
// each one.
AnswerEval EvaluateQuestionAnswering(Context& context, const AnswerEvalOptions& options,
                                     std::vector<AnsweredPair>* predictions = nullptr);

// ---- choices ------------------------------------------------------------------------------------

// How questions with choices are read and learnt. Rows have
//   "context" and "question" (at least one), "choices", a list, and "label"; in tables the list is
//            JSON, and DataOptions::text_field and label_field may name other fields
//   "sent1", "sent2", "ending0", "ending1", ... and "label", as SWAG's: the choices are sent2 with
//            each ending
//   "article", "question", "options" and "answer", as RACE's
// A label is a choice's number from 0, its letter, or its text; text that is one of the choices
// comes first. JoinQuestion makes one text of context and question.
struct ChoiceTaskOptions {
  double epochs = 3.0;  // over the questions; 0: options.steps counts
  // What happens to a pair with more tokens than a row: kError or kTruncate, which cuts the longer
  // of question and choice first.
  text::Overflow overflow = text::Overflow::kError;
  GlobalRule global;  // head: the choices
};

// Fine-tunes a model that chooses among answers: each question with each of its choices is a text,
// and the choices of a question compete. A micro-batch has `batch` questions. Metric: accuracy.
// Files and errors are those of TrainClassifier.
TrainResult TrainMultipleChoice(Context& context, const TrainOptions& options,
                                const ChoiceTaskOptions& task, const TrainHooks& hooks = {});

// What a model makes of questions with choices.
struct ChoiceEval {
  idx_t questions = 0, choices = 0;  // of the file, and all of their choices
  idx_t tokens = 0;                  // of a row at most
  idx_t cut = 0;                     // questions that lost tokens
  double loss = 0.0;                 // nats a question
  double accuracy = 0.0;             // share of the questions whose best choice is right
  double chance = 0.0;               // the accuracy of choosing at random
  idx_t right = 0;                   // questions
  std::vector<std::string> notes;    // lines for people about rows that were left out
};

// What is evaluated, and how its texts become rows.
struct ChoiceEvalOptions : HeadEvalOptions {
  ChoiceTaskOptions task;  // epochs mean nothing here
};

// A question with the choice that is right and the one that the model takes.
struct ChosenAnswer {
  std::string input;           // its place: "test.jsonl:12", escaped
  std::string id;              // its field "id" as JSON text; empty: it has none
  Question question;           // as the model sees it
  idx_t gold = 0, said = 0;    // places in question.choices
  std::vector<double> scores;  // of the choices: probabilities that sum to 1
};

// Evaluates a model on questions with choices; `predictions`, if given, receives each one.
ChoiceEval EvaluateMultipleChoice(Context& context, const ChoiceEvalOptions& options,
                                  std::vector<ChosenAnswer>* predictions = nullptr);

}  // namespace longspan
#pragma GCC visibility pop
