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
  std::filesystem::path model;               // where the initial config and weights lie
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
  // Who sees whom, with the model's weights: "full", "local", "lsh" or "config"; written into the
  // trained model. Empty: as the model's config says.
  std::string attention;  // of Reformers
  // Reformers: refuse rows that transformers would refuse to train on. As a rule any length trains.
  bool strict = false;
  // Operands of products: kF32 or kBF16. Weights, their gradients and the
  // optimiser's numbers are fp32 in both.
  DType dtype = DType::kF32;
  // Bytes that a step may take, weights and optimiser included: with room, activations are kept
  // instead of computed again: the same gradients, bit for bit. 0: Reformers keep nothing,
  // Longformers all.
  std::size_t memory = 0;
  // Reformers under `lm` and puzzles: the streams' gradients between layers, kF32, or kBF16 with
  // sums that are rounded by chance.
  DType gradient_streams = DType::kF32;
  std::uint64_t seed = 1;

  idx_t log_every = 10;    // updates between lines of metrics.jsonl
  idx_t eval_every = 250;  // 0: only at the end
  idx_t save_every = 250;  // 0: only at the end
  idx_t keep = 2;          // checkpoints, besides the best
  bool resume = false;     // go on from the newest whole checkpoint of `output`
  // Go on and do `steps` updates in all, more than the run was made for. Where the schedule gives
  // the updates that were done the same learning rates, the bits are those of one long run.
  bool extend = false;
  bool overwrite = false;  // clear what an earlier run left in `output`, and nothing else
  bool allow_nonfinite = false;
  // A checkpoint that cannot be written (kIo): true goes on until the second failure in a row;
  // false ends the run. The checkpoints before it stay whole in both.
  bool survive_save_error = true;
  double first_save_s = 600.0;  // a checkpoint comes by then, whatever save_every is
};

// A named number beside the loss: "accuracy", "macro_f1".
struct TrainMetric {
  std::string name;
  double value = 0.0;
};

// What one update or one evaluation was like.
struct TrainEvent {
  // kStart: the output is ready and holds a checkpoint; from here on should_stop is asked.
  // kEvaluating: `step` of `steps` rows or tokens of an evaluation are done.
  enum class Kind { kStart, kStep, kEvaluating, kEval, kSave, kNote } kind = Kind::kStep;
  idx_t step = 0, steps = 0;
  bool skipped = false;        // kStep: loss or gradient were not finite, nothing was updated
  double loss = 0.0;           // the mean over what is predicted: bytes, masked tokens, texts
  double bits_per_byte = 0.0;  // NaN where the loss is not of bytes
  std::vector<TrainMetric> metrics;
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  // before clipping
  double tokens_per_s = 0.0;
  idx_t tokens = 0;      // seen so far
  double seconds = 0.0;  // since the start of this process's run
  double seconds_left = 0.0;
  idx_t rss_bytes = 0;
  std::string text;  // of kSave and kNote; of kStart the newest checkpoint's name
};

struct TrainResult {
  idx_t step = 0;                   // of the last update
  idx_t skipped = 0;                // updates that were not applied: loss or gradient not finite
  bool stopped = false;             // by should_stop
  double eval_bits_per_byte = 0.0;  // NaN where the loss is not of bytes
  double eval_loss = 0.0;
  std::vector<TrainMetric> metrics;  // of the last evaluation
  double seconds = 0.0;              // of training, evaluation included
};

// All may be empty. They are called on the thread that trains.
struct TrainHooks {
  std::function<void(const TrainEvent&)> on_event;
  // Asked after each update and between the batches of an evaluation, which it ends unfinished.
  // The run is saved, and goes on with options.resume to the same bits.
  std::function<bool()> should_stop;
  std::function<bool()> should_save;  // asked after each update: a checkpoint now
};

// What an evaluation tells while it works. Both may be empty.
struct EvalHooks {
  std::function<void(idx_t done, idx_t all)> on_progress;  // rows or tokens, behind each batch
  std::function<bool()> should_stop;                       // asked there: Stopped is thrown
};

// An evaluation was ended by should_stop.
class Stopped : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped"; }
};

// What a language model reads.
struct LanguageModelOptions {
  // A directory with a tokenizer, which the trained model gets, or "bytes": the built-in one.
  // Empty: that of the model.
  std::filesystem::path tokenizer;
  // Where a document ends: "file", "blank-line", "line"; the tokenizer's end of text stands behind
  // each, and the model learns to foresee it. "joined": all texts are one, rows begin anywhere.
  std::string documents = "joined";
  // Rows hold whole documents side by side, each with positions from 0; no token sees another
  // document's, and nothing is predicted across their border. The gradient is that of the documents
  // run apart. A document of more tokens than a row is cut.
  bool packed = false;
};

// Trains, writes metrics.jsonl, checkpoints and the final model into options.output. The first
// checkpoint is written before the first update, so that what could fail at a save fails then.
// An update whose loss or gradient is not finite is not applied; three in a row end the run.
// The same options give the same bits for any number of threads, and after any interruption that
// is resumed. Errors: kUsage (options), kFormat (files; a resumed run without a checkpoint, of
// another model or other data), kIo, kLocked (another run owns the output), kNumeric (three updates
// in a row, or the weights, are not finite; the last checkpoint stays).
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const TrainHooks& hooks = {});
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const LanguageModelOptions& task, const TrainHooks& hooks = {});

// ---- puzzles ------------------------------------------------------------------------------------

// Made-up tasks that only attention over a distance solves: train/puzzle.h says what rows are.
struct PuzzleOptions {
  std::string kind = "duplication";  // or "recall"
  idx_t symbols = 128;               // of duplication; of recall as many keys and as many values
  idx_t pairs = 8;                   // of recall
  idx_t short_steps = 0;             // updates on rows of 64 tokens first, then on ever longer ones
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
  idx_t counted = 0, right = 0;  // tokens that were to be foreseen
  double loss = 0.0;
  double share() const { return static_cast<double>(right) / static_cast<double>(counted); }
};
// On rows that training with the same seed does not see.
PuzzleScore EvaluatePuzzle(Context& context, const PuzzleEvalOptions& options,
                           const EvalHooks& hooks = {});

// ---- texts with a tokenizer ---------------------------------------------------------------------

// Options with which fine-tuning begins: learning rate 3e-5 down to 0 along a line, warm-up over
// 6 % of the updates, AdamW's beta2 0.999, weight decay 0.01; batch 1, accumulated to 8 rows;
// tokens 0: all that the model has positions for. A tiny model from random weights wants a learning
// rate near 1e-3.
TrainOptions FineTuneOptions();

struct MaskedLmOptions {
  double mask_share = 0.15;  // of the tokens that are not special
  // Where a document ends: "file", "blank-line", "line". Rows are cut from all documents, joined by
  // the tokenizer's separator, at random places.
  std::string documents = "file";
  // Instead, rows hold whole documents side by side, each between special tokens of its own, with
  // positions and global tokens of its own; no token sees another document's. The gradient is that
  // of the documents run apart. A document that is longer than a row is cut.
  bool packed = false;
  std::string global = "auto";  // which tokens are global: model/global_policy.h; auto: none
  bool recompute = false;       // layers keep their input only: less memory, a third more time
};

// Adapts a Longformer or a Reformer to texts by masked language modelling, as RoBERTa was trained:
// 15 % of the tokens are to be guessed, of which 80 % become the mask token, 10 % a random one;
// anew in each row. The tokenizer lies beside the model. Files and errors as TrainLanguageModel;
// kFormat also for a tokenizer without a mask token or of another model.
TrainResult TrainMaskedLm(Context& context, const TrainOptions& options,
                          const MaskedLmOptions& task, const TrainHooks& hooks = {});

struct ClassifyOptions {
  // "single": one of several classes; "multi": any of several; "regression": a number; "auto":
  // multi where a label is a JSON list, else single.
  std::string problem = "auto";
  double epochs = 3.0;  // over the training rows; 0: options.steps counts
  // What a text of more tokens than a row has becomes: "error", "truncate".
  std::string overflow = "error";
  std::string global = "auto";  // auto: the first token
  bool recompute = false;
};

// Fine-tunes a Longformer or a Reformer on texts with labels (.csv, .tsv, JSON). Each epoch sees
// every row once; rows of similar length stand together, so that little is padded. The labels'
// names are sorted and become the config's id2label; a head over the same labels goes on learning,
// any other begins anew. Metrics: accuracy and macro_f1; of sets also exact_match; of numbers mse
// and pearson.
TrainResult TrainClassifier(Context& context, const TrainOptions& options,
                            const ClassifyOptions& task, const TrainHooks& hooks = {});

struct MaskedLmEval {
  double loss = 0.0;               // nats a masked token
  double perplexity = 0.0;         // exp(loss)
  double accuracy = 0.0;           // share of the masked tokens that were guessed
  idx_t counted = 0;               // masked tokens
  idx_t tokens = 0;                // of a row
  std::vector<std::string> notes;  // about rows that were left out: lines for people
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

// The loss of a masked language model on a text, in rows side by side, with fixed masks.
MaskedLmEval EvaluateMaskedLm(Context& context, const MaskedLmEvalOptions& options,
                              const EvalHooks& hooks = {});

struct ClassScore {
  std::string name;
  double precision = 0.0, recall = 0.0, f1 = 0.0;  // 0 where there is nothing to divide by
  idx_t support = 0, predicted = 0;                // rows that have the label, and that get it
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
  std::vector<bool> right;         // row by row, in the file's order; not of numbers
  std::vector<std::string> notes;  // about rows that were left out: lines for people
};

struct ClassifierEvalOptions {
  std::filesystem::path model, file;  // file: texts with labels
  idx_t tokens = 0;                   // the longest row; 0: all that the model has positions for
  ClassifyOptions task;
  idx_t num_hashes = 0;  // of Reformers: rounds of LSH layers; 0: the config's
  DataOptions data;      // how the file is read
};

// What a classifier makes of texts with labels. kFormat for labels that the model does not have.
ClassifierEval EvaluateClassifier(Context& context, const ClassifierEvalOptions& options,
                                  const EvalHooks& hooks = {});

// ---- evaluation of language models --------------------------------------------------------------

struct EvalResult {
  double loss = 0.0;  // nats a token
  double bits_per_byte = 0.0;
  double accuracy = 0.0;           // share of tokens whose most likely prediction was right
  idx_t counted = 0;               // tokens predicted: all but the first
  idx_t bytes = 0;                 // of the text
  std::vector<std::string> notes;  // about rows that were left out: lines for people
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

// Held-out loss of a model on a text. The text is read in windows; each token is predicted once,
// with at least tokens - stride tokens of context behind the first window. LSH layers hash with the
// same rotations every time. Errors: kUsage (options), kFormat (files), kIo.
EvalResult EvaluateLanguageModel(Context& context, const EvalOptions& options,
                                 const EvalHooks& hooks = {});

}  // namespace longspan
