// Attention mechanisms on (B, H, T, D) views: batch, heads, tokens, head size.
// The last stride must be 1. The others may have any value, so heads may be columns of (T, H*D).
// Several threads may call these at once, each with its own Context. They may share inputs.
#pragma once

#include <span>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"

#pragma GCC visibility push(default)
namespace longspan {

// Elements are fp32 or bf16, in the same shapes. With bf16, products multiply bf16 (on AMX by its
// tile unit, on AVX512_BF16 as bf16 pairs, elsewhere after widening; docs/reference/dispatch.md).
// Sums, softmax, lse and gradients are fp32.
template <class T>
struct QkvOf {
  View<const T, 4> q, k, v;  // (B, H, T, D)
};
using Qkv = QkvOf<float>;
using Bf16Qkv = QkvOf<bfloat16>;

// Gradients accumulate (+=): the caller zeroes them.
struct DQkv {
  View<float, 4> dq, dk, dv;  // (B, H, T, D)
};

// The forward writes these for the backward.
template <class T>
struct AttentionSavedOf {
  View<T, 4> out;      // (B, H, T, D)
  View<float, 3> lse;  // (B, H, T): logsumexp of the scaled scores of the visible keys
  // (B, H, T), for the backward of full, chunked and LSH attention: dout . out of each row. If it
  // is given, `out` is not read and may hold dout. If it is empty, it is computed from `out`.
  View<float, 3> delta{};
};
using AttentionSaved = AttentionSavedOf<float>;
using Bf16AttentionSaved = AttentionSavedOf<bfloat16>;

// Which keys exist: (B, T), 0 = hidden (padding). An empty view shows every key.
using KeyMask = View<const std::uint8_t, 2>;

// Where the texts of a row begin, for full and window attention of many texts in one call (packed
// rows, `cu_seqlens` of FlashAttention's variable-length form): N + 1 tokens, strictly ascending
// from 0 to T. Text d is tokens [starts[d], starts[d + 1]), and B is 1; else kUsage. Empty, the
// default: a row is one text.
//
// A call with texts gives what one call a text gives: a query sees keys of its own text only;
// positions, windows, causality and global tokens are those of the text by itself. Dropout of text
// d draws with a key of its own, which is derived from the call's and d, and numbers elements as a
// call with that text alone. All texts run together, so that many short ones keep all
// threads busy. A text's results have the same bits whatever texts stand beside it, and in whatever
// order; a call without `starts` may round otherwise.
// Memory beyond that of a call: the largest text's scratch, and some hundred bytes a text.
using TextStarts = std::span<const idx_t>;

// Random zeroing of attention probabilities, replayed in the backward pass from the same key.
struct ProbabilityDropout {
  float p = 0.0f;         // the probability of a zero; 0: none
  std::uint64_t key = 0;  // of the random numbers (base of their counters)
  // If a call has some of a layer's heads, the first one's index and the layer's number of heads.
  // Elements are numbered as if all were there. 0: all.
  idx_t first_head = 0, layer_heads = 0;

  // The index of head h of row b, in a call with `heads` heads, from which elements are numbered.
  idx_t Head(idx_t b, idx_t h, idx_t heads) const {
    return b * (layer_heads > 0 ? layer_heads : heads) + first_head + h;
  }
};

// Chunked local attention: Reformer's "local" layers (Kitaev et al. 2020, section 2; Hugging
// Face's LocalSelfAttention). Tokens are cut into chunks of `chunk`; a query sees the keys of its
// own chunk, of `before` chunks before it and of `after` chunks after it. Chunks wrap around: the
// first one's predecessor is the last. T <= chunk is plain attention over all keys.
struct ChunkedSpec {
  idx_t chunk = 64;            // tokens of a chunk, L
  idx_t before = 1;            // chunks before its own that a query sees
  idx_t after = 0;             // chunks after it
  bool causal = false;         // a query sees no key after its own position
  float scale = 0.0f;          // of the scores; 0 means 1 / sqrt(D)
  ProbabilityDropout dropout;  // of the attention weights
};

// saved.out = softmax(scale * q k^T, over the visible keys of the window) v.
// A key that enters a window twice (few chunks, wide look-back) counts twice. A query without any
// visible key gives all keys of its window equal weights, hidden ones too, as the original does.
// These weights have no gradient for q and k.
// T is any length. Throws kUsage on shapes that differ and on fields out of range.
void ChunkedForward(Context& context, const ChunkedSpec& spec, const Qkv& qkv, const KeyMask& mask,
                    const AttentionSaved& saved);

// Gradients of ChunkedForward for d loss / d out = dout (B, H, T, D); recomputes the weights.
void ChunkedBackward(Context& context, const ChunkedSpec& spec, const Qkv& qkv, const KeyMask& mask,
                     const AttentionSaved& saved, const View<const float, 4>& dout,
                     const DQkv& gradients);

void ChunkedForward(Context& context, const ChunkedSpec& spec, const Bf16Qkv& qkv,
                    const KeyMask& mask, const Bf16AttentionSaved& saved);
void ChunkedBackward(Context& context, const ChunkedSpec& spec, const Bf16Qkv& qkv,
                     const KeyMask& mask, const Bf16AttentionSaved& saved,
                     const View<const bfloat16, 4>& dout, const DQkv& gradients);

// ---- full attention -----------------------------------------------------------------------------

// Every query sees every key: the square baseline. Memory O(T), time O(T^2).
struct FullSpec {
  bool causal = false;  // a query sees no key after its own position
  float scale = 0.0f;   // of the scores; 0 means 1 / sqrt(D). The shared form has its own: keep 0
  ProbabilityDropout dropout;  // element ((b*H + h)*T + t)*T + key
  TextStarts starts{};         // many texts side by side; a blind query weighs those of its text
};

// saved.out = softmax(scale * q k^T, over the visible keys) v. A query without any visible key
// weighs all T keys equally, as in chunked attention. Throws kUsage on shapes that differ.
void FullForward(Context& context, const FullSpec& spec, const Qkv& qkv, const KeyMask& mask,
                 const AttentionSaved& saved);

// Gradients of FullForward for d loss / d out = dout (B, H, T, D); recomputes the weights.
void FullBackward(Context& context, const FullSpec& spec, const Qkv& qkv, const KeyMask& mask,
                  const AttentionSaved& saved, const View<const float, 4>& dout,
                  const DQkv& gradients);

void FullForward(Context& context, const FullSpec& spec, const Bf16Qkv& qkv, const KeyMask& mask,
                 const Bf16AttentionSaved& saved);
void FullBackward(Context& context, const FullSpec& spec, const Bf16Qkv& qkv, const KeyMask& mask,
                  const Bf16AttentionSaved& saved, const View<const bfloat16, 4>& dout,
                  const DQkv& gradients);

// ---- shared queries and keys --------------------------------------------------------------------
// Reformer's LSH layers (Kitaev et al. 2020, section 2, "shared-QK"): one projection x serves as
// query and, scaled to one length, as key: k = x / sqrt(mean(x^2) + 1e-6) / sqrt(D). Scores are
// x_t . k_j. A token gives itself weight 0, unless it sees nothing else: then its weight is 1.

// Shared queries and keys, and values, of LSH attention and of full attention on them.
template <class T>
struct SharedQkvOf {
  View<const T, 4> qk, v;  // (B, H, T, D)
};
using SharedQkv = SharedQkvOf<float>;
using Bf16SharedQkv = SharedQkvOf<bfloat16>;

// Gradients accumulate (+=): the caller zeroes them.
struct DSharedQkv {
  View<float, 4> dqk, dv;  // (B, H, T, D)
};

// The score of a token with itself: chosen only when it sees nothing else. A constant, so it has
// no gradient.
inline constexpr float kSelfScore = -1e5f;

// The forward writes these for the backward. The weight of a key with score s is exp(s - max) /
// sum. max and sum are separate because kSelfScore + log(sum) is not an exact float. max is the
// largest score; in LSH attention and on the tile unit a bound of it, |x_t| if that is at most 40.
// For a token that sees no other, max is kSelfScore.
template <class T>
struct SharedSavedOf {
  View<T, 4> out;           // (B, H, T, D)
  View<float, 3> max, sum;  // (B, H, T)
  View<float, 3> delta{};   // as AttentionSavedOf's
};
using SharedSaved = SharedSavedOf<float>;
using Bf16SharedSaved = SharedSavedOf<bfloat16>;

// Full attention in the shared form; spec.scale must be 0.
void FullSharedForward(Context& context, const FullSpec& spec, const SharedQkv& qkv,
                       const KeyMask& mask, const SharedSaved& saved);
void FullSharedBackward(Context& context, const FullSpec& spec, const SharedQkv& qkv,
                        const KeyMask& mask, const SharedSaved& saved,
                        const View<const float, 4>& dout, const DSharedQkv& gradients);
// bf16: on the tile unit products multiply bf16; elsewhere rows are widened as they are packed.
void FullSharedForward(Context& context, const FullSpec& spec, const Bf16SharedQkv& qkv,
                       const KeyMask& mask, const Bf16SharedSaved& saved);
void FullSharedBackward(Context& context, const FullSpec& spec, const Bf16SharedQkv& qkv,
                        const KeyMask& mask, const Bf16SharedSaved& saved,
                        const View<const bfloat16, 4>& dout, const DSharedQkv& gradients);

// ---- LSH attention ------------------------------------------------------------------------------

// Reformer's LSH attention (Kitaev et al. 2020, section 2). In every round tokens are hashed to
// buckets, sorted by (bucket, position) and cut into chunks; a query sees its own chunk, `before`
// chunks before it and `after` chunks after it. The chunks of all rounds form one circle. Rounds
// are combined by one softmax over the union of their keys, repetitions included. Tokens of other
// buckets that share a chunk are seen. T <= chunk: no hashing, one chunk, one round.
struct LshSpec {
  idx_t chunk = 64;            // tokens of a chunk, L
  idx_t before = 1;            // chunks before its own that a query sees
  idx_t after = 0;             // chunks after it
  idx_t rounds = 1;            // R
  std::vector<idx_t> buckets;  // factors of the number of buckets, each even; see LshBucketFactors
  bool causal = false;         // a query sees no key after its own position
  ProbabilityDropout dropout;  // element (((b*H + h)*R + r)*T + t)*W + slot of the sorted window

  // Whether so many tokens need hashing: more than one chunk.
  bool Hashes(idx_t tokens) const { return tokens > chunk; }
  // W: slots of a window.
  idx_t WindowSlots() const { return chunk * (1 + before + after); }
  // Columns of the rotations of one round: half the sum of the factors.
  idx_t RotationColumns() const;
  // K: ids of buckets lie in [0, K); with a key mask K itself is the bucket of hidden tokens.
  idx_t BucketCount() const;
};

// Hugging Face's rule for num_buckets null: about two buckets per chunk of text, in two factors
// when there are many. max_positions is the model's max_position_embeddings.
std::vector<idx_t> LshBucketFactors(idx_t tokens, idx_t chunk, idx_t max_positions);

// Random rotations (H, D, R, columns), N(0, 1).
using LshRotations = View<const float, 4>;
// torch.manual_seed(hash_seed); torch.randn(H, D, R, columns) on a CPU, equal to a few ulp.
void FillTorchNormal(std::int64_t hash_seed, const View<float, 4>& rotations);

// (B, H, R, T), contiguous.
using LshBuckets = View<std::uint16_t, 4>;

// buckets = per factor argmax of [x rotation; -x rotation], the first factor varying fastest; ties
// go to the lower index. Hidden tokens get bucket K. Throws kUsage on shapes, kLimit when bucket
// numbers exceed 16 bits. Any T, also one that spec.Hashes refuses. Work: 2 D columns flop per
// token and round.
void LshHash(Context& context, const LshSpec& spec, const View<const float, 4>& qk,
             const KeyMask& mask, const LshRotations& rotations, const LshBuckets& buckets);
void LshHash(Context& context, const LshSpec& spec, const View<const bfloat16, 4>& qk,
             const KeyMask& mask, const LshRotations& rotations, const LshBuckets& buckets);

// The integer plan of one head: order (R, T), order[r][i] is the i-th token of round r by (bucket,
// position): a stable counting sort. buckets (R, T) below bucket_limit, else throws kUsage.
// Cost: O(R (T + bucket_limit)).
void LshSort(const View<const std::uint16_t, 2>& buckets, idx_t bucket_limit,
             const View<std::int32_t, 2>& order);

// Computes `saved` from the buckets of LshHash, which may be empty if !spec.Hashes(T).
// Memory beyond the arguments: scratch per thread, and per token of a head in flight (as many heads
// as keep all threads busy) 4 R + 4 bytes; with bf16 and several rounds 4 D more for fp32 sums; in
// the backward 4 bytes and, in runs of 2,048 tokens, (before + after) chunk D / 256 more.
void LshForward(Context& context, const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved);

// Gradients of LshForward for d loss / d out = dout, given the same buckets: nothing is hashed
// again. The choice of buckets has no gradient.
void LshBackward(Context& context, const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                 const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved,
                 const View<const float, 4>& dout, const DSharedQkv& gradients);

// bf16: the hash, scores and sums are fp32 sums of bf16 products; max, sum and gradients are fp32.
void LshForward(Context& context, const LshSpec& spec, const Bf16SharedQkv& qkv,
                const KeyMask& mask, const View<const std::uint16_t, 4>& buckets,
                const Bf16SharedSaved& saved);
void LshBackward(Context& context, const LshSpec& spec, const Bf16SharedQkv& qkv,
                 const KeyMask& mask, const View<const std::uint16_t, 4>& buckets,
                 const Bf16SharedSaved& saved, const View<const bfloat16, 4>& dout,
                 const DSharedQkv& gradients);

// ---- sliding window and global tokens -----------------------------------------------------------

// The role of each token in Longformer's attention, (B, T). An empty view: every token is local.
using TokenRoles = View<const std::uint8_t, 2>;
inline constexpr std::uint8_t kHiddenToken = 0, kLocalToken = 1, kGlobalToken = 2;

// The global tokens of a batch's roles. Whoever runs several layers over one batch finds them once
// and gives them to each call (WindowSpec::globals).
struct GlobalTokens {
  idx_t most = 0;                // the largest number in a row: the smallest G below
  std::vector<idx_t> positions;  // of all rows, one after another, ascending in each
  std::vector<idx_t> first;      // (B + 1): where a row's begin

  // Of texts side by side, a text is a row here: N instead of B, and positions count from the
  // text's first token. G is then the number of all, positions.size().

  // The number of global tokens of row b.
  idx_t Count(idx_t b) const {
    const auto i = static_cast<std::size_t>(b);
    return first[i + 1] - first[i];
  }
  // The first of row b's positions.
  const idx_t* List(idx_t b) const { return positions.data() + first[static_cast<std::size_t>(b)]; }
};
// Cost: one look at each role of B rows. An empty view has no global tokens. With `starts`, those
// of the texts of one row.
GlobalTokens FindGlobalTokens(const TokenRoles& roles, idx_t rows, TextStarts starts = {});

// Longformer (Beltagy, Peters, Cohan 2020, section 3). A local token i sees local keys
// i + dilation n, -left <= n <= right, itself always among them, and every global key.
struct WindowSpec {
  idx_t left = 256, right = 256;  // one-sided widths in steps of the dilation, any size
  std::vector<idx_t> dilation;    // (H), each at least 1; empty: 1 for all
  bool causal = false;  // no query sees a key after its own position, global keys included
  float scale = 0.0f;   // of the scores; 0 means 1 / sqrt(D)
  // Element ((b*H + h)*T + t)*Slots(T) + slot. Local rows: slot n + Left(T) for the key of step n,
  // Left(T) + 1 + Right(T) + r for the r-th global key; global rows: slot = position of the key.
  // So the same key serves WindowForward and the functions for global rows.
  ProbabilityDropout dropout;
  // Those of the call's roles, which must outlive the call. Null: each call finds them.
  const GlobalTokens* globals = nullptr;
  // Many texts side by side, in all functions below too. Row g of qg, dqg is the g-th global token
  // of the whole row, text after text.
  TextStarts starts{};

  // The widths that remain in a row of T tokens, with `causal`.
  idx_t Left(idx_t tokens) const { return left < tokens ? left : tokens - 1; }
  idx_t Right(idx_t tokens) const { return causal ? 0 : (right < tokens ? right : tokens - 1); }
  idx_t Slots(idx_t tokens) const { return Left(tokens) + 1 + Right(tokens) + tokens; }
};

// The rows of local tokens: saved.out = softmax(scale * q k^T, over the local keys of the window
// and all global keys) v; a global key inside of the window counts once. Hidden tokens get out 0
// and lse -inf, and may hold anything. Rows of global tokens are left as they are: write them with
// GlobalForward or GlobalReassociatedForward. Roles above 2 count as local.
// Throws kUsage on shapes that differ and on fields out of range.
void WindowForward(Context& context, const WindowSpec& spec, const Qkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved);

// Gradients of WindowForward for d loss / d out = dout (B, H, T, D); recomputes the weights. Rows
// of dout that are not local are not read.
void WindowBackward(Context& context, const WindowSpec& spec, const Qkv& qkv,
                    const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DQkv& gradients);

void WindowForward(Context& context, const WindowSpec& spec, const Bf16Qkv& qkv,
                   const TokenRoles& roles, const Bf16AttentionSaved& saved);
void WindowBackward(Context& context, const WindowSpec& spec, const Bf16Qkv& qkv,
                    const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DQkv& gradients);

// The largest number of global tokens in a row: the smallest G for the functions below.
idx_t LargestGlobalCount(const TokenRoles& roles);

// Global tokens have projections of their own. Row g of qg is the query of the g-th global token of
// its sequence; rows beyond a sequence's count may hold anything. With WindowSpec::starts G is at
// least the number of all texts' global tokens, and row g belongs to the g-th of them.
template <class T>
struct GlobalQkvOf {
  View<const T, 4> qg;      // (B, H, G, D)
  View<const T, 4> kg, vg;  // (B, H, T, D)
};
using GlobalQkv = GlobalQkvOf<float>;
using Bf16GlobalQkv = GlobalQkvOf<bfloat16>;

// Gradients accumulate (+=): the caller zeroes them.
struct DGlobalQkv {
  View<float, 4> dqg;       // (B, H, G, D)
  View<float, 4> dkg, dvg;  // (B, H, T, D)
};

// Writes rows of global tokens only: out = softmax(scale * qg kg^T, over all tokens that are not
// hidden) vg, and lse. Uses the spec's scale, causal, dropout, and widths to number elements.
void GlobalForward(Context& context, const WindowSpec& spec, const GlobalQkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved);

void GlobalBackward(Context& context, const WindowSpec& spec, const GlobalQkv& qkv,
                    const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DGlobalQkv& gradients);

void GlobalForward(Context& context, const WindowSpec& spec, const Bf16GlobalQkv& qkv,
                   const TokenRoles& roles, const Bf16AttentionSaved& saved);
void GlobalBackward(Context& context, const WindowSpec& spec, const Bf16GlobalQkv& qkv,
                    const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DGlobalQkv& gradients);

// GlobalForward with kg = x wk^T + bk and vg = x wv^T + bv, without computing either of them:
// scores = (scale qg wk) x^T, out = (p x) wv^T + bv sum(p). Cheaper for few global tokens. Tokens
// and queries in bf16 are widened a block at a time, and all products are fp32, because there are
// few rows. The weights are fp32 in both cases.
template <class T>
struct GlobalProjectionOf {
  View<const T, 3> x;           // (B, T, C)
  View<const T, 4> qg;          // (B, H, G, D)
  View<const float, 2> wk, wv;  // (H*D, C)
  View<const float, 1> bk, bv;  // (H*D), or empty
};
using GlobalProjection = GlobalProjectionOf<float>;
using Bf16GlobalProjection = GlobalProjectionOf<bfloat16>;

// Gradients accumulate (+=): the caller zeroes them. d loss / d bk is 0, because bk shifts all
// scores of a row equally.
struct DGlobalProjection {
  View<float, 3> dx;        // (B, T, C)
  View<float, 4> dqg;       // (B, H, G, D)
  View<float, 2> dwk, dwv;  // (H*D, C); null in that shape: not wanted
  View<float, 1> dbv;       // (H*D), or empty
};

void GlobalReassociatedForward(Context& context, const WindowSpec& spec,
                               const GlobalProjection& input, const TokenRoles& roles,
                               const AttentionSaved& saved);

void GlobalReassociatedBackward(Context& context, const WindowSpec& spec,
                                const GlobalProjection& input, const TokenRoles& roles,
                                const AttentionSaved& saved, const View<const float, 4>& dout,
                                const DGlobalProjection& gradients);

void GlobalReassociatedForward(Context& context, const WindowSpec& spec,
                               const Bf16GlobalProjection& input, const TokenRoles& roles,
                               const Bf16AttentionSaved& saved);
void GlobalReassociatedBackward(Context& context, const WindowSpec& spec,
                                const Bf16GlobalProjection& input, const TokenRoles& roles,
                                const Bf16AttentionSaved& saved,
                                const View<const bfloat16, 4>& dout,
                                const DGlobalProjection& gradients);

// Work of the two ways to G global rows of one sequence of T tokens, C channels wide, in flop:
// projecting all tokens to kg and vg and attending to them, or the re-associated form. Forward, or
// forward and backward. Re-associated wins for G < C D / (C - D), with the backward for
// G < 12 C D / (16 C - 14 D): 69 and 51 at C 768, D 64.
struct GlobalFlops {
  double projected = 0.0, reassociated = 0.0;  // flop of either way
  // Whether the re-associated form is less work.
  bool ReassociatedWins() const { return reassociated < projected; }
};
GlobalFlops CountGlobalFlops(idx_t tokens, idx_t channels, idx_t heads, idx_t head_size,
                             idx_t globals, bool backward);

// ---- sinks --------------------------------------------------------------------------------------

// A learned number for each head (gpt-oss: OpenAI 2025; Xiao et al. 2023): one more key, which
// every query sees, with the score sinks[h] and the value 0. So a query may attend to nothing.
//
// Called after the forward of full, window or chunked attention, whose weights it lowers: out
// becomes out exp(lse - lse'), lse becomes lse' = log(exp(lse) + exp(sinks[h])). The backward of
// the attention then needs no change, with or without dropout. sinks (H), which may hold -infinity:
// no sink. kUsage on shapes that differ and for saved.delta. Cost: one pass over out.
void SinkForward(Context& context, const View<const float, 1>& sinks, const AttentionSaved& saved);
void SinkForward(Context& context, const View<const float, 1>& sinks,
                 const Bf16AttentionSaved& saved);

// dsinks (H) += the gradient, - sum over b, t of exp(sinks[h] - lse'[b, h, t]) (dout . out'), from
// what SinkForward left in `saved`.
void SinkBackward(Context& context, const View<const float, 1>& sinks, const AttentionSaved& saved,
                  const View<const float, 4>& dout, const View<float, 1>& dsinks);
void SinkBackward(Context& context, const View<const float, 1>& sinks,
                  const Bf16AttentionSaved& saved, const View<const bfloat16, 4>& dout,
                  const View<float, 1>& dsinks);

}  // namespace longspan
#pragma GCC visibility pop
