// What the operations of LSH attention ask of their arguments.
#pragma once

#include "longspan/attention.h"
#include "ops/attention_call.h"

namespace longspan {

inline constexpr idx_t kMostLshRounds = 1024;

inline constexpr AttentionCheck CheckLshCall{{"LSH attention"}};

// Throws on a spec out of range (kUsage; kLimit: more buckets than 16 bits number), an empty or
// strided qk, and a mask of another shape. Rounds and buckets matter only when something is hashed.
template <class T>
void CheckLshInput(const LshSpec& spec, const View<const T, 4>& qk, const KeyMask& mask,
                   bool hashes);

}  // namespace longspan
