#include "longspan/c_api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "c_api/handles.h"
#include "longspan/generate.h"
#include "longspan/tasks.h"
#include "longspan/version.h"

namespace longspan {
namespace {

thread_local std::string last_error;

// Keeps a message; where there is no memory for one, none.
void Keep(const char* message) noexcept {
  try {
    last_error = message;
  } catch (const std::bad_alloc&) {
    last_error.clear();
  }
}

}  // namespace

longspan_status StatusOfException() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    Keep(error.what());
    return static_cast<longspan_status>(error.code());
  } catch (const std::bad_alloc&) {
    Keep("memory: the system refuses what the call needs");
    return LONGSPAN_LIMIT;
  } catch (const std::exception& error) {
    Keep(error.what());
    return LONGSPAN_INTERNAL;
  } catch (...) {
    Keep("an unknown exception");
    return LONGSPAN_INTERNAL;
  }
}

void CheckGiven(const void* pointer, const char* what) {
  Check(pointer != nullptr, ErrorCode::kUsage, "{}: is NULL", what);
}

std::vector<std::string> TextsOf(const char* const* texts, const std::size_t* lengths,
                                 std::size_t count, const char* what) {
  if (count > 0) CheckGiven(texts, what);
  std::vector<std::string> list;
  for (std::size_t i = 0; i < count; ++i) {
    Check(texts[i] != nullptr, ErrorCode::kUsage, "{}: number {} is NULL", what, i);
    list.push_back(lengths == nullptr ? std::string(texts[i]) : std::string(texts[i], lengths[i]));
  }
  return list;
}

std::vector<TaskText> TaskTextsOf(const char* const* texts, const std::size_t* lengths,
                                  std::size_t count) {
  std::vector<TaskText> list;
  for (std::string& text : TextsOf(texts, lengths, count)) list.push_back({std::move(text)});
  return list;
}

namespace {

GenerateOptions GenerationOf(const longspan_generate_options& given) {
  GenerateOptions options;
  if (given.tokens != 0) options.tokens = given.tokens;
  if (given.temperature != 0.0) options.sampling.temperature = given.temperature;
  if (given.greedy != 0) options.sampling.temperature = 0.0;
  options.sampling.top_k = given.top_k;
  if (given.top_p != 0.0) options.sampling.top_p = given.top_p;
  if (given.seed != 0) options.sampling.seed = given.seed;
  if (given.stop_count > 0) CheckGiven(given.stops, "stops");
  for (std::size_t i = 0; i < given.stop_count; ++i) {
    CheckGiven(given.stops[i], "stops: one of them");
    options.stops.emplace_back(given.stops[i]);
  }
  Check(options.tokens >= 0, ErrorCode::kUsage, "tokens: {} is negative", options.tokens);
  return options;
}

}  // namespace
}  // namespace longspan

using longspan::CheckGiven;
using longspan::Guard;

const char* longspan_version(void) { return LONGSPAN_VERSION; }
const char* longspan_last_error(void) { return longspan::last_error.c_str(); }

// ---- contexts -----------------------------------------------------------------------------------

longspan_status longspan_context_new(int threads, longspan_context** context) {
  return Guard([&] {
    CheckGiven(context, "context");
    *context = new longspan_context(threads);
  });
}

void longspan_context_free(longspan_context* context) { delete context; }

longspan_status longspan_context_limit_memory(longspan_context* context, size_t bytes) {
  return Guard([&] {
    CheckGiven(context, "context");
    context->context.LimitMemory(bytes);
  });
}

void longspan_context_cancel(longspan_context* context) {
  if (context != nullptr) context->cancelled = true;
}

void longspan_context_reset(longspan_context* context) {
  if (context != nullptr) context->cancelled = false;
}

// ---- models -------------------------------------------------------------------------------------

namespace {

// `context` null: nobody ends it.
longspan_status LoadHandle(longspan_context* context, const char* directory,
                           const longspan_load_options* options, longspan_model** model) {
  return Guard([&] {
    CheckGiven(directory, "directory");
    CheckGiven(model, "model");
    const longspan_load_options given = longspan::OptionsFrom(options, "load options");
    longspan::ModelOptions loading;
    if (given.bf16 != 0) loading.compute = longspan::DType::kBF16;
    loading.allow_nonfinite = given.allow_nonfinite != 0;
    longspan::TaskOptions task;
    task.max_length = given.max_tokens;
    *model = new longspan_model(
        context == nullptr ? longspan::TaskModel::Load(directory, task, loading)
                           : longspan::TaskModel::Load(context->context, directory, task, loading));
  });
}

}  // namespace

longspan_status longspan_model_load(const char* directory, const longspan_load_options* options,
                                    longspan_model** model) {
  return LoadHandle(nullptr, directory, options, model);
}

longspan_status longspan_model_load_in(longspan_context* context, const char* directory,
                                       const longspan_load_options* options,
                                       longspan_model** model) {
  if (context == nullptr) return Guard([] { CheckGiven(nullptr, "context"); });
  return LoadHandle(context, directory, options, model);
}

void longspan_model_free(longspan_model* model) { delete model; }

const char* longspan_model_class(const longspan_model* model) {
  return model == nullptr ? nullptr : model->model.info().class_name.c_str();
}

int64_t longspan_model_longest(const longspan_model* model) {
  return model == nullptr ? 0 : model->model.longest();
}

// ---- vectors and classes ------------------------------------------------------------------------

longspan_status longspan_embedding_width(const longspan_model* model, int64_t* width) {
  return Guard([&] {
    CheckGiven(model, "model");
    CheckGiven(width, "width");
    *width = model->Embedding().width();
  });
}

longspan_status longspan_embed(longspan_context* context, const longspan_model* model,
                               const char* const* texts, const size_t* lengths, size_t count,
                               float* vectors) {
  return Guard([&] {
    CheckGiven(context, "context");
    CheckGiven(model, "model");
    CheckGiven(vectors, "vectors");
    const longspan::Tensor found =
        model->Embedding().Embed(context->context, longspan::TextsOf(texts, lengths, count));
    std::memcpy(vectors, found.raw(), found.bytes());
  });
}

int64_t longspan_label_count(const longspan_model* model) {
  return model == nullptr ? 0 : static_cast<int64_t>(model->model.info().labels.size());
}

const char* longspan_label(const longspan_model* model, int64_t label) {
  if (label < 0 || label >= longspan_label_count(model)) return nullptr;
  return model->model.info().labels[static_cast<std::size_t>(label)].c_str();
}

longspan_status longspan_classify(longspan_context* context, const longspan_model* model,
                                  const char* const* texts, const size_t* lengths, size_t count,
                                  double* scores) {
  return Guard([&] {
    CheckGiven(context, "context");
    CheckGiven(model, "model");
    CheckGiven(scores, "scores");
    const auto list = longspan::TaskTextsOf(texts, lengths, count);
    double* to = scores;
    for (const auto& text : longspan::Classify(context->context, model->model, list)) {
      to = std::copy(text.scores.begin(), text.scores.end(), to);
    }
  });
}

// ---- generation ---------------------------------------------------------------------------------

longspan_status longspan_generate(longspan_context* context, const longspan_model* model,
                                  const char* prompt, size_t length,
                                  const longspan_generate_options* options,
                                  longspan_on_text on_text, void* user) {
  return Guard([&] {
    CheckGiven(context, "context");
    CheckGiven(model, "model");
    CheckGiven(prompt, "prompt");
    const longspan_generate_options given = longspan::OptionsFrom(options, "generate options");
    std::function<bool(std::string_view)> show;
    if (on_text != nullptr) {
      show = [&](std::string_view piece) { return on_text(user, piece.data(), piece.size()) == 0; };
    }
    longspan::Generate(context->context, model->model.model(), std::string(prompt, length),
                       longspan::GenerationOf(given), show);
  });
}
