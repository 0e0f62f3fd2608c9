// The normal numbers that PyTorch draws on a CPU, so that a model with a hash_seed hashes as it
// does in `transformers`.

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "ops/lsh_attention/lsh_checks.h"

namespace longspan {
namespace {

// PyTorch fills a tensor of at least this many elements in blocks of 16: Box-Muller on pairs that
// lie 8 apart.
constexpr std::size_t kBlock = 16;

// 24 bits of a draw, in [0, 1).
float Uniform(std::mt19937& generator) {
  return static_cast<float>(generator() & 0xFFFFFFu) * 0x1p-24f;
}

// Uniform numbers to normal ones, in place.
void BoxMuller(float* block) {
  for (std::size_t j = 0; j < kBlock / 2; ++j) {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - block[j]));
    const float angle = 2.0f * std::numbers::pi_v<float> * block[j + kBlock / 2];
    block[j] = radius * std::cos(angle);
    block[j + kBlock / 2] = radius * std::sin(angle);
  }
}

// 53 bits of two draws, in [0, 1).
double Uniform64(std::mt19937& generator) {
  const std::uint64_t high = generator(), low = generator();
  return static_cast<double>(((high << 32) | low) & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
}

// Fewer elements come one by one, in double precision; every second one is the sine that the one
// before left over.
void FillFew(std::mt19937& generator, std::vector<float>& values) {
  bool left = false;
  double next = 0.0;
  for (float& value : values) {
    if (left) {
      left = false;
      value = static_cast<float>(next);
      continue;
    }
    const double angle = 2.0 * std::numbers::pi * Uniform64(generator);
    const double radius = std::sqrt(-2.0 * std::log1p(-Uniform64(generator)));
    value = static_cast<float>(radius * std::cos(angle));
    next = radius * std::sin(angle);
    left = true;
  }
}

}  // namespace

void FillTorchNormal(std::int64_t hash_seed, const View<float, 4>& rotations) {
  Check(rotations.contiguous() && rotations.size() > 0, ErrorCode::kUsage,
        "LSH attention: rotations {} must be contiguous and not empty", ShapeText(rotations));
  std::mt19937 generator(static_cast<std::uint32_t>(hash_seed));
  std::vector<float> values(static_cast<std::size_t>(rotations.size()));
  if (values.size() < kBlock) {
    FillFew(generator, values);
  } else {
    for (float& value : values) value = Uniform(generator);
    for (std::size_t i = 0; i + kBlock <= values.size(); i += kBlock) BoxMuller(&values[i]);
    if (values.size() % kBlock != 0) {  // the last 16 are drawn again
      float* last = values.data() + values.size() - kBlock;
      for (std::size_t i = 0; i < kBlock; ++i) last[i] = Uniform(generator);
      BoxMuller(last);
    }
  }
  std::copy(values.begin(), values.end(), rotations.data);
}

}  // namespace longspan
