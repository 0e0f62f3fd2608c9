/* longspan for C and for languages that call C: models are made, trained, evaluated and converted,
 * and asked about texts: vectors, classes, classes of words, answers, choices, missing words,
 * relevance, new text.
 *
 * Handles are opaque. Every call that can fail returns a status; longspan_last_error() then has one
 * line that says what, where, which value, and what to do. Texts are bytes in UTF-8 (models of
 * bytes take any), given with their length; nothing is kept after a call returns. No call prints,
 * aborts or exits, and none throws.
 *
 * Arguments: where nothing else is said, a NULL is LONGSPAN_USAGE. Arrays are dense, the last axis
 * fastest. A call that fails leaves what it would have written undefined, but for handles: those
 * are as they were. What a function with `_new`, `_load` or a handle's address makes is the
 * caller's, who frees it with the function of its kind, once.
 *
 * Errors: calls with a model may end with LONGSPAN_USAGE (another model is needed, an argument is
 * out of range), LONGSPAN_FORMAT (a text or a file cannot be read), LONGSPAN_LIMIT (memory, or a
 * text that is too long), LONGSPAN_NUMERIC and LONGSPAN_CANCELLED; those that read or write files
 * with LONGSPAN_IO besides. Comments below name only what is special.
 *
 * Threads: a model may be used by any number of threads at once, each with a context of its own. A
 * context serves one thread at a time; longspan_context_cancel() alone may be called from others.
 * Options, spans and reports may be read by any number of threads, and changed and freed by one.
 * docs/reference/versioning.md says what stays the same between versions. */
#ifndef LONGSPAN_C_API_H
#define LONGSPAN_C_API_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The kinds of errors, as longspan/error.h has them. */
typedef enum longspan_status {
  LONGSPAN_OK = 0,
  LONGSPAN_USAGE = 2,     /* a bad argument */
  LONGSPAN_FORMAT = 3,    /* a bad model, config or tokenizer */
  LONGSPAN_IO = 4,        /* the operating system refused */
  LONGSPAN_LIMIT = 5,     /* memory or another limit would be exceeded */
  LONGSPAN_NUMERIC = 6,   /* a number is not finite */
  LONGSPAN_LOCKED = 7,    /* another process owns the folder */
  LONGSPAN_PEER = 8,      /* another process of the same run failed */
  LONGSPAN_CANCELLED = 9, /* the caller ended the call */
  LONGSPAN_INTERNAL = 99  /* a mistake of the library */
} longspan_status;

typedef struct longspan_context longspan_context;
typedef struct longspan_model longspan_model;

/* "0.2.0": of the library that runs, which may be newer than this header. */
const char* longspan_version(void);

/* What the last failed call of the calling thread says; "" before any. It stays until that thread's
 * next call. */
const char* longspan_last_error(void);

/* ---- contexts -------------------------------------------------------------------------------- */

/* Threads and scratch memory of the calls of one thread. `threads` 0: LONGSPAN_THREADS, else the
 * CPUs that the process may use. */
longspan_status longspan_context_new(int threads, longspan_context** context);
void longspan_context_free(longspan_context* context); /* NULL does nothing */

/* The bytes that a call may take beside its arguments; 0: any. What needs more is refused before it
 * allocates (LONGSPAN_LIMIT). */
longspan_status longspan_context_limit_memory(longspan_context* context, size_t bytes);

/* Ends the call that runs with this context, within a second, and every later one, with
 * LONGSPAN_CANCELLED, until longspan_context_reset. */
void longspan_context_cancel(longspan_context* context);
void longspan_context_reset(longspan_context* context);

/* ---- models ---------------------------------------------------------------------------------- */

/* Set `size` to sizeof(longspan_load_options), and everything that is not wanted to 0. */
typedef struct longspan_load_options {
  size_t size;         /* sizeof this struct */
  int bf16;            /* 1: products of bf16, half the memory traffic */
  int allow_nonfinite; /* 1: weights may hold NaN or infinity */
  int64_t max_tokens;  /* of a row; longer texts are read in windows; 0: all positions */
} longspan_load_options;

/* A folder of any family in the Hugging Face layout, with its tokenizer. `options` may be NULL. */
longspan_status longspan_model_load(const char* directory, const longspan_load_options* options,
                                    longspan_model** model);
/* The same, which the context can cancel, and whose weights its memory limit bounds. */
longspan_status longspan_model_load_in(longspan_context* context, const char* directory,
                                       const longspan_load_options* options,
                                       longspan_model** model);
void longspan_model_free(longspan_model* model); /* NULL does nothing */

/* "LongformerForSequenceClassification". It lives as long as the model. */
const char* longspan_model_class(const longspan_model* model);
int64_t longspan_model_longest(const longspan_model* model); /* tokens of a row at most */

/* ---- vectors --------------------------------------------------------------------------------- */

/* Channels of a vector: what `vectors` below has for each text. */
longspan_status longspan_embedding_width(const longspan_model* model, int64_t* width);

/* Writes a vector for each text into vectors (count, width), as the folder's files of
 * sentence-transformers say, or else the mean over all tokens. `lengths` NULL: texts end with
 * NUL. */
longspan_status longspan_embed(longspan_context* context, const longspan_model* model,
                               const char* const* texts, const size_t* lengths, size_t count,
                               float* vectors);

/* The `most` rows of vectors (count, width) whose cosine to query (width) is largest, the nearest
 * first: their numbers go to rows, their cosines (-1 to 1) to cosines, arrays of `most` elements.
 * `found` gets how many there are, at most count. LONGSPAN_USAGE if most or width is below 1. */
longspan_status longspan_nearest(const float* query, const float* vectors, size_t count,
                                 int64_t width, size_t most, int64_t* rows, double* cosines,
                                 size_t* found);

/* ---- classes --------------------------------------------------------------------------------- */

int64_t longspan_label_count(const longspan_model* model);
/* The name of a label, UTF-8; NULL where there is none. It lives as long as the model. */
const char* longspan_label(const longspan_model* model, int64_t label);

/* Writes scores (count, labels): probabilities of classes, of each label of a set, or numbers. */
longspan_status longspan_classify(longspan_context* context, const longspan_model* model,
                                  const char* const* texts, const size_t* lengths, size_t count,
                                  double* scores);

/* Writes scores (count): how relevant each text is to the query of `length` bytes, as a
 * CrossEncoder of sentence-transformers says. The model is a classifier of one label, else
 * LONGSPAN_FORMAT. */
longspan_status longspan_rerank(longspan_context* context, const longspan_model* model,
                                const char* query, size_t length, const char* const* texts,
                                const size_t* lengths, size_t count, double* scores);

/* Writes scores (count): the probability of each of two or more choices that answer a question of
 * `length` bytes, with what it is about in front of it. The model is one for multiple choice. */
longspan_status longspan_choose(longspan_context* context, const longspan_model* model,
                                const char* question, size_t length, const char* const* choices,
                                const size_t* lengths, size_t count, double* scores);

/* ---- places in texts ------------------------------------------------------------------------- */

/* What a call has found in texts: spans, in the order of the texts. */
typedef struct longspan_spans longspan_spans;

/* A part of a text. Set `size` to sizeof(longspan_span) before the struct is filled. Characters are
 * Unicode code points; both places count from 0, and an end is behind the last one. */
typedef struct longspan_span {
  size_t size;         /* sizeof this struct */
  size_t text;         /* the number of its text, from 0 */
  size_t part;         /* of a missing word: the number of its mask in the text; else 0 */
  const char* label;   /* class, or the word for a mask; NULL: none. It lives as the spans do */
  double score;        /* a probability, or a mean of some */
  int64_t chars_begin; /* in characters of the text */
  int64_t chars_end;   /* behind the last one */
  int64_t bytes_begin; /* in bytes of the text */
  int64_t bytes_end;   /* behind the last one */
  int64_t token;       /* of a missing word: its id in the vocabulary; else -1 */
  int none;            /* 1: of an answer, the text does not say; the place is empty */
} longspan_span;

size_t longspan_spans_count(const longspan_spans* spans); /* NULL: 0 */
/* Fills a span. LONGSPAN_USAGE for a number that is not below the count. */
longspan_status longspan_spans_at(const longspan_spans* spans, size_t number, longspan_span* span);
void longspan_spans_free(longspan_spans* spans); /* NULL does nothing */

/* Spans of each text and their classes, without those of the class "O". `aggregation`: "none",
 * "simple", "first", "average" or "max", as Hugging Face's pipeline has them; NULL: "simple". The
 * model is one for classes of tokens. Free `spans` with longspan_spans_free. */
longspan_status longspan_classify_tokens(longspan_context* context, const longspan_model* model,
                                         const char* const* texts, const size_t* lengths,
                                         size_t count, const char* aggregation,
                                         longspan_spans** spans);

/* Set `size` to sizeof(longspan_answer_options); 0 means the default of the other fields. */
typedef struct longspan_answer_options {
  size_t size;     /* sizeof this struct */
  int64_t most;    /* answers for each question; default 1 */
  int64_t longest; /* tokens of an answer; default 30 */
  int may_be_none; /* 1: "the text does not say" counts as an answer */
} longspan_answer_options;

/* The parts of each text that answer the question of the same number (count of both), the best
 * first. Scores are P(start) P(end) among all tokens of the text. `options` may be NULL. The model
 * is one for questions. Free `spans` with longspan_spans_free. */
longspan_status longspan_answer(longspan_context* context, const longspan_model* model,
                                const char* const* questions, const size_t* question_lengths,
                                const char* const* texts, const size_t* lengths, size_t count,
                                const longspan_answer_options* options, longspan_spans** spans);

/* The `most` likeliest words for each mask of each text, the likeliest first; longspan_mask() is
 * what stands for one. `label` is what the word adds to the text, with its space. LONGSPAN_USAGE
 * for a text without a mask. Free `spans` with longspan_spans_free. */
longspan_status longspan_fill_masks(longspan_context* context, const longspan_model* model,
                                    const char* const* texts, const size_t* lengths, size_t count,
                                    int64_t most, longspan_spans** spans);
/* The text of the tokenizer's mask: "<mask>"; NULL where it has none. It lives as long as the
 * model. */
const char* longspan_mask(const longspan_model* model);

/* ---- generation ------------------------------------------------------------------------------ */

/* Gets bytes of the new text as soon as they can be shown: whole characters, no NUL behind them.
 * Anything but 0 ends the text. */
typedef int (*longspan_on_text)(void* user, const char* bytes, size_t length);

/* Set `size` to sizeof(longspan_generate_options); 0 means the default of the other fields. */
typedef struct longspan_generate_options {
  size_t size;              /* sizeof this struct */
  int64_t tokens;           /* to write at most; default 200 */
  int greedy;               /* 1: always the most likely token */
  double temperature;       /* default 0.8 */
  int64_t top_k;            /* only the k most likely; default all */
  double top_p;             /* only the most likely that together reach p; default 1 */
  uint64_t seed;            /* default 1 */
  const char* const* stops; /* strings before which the text ends */
  size_t stop_count;        /* how many */
} longspan_generate_options;

/* Continues a prompt of `length` bytes. `options` and `on_text` may be NULL. */
longspan_status longspan_generate(longspan_context* context, const longspan_model* model,
                                  const char* prompt, size_t length,
                                  const longspan_generate_options* options,
                                  longspan_on_text on_text, void* user);

/* ---- options by name ------------------------------------------------------------------------- */

/* Names and values of a training, an evaluation, a new model or a conversion. Names are those of
 * the program's options, with _ or -; docs/reference/named_options.md lists them. Values are texts:
 * "20", "1e-3", "true", a path. A name that a call does not know is LONGSPAN_USAGE there, and the
 * line says which one may be meant. One handle may serve any number of calls. */
typedef struct longspan_options longspan_options;

/* Options without any value. */
longspan_status longspan_options_new(longspan_options** options);
/* Gives a name its value, in the place of what it has. */
longspan_status longspan_options_set(longspan_options* options, const char* name,
                                     const char* value);
/* Gives one more value to a name that takes a list: "train" (files), "labels", "freeze". */
longspan_status longspan_options_add(longspan_options* options, const char* name,
                                     const char* value);
void longspan_options_free(longspan_options* options); /* NULL does nothing */

/* ---- what a call comes to -------------------------------------------------------------------- */

/* Numbers by name, and lines for people. */
typedef struct longspan_report longspan_report;

size_t longspan_report_count(const longspan_report* report); /* of numbers; NULL: 0 */
/* The name of a number; NULL behind the last one. It lives as the report does. */
const char* longspan_report_name(const longspan_report* report, size_t number);
/* The number with this name. LONGSPAN_USAGE if there is none, with those that there are. */
longspan_status longspan_report_value(const longspan_report* report, const char* name,
                                      double* value);
size_t longspan_report_note_count(const longspan_report* report); /* of lines; NULL: 0 */
/* A line, UTF-8; NULL behind the last one. It lives as the report does. */
const char* longspan_report_note(const longspan_report* report, size_t number);
void longspan_report_free(longspan_report* report); /* NULL does nothing */

/* ---- training and evaluation ----------------------------------------------------------------- */

/* What a training reports. Others may follow: leave those out that you do not know. */
typedef enum longspan_event_kind {
  LONGSPAN_EVENT_START = 0,      /* the output holds a checkpoint: it can be stopped and resumed */
  LONGSPAN_EVENT_STEP = 1,       /* an update was made */
  LONGSPAN_EVENT_EVALUATING = 2, /* `step` of `steps` rows or tokens of an evaluation are done */
  LONGSPAN_EVENT_EVAL = 3,       /* an evaluation has ended */
  LONGSPAN_EVENT_SAVE = 4,       /* a checkpoint was written; `text` is a line */
  LONGSPAN_EVENT_NOTE = 5        /* `text` is a line for people */
} longspan_event_kind;

/* A named number beside the loss: "accuracy". It stands in arrays and never gets more members. */
typedef struct longspan_metric {
  const char* name; /* as the evaluation has it */
  double value;     /* of the held-out texts */
} longspan_metric;

/* An event, for as long as the callback runs. `size` says how far the library's struct reaches. */
typedef struct longspan_train_event {
  size_t size;                    /* of the struct that the library fills */
  longspan_event_kind kind;       /* what happened */
  int skipped;                    /* STEP: loss or gradient were not finite, nothing was updated */
  int64_t step;                   /* number of this update */
  int64_t steps;                  /* of all that are wanted */
  double loss;                    /* STEP, EVAL: mean per predicted byte, token or text */
  double bits_per_byte;           /* the same; NaN if the loss is not of bytes */
  double learning_rate;           /* STEP */
  double gradient_norm;           /* STEP: before clipping */
  double tokens_per_s;            /* STEP */
  double seconds;                 /* of the run so far */
  double seconds_left;            /* STEP: an estimate */
  const longspan_metric* metrics; /* EVAL */
  size_t metric_count;            /* how many */
  const char* text;               /* never NULL */
} longspan_train_event;

/* What a callback wants: LONGSPAN_TRAIN_ON, or one of the others. */
typedef enum longspan_train_wish {
  LONGSPAN_TRAIN_ON = 0,   /* nothing */
  LONGSPAN_TRAIN_STOP = 1, /* to save the run and end it; the option "resume" goes on from there */
  LONGSPAN_TRAIN_SAVE = 2  /* a checkpoint after this update */
} longspan_train_wish;

/* Called for each event, on the thread that trains, which is the one that made the call. */
typedef longspan_train_wish (*longspan_on_train)(void* user, const longspan_train_event* event);

/* Trains for a task: "lm", "mlm", "classify", "token-classify", "qa", "multiple-choice", "embed" or
 * "rerank". The options need "model", "output" and "train". The same options give the same bits for
 * any number of threads, and after any interruption. A stop is no error: "stopped" of the report is
 * 1. A cancelled training is LONGSPAN_CANCELLED; its last checkpoint stays whole. Another run in
 * the output is LONGSPAN_LOCKED. The report, which may be NULL if it is not wanted, has "step",
 * "skipped", "stopped", "model_step", "ended_early", "out_of_time", "resumed", "loss",
 * "bits_per_byte", "seconds", "total_seconds", and the metrics of the model that was kept. Free it
 * with longspan_report_free. `on_event` may be NULL. */
longspan_status longspan_train(longspan_context* context, const char* task,
                               const longspan_options* options, longspan_on_train on_event,
                               void* user, longspan_report** report);

/* Evaluates a model for a task, as above. The options need "model" and "data". The report has
 * "loss", the task's metrics, "counted" (tokens, texts, words, questions or rows) and, where rows
 * are made of texts, "cut" (texts that lost tokens). Free it with longspan_report_free. */
longspan_status longspan_evaluate(longspan_context* context, const char* task,
                                  const longspan_options* options, longspan_report** report);

/* ---- folders of models ----------------------------------------------------------------------- */

/* Makes a model with random weights in a folder, by "preset", "family", "head", "labels" and the
 * like; NULL: the defaults. A new folder appears whole or not at all. The report, which may be
 * NULL, has "parameters". */
longspan_status longspan_model_init(longspan_context* context, const char* output,
                                    const longspan_options* options, longspan_report** report);

/* Writes the model in `source` into `output`, a folder that is not there yet, whole or not at all:
 * its weights as safetensors, or, with "to", as a model of another family. `options` may be NULL.
 * The report, which may be NULL, has "tensors", "shards", "bytes" and "old_tokens". */
longspan_status longspan_model_convert(longspan_context* context, const char* source,
                                       const char* output, const longspan_options* options,
                                       longspan_report** report);

/* Says what stands in a folder, as a JSON object that ends with NUL: of a model its architecture,
 * sizes, parameters and labels, and of anything else "what" it is. `tensors` 1: also name, type and
 * shape of each weight. Free `json` with longspan_text_free. */
longspan_status longspan_describe(const char* path, int tensors, char** json);
void longspan_text_free(char* text); /* NULL does nothing */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
