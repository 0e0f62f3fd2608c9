// The catalogue of attention mechanisms. A row says of one mechanism what the program, its pictures
// and the common tests ask of it. A new mechanism is a new row in mechanisms.cc.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "catalogue/pattern.h"
#include "catalogue/problem.h"
#include "catalogue/relation.h"
#include "longspan/attention.h"

namespace longspan::catalogue {

// Flop of a visible (query, key) pair over D: scores and product forward; five products of the same
// size backward, of which the scores' recomputation counts nothing.
inline constexpr double kForwardFlop = 4.0, kBackwardFlop = 10.0;

// A mechanism on queries, keys and values of their own; null where it has no such form. T is float
// or bfloat16. Both throw kUsage on shapes that differ and on settings out of range. The backward
// gets what the forward saved, and gradients accumulate (+=).
template <class T>
struct SeparateForm {
  void (*forward)(Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv,
                  const KeyMask& mask, const AttentionSavedOf<T>& saved) = nullptr;
  void (*backward)(Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv,
                   const KeyMask& mask, const AttentionSavedOf<T>& saved,
                   const View<const T, 4>& dout, const DQkv& gradients) = nullptr;
};

struct Mechanism {
  std::string_view name;     // one word, as the command line has it
  std::string_view summary;  // one line of help
  // The command line's options that its settings are, "--chunk", and those that only its picture
  // understands. Every mechanism understands "--causal".
  std::vector<std::string_view> options, picture_options;

  // Useful (query, key) pairs of one head of `tokens` tokens, for counts of flop.
  double (*pairs)(const MechanismSpec& spec, idx_t tokens) = nullptr;
  // Who sees whom in one head. Null where that depends on the tensors: the problem knows it.
  std::unique_ptr<AttentionRelation> (*relation)(const MechanismSpec& spec, idx_t tokens) = nullptr;
  // The factor of the scores; absent: 1 / sqrt(D).
  std::optional<float> scale;
  SeparateForm<float> separate;
  SeparateForm<bfloat16> separate_bf16;
  bool bf16 = false;  // it works on bf16 tensors, in whatever form

  // Random tensors, run and compared with the relation. The default needs the separate form and the
  // relation. The mechanism outlives the problem.
  std::unique_ptr<AttentionProblem> (*problem)(const Mechanism& mechanism,
                                               const ProblemOptions& options) = MakeSeparateProblem;
  // The weight of each key for each query in one head, (T, T), found by running the kernel. The
  // default needs the separate form. Throws kUsage on sizes out of range.
  std::vector<float> (*weights)(Context& context, const Mechanism& mechanism,
                                const PatternOptions& options) = SeparateWeights;

  bool Understands(std::string_view option) const;
};

// All rows, in the order of the help. The default is in mechanisms.cc, alone in a library. A
// program that defines this function itself has its own table instead: the linker takes a file out
// of a library only for names that are still missing.
std::span<const Mechanism* const> Mechanisms();

// Null when there is none of that name.
inline const Mechanism* FindMechanism(std::string_view name) {
  for (const Mechanism* mechanism : Mechanisms()) {
    if (mechanism->name == name) return mechanism;
  }
  return nullptr;
}

// The rows of this project.
const Mechanism& FullMechanism();
const Mechanism& WindowMechanism();
const Mechanism& ChunkedMechanism();
const Mechanism& LshMechanism();

}  // namespace longspan::catalogue
