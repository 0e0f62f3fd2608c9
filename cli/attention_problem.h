// One attention mechanism on random tensors: run, and checked row by row in double.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/attention_oracle.h"
#include "io/safetensors.h"
#include "longspan/attention.h"

namespace longspan::cli {

// What `bench attention` may be asked for; a kind uses some of it.
struct AttentionProblemOptions {
  std::string kind = "full";
  idx_t batch = 1, tokens = 16384, heads = 12, head_size = 64;
  idx_t window = 256;               // one-sided
  idx_t dilation = 1, globals = 0;  // of window attention: the first tokens are global
  idx_t chunk = 64, before = 1, after = 0;
  idx_t rounds = 4;
  idx_t buckets = 0;  // of LSH; 0: Hugging Face's rule
  bool causal = false;
  bool bf16 = false;  // q, k, v, out and dout; kUsage where a kind knows fp32 only
};

// kUsage from MakeAttentionProblem for a kind that there is not and for sizes below 1.
class AttentionProblem {
 public:
  virtual ~AttentionProblem() = default;

  // Everything that the mechanism needs before each forward pass: LSH hashes and sorts in it.
  virtual void Forward(Context& context) = 0;
  // Gradients accumulate on what earlier calls left.
  virtual void Backward(Context& context) = 0;
  virtual void ZeroGradients() = 0;

  // (query, key) pairs of all heads that count as useful work: visible ones; chunked and LSH count
  // every key of a window.
  virtual double Pairs() const = 0;

  // Runs both passes and compares 64 random query rows and as many key rows, outputs and
  // gradients, with double. Returns the largest relative error (L2 of a row's difference over that
  // of the row). kNumeric when it is larger than rounding explains.
  virtual double CheckRows(Context& context, bool backward) = 0;

  // What went in and, after CheckRows, what came out: q, k, v, dout, out, dq, dk, dv, (B, H, T, D)
  // in fp32; of the shared form qk and dqk; of LSH rotations (H, D, R, columns) and buckets
  // (B, H, R, T) as I32. Points into the problem.
  virtual std::vector<io::TensorEntry> Tensors() const = 0;
};

std::unique_ptr<AttentionProblem> MakeAttentionProblem(const AttentionProblemOptions& options);

}  // namespace longspan::cli
