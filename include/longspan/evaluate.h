// What models are worth on texts that they have not seen.
//
// Evaluations tell the context's progress in rows or tokens, and end with Cancelled when its flag
// is set. Errors: kUsage (options), kFormat (files), kIo, kLimit.
//
// With a context that has joined a world (longspan/world.h) all its ranks call the same function
// with the same options, and each computes some of the batches. All get the same result, that of
// one process bit for bit. The flag of one rank ends all with Cancelled. Also thrown: kPeer when
// another rank is gone, kFormat when one has other texts or weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/metrics.h"
#include "longspan/train.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- language models ----------------------------------------------------------------------------

// What a language model makes of a text.
struct EvalResult {
  double loss = 0.0;               // nats a token
  double bits_per_byte = 0.0;      // NaN if tokens are no bytes
  double accuracy = 0.0;           // share of tokens whose most likely prediction was right
  idx_t counted = 0;               // tokens predicted: all but the first
  idx_t bytes = 0;                 // of the text
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated: a model's folder and a text.
struct EvalOptions {
  std::filesystem::path model, text;  // folder; text, table, JSON or folder of them
  double held_out = 1.0;              // the last part (0, 1] of the text
  idx_t tokens = 512;                 // a window
  idx_t stride = 0;                   // the window's advance; 0: half a window
  ReformerOptions reformer;           // `strict`: texts are padded and refused as in transformers
  DataOptions data;                   // how the text is read
};

// Returns a model's loss on a text. The text is read in windows. Each token is predicted once, with
// at least tokens - stride tokens of context after the first window. LSH layers always use the same
// rotations.
EvalResult EvaluateLanguageModel(Context& context, const EvalOptions& options);

// ---- masked language models ---------------------------------------------------------------------

// What a masked language model makes of a text.
struct MaskedLmEval {
  double loss = 0.0;               // nats a masked token
  double perplexity = 0.0;         // exp(loss)
  double accuracy = 0.0;           // share of the masked tokens that were right
  idx_t counted = 0;               // masked tokens
  idx_t tokens = 0;                // of a row
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated: a model's folder and a text.
struct MaskedLmEvalOptions {
  std::filesystem::path model, text;  // folder; text, table, JSON or folder of them
  double held_out = 1.0;              // the last part (0, 1] of the text's tokens
  idx_t tokens = 0;                   // of a row; 0: all that the model has positions for
  std::uint64_t seed = 1;             // of the masks
  MaskedLmOptions task;               // which tokens are masked, and how rows are made
  ReformerOptions reformer;           // of a Reformer
  DataOptions data;                   // how the text is read
};

// Returns a masked language model's loss on a text, in consecutive rows, with fixed masks.
MaskedLmEval EvaluateMaskedLm(Context& context, const MaskedLmEvalOptions& options);

// ---- classifiers --------------------------------------------------------------------------------

// What a classifier makes of labelled texts.
struct ClassifierEval {
  ProblemType problem = ProblemType::kSingleLabel;  // of the texts; never kInferred
  idx_t rows = 0, tokens = 0;                       // texts of the file; tokens of a row at most
  idx_t cut = 0;                                    // texts that lost tokens
  idx_t in_windows = 0;                             // texts that were read in several windows
  idx_t windows = 0;  // rows that the model read: those of texts in one row too
  idx_t longest = 0;  // tokens of the longest text, before anything is cut
  // Nats a text, or the mean squared error of numbers. Of a text in several windows it is that of
  // the mean of their scores.
  double loss = 0.0;
  double accuracy = 0.0;                         // of sets: over all pairs of a row and a label
  double exact_match = 0.0;                      // of sets
  metrics::AverageScore macro, micro, weighted;  // over classes or labels
  double mcc = 0.0;                              // of classes: Matthews' correlation
  // Of at least two classes, and of sets: by the probabilities of Prediction::scores. Of two
  // classes those of the second one, else the mean over all, each against the rest. NaN where it is
  // not defined: metrics::RocAuc says when, and for logits that are not finite.
  double auc = std::numeric_limits<double>::quiet_NaN();
  double average_precision = std::numeric_limits<double>::quiet_NaN();
  double mse = 0.0, pearson = 0.0, spearman = 0.0;  // of numbers
  std::vector<ClassScore> classes;
  std::vector<bool> right;         // row by row, in the file's order; not for numbers
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated: a model's folder and labelled texts. Its defaults are those of Classify.
struct ClassifierEvalOptions {
  std::filesystem::path model, file;  // file: texts with labels
  // The longest row; 0: what the tokenizer's files say, at most all that the model has positions
  // for.
  idx_t tokens = 0;
  ClassifyOptions task = {.overflow = text::Overflow::kWindow};  // how texts become rows
  ReformerOptions reformer;                                      // of a Reformer
  DataOptions data;                                              // how the file is read
};

// What a classifier makes of one text. Labels are places in Predictions::labels.
struct Prediction {
  std::string input;  // the text's place: "reviews.csv:12", escaped
  std::string id;     // its field "id" as JSON: "17", "\"a7\""; empty: it has none
  // The first 300 characters of the text, and of the second one of a pair (else empty).
  std::string text, text_pair;
  std::vector<idx_t> gold;       // the label of the file, of sets any number; of numbers none
  std::vector<idx_t> predicted;  // the same of what the model says
  double gold_value = 0.0;       // of numbers: what the file says; scores[0] is what the model says
  // For each label: probabilities that sum to 1 (single), or a probability each (multi).
  std::vector<double> scores;
};

// What a classifier says of each text.
struct Predictions {
  std::vector<std::string> labels;  // the model's, in its order
  std::vector<Prediction> rows;     // in the file's order
};

// Evaluates a classifier on texts with labels; `predictions`, if given, receives each one. Scores
// are those of Classify with the same options, bit for bit where the rows run in the same batches,
// as those of a file of up to 8192 tokens do, else but for rounding. kFormat for labels that the
// model does not have.
ClassifierEval EvaluateClassifier(Context& context, const ClassifierEvalOptions& options,
                                  Predictions* predictions = nullptr);

// ---- vectors of texts ---------------------------------------------------------------------------

// What an embedder makes of texts that belong together.
struct EmbedderEval {
  bool scored = false;        // rows are two texts with a score; else pairs and triplets
  idx_t rows = 0, texts = 0;  // rows of the file; different texts in them
  idx_t tokens = 0;           // the longest row
  idx_t cut = 0;              // texts that lost tokens
  double loss = 0.0;          // the mean of the training's loss
  // Of pairs and triplets. Every anchor searches among the `candidates` different positives and
  // negatives of all rows, by cosine. Its own positives are what it should find.
  idx_t queries = 0, candidates = 0;                       // different anchors; what they search in
  double recall_1 = 0.0, recall_5 = 0.0, recall_10 = 0.0;  // share found among the first
  double mrr = 0.0;                                        // mean of 1 / the first positive's place
  idx_t triplets = 0;                                      // a row with one of its negatives
  double nearer = 0.0;  // share of them whose positive is nearer to the anchor
  // Of scored pairs, between the cosines and the scores. NaN if either are all the same.
  double pearson = 0.0, spearman = 0.0;
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated: a model's folder and rows of texts.
struct EmbedderEvalOptions {
  std::filesystem::path model, file;  // file: pairs, triplets or scored pairs
  idx_t tokens = 0;                   // the longest row; 0: as the folder says, else all positions
  EmbedTrainingOptions task;          // how texts become vectors, and the loss
  ReformerOptions reformer;           // of a Reformer
  DataOptions data;                   // how the file is read
};

// Evaluates a model that makes vectors, as its folder's files say, on rows as TrainEmbedder reads
// them. A head of the model takes no part.
EmbedderEval EvaluateEmbedder(Context& context, const EmbedderEvalOptions& options);

// ---- rerankers ----------------------------------------------------------------------------------

// What a reranker makes of queries with texts.
struct RerankerEval {
  idx_t pairs = 0, tokens = 0;     // of a query and a text; of the longest row
  idx_t cut = 0;                   // pairs that lost tokens
  double loss = 0.0;               // binary cross entropy, nats a pair
  double accuracy = 0.0;           // share of pairs whose score and label are on one side of 0.5
  double average_precision = 0.0;  // over all pairs by their scores
  idx_t queries = 0, without = 0;  // all; those without a relevant text, which count 0
  double mrr = 0.0, ndcg = 0.0;    // means over queries, of their first ten texts
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

// What is evaluated: a model's folder and queries with texts.
struct RerankerEvalOptions {
  std::filesystem::path model, file;  // file: queries with texts
  idx_t tokens = 0;                   // the longest row; 0: as the folder says, else all positions
  RerankTrainingOptions task;         // how texts become rows
  ReformerOptions reformer;           // of a Reformer
  DataOptions data;                   // how the file is read
};

// Evaluates a classifier with one label on rows as TrainReranker reads them. kFormat for another
// model.
RerankerEval EvaluateReranker(Context& context, const RerankerEvalOptions& options);

// How many texts of one class got which class: classes by their places.
struct Confusion {
  idx_t gold = 0, predicted = 0, texts = 0;  // true class, class that was said, how many
};
// All pairs of classes that occur in predictions of one class each, the right ones among them: by
// `gold`, then by `predicted`.
std::vector<Confusion> CountConfusions(std::span<const Prediction> predictions);
// The pairs of different classes alone, those with the most texts first.
std::vector<Confusion> MostConfused(std::vector<Confusion> pairs);
// How many texts have the label at this place and get it.
idx_t CountHits(std::span<const Prediction> predictions, idx_t label);

}  // namespace longspan
#pragma GCC visibility pop
