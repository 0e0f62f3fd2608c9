// Questions to a model about texts: vectors, classes, answers, missing words, choices.
//
// A text becomes one row of tokens, or several windows of it where it is longer than a row; rows
// run together: those of a Longformer or a ModernBERT side by side, a Reformer's with rows of like
// length. Every function works on rows that TaskModel::Encode made, so that a caller sees windows
// and cuts before anything runs; those that take texts encode them themselves.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/model.h"
#include "longspan/tokenizer.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- a model with its tokenizer, ready for texts ------------------------------------------------

// How texts become rows.
struct TaskOptions {
  GlobalRule global = {};                       // which tokens are global
  std::optional<text::Overflow> overflow = {};  // of long texts; absent: what suits the task
  idx_t max_length = 0;              // tokens of a row; 0: as many as there are positions
  std::optional<idx_t> stride = {};  // tokens that neighbouring windows share; absent: the task's
  idx_t batch_tokens = 8192;         // of texts that run together, padding included
};

// What suits a task, where the options say nothing.
struct RowDefaults {
  text::Overflow overflow;  // what happens to a text that is longer than a row
  idx_t stride;             // at most half of what a row has room for
  // `shared`: tokens that two neighbouring windows have in common.
  constexpr RowDefaults(text::Overflow of_long_texts = text::Overflow::kWindow, idx_t shared = 0)
      : overflow(of_long_texts), stride(shared) {}
};
// Answers may lie across the end of a window.
inline constexpr RowDefaults kAnswerRows(text::Overflow::kWindow, 128);
// The choices of a question are compared in one row each.
inline constexpr RowDefaults kChoiceRows(text::Overflow::kError);

// One text, or two that belong together.
struct TaskText {
  std::string text;                      // UTF-8; models of bytes take any
  std::optional<std::string> pair = {};  // the second of two
};

// The rows of several texts: those of text i are [first[i], first[i + 1]).
struct TaskRows {
  std::vector<text::Encoding> rows;  // of all texts, one after another
  std::vector<idx_t> first{0};       // (texts + 1): where a text's begin
  // How many texts they are of.
  idx_t texts() const { return static_cast<idx_t>(first.size()) - 1; }
  // The first row of a text; of texts(): the end.
  idx_t begin(idx_t text) const { return first[static_cast<std::size_t>(text)]; }
  // The rows of a text.
  std::span<const text::Encoding> of(idx_t text) const {
    return std::span(rows).subspan(static_cast<std::size_t>(begin(text)),
                                   static_cast<std::size_t>(begin(text + 1) - begin(text)));
  }
  idx_t tokens(idx_t text) const;   // of all its rows
  idx_t dropped(idx_t text) const;  // tokens that were cut
};

// A model, and how texts become its rows. A handle, as Model is: cheap to copy, never changed, for
// any number of threads.
class TaskModel {
 public:
  // kUsage for a rule about global tokens that the model cannot follow, for a longest row or a
  // stride that cannot be; kFormat for a tokenizer that is missing or another model's.
  explicit TaskModel(Model model, TaskOptions options = {});
  // kUsage for options that fit no model; Load begins with it.
  static void CheckOptions(const TaskOptions& options);
  // Opens the tokenizer first, then the weights. Errors as above and as Model::Load.
  static TaskModel Load(const std::filesystem::path& directory, const TaskOptions& options = {},
                        const ModelOptions& model = {});
  // The same with what the context allows, as Model::Load has it.
  static TaskModel Load(Context& context, const std::filesystem::path& directory,
                        const TaskOptions& options = {}, const ModelOptions& model = {});

  // The model.
  const Model& model() const;
  // What it is.
  const ModelInfo& info() const { return model().info(); }
  // Its tokenizer.
  const text::Tokenizer& tokenizer() const { return model().tokenizer(); }
  // How texts become rows.
  const TaskOptions& options() const;
  idx_t longest() const;               // tokens of a row at most, special ones included
  std::string global_name() const;     // what the rule came to: "none", "ids:0"
  GlobalOrigin global_origin() const;  // and where it comes from

  // Encodes texts. A text that needs more than longest() tokens becomes windows, is cut or is an
  // error (kLimit), as the options or else `defaults` say. An error names the text by its number,
  // or by names[i].
  TaskRows Encode(std::span<const TaskText> texts, const RowDefaults& defaults = {},
                  std::span<const std::string> names = {}) const;
  // The same on the context's threads. What it makes counts against the context's memory limit, and
  // the context can cancel it. Of several texts with an error the first one's is thrown.
  TaskRows Encode(Context& context, std::span<const TaskText> texts,
                  const RowDefaults& defaults = {}, std::span<const std::string> names = {}) const;
  // How many tokens of these rows are global.
  idx_t CountGlobals(std::span<const text::Encoding> rows) const;

  // For the library itself.
  struct Inside;
  const Inside& inside() const { return *inside_; }

 private:
  std::shared_ptr<const Inside> inside_;
};

// All functions below run the model over rows. They tell the context's progress after each batch,
// in tokens. Errors: kFormat for an id that the model does not know, kUsage where the rule about
// global tokens needs a separator that a row has not, kNumeric if the model's numbers are not
// finite (unless ModelOptions::allow_nonfinite), kLimit, kCancelled; kUsage for another head than
// the task's.

// ---- vectors ------------------------------------------------------------------------------------

// How the vectors of tokens become one vector, as sentence-transformers has it:
//   kCls           the first token's
//   kMean          the mean
//   kMax           the largest of each channel
//   kMeanSqrtLen   the sum over the root of the number of tokens
//   kWeightedMean  the mean, token i weighing i + 1
//   kLastToken     the last token's
enum class PoolingMode { kCls, kMean, kMax, kMeanSqrtLen, kWeightedMean, kLastToken };
std::string_view PoolingName(PoolingMode mode);
PoolingMode ParsePooling(std::string_view name);  // kUsage lists the names

// How vectors are made.
struct EmbedOptions {
  std::optional<PoolingMode> pooling;  // absent: as the folder says, else the mean
  std::optional<bool> normalize;       // to length 1; absent: as the folder says, else not
  // Numbers of a vector that stay, the first ones (Matryoshka): 1 to the vector's width. They are
  // cut before the vector is scaled to length 1. Absent: as the folder says, else all.
  std::optional<idx_t> truncate_dim;
  // What stands before every text. Absent: the prompt of the folder that prompt_name names, else
  // its default prompt, if it has one. Empty: nothing.
  std::optional<std::string> prompt, prompt_name;
};

// Makes vectors of texts, as the folder's files of sentence-transformers say (modules.json with
// pooling, dense layers, norms; the longest text; prompts), or else by the mean of all tokens.
class Embedder {
 public:
  // kFormat for modules that cannot be run, kUsage for options that do not fit them and for a
  // prompt that does not exist.
  explicit Embedder(const TaskModel& model, const EmbedOptions& options = {});
  static Embedder Load(const std::filesystem::path& directory, const EmbedOptions& options = {},
                       const TaskOptions& task = {}, const ModelOptions& model = {});
  // The same with what the context allows, as Model::Load has it.
  static Embedder Load(Context& context, const std::filesystem::path& directory,
                       const EmbedOptions& options = {}, const TaskOptions& task = {},
                       const ModelOptions& model = {});

  // The model, as its folder's files say.
  const TaskModel& model() const;
  idx_t width() const;  // of a vector
  // What stands before every text, and its name in the folder; empty: nothing, no name.
  const std::string& prompt() const;
  const std::string& prompt_name() const;

  // A text as it is encoded: behind the prompt, in lower case if the folder says so.
  TaskText Prepare(TaskText text) const;

  // Vectors (texts, width()), fp32, of rows that model().Encode made of prepared texts. Of a text
  // in several windows every token counts once (the window that sees more around it gives its
  // vector), the windows' special tokens each; kCls is the mean of the windows' first tokens,
  // kLastToken is the last window's. A text of which nothing is left to pool is the zero vector.
  Tensor Embed(Context& context, const TaskRows& rows) const;
  // The same of texts as they are. Give it as many as you like: they run in batches of
  // TaskOptions::batch_tokens, and what it returns is all that stays.
  Tensor Embed(Context& context, std::span<const std::string> texts) const;
  // The same of one text: (1, width()).
  Tensor EmbedOne(Context& context, std::string_view text) const;
  // The vectors of the tokens of each text as it is: (tokens, model().info().width), fp32, the last
  // hidden states before pooling and whatever follows it. Special tokens and the prompt count. A
  // text in several windows has the tokens that Embed() counts: each once, the windows' special
  // tokens each. Memory is that of all the vectors.
  std::vector<Tensor> EmbedTokens(Context& context, std::span<const std::string> texts) const;

 private:
  struct Inside;
  std::shared_ptr<const Inside> inside_;
};

// A row of vectors, and how near it is to another vector.
struct Neighbour {
  idx_t row = 0;        // its number
  double cosine = 0.0;  // of the angle between the two, -1 to 1; of a zero vector 0
};

// The `most` rows of vectors (N, width) whose cosine to query (1, width) is largest, the nearest
// first; of equal ones the first. Both fp32. kUsage for other types, shapes that do not fit and
// most < 1.
std::vector<Neighbour> Nearest(const Tensor& query, const Tensor& vectors, idx_t most);

// ---- classes ------------------------------------------------------------------------------------

// How scores are to be read.
enum class ScoreKind {
  kClasses,  // probabilities that sum to 1
  kLabels,   // a probability each: a set of labels
  kValues    // numbers as they are: regression
};
ScoreKind ScoresOf(const ModelInfo& info);
std::string_view ScoreKindName(ScoreKind kind);  // "classes", "labels", "values"

// A row of a text, or one of its windows.
struct ClassifiedWindow {
  text::Span chars;            // its place in the text; of a pair in the second text
  idx_t tokens = 0;            // special ones included
  std::vector<double> scores;  // one for each of info().labels
};

// The class of a text.
struct ClassifiedText {
  std::vector<double> scores;             // one for each of info().labels
  std::vector<ClassifiedWindow> windows;  // in the order of the text
};

// Scores of texts. Of a text in several windows: the mean over them, weighted by their tokens.
std::vector<ClassifiedText> Classify(Context& context, const TaskModel& model,
                                     const TaskRows& rows);
std::vector<ClassifiedText> Classify(Context& context, const TaskModel& model,
                                     std::span<const TaskText> texts);
// The places of the `most` largest scores, the largest first; of equal ones the first.
std::vector<idx_t> Largest(std::span<const double> scores, idx_t most);

// The least score of a label that a set has, where nobody names another one.
inline constexpr double kLabelThreshold = 0.5;
// Whether a set has the label of this score (kLabels): from the threshold on. NaN is below every
// threshold. Classify's callers, evaluations and gold labels (1 or 0, or a share) follow this rule.
inline bool HasLabel(double score, double threshold = kLabelThreshold) {
  return score >= threshold;
}

// ---- relevance ----------------------------------------------------------------------------------

// How relevant a text is to a query.
struct RankedText {
  idx_t text = 0;      // its number
  double score = 0.0;  // what the activation makes of the logit
  double logit = 0.0;  // what the model says of the text, of its best window
  text::Span chars;    // that window's place in the text
};

// Scores texts for a query as a CrossEncoder of sentence-transformers: both are one row, and a
// classifier with one label says how well they fit. The folder's files name the activation; without
// them it is Sigmoid, so that scores are in [0, 1].
class Reranker {
 public:
  // kFormat for a model that is no classifier of one label, and for files that cannot be followed.
  explicit Reranker(const TaskModel& model);
  static Reranker Load(const std::filesystem::path& directory, const TaskOptions& task = {},
                       const ModelOptions& model = {});
  // The same with what the context allows, as Model::Load has it.
  static Reranker Load(Context& context, const std::filesystem::path& directory,
                       const TaskOptions& task = {}, const ModelOptions& model = {});

  // The model, as its folder's files say.
  const TaskModel& model() const;
  // The activation's name in torch.nn: "Sigmoid".
  std::string_view activation() const;
  // What stands before every query; empty: nothing.
  const std::string& prompt() const;

  // A query and a text as they are encoded.
  TaskText Prepare(std::string_view query, std::string_view text) const;

  // Scores of rows that model().Encode made of prepared pairs, in the order of the texts. The score
  // of a text in several windows is that of its best one (MaxP; Dai and Callan 2019,
  // arXiv:1905.09217).
  std::vector<RankedText> Score(Context& context, const TaskRows& rows) const;
  // The `most` texts that fit the query best, the best first; of equal ones the first. kUsage for
  // most < 1.
  std::vector<RankedText> Rank(Context& context, std::string_view query,
                               std::span<const std::string> texts, idx_t most) const;

 private:
  struct Inside;
  std::shared_ptr<const Inside> inside_;
};
// Sorts by score, the largest first; of equal scores the larger logit, then the earlier text. Keeps
// the `most` first.
void KeepBest(std::vector<RankedText>& ranked, idx_t most);

// ---- why a class --------------------------------------------------------------------------------

// A piece of a text: its characters, and the bytes that they take.
struct Sentence {
  text::Span chars, bytes;  // of the text
};

// A sentence of a text, and what the model says without it.
struct LeftOut {
  int sequence = 0;            // 0: of the text, 1: of the second text of a pair
  Sentence place;              // of the sentence
  std::vector<double> scores;  // one for each of info().labels
};

// Why a text has its class.
struct ExplainedText {
  std::vector<double> scores;  // of the whole text, one for each of info().labels
  // In the order of the text. Empty where there are not two sentences: nothing can be left out.
  std::vector<LeftOut> sentences;

  // How much the sentence adds to a label's score: the score of the whole text less the score
  // without the sentence. Above 0: the sentence speaks for the label.
  double Influence(idx_t sentence, idx_t label) const;
  // Places of the `most` sentences that change a label's score most, the largest change of either
  // sign first.
  std::vector<idx_t> MostInfluential(idx_t label, idx_t most) const;
  // Whether leaving some sentence out changes the label's score by kDecides or more.
  bool Decided(idx_t label, ScoreKind kind) const;
};

// The least change of a score that is worth telling: of probabilities as it is, of values as a
// share of the score. Less than that is what any change of a text does.
inline constexpr double kDecides = 0.01;

// Parts of a text that are left out at most: of more sentences neighbours are put together, so that
// the work grows with the length of a text and not with its square.
inline constexpr idx_t kMostLeftOut = 512;

// Called for each text, in their order, as soon as it is explained.
using TakeExplained = std::function<void(std::size_t text, const ExplainedText& explained)>;

// Leaves each sentence out in turn and asks the model again. `whole` has the scores of Classify
// over the same texts. The texts without a sentence are encoded as the options say, or in windows,
// and run together in batches: those of some texts, until they have the tokens of a
// batch.
void Explain(Context& context, const TaskModel& model, std::span<const TaskText> texts,
             std::span<const ClassifiedText> whole, const TakeExplained& take);
std::vector<ExplainedText> Explain(Context& context, const TaskModel& model,
                                   std::span<const TaskText> texts,
                                   std::span<const ClassifiedText> whole);

// ---- classes of words ---------------------------------------------------------------------------

// How tokens become words and spans; the names and meanings of Hugging Face's pipeline.
//   kNone     every token for itself
//   kSimple   neighbouring tokens of one class are one span
//   kFirst    words first: a word is what its first token is
//   kAverage  ... what its tokens are on average
//   kMax      ... what its surest token is
// Spans follow the tags B-X and I-X where the labels have them: B- begins a new one.
enum class Aggregation { kNone, kSimple, kFirst, kAverage, kMax };
Aggregation ParseAggregation(std::string_view name);  // kUsage lists the names

// A span of a text, and its class.
struct TokenClass {
  std::string label;        // without B- or I-, but with kNone
  double score = 0.0;       // the mean over its tokens or words
  text::Span chars, bytes;  // of the text
};

// The spans of each text, in its order; those of the class "O" are left out.
std::vector<std::vector<TokenClass>> ClassifyTokens(Context& context, const TaskModel& model,
                                                    const TaskRows& rows, Aggregation aggregation);
std::vector<std::vector<TokenClass>> ClassifyTokens(Context& context, const TaskModel& model,
                                                    std::span<const TaskText> texts,
                                                    Aggregation aggregation);

// ---- answers ------------------------------------------------------------------------------------

// A part of a text that answers a question.
struct Answer {
  double score = 0.0;       // P(start) P(end) among all tokens of the text, all windows
  text::Span chars, bytes;  // of the second text; [0, 0): there is no answer
  bool none = false;        // "the text does not say"
};

// Which answers are wanted.
struct AnswerOptions {
  idx_t most = 1;            // answers for each question
  idx_t longest = 30;        // tokens of an answer
  bool may_be_none = false;  // the first token's score counts as "no answer"
};

// The parts of texts that answer questions. Rows are pairs: the question and the text (encode them
// with kAnswerRows). Answers start and end in the text, the best first; two that read the same (one
// found in overlapping windows) are one. With one window the scores are those of Hugging Face's
// pipeline; with several, one softmax goes over all of them.
std::vector<std::vector<Answer>> FindAnswers(Context& context, const TaskModel& model,
                                             const TaskRows& rows,
                                             const AnswerOptions& options = {});
std::vector<std::vector<Answer>> FindAnswers(Context& context, const TaskModel& model,
                                             std::span<const TaskText> pairs,
                                             const AnswerOptions& options = {});

// ---- choices ------------------------------------------------------------------------------------

// A question with its answers to choose from.
struct Question {
  std::string text;                  // with what it is about, if there is something
  std::vector<std::string> choices;  // two or more
};

// What is known and then what is asked, with a blank between them: the text of a question.
std::string JoinQuestion(const std::string& context, const std::string& question);

// Each question with each of its choices as a pair: the texts for ScoreChoices' rows.
std::vector<TaskText> ChoicePairs(std::span<const Question> questions);

// The probability of each choice of each question. One row for each pair (kChoiceRows), so nothing
// in windows: kUsage. kUsage for a question of fewer than two choices.
std::vector<std::vector<double>> ScoreChoices(Context& context, const TaskModel& model,
                                              std::span<const Question> questions,
                                              const TaskRows& rows);
std::vector<std::vector<double>> ScoreChoices(Context& context, const TaskModel& model,
                                              std::span<const Question> questions);

// ---- missing words ------------------------------------------------------------------------------

// A token for a mask.
struct MaskGuess {
  std::int32_t id = 0;  // in the vocabulary
  std::string token;    // as the tokenizer spells it: "\u0120walk"
  std::string text;     // what it reads as by itself: " walk", "##ing"
  double score = 0.0;   // probability
  // What it adds to a text, with a space before a word if the tokenizer tells: " walk", "ing".
  std::string in_text;
  bool continues_word = false;  // whether it goes on with the word before it: "##ing", "'s"
};

// A mask of a text, and what may stand there.
struct FilledMask {
  text::Span chars, bytes;         // of the text
  std::vector<MaskGuess> guesses;  // the most likely first
};

// The masks of a text.
struct FilledText {
  std::vector<FilledMask> masks;  // in the text's order
};

// kFormat, with the text's name, when none of its rows has the tokenizer's mask; kUsage when the
// tokenizer has none.
void CheckHasMask(const TaskModel& model, std::span<const text::Encoding> rows,
                  const std::string& name);

// The `most` best tokens for each mask of each text, all masks at once (each is guessed with the
// others in place). Logits are made for the masks only. Where windows overlap, the one that sees
// more around a mask decides. kUsage: the tokenizer has no mask, or text `i` has none.
std::vector<FilledText> FillMasks(Context& context, const TaskModel& model,
                                  std::span<const TaskText> texts, const TaskRows& rows, idx_t most,
                                  std::span<const std::string> names = {});
std::vector<FilledText> FillMasks(Context& context, const TaskModel& model,
                                  std::span<const TaskText> texts, idx_t most);

// The text with a guess in the place of each of these masks, which stand in the text's order; other
// masks stay. A guess that goes on with a word takes the place of the spaces before its mask, too.
// A guess with a space of its own leaves it out behind another one and where the text begins.
// kUsage: not one guess for each mask, or masks that are no such places.
std::string TextWithGuesses(std::string_view text, std::span<const FilledMask> masks,
                            std::span<const MaskGuess> guesses);

}  // namespace longspan
#pragma GCC visibility pop
