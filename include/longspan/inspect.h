// How Reformers compute what they compute: what hashing finds, and how generation with a cache
// agrees with the forward pass.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/model_info.h"

#pragma GCC visibility push(default)
namespace longspan {

// The end of a text in windows that are spread over it.
struct WindowOptions {
  std::filesystem::path text;  // a text, table, JSON or folder of them
  DataOptions data;            // how it is read
  double held_out = 1.0;       // the share of the text's end that is used, (0, 1]
  idx_t tokens = 0;            // of a window; 0: what suits the measurement
  idx_t windows = 4;           // or as many as fit
};

// ---- what hashing finds -------------------------------------------------------------------------

// For each LSH layer of a model that runs over a text: how concentrated the softmax over all keys
// is, and the share of it that the layer sees with 1, 2, 4, ... rounds of hashing. The text runs
// through the model as the model is configured. At each LSH layer the very same queries are then
// hashed anew for each number of rounds, with the rotations, buckets and chunks that a model with
// that many rounds would use in evaluation. A model whose layers attend in full or to chunks of the
// text is measured in the same way: what hashing would see.

// Numbers of heaviest keys whose share is told.
inline constexpr std::array<idx_t, 4> kTopKeys = {1, 4, 16, 64};

// What is measured, and where.
struct LshRecallOptions {
  std::vector<idx_t> rounds = {1, 2, 4, 8};  // rising
  idx_t rows = 1024;       // of each text: one by chance from each of so many stretches of it
  std::uint64_t seed = 1;  // of these rows and of the random buckets
};

// Statistics of one quantity over rows: the mean, and the first decile.
struct Spread {
  double mean = 0.0;   // over the rows
  double tenth = 0.0;  // the first decile
};

// What so many rounds of hashing see. Shares of the softmax mass, 0..1, on the keys that a token
// sees in at least one round, on as many nearest tokens, on the keys that it would see with random
// buckets, and on as many heaviest keys.
struct RoundRecall {
  idx_t rounds = 0;                           // of hashing
  Spread seen, local, random, best;           // in the order of the text above
  double seen_keys = 0.0, random_keys = 0.0;  // mean numbers, without the token itself
};

// What was measured of one head, or of all heads of a layer.
struct MassRecall {
  idx_t rows = 0;                           // pairs of row and head
  std::array<Spread, kTopKeys.size()> top;  // mass of the heaviest keys, as kTopKeys counts them
  std::vector<RoundRecall> rounds;          // for each number of rounds
};

// What was measured of one layer.
struct LayerRecall {
  std::size_t layer = 0;          // from 0
  MassRecall all;                 // heads together
  std::vector<MassRecall> heads;  // one by one
};

// What was measured of a model on a text.
struct LshReport {
  idx_t text_bytes = 0, windows = 0, tokens = 0;  // used of the text; windows, and tokens of each
  idx_t rows = 0;                                 // measured of each window
  idx_t heads = 0;                                // of a layer
  bool causal = false;                            // whether no token sees a later one
  std::string attention;            // that the model was run with: "config", "full", ...
  idx_t model_rounds = 0;           // of hashing, as the model has them
  idx_t chunk = 0;                  // tokens of a chunk
  idx_t before = 0, after = 0;      // chunks that are seen around the own one
  std::vector<idx_t> buckets;       // factors of their number
  std::vector<LayerRecall> layers;  // from the first
  std::vector<std::string> notes;   // about rows that were left out: lines for people
};
// kFormat unless the model is a Reformer language model with LSH layers, kUsage for options out of
// range and for a text that is shorter than one window; errors of reading both; kCancelled.
LshReport ReportLsh(Context& context, const std::filesystem::path& model,
                    const WindowOptions& windows, const LshRecallOptions& options = {},
                    const ReformerOptions& reformer = {});

// ---- how decoding agrees ------------------------------------------------------------------------

// Cached generation beside the forward pass over the whole text. Local layers give the same values.
// LSH layers see other neighbours.
struct DecodeAgreement {
  idx_t tokens = 0;          // compared: those that were decoded one by one
  double full_loss = 0.0;    // sum of nats of the next tokens, by the full forward pass
  double cached_loss = 0.0;  // and by cached decoding
  idx_t full_correct = 0, cached_correct = 0;  // next tokens that are the likeliest
  idx_t same_first = 0;                        // tokens whose likeliest successor is the same
  double sum_difference = 0.0;                 // of |logit - logit|, over tokens and vocabulary
  double most_difference = 0.0;                // the largest of these
  idx_t vocabulary = 0;                        // number of logits of a token

  // Joins the figures of another window.
  void Add(const DecodeAgreement& other);
  // The mean of |logit - logit|.
  double mean_difference() const {
    return sum_difference / static_cast<double>(tokens * vocabulary);
  }
};

// How decoding with a cache agrees with the forward pass, over windows of a text.
struct DecodeReport {
  idx_t prompt = 0, windows = 0, tokens = 0;  // of a window
  DecodeAgreement agreement;                  // of all windows
  std::vector<std::string> notes;             // about rows that were left out: lines for people
};
// Decodes each window from `prompt` tokens on (0: half of it), the text's own tokens one by one.
// Windows of 1,024 tokens unless the options say otherwise. Errors as ReportLsh.
DecodeReport ReportDecoding(Context& context, const std::filesystem::path& model,
                            const WindowOptions& windows, idx_t prompt = 0,
                            const ReformerOptions& reformer = {});

// ---- a yardstick --------------------------------------------------------------------------------

// Bits per byte of a text's end, by counts of the bytes that follow `order` others in the text
// before it, smoothed as Witten and Bell (1991) do: what a model has to beat.
double WittenBellBitsPerByte(const std::filesystem::path& text, double held_out, int order,
                             const DataOptions& data = {});

}  // namespace longspan
#pragma GCC visibility pop
