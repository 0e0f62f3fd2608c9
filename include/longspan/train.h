// Training: a language model, a masked language model, a classifier of texts.
// Several trainings may run at once in threads of one process, each with a Context and an output
// folder of its own.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/types.h"

namespace longspan {

enum class Schedule { kCosine, kLinear, kConstant };

struct TrainOptions {
  std::filesystem::path model;               // folder with the initial config and weights
  std::vector<std::filesystem::path> train;  // files and folders of texts, in this order
  std::filesystem::path eval;                // held-out texts; empty: the end of the training text
  double held_out = 0.1;                     // fraction of the text's end, when `eval` is empty
  std::filesystem::path output;
  DataOptions data;  // how all of these are read

  idx_t steps = 1000;    // updates
  idx_t batch = 8;       // rows a micro-batch
  idx_t tokens = 512;    // a row
  idx_t accumulate = 1;  // micro-batches an update
  double learning_rate = 1e-3;
  double final_rate = 0.1;  // of the learning rate, at the end of cosine and linear
  idx_t warmup = 50;        // updates; negative: 6 % of them
  Schedule schedule = Schedule::kCosine;
  double beta1 = 0.9, beta2 = 0.98, adam_eps = 1e-8;
  double weight_decay = 0.1;      // of matrices; biases, norms and tables have none
  double clip = 1.0;              // largest gradient norm; 0: no clipping
  std::optional<double> dropout;  // instead of the config's dropouts
  // The attention that the model's weights are used with: "full", "local", "lsh" or "config". The
  // trained model's config gets it. Empty: as the model's config says.
  std::string attention;  // Reformers only
  // Reformers: refuse rows that `transformers` refuses to train on. Without it any length trains.
  bool strict = false;
  // Operand type of products: kF32 or kBF16. In both cases weights, gradients and optimizer are
  // fp32.
  DType dtype = DType::kF32;
  // Bytes that a step may take, weights and optimizer included. Activations are saved as far as
  // they fit and recomputed beyond. The gradients have the same bits. 0: Reformers save nothing,
  // Longformers save everything.
  std::size_t memory = 0;
  // Type of the residual streams' gradients between layers: kF32, or kBF16 with stochastic
  // rounding. Only for Reformers in `lm` and puzzles.
  DType gradient_streams = DType::kF32;
  std::uint64_t seed = 1;

  idx_t log_every = 10;    // updates between lines of metrics.jsonl
  idx_t eval_every = 250;  // 0: only at the end
  idx_t save_every = 250;  // 0: only at the end
  idx_t keep = 2;          // checkpoints, besides the best
  bool resume = false;     // continue from the newest whole checkpoint
  // Continues until `steps` updates in all, more than the run was made for. If the schedule gives
  // the finished updates the same learning rates, the bits are those of one long run.
  bool extend = false;
  bool overwrite = false;  // delete what earlier runs wrote there, nothing else
  bool allow_nonfinite = false;
  // What happens if a checkpoint cannot be written (kIo). True: the run ends at the second failure
  // in a row. False: at the first. Earlier checkpoints stay whole.
  bool survive_save_error = true;
  double first_save_s = 600.0;  // seconds to the first checkpoint at most
};

// A named number beside the loss: "accuracy", "macro_f1".
struct TrainMetric {
  std::string name;
  double value = 0.0;
};

// Reports one update, one evaluation or another event.
struct TrainEvent {
  // kStart: the output holds a checkpoint, and should_stop is called from now on. kEvaluating:
  // `step` of `steps` rows or tokens of an evaluation are done.
  enum class Kind { kStart, kStep, kEvaluating, kEval, kSave, kNote } kind = Kind::kStep;
  idx_t step = 0, steps = 0;
  bool skipped = false;        // kStep: loss or gradient were not finite, nothing was updated
  double loss = 0.0;           // mean per predicted byte, token or text
  double bits_per_byte = 0.0;  // NaN if the loss is not of bytes
  std::vector<TrainMetric> metrics;
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  // before clipping
  double tokens_per_s = 0.0;
  idx_t tokens = 0;      // seen so far
  double seconds = 0.0;  // of the run so far, as TrainResult::total_seconds
  double seconds_left = 0.0;
  idx_t rss_bytes = 0;
  std::string text;  // kSave, kNote: a line; kStart: the newest checkpoint's name
};

struct TrainResult {
  idx_t step = 0;                   // of the last update
  idx_t skipped = 0;                // updates that were not applied: loss or gradient not finite
  bool stopped = false;             // by should_stop
  double eval_bits_per_byte = 0.0;  // NaN if the loss is not of bytes
  double eval_loss = 0.0;
  std::vector<TrainMetric> metrics;  // of the last evaluation
  // Held-out texts of a classifier, and the metric that is the share of them that is right:
  // "accuracy", of sets "exact_match", of numbers none. 0 for other trainings.
  idx_t held_out_texts = 0;
  std::string share_of_texts;
  bool resumed = false;  // it went on from a checkpoint
  double seconds = 0.0;  // of this process's training, evaluation included
  // With those of the processes before it, up to the checkpoints that the run went on from. It
  // counts from a checkpoint of version 0.2 or older, which does not say.
  double total_seconds = 0.0;
};

// Each may be empty. They are called on the thread that trains.
struct TrainHooks {
  std::function<void(const TrainEvent&)> on_event;
  // Called after each update and between the batches of an evaluation. True ends the evaluation and
  // saves the run. options.resume then continues it to the same bits.
  std::function<bool()> should_stop;
  std::function<bool()> should_save;  // called after each update; true: save a checkpoint
};

// Callbacks of an evaluation. Both may be empty.
struct EvalHooks {
  std::function<void(idx_t done, idx_t all)> on_progress;  // rows or tokens, after each batch
  std::function<bool()> should_stop;                       // there too; true throws Stopped
};

// Thrown when should_stop ended an evaluation.
class Stopped : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped"; }
};

// Options of a language model's training text.
struct LanguageModelOptions {
  // A directory with a tokenizer, which is copied to the trained model, or "bytes" for the built-in
  // one. Empty: the model's own.
  std::filesystem::path tokenizer;
  // Where a document ends: "file", "blank-line" or "line". The tokenizer's end of text follows each
  // one, and the model learns to predict it. "joined": all texts are one, rows begin anywhere.
  std::string documents = "joined";
  // True: rows hold whole documents side by side, each with positions from 0. No token sees another
  // document, and nothing is predicted across a border. The gradient is that of separate documents.
  // A document longer than a row is cut.
  bool packed = false;
};

// Trains, and writes metrics.jsonl, checkpoints and the final model into options.output. The first
// checkpoint is written before the first update, so faults of saving appear at once. An update
// whose loss or gradient is not finite is not applied. Three in a row end the run. The same options
// give the same bits for any number of threads, and after any interruption and resume. Errors:
// kUsage (options), kFormat (files; a resumed run without a checkpoint, or with another model or
// other data), kIo, kLocked (another run uses the output), kNumeric (three updates in a row or the
// weights are not finite; the last checkpoint stays).
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const TrainHooks& hooks = {});
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const LanguageModelOptions& task, const TrainHooks& hooks = {});

// ---- puzzles ------------------------------------------------------------------------------------

// Artificial tasks that need attention over a distance. docs/record/results.md describes them.
struct PuzzleOptions {
  std::string kind = "duplication";  // or "recall"
  idx_t symbols = 128;               // duplication; recall: number of keys, and of values
  idx_t pairs = 8;                   // of recall
  idx_t short_steps = 0;             // first updates on rows of 64 tokens, then longer rows
};

// Trains a Reformer on rows of options.tokens tokens, each seen once; options.train and held_out
// are not used. Metric: accuracy. Files and errors as TrainLanguageModel.
TrainResult TrainPuzzle(Context& context, const TrainOptions& options, const PuzzleOptions& puzzle,
                        const TrainHooks& hooks = {});

struct PuzzleEvalOptions {
  std::filesystem::path model;
  PuzzleOptions puzzle;
  idx_t tokens = 0, rows = 100;
  std::uint64_t seed = 1;
  std::string attention;  // instead of the config's: full, local, full-lsh, lsh
  idx_t num_hashes = 0;   // instead of the config's; 0: the config's
};
struct PuzzleScore {
  idx_t counted = 0, right = 0;  // predicted tokens
  double loss = 0.0;
  double share() const { return static_cast<double>(right) / static_cast<double>(counted); }
};
// Evaluates on rows that training with the same seed does not use.
PuzzleScore EvaluatePuzzle(Context& context, const PuzzleEvalOptions& options,
                           const EvalHooks& hooks = {});

// ---- texts with a tokenizer ---------------------------------------------------------------------

// The defaults of fine-tuning: learning rate 3e-5 with a linear schedule to 0, warm-up over 6 %
// of the updates, AdamW's beta2 0.999, weight decay 0.01, batch 1, accumulated to 8 rows, tokens
// 0 (all positions of the model). A tiny model with random weights needs a learning rate near
// 1e-3.
TrainOptions FineTuneOptions();

struct MaskedLmOptions {
  double mask_share = 0.15;  // share of the tokens that are not special
  // Where a document ends: "file", "blank-line" or "line". All documents are joined with the
  // tokenizer's separator, and rows are cut at random places.
  std::string documents = "file";
  // True: rows hold whole documents side by side. Each has its own special tokens, positions and
  // global tokens, and no token sees another document. The gradient is that of separate documents.
  // A document longer than a row is cut.
  bool packed = false;
  std::string global = "auto";  // which tokens are global; auto: none
  bool recompute = false;       // layers save only their input: a third more time
};

// Adapts a Longformer or a Reformer to texts by masked language modelling with RoBERTa's rule: in
// each row 15 % of the tokens are predicted, of which 80 % become the mask token and 10 % a random
// one. The tokenizer is in the model's folder. Files and errors are those of TrainLanguageModel.
// kFormat also for a tokenizer without a mask token or of another model.
TrainResult TrainMaskedLm(Context& context, const TrainOptions& options,
                          const MaskedLmOptions& task, const TrainHooks& hooks = {});

struct ClassifyOptions {
  // "single": one of several classes. "multi": any of several. "regression": a number. "auto":
  // multi if a label is a JSON list, else single.
  std::string problem = "auto";
  double epochs = 3.0;  // over the training rows; 0: options.steps counts
  // What happens to a text with more tokens than a row: "error" or "truncate".
  std::string overflow = "error";
  std::string global = "auto";  // auto: the first token
  bool recompute = false;
};

// Fine-tunes a Longformer or a Reformer on texts with labels (.csv, .tsv, JSON). Each epoch uses
// every row once. Rows of similar length run together, so there is little padding. The labels'
// names are sorted and become the config's id2label. A head over the same labels continues to
// learn, any other starts from random weights. Metrics: accuracy, macro_f1, for sets also
// exact_match, for numbers mse and pearson.
TrainResult TrainClassifier(Context& context, const TrainOptions& options,
                            const ClassifyOptions& task, const TrainHooks& hooks = {});

struct MaskedLmEval {
  double loss = 0.0;               // nats a masked token
  double perplexity = 0.0;         // exp(loss)
  double accuracy = 0.0;           // share of the masked tokens that were right
  idx_t counted = 0;               // masked tokens
  idx_t tokens = 0;                // of a row
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

struct MaskedLmEvalOptions {
  std::filesystem::path model, text;
  double held_out = 1.0;   // the last part (0, 1] of the text's tokens
  idx_t tokens = 0;        // of a row; 0: all that the model has positions for
  std::uint64_t seed = 1;  // of the masks
  MaskedLmOptions task;
  idx_t num_hashes = 0;     // of Reformers: rounds of LSH layers; 0: the config's
  bool no_lm_bias = false;  // of Reformers: without lm_head.bias, as transformers 5 computes
  DataOptions data;         // how the text is read
};

// Returns a masked language model's loss on a text, in consecutive rows, with fixed masks.
MaskedLmEval EvaluateMaskedLm(Context& context, const MaskedLmEvalOptions& options,
                              const EvalHooks& hooks = {});

struct ClassScore {
  std::string name;
  double precision = 0.0, recall = 0.0, f1 = 0.0;  // 0 if the denominator is 0
  idx_t support = 0, predicted = 0;                // rows with the label; rows predicted so
};

struct ClassifierEval {
  std::string problem;  // "single", "multi", "regression"
  idx_t rows = 0, tokens = 0;
  idx_t cut = 0;  // rows that lost tokens
  double loss = 0.0;
  double accuracy = 0.0;            // of sets: over all pairs of a row and a label
  double macro_f1 = 0.0;            // mean over the classes that occur or are predicted
  double exact_match = 0.0;         // of sets
  double mse = 0.0, pearson = 0.0;  // of numbers
  std::vector<ClassScore> classes;
  std::vector<bool> right;         // row by row, in the file's order; not for numbers
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

struct ClassifierEvalOptions {
  std::filesystem::path model, file;  // file: texts with labels
  idx_t tokens = 0;                   // the longest row; 0: all that the model has positions for
  ClassifyOptions task;
  idx_t num_hashes = 0;  // of Reformers: rounds of LSH layers; 0: the config's
  DataOptions data;      // how the file is read
};

// Evaluates a classifier on texts with labels. kFormat for labels that the model does not have.
ClassifierEval EvaluateClassifier(Context& context, const ClassifierEvalOptions& options,
                                  const EvalHooks& hooks = {});

// ---- evaluation of language models --------------------------------------------------------------

struct EvalResult {
  double loss = 0.0;  // nats a token
  double bits_per_byte = 0.0;
  double accuracy = 0.0;           // share of tokens whose most likely prediction was right
  idx_t counted = 0;               // tokens predicted: all but the first
  idx_t bytes = 0;                 // of the text
  std::vector<std::string> notes;  // lines for people about rows that were left out
};

struct EvalOptions {
  std::filesystem::path model, text;
  double held_out = 1.0;    // the last part (0, 1] of the text
  idx_t tokens = 512;       // a window
  idx_t stride = 0;         // the window's advance; 0: half a window
  std::string attention;    // as TrainOptions has it
  idx_t num_hashes = 0;     // rounds of LSH layers; 0: the config's
  bool no_lm_bias = false;  // without lm_head.bias, as transformers 5 computes
  bool strict = false;      // texts padded and refused as in transformers
  DataOptions data;         // how the text is read
};

// Returns a model's loss on a text. The text is read in windows. Each token is predicted once, with
// at least tokens - stride tokens of context after the first window. LSH layers always use the same
// rotations. Errors: kUsage (options), kFormat (files), kIo.
EvalResult EvaluateLanguageModel(Context& context, const EvalOptions& options,
                                 const EvalHooks& hooks = {});

}  // namespace longspan
