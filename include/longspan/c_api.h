/* longspan for C and for languages that call C: load a model, embed, classify, generate.
 *
 * Handles are opaque. Every call that can fail returns a status; longspan_last_error() then has one
 * line that says what, where, which value, and what to do. Texts are bytes in UTF-8 (models of
 * bytes take any), given with their length; nothing is kept after a call returns. No call prints,
 * aborts or exits, and none throws.
 *
 * Threads: a model may be used by any number of threads at once, each with a context of its own. A
 * context serves one thread at a time; longspan_context_cancel() alone may be called from others.
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

/* ---- classes --------------------------------------------------------------------------------- */

int64_t longspan_label_count(const longspan_model* model);
/* The name of a label, UTF-8; NULL where there is none. It lives as long as the model. */
const char* longspan_label(const longspan_model* model, int64_t label);

/* Writes scores (count, labels): probabilities of classes, of each label of a set, or numbers. */
longspan_status longspan_classify(longspan_context* context, const longspan_model* model,
                                  const char* const* texts, const size_t* lengths, size_t count,
                                  double* scores);

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

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
