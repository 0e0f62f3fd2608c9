// What `compare` measures: training steps of a Reformer with full, local and LSH attention.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

// The attentions that are compared, by their names.
inline constexpr std::array<const char*, 3> kComparedAttentions = {"full", "local", "lsh"};

struct StepFigure {
  double seconds = 0.0, fraction = 0.0;
  idx_t rss_bytes = 0;
};

// Training steps of a preset of Reformers with one attention, on single rows of up to `longest`
// tokens.
class ComparedSteps {
 public:
  ComparedSteps(const std::string& preset, std::string_view attention, idx_t longest);
  ~ComparedSteps();

  // One step of `tokens` tokens, in a process whose peak memory starts anew. `expected`: seconds
  // that it will take, about; a long one is not repeated.
  StepFigure Time(int threads, idx_t tokens, double expected) const;
  // Useful work of a step, in GFLOP.
  double Gflop(idx_t tokens) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Writes the Reformer of this config.json with positions for `tokens` tokens and random weights.
void WriteLongerReformer(std::string_view config_json, idx_t tokens,
                         const std::filesystem::path& directory);

}  // namespace longspan
