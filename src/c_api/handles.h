// What the functions for C share: handles, how a call becomes a status, texts and options.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "longspan/c_api.h"
#include "longspan/named_options.h"
#include "longspan/tasks.h"

struct longspan_context {
  longspan::Context context;
  std::atomic<bool> cancelled{false};
  explicit longspan_context(int threads) : context(threads) { context.CancelWhen(&cancelled); }
};

struct longspan_model {
  explicit longspan_model(longspan::TaskModel loaded) : model(std::move(loaded)) {
    const auto& tokens = model.tokenizer();
    if (tokens.special().mask) mask = tokens.TokenOf(*tokens.special().mask);
  }

  longspan::TaskModel model;
  std::string mask;  // of the tokenizer; empty: it has none

  // Each is made when it is first asked for, by one of the threads that share the model. Making one
  // again where it failed gives the same error.
  const longspan::Embedder& Embedding() const {
    std::call_once(embedding_, [this] { embedder_.emplace(model); });
    return *embedder_;
  }
  const longspan::Reranker& Relevance() const {
    std::call_once(relevance_, [this] { reranker_.emplace(model); });
    return *reranker_;
  }

 private:
  mutable std::once_flag embedding_, relevance_;
  mutable std::optional<longspan::Embedder> embedder_;
  mutable std::optional<longspan::Reranker> reranker_;
};

struct longspan_options {
  longspan::TextOptions values{"options"};
};

namespace longspan {

// The status of the exception that is being handled. Its line becomes the thread's last error.
longspan_status StatusOfException() noexcept;

// Runs a call; what it throws becomes a status.
template <class Call>
longspan_status Guard(const Call& call) noexcept {
  try {
    call();
    return LONGSPAN_OK;
  } catch (...) {
    return StatusOfException();
  }
}

// kUsage "<what>: is NULL".
void CheckGiven(const void* pointer, const char* what);

// A struct of the caller's that says its own size. kUsage for one that is newer than this library.
inline void CheckSize(std::size_t size, std::size_t known, const char* what) {
  Check(size >= sizeof(std::size_t) && size <= known, ErrorCode::kUsage,
        "{}: its size is {}, this library knows {}; set it to sizeof", what, size, known);
}

// The caller's struct, as far as it reaches: an older one lacks the last fields, which are 0 then.
template <class Options>
Options OptionsFrom(const Options* given, const char* what) {
  Options options{};
  if (given == nullptr) return options;
  CheckSize(given->size, sizeof(Options), what);
  std::memcpy(&options, given, given->size);
  return options;
}

// `count` texts; `lengths` null: they end with NUL.
std::vector<std::string> TextsOf(const char* const* texts, const std::size_t* lengths,
                                 std::size_t count, const char* what = "texts");
std::vector<TaskText> TaskTextsOf(const char* const* texts, const std::size_t* lengths,
                                  std::size_t count);

}  // namespace longspan
