/* longspan from C: vectors, classes or new text of what stands on the command line.
 *   use_from_c embed MODEL TEXT
 *   use_from_c classify MODEL TEXT
 *   use_from_c generate MODEL PROMPT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "longspan/c_api.h"

static longspan_status Embed(longspan_context* context, const longspan_model* model,
                             const char* text) {
  int64_t width = 0;
  longspan_status status = longspan_embedding_width(model, &width);
  if (status != LONGSPAN_OK) return status;
  float* vector = malloc((size_t)width * sizeof(float));
  if (vector == NULL) return LONGSPAN_LIMIT;
  status = longspan_embed(context, model, &text, NULL, 1, vector);
  if (status == LONGSPAN_OK) {
    for (int64_t i = 0; i < width; ++i) printf(i == 0 ? "%.8g" : " %.8g", vector[i]);
    printf("\n");
  }
  free(vector);
  return status;
}

static longspan_status Classify(longspan_context* context, const longspan_model* model,
                                const char* text) {
  const int64_t labels = longspan_label_count(model);
  double* scores = malloc((size_t)(labels > 0 ? labels : 1) * sizeof(double));
  if (scores == NULL) return LONGSPAN_LIMIT;
  const longspan_status status = longspan_classify(context, model, &text, NULL, 1, scores);
  if (status == LONGSPAN_OK) {
    for (int64_t i = 0; i < labels; ++i) printf("%s %.6f\n", longspan_label(model, i), scores[i]);
  }
  free(scores);
  return status;
}

static int Print(void* user, const char* bytes, size_t length) {
  fwrite(bytes, 1, length, (FILE*)user);
  return 0; /* anything else would end the text */
}

static longspan_status Generate(longspan_context* context, const longspan_model* model,
                                const char* prompt) {
  longspan_generate_options options = {.size = sizeof(options), .tokens = 40, .greedy = 1};
  const longspan_status status =
      longspan_generate(context, model, prompt, strlen(prompt), &options, Print, stdout);
  printf("\n");
  return status;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: use_from_c embed|classify|generate MODEL TEXT\n");
    return LONGSPAN_USAGE;
  }
  longspan_context* context = NULL;
  longspan_model* model = NULL;
  longspan_status status = longspan_context_new(0, &context);
  if (status == LONGSPAN_OK) status = longspan_model_load(argv[2], NULL, &model);
  if (status == LONGSPAN_OK) {
    if (strcmp(argv[1], "embed") == 0) {
      status = Embed(context, model, argv[3]);
    } else if (strcmp(argv[1], "classify") == 0) {
      status = Classify(context, model, argv[3]);
    } else {
      status = Generate(context, model, argv[3]);
    }
  }
  if (status != LONGSPAN_OK) fprintf(stderr, "use_from_c: %s\n", longspan_last_error());
  longspan_model_free(model);
  longspan_context_free(context);
  return status;
}
