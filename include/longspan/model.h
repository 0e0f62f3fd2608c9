// Models as files and as text: load, score, continue, save.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// What one call may say of its texts.
struct CallOptions {
  // (rows, T), 0: hidden, anywhere in a row; empty: every token is real.
  std::span<const std::uint8_t> mask;
  idx_t num_hashes = 0;  // rounds of LSH layers; 0: the config's
};

// A Reformer with any head in the Hugging Face layout (config.json, model.safetensors). Move-only.
// Threads may share one: Logits, RaggedLogits, Generate and Save change nothing in it, and several
// may run at once, each with a Context of its own. Moving it, assigning to it and its end need it
// alone. A forked child may go on with its copy (longspan/context.h says on how many threads).
class Model {
 public:
  // From a folder. kFormat, kIo.
  static Model Load(const std::filesystem::path& directory);
  // Random weights for the fields of a config.json; the same seed gives the same bits.
  static Model Init(std::string_view config_json, std::uint64_t seed);
  // Writes a folder that Load and `transformers` open. kIo.
  void Save(const std::filesystem::path& directory);

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  std::string ConfigJson() const;
  idx_t parameters() const;  // numbers to learn
  idx_t longest() const;     // most tokens of a row

  // The head's logits for `rows` texts of T ids each, one after another: (rows * T, vocabulary) of
  // language models, (rows, labels) of classifiers, (rows * T, 2) for the starts and ends of
  // answers. Any T. kUsage when the ids do not divide into rows, T exceeds longest(), the mask has
  // another size or there is no head; kFormat for an id that does not exist.
  Tensor Logits(Context& context, std::span<const std::int32_t> ids, idx_t rows = 1,
                const CallOptions& options = {});

  // The same for texts of any lengths, without padding: each text's logits are those that it has
  // alone, (T, vocabulary), (1, labels) or (T, 2). Texts of one length run together. options.mask
  // must be empty.
  std::vector<Tensor> RaggedLogits(Context& context,
                                   std::span<const std::vector<std::int32_t>> texts,
                                   const CallOptions& options = {});

  struct Sampling {
    double temperature = 0.8;  // 0: always the most likely
    idx_t top_k = 0;           // 0: all
    double top_p = 1.0;
    std::uint64_t seed = 1;
  };
  // Continues `prompt` by `tokens` tokens of the tokenizer in the model's folder (of a model from
  // Init: bytes); returns the new part only. kFormat when the folder has none, or one with more ids
  // than the model has words; kUsage when the prompt is empty or longer than longest().
  std::string Generate(Context& context, std::string_view prompt, idx_t tokens,
                       const Sampling& sampling);

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace longspan
