/* longspan from C: makes a tiny classifier, trains it on rows with texts and labels, measures it,
 * and asks it about a text.
 *   train_from_c ROWS FOLDER TEXT
 * ROWS is a table (.csv, .tsv, .jsonl) with "text" and "label". FOLDER, which is there, gets the
 * models "start" and "run".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "longspan/c_api.h"

/* What is open, so that one place closes it. */
typedef struct work {
  longspan_context* context;
  longspan_options* options;
  longspan_report* report;
  longspan_model* model;
} work;

/* Sets options of "name", "value", ..., NULL in place of those before. */
static longspan_status Options(work* w, const char* const* pairs) {
  longspan_options_free(w->options);
  w->options = NULL;
  longspan_status status = longspan_options_new(&w->options);
  for (; status == LONGSPAN_OK && *pairs != NULL; pairs += 2) {
    status = longspan_options_set(w->options, pairs[0], pairs[1]);
  }
  return status;
}

static longspan_train_wish Tell(void* user, const longspan_train_event* event) {
  (void)user;
  if (event->kind == LONGSPAN_EVENT_STEP) {
    printf("update %lld of %lld: loss %.4f\n", (long long)event->step, (long long)event->steps,
           event->loss);
  }
  return LONGSPAN_TRAIN_ON; /* LONGSPAN_TRAIN_STOP would save the run and end it */
}

static longspan_status Train(work* w, const char* rows, const char* start, const char* run) {
  const char* small[] = {"preset", "tiny", NULL};
  longspan_status status = Options(w, small);
  if (status == LONGSPAN_OK) status = longspan_model_init(w->context, start, w->options, NULL);
  if (status != LONGSPAN_OK) return status;
  const char* training[] = {"model",    start, "output",        run,    "train",  rows,
                            "epochs",   "4",   "learning_rate", "1e-3", "batch",  "4",
                            "held_out", "0.2", "accumulate",    "1",    "tokens", "64",
                            NULL};
  status = Options(w, training);
  if (status != LONGSPAN_OK) return status;
  status = longspan_train(w->context, "classify", w->options, Tell, NULL, NULL);
  if (status != LONGSPAN_OK) return status;
  const char* evaluation[] = {"model", run, "data", rows, NULL};
  status = Options(w, evaluation);
  if (status != LONGSPAN_OK) return status;
  status = longspan_evaluate(w->context, "classify", w->options, &w->report);
  double accuracy = 0.0;
  if (status == LONGSPAN_OK) status = longspan_report_value(w->report, "accuracy", &accuracy);
  if (status == LONGSPAN_OK) printf("accuracy %.3f\n", accuracy);
  return status;
}

static longspan_status Ask(work* w, const char* run, const char* text) {
  longspan_status status = longspan_model_load_in(w->context, run, NULL, &w->model);
  if (status != LONGSPAN_OK) return status;
  const int64_t labels = longspan_label_count(w->model);
  double* scores = malloc((size_t)(labels > 0 ? labels : 1) * sizeof(double));
  if (scores == NULL) return LONGSPAN_LIMIT;
  status = longspan_classify(w->context, w->model, &text, NULL, 1, scores);
  for (int64_t i = 0; status == LONGSPAN_OK && i < labels; ++i) {
    printf("%s %.6f\n", longspan_label(w->model, i), scores[i]);
  }
  free(scores);
  return status;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: train_from_c ROWS FOLDER TEXT\n");
    return LONGSPAN_USAGE;
  }
  char start[4096], run[4096];
  snprintf(start, sizeof(start), "%s/start", argv[2]);
  snprintf(run, sizeof(run), "%s/run", argv[2]);
  work w = {NULL, NULL, NULL, NULL};
  longspan_status status = longspan_context_new(0, &w.context);
  if (status == LONGSPAN_OK) status = Train(&w, argv[1], start, run);
  if (status == LONGSPAN_OK) status = Ask(&w, run, argv[3]);
  if (status != LONGSPAN_OK) fprintf(stderr, "train_from_c: %s\n", longspan_last_error());
  longspan_model_free(w.model);
  longspan_report_free(w.report);
  longspan_options_free(w.options);
  longspan_context_free(w.context);
  return (int)status;
}
