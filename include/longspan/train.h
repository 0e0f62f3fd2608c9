// Training: language models, masked language models, classifiers of texts, vectors of texts,
// rerankers.
// Several trainings may run at once in threads of one process, each with a Context and an output
// folder of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/batch.h"
#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/model_info.h"
#include "longspan/optimizer.h"
#include "longspan/tasks.h"
#include "longspan/tokenizer.h"
#include "longspan/world.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- options ------------------------------------------------------------------------------------

// What is learnt from, and what is held out to measure by.
struct TrainData {
  std::vector<std::filesystem::path> train;  // files and folders of texts, in this order
  std::filesystem::path eval;                // held-out texts; empty: a part of the training texts
  double held_out = 0.1;                     // that part, [0, 1)
  DataOptions read;                          // how all of these are read
};

// The learning rate of each update: a linear warm-up, then a constant rate, or one that falls
// linearly, by half a cosine, or by the inverse square root of the update.
enum class ScheduleKind { kCosine, kLinear, kConstant, kInverseSqrt };
// "cosine", "linear", "constant" or "inverse-sqrt", else kUsage.
ScheduleKind ParseSchedule(std::string_view name);
const char* ScheduleName(ScheduleKind kind);
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kCosine;  // what follows the warm-up
  idx_t warmup = 50;                          // updates; negative: 6 % of them
  double final_rate = 0.1;  // of the learning rate: after the last update of cosine and linear
};

// Rows of so many tokens for so many updates. The last stage has no number of updates, 0.
struct LengthStage {
  idx_t tokens = 0;   // of a row
  idx_t updates = 0;  // of this stage
};
// "512:1000,4096:" is rows of 512 tokens for 1,000 updates, then of 4,096. kUsage for anything
// else.
std::vector<LengthStage> ParseLengths(std::string_view text);

// Which parameters a run trains, by their names in the model's files. A * in a pattern stands for
// any letters. A pattern that matches no parameter is kUsage.
struct TrainedParameters {
  std::vector<std::string> only;    // patterns of those that are trained; empty: all
  std::vector<std::string> freeze;  // patterns of those that are not, whatever `only` says
  // The largest learning rate of the head, the parameters outside the encoder. Absent: that of all.
  std::optional<double> head_learning_rate = {};
};

// How a step is computed.
struct ComputeOptions {
  // Operand type of products: kF32 or kBF16. In both cases weights, gradients and optimizer are
  // fp32.
  DType dtype = DType::kF32;
  // Bytes that a step may take, weights and optimizer included; a limit of the context
  // (Context::LimitMemory) counts as this one. Activations are saved as far as
  // they fit and recomputed beyond. The gradients have the same bits. 0: Reformers save nothing,
  // Longformers save everything.
  std::size_t memory = 0;
  // Bytes that the program takes beside these, for messages: where it is not 0, they count from the
  // whole of --memory.
  std::size_t program = 0;
  // Bytes of `memory` that sums of gradients over micro-batches take. A training counts them
  // itself, whatever this says.
  std::size_t sums = 0;
  // Ranks that share the optimizer's state and the sums (Context::Join). A training counts them
  // itself, whatever this says.
  int ranks = 1;
  // Type of the residual streams' gradients between layers: kF32, or kBF16 with stochastic
  // rounding. Only for language models of Reformers.
  DType gradient_streams = DType::kF32;
  // Layers save only their input: a third more time, less memory. Not for Reformers, whose layers
  // are reversible.
  bool recompute = false;
  std::optional<double> dropout;  // instead of the config's dropouts
  bool allow_nonfinite = false;   // the start model's weights may hold NaN or infinity
  // The attention that a Reformer's weights are used with; the trained model's config gets it.
  // `strict` refuses rows that `transformers` refuses to train on.
  ReformerOptions reformer;
};

// What is written on the way, and how a run begins and goes on.
struct CheckpointOptions {
  idx_t log_every = 10;      // updates between lines of metrics.jsonl
  idx_t eval_every = 250;    // 0: only at the end
  idx_t save_every = 250;    // 0: only at the end
  idx_t keep = 2;            // checkpoints, besides the best (SelectionOptions)
  bool tensorboard = false;  // also write what metrics.jsonl has as events for TensorBoard
  bool resume = false;       // continue from the newest whole checkpoint
  // Continues until `steps` updates in all, more than the run was made for. If the schedule gives
  // the finished updates the same learning rates, the bits are those of one long run.
  bool extend = false;
  bool overwrite = false;  // delete what earlier runs wrote there, nothing else
  // What happens if a checkpoint cannot be written (kIo). True: the run ends at the second failure
  // in a row. False: at the first. Earlier checkpoints stay whole.
  bool survive_save_error = true;
  double first_save_s = 600.0;  // seconds to the first checkpoint at most
  // Seconds of training (TrainResult::total_seconds) after which the run ends as at its last
  // update: evaluated and saved. At least one update is made. 0: no limit.
  double max_time_s = 0.0;
};

// Which of a run's models it leaves in its folder.
enum class KeptModel {
  kLast,  // that of the last update
  kBest,  // that of the best evaluation
};

// Which model is the best, and when a run ends before its last update. Evaluations on the held-out
// texts decide both. The best checkpoint is never rotated away. A run that leaves the best model
// writes its checkpoint at once; another one has the best of the checkpoints that it writes anyway.
// A run that is resumed goes on from its newest checkpoint, whatever model lies in its folder.
struct SelectionOptions {
  // What is compared: "loss", or the name of a metric of the task (TrainMetric). The name says
  // whether greater or smaller values are better. A value that is not finite is never the best.
  std::string metric = "loss";
  // Evaluations in a row without a better value that end the run; 0: none do. Needs eval_every.
  idx_t patience = 0;
  KeptModel kept = KeptModel::kLast;  // FineTuneOptions: kBest
};

// What every training needs to know.
struct TrainOptions {
  std::filesystem::path model;   // folder with the config and weights to start from
  std::filesystem::path output;  // folder of the run
  TrainData data;                // what is learnt from
  idx_t steps = 1000;            // updates
  idx_t batch = 8;               // rows a micro-batch
  idx_t tokens = 512;            // a row
  // Rows that get longer, of language models and masked ones that are not packed; empty: all have
  // `tokens`. The longest takes the place of `tokens`: memory and evaluations go by it.
  std::vector<LengthStage> lengths = {};
  idx_t accumulate = 1;  // micro-batches an update, of all ranks together
  // True: at least one micro-batch for each rank (Context::Join), and a run that is resumed keeps
  // the number that it has. False: fewer than ranks are kUsage.
  bool accumulate_for_ranks = false;
  // Neighbouring ranks that share each row (Context::Join): each holds the streams of a slab of its
  // tokens, so that a row may be longer than one machine's memory. Divides the ranks; at most the
  // heads of a layer. A micro-batch is computed by so many ranks. Another number rounds sums
  // differently. kUsage for models and trainings that do not share rows.
  int row_ranks = 1;
  std::uint64_t seed = 1;         // of windows, masks, dropout and new weights
  OptimizerOptions optimizer;     // how weights are updated
  ScheduleOptions schedule;       // of the learning rate
  TrainedParameters trained;      // which weights are updated
  ComputeOptions compute;         // how a step is computed
  CheckpointOptions checkpoints;  // what is written on the way
  SelectionOptions selection;     // which model is the best, and when that is enough
};

// The defaults of fine-tuning: learning rate 3e-5 with a linear schedule to 0, warm-up over 6 %
// of the updates, AdamW's beta2 0.999, weight decay 0.01, batch 1, accumulated to 8 rows, tokens
// 0 (all positions of the model), and the best model is kept. A tiny model with random weights
// needs a learning rate near 1e-3.
TrainOptions FineTuneOptions();

// ---- what a run tells ---------------------------------------------------------------------------

// A named number beside the loss: "accuracy", "macro_f1".
struct TrainMetric {
  std::string name;    // "accuracy", "macro_f1"
  double value = 0.0;  // of the held-out texts
};

// Reports one update, one evaluation or another event.
struct TrainEvent {
  // kStart: the output holds a checkpoint, and should_stop is called from now on. kEvaluating:
  // `step` of `steps` rows or tokens of an evaluation are done.
  enum class Kind { kStart, kStep, kEvaluating, kEval, kSave, kNote };
  Kind kind = Kind::kStep;     // what happened
  idx_t step = 0, steps = 0;   // number of this one; of all that are wanted
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
  // kStep of a training by several ranks: how many, the share of the update's time in which this
  // one exchanged with others or waited for them, and the bytes that it has sent since the update
  // before; and by kind, the seconds of this update and the same bytes. 0: one process.
  idx_t ranks = 0;
  idx_t accumulate = 0;  // kStart: micro-batches of an update
  double waiting_share = 0.0;
  idx_t bytes_sent = 0;
  ExchangeCounts exchanged{};
  std::string text;  // kSave, kNote: a line; kStart: the newest checkpoint's name
};

// Seconds of this process's training, by what they went for.
struct TrainTimes {
  double computing = 0.0;    // gradients, and updates of the weights
  double data = 0.0;         // the rows of updates are drawn, and made into batches
  double log = 0.0;          // metrics.jsonl, and the hooks that hear of updates
  double saves = 0.0;        // checkpoints
  double evaluations = 0.0;  // on the held-out texts
  // All but the evaluations.
  double Updates() const { return computing + data + log + saves; }
};

// What came of a training.
struct TrainResult {
  idx_t step = 0;        // of the last update
  idx_t skipped = 0;     // updates that were not applied: loss or gradient not finite
  bool stopped = false;  // by should_stop
  // The update after which the model in the output stood: `step`, or an earlier one that was better
  // (KeptModel::kBest). Loss and metrics are those of its evaluation. Of a run that was stopped
  // they are those of the newest evaluation, and the output holds checkpoints only.
  idx_t model_step = 0;
  bool out_of_time = false;          // before its last update, by max_time_s
  bool ended_early = false;          // patience was at its end, `step` is below the wanted number
  double eval_bits_per_byte = 0.0;   // NaN if the loss is not of bytes
  double eval_loss = 0.0;            // per predicted byte, token or text
  std::vector<TrainMetric> metrics;  // beside the loss
  // Held-out texts of a classifier, and the metric that is the share of them that is right:
  // "accuracy", of sets "exact_match", of numbers none. 0 for other trainings.
  idx_t held_out_texts = 0;
  std::string share_of_texts;
  bool resumed = false;  // it went on from a checkpoint
  double seconds = 0.0;  // of this process's training, evaluation included
  // With those of the processes before it, up to the checkpoints that the run went on from. It
  // counts from a checkpoint of version 0.2 or older, which does not say.
  double total_seconds = 0.0;
  TrainTimes times;
};

// Each may be empty. They are called on the thread that trains. Rank 0 of several reports all
// events, the others kStart and kStep; a wish of any rank is followed by all after the same update.
struct TrainHooks {
  std::function<void(const TrainEvent&)> on_event;  // gets each event
  // Called after each update and between the batches of an evaluation. True ends the evaluation and
  // saves the run. options.resume then continues it to the same bits.
  std::function<bool()> should_stop;
  std::function<bool()> should_save;  // called after each update; true: save a checkpoint
};

// ---- language models ----------------------------------------------------------------------------

// Options of a language model's training text.
struct LanguageModelOptions {
  // A directory with a tokenizer, which is copied to the trained model, or "bytes" for the built-in
  // one. Empty: the model's own.
  std::filesystem::path tokenizer;
  // Where a document ends. The tokenizer's end of text follows each one, and the model learns to
  // predict it. kJoined: all texts are one, rows begin anywhere.
  Documents documents = Documents::kJoined;
  // True: rows hold whole documents side by side, each with positions from 0. No token sees another
  // document, and nothing is predicted across a border. The gradient is that of separate documents.
  // A document longer than a row is cut.
  bool packed = false;
};

// With a context that has joined a world (longspan/world.h) the training is that of all its ranks,
// which call the same function with the same options. Each computes its share of an update's
// micro-batches, and all have the same weights. They share evaluations too. The number of ranks
// changes no bit. Rank 0 writes the output, a folder that all ranks see. Also thrown: kPeer when
// another rank is gone, kFormat when one has other options, texts or weights.
//
// Trains a Reformer, and writes metrics.jsonl, checkpoints and the kept model into options.output.
// The first checkpoint is written before the first update, so faults of saving appear at once. An
// update whose loss or gradient is not finite is not applied. Three in a row end the run. The same
// options give the same bits for any number of threads, and after any interruption and resume.
// Errors: kUsage (options), kFormat (files; a resumed run without a checkpoint, or with another
// model or other data), kIo, kLocked (another run uses the output), kNumeric (three updates in a
// row or the weights are not finite), kLimit, kCancelled. Whatever ends a run, the last checkpoint
// stays whole.
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const TrainHooks& hooks = {});
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const LanguageModelOptions& task, const TrainHooks& hooks = {});

// ---- masked language models ---------------------------------------------------------------------

// How a masked language model learns.
struct MaskedLmOptions {
  double mask_share = 0.15;  // share of the tokens that are not special
  // Where a document ends. All documents are joined with the tokenizer's separator, and rows are
  // cut at random places. Not kJoined.
  Documents documents = Documents::kFile;
  // True: rows hold whole documents side by side. Each has its own special tokens, positions and
  // global tokens, and no token sees another document. The gradient is that of separate documents.
  // A document longer than a row is cut.
  bool packed = false;
  GlobalRule global;  // which tokens are global; head: none
};

// Adapts a Longformer, a ModernBERT or a Reformer to texts by masked language modelling with
// RoBERTa's rule: in each row 15 % of the tokens are predicted, of which 80 % become the mask token
// and 10 % a random one. The tokenizer is in the model's folder. Files and errors are those of
// TrainLanguageModel. kFormat also for a tokenizer without a mask token or of another model.
TrainResult TrainMaskedLm(Context& context, const TrainOptions& options,
                          const MaskedLmOptions& task, const TrainHooks& hooks = {});

// ---- classifiers --------------------------------------------------------------------------------

// How much rows (of token classes: words) of each class count in the loss of a training.
struct ClassWeights {
  // Each class of the training rows has the same weight in all: rows / (classes * rows of the
  // class). A class without rows has 1.
  bool balanced = false;
  // Weights above 0 by the labels' names; other classes have 1.
  std::map<std::string, double> of = {};

  // "balanced", "NAME=WEIGHT,NAME=WEIGHT" or, for names with commas, {"NAME": WEIGHT} in JSON.
  // Empty: all classes have 1. kUsage.
  static ClassWeights Parse(std::string_view text);
};

// What a classifier learns from a text in several windows: from each of them, with the label of the
// text, as from a row of its own; or from the mean of their scores, which evaluations measure and
// Classify answers.
enum class WindowLoss { kEach, kMean };
// "each" or "mean"; kUsage otherwise.
WindowLoss ParseWindowLoss(std::string_view name);
std::string_view WindowLossName(WindowLoss loss);

// How a classifier learns.
struct ClassifyOptions {
  // One of several classes, any of several, or a number. kInferred: any of several if a label is a
  // JSON list, else one class.
  ProblemType problem = ProblemType::kInferred;
  double epochs = 3.0;  // over the training rows; 0: options.steps counts
  // What happens to a text with more tokens than a row: kError, kTruncate or kWindow. kWindow reads
  // it in several rows. A training learns from them as `window_loss` says; an evaluation takes the
  // mean of their scores, as Classify does.
  text::Overflow overflow = text::Overflow::kError;
  // kMean needs kWindow (kUsage). Batches and epochs count texts then, and the windows of a text
  // run `batch` rows at a time, twice: first for their scores, then for the gradients of the loss.
  WindowLoss window_loss = WindowLoss::kEach;
  idx_t stride = 0;        // tokens that neighbouring windows share
  GlobalRule global = {};  // head: the first token
  // Of one class of several: weights of the classes, and the share of each target that is spread
  // over all classes, [0, 1), as PyTorch's cross_entropy has them; the mean is by the weights.
  // Evaluations use neither. kUsage for sets of labels and for numbers.
  ClassWeights weights = {};
  double label_smoothing = 0.0;
};
// "auto", "single", "multi" or "regression"; kUsage otherwise.
ProblemType ParseProblem(std::string_view name);
std::string ProblemName(ProblemType problem);

// Fine-tunes a Longformer, a ModernBERT or a Reformer on texts with labels (.csv, .tsv, JSON). Each
// epoch uses every row once. Rows of similar length run together, so there is little padding (in a
// Longformer and a ModernBERT none: they stand side by side). The labels' names are sorted and
// become the config's id2label. A head over the same labels continues to learn, any other starts
// from random weights. Metrics: accuracy, auc, macro_f1, weighted_f1, of classes mcc, of sets
// exact_match and micro_f1, of numbers mse, pearson, spearman.
TrainResult TrainClassifier(Context& context, const TrainOptions& options,
                            const ClassifyOptions& task, const TrainHooks& hooks = {});

// ---- vectors of texts ---------------------------------------------------------------------------

// What vectors learn from; src/train/vector_losses.h has the formulas. The names in brackets are
// those of sentence-transformers.
//   kAuto      in-batch for rows with a positive, cosine for rows with a score
//   kInBatch   an anchor is nearer to its positive than to the positives and negatives of all rows
//              of its batch (MultipleNegativesRankingLoss)
//   kTriplet   an anchor is nearer to its positive than to its negative, by a margin (TripletLoss)
//   kCosine    the cosine of two texts is their score (CosineSimilarityLoss)
//   kCosent    the cosines of two texts have the order of their scores (CoSENTLoss)
enum class EmbedLoss { kAuto, kInBatch, kTriplet, kCosine, kCosent };
EmbedLoss ParseEmbedLoss(std::string_view name);  // "auto", "in-batch", "triplet", ...; else kUsage
std::string_view EmbedLossName(EmbedLoss loss);

// The columns of tables, or fields of JSON, that rows of texts have. A row is a pair (anchor and
// positive), a triplet (with negative, which may be a list of texts), or two texts with a score.
// The first row that is read says which of the two forms all rows have.
struct PairColumns {
  std::string anchor = "anchor", positive = "positive", negative = "negative";  // of the first form
  std::string first = "sentence1", second = "sentence2", score = "score";       // of the second
};

// How a model learns to make vectors.
struct EmbedTrainingOptions {
  EmbedLoss loss = EmbedLoss::kAuto;  // what is learnt; kAuto: what suits the rows
  // Rows whose texts are compared with each other; an update has TrainOptions::accumulate such
  // batches. Their texts run through the model a few at a time (as many as fit into
  // TrainOptions::batch rows of TrainOptions::tokens tokens), whatever this is.
  idx_t negatives_batch = 64;
  double scale = 20.0;                 // of cosines: kInBatch, kCosent
  std::optional<double> margin;        // of kTriplet; absent: 5, of cosines 0.5
  bool cosine_distance = false;        // kTriplet: 1 - cosine instead of the Euclidean distance
  std::vector<idx_t> matryoshka;       // widths whose losses are summed; empty: the whole vector
  double epochs = 3.0;                 // over the training rows; 0: TrainOptions::steps counts
  std::optional<PoolingMode> pooling;  // absent: as the folder says, else the mean
  // What happens to a text with more tokens than a row. kWindow: it is read in windows, as Embedder
  // does.
  text::Overflow overflow = text::Overflow::kWindow;
  GlobalRule global;  // which tokens are global; head: none
  // What stands before the anchors, and before all other texts. Absent: the folder's prompts
  // "query" and "document" (or "passage", "corpus"), else its default prompt, if it has one. Scored
  // pairs have text_prompt only.
  std::optional<std::string> anchor_prompt, text_prompt;
  PairColumns columns;  // names of the columns
};

// Fine-tunes the encoder of a folder to make vectors of texts, from pairs, triplets or scored pairs
// (.csv, .tsv, JSON). Gradients are cached (Gao et al. 2021, arXiv:2101.06983): all texts of a
// batch are embedded without keeping activations, the loss over all their vectors gives each one's
// gradient, and the texts run a second time with gradients. So memory is that of a few texts, and
// the gradient that of the whole batch. The trained folder opens in Embedder and in
// sentence-transformers. Modules with weights (Dense, LayerNorm) are refused. Metrics of held-out
// pairs: mrr and recall_1, _5, _10 among all held-out positives and negatives, and triplets (the
// share whose positive is nearer); of scored pairs pearson and spearman.
TrainResult TrainEmbedder(Context& context, const TrainOptions& options,
                          const EmbedTrainingOptions& task, const TrainHooks& hooks = {});

// ---- rerankers ----------------------------------------------------------------------------------

// The columns of tables, or fields of JSON, that queries with texts have. A row is a query, a text
// and a label from 0 to 1; or a query with texts that are relevant and texts that are not, one or a
// list of each. The first row that is read says which of the two forms all rows have.
struct JudgedColumns {
  std::string query = "query", text = "text", label = "label";  // of the first form
  std::string positive = "positive", negatives = "negatives";   // of the second, beside query
};

// How a model learns to judge texts for a query.
struct RerankTrainingOptions {
  double epochs = 3.0;  // over the training rows; 0: TrainOptions::steps counts
  // What happens to a pair with more tokens than a row: kTruncate or kError.
  text::Overflow overflow = text::Overflow::kTruncate;
  GlobalRule global;      // which tokens are global; head: the first token
  JudgedColumns columns;  // names of the columns
};

// Fine-tunes a classifier of pairs with one label by binary cross entropy. A head with one label
// continues to learn, any other starts from random weights. The trained folder opens in Reranker,
// and in sentence-transformers as a CrossEncoder. What is held out is whole queries. Metrics:
// accuracy of pairs (relevant above 0.5), average_precision over all pairs, mrr and ndcg of each
// query's first ten texts.
TrainResult TrainReranker(Context& context, const TrainOptions& options,
                          const RerankTrainingOptions& task, const TrainHooks& hooks = {});

}  // namespace longspan
#pragma GCC visibility pop
