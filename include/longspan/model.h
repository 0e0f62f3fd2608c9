// A model that can be loaded, evaluated, continued and saved.
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

// Options of one call.
struct CallOptions {
  // (rows, T): 0 hides a token, anywhere in a row. Empty: no token is hidden.
  std::span<const std::uint8_t> mask;
  idx_t num_hashes = 0;  // rounds of LSH layers; 0: the config's
};

// A Reformer with any head in the Hugging Face layout (config.json, model.safetensors). Move-only.
// Threads may share one: Logits, RaggedLogits, Generate and Save do not change it, and several may
// run at once, each with its own Context. No call may run while it is moved, assigned or destroyed.
// A forked child may use its copy (longspan/context.h says with how many threads).
class Model {
 public:
  // Loads a folder. Throws kFormat or kIo.
  static Model Load(const std::filesystem::path& directory);
  // Makes random weights for a config.json. The same seed gives the same bits.
  static Model Init(std::string_view config_json, std::uint64_t seed);
  // Writes a folder that Load and `transformers` open. Throws kIo.
  void Save(const std::filesystem::path& directory);

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  std::string ConfigJson() const;
  idx_t parameters() const;  // number of trainable values
  idx_t longest() const;     // largest number of tokens in a row

  // Returns the head's logits for `rows` texts of T ids each, one after another: (rows * T,
  // vocabulary) for language models, (rows, labels) for classifiers, (rows * T, 2) for starts and
  // ends of answers. T is any. kUsage if the ids do not divide into rows, T exceeds longest(), the
  // mask has another size, or there is no head. kFormat for an id that does not exist.
  Tensor Logits(Context& context, std::span<const std::int32_t> ids, idx_t rows = 1,
                const CallOptions& options = {});

  // The same for texts of any lengths, without padding. Each text has the logits that it has alone:
  // (T, vocabulary), (1, labels) or (T, 2). Texts of one length run together. options.mask must be
  // empty.
  std::vector<Tensor> RaggedLogits(Context& context,
                                   std::span<const std::vector<std::int32_t>> texts,
                                   const CallOptions& options = {});

  struct Sampling {
    double temperature = 0.8;  // 0: always the most likely
    idx_t top_k = 0;           // 0: all
    double top_p = 1.0;
    std::uint64_t seed = 1;
  };
  // Continues `prompt` by `tokens` tokens of the folder's tokenizer (a model from Init: bytes).
  // Returns the new part only. kFormat if there is no tokenizer, or it has more ids than the model
  // has words. kUsage if the prompt is empty or longer than longest().
  std::string Generate(Context& context, std::string_view prompt, idx_t tokens,
                       const Sampling& sampling);

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace longspan
