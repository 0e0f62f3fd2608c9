// Generated documents whose answer depends on two facts that stand far apart, and the small model
// that learns to find both.
//
// A document is noise: words drawn at random, and sentences "fira has red .". Two of them count,
// one of anna and one of otto, in either order; the others are of other people. The label says
// whether anna and otto have the same colour: neither fact alone tells anything. The first fact
// begins in the first eighth of the document (of 4,096 tokens: within 512), the second one behind
// five eighths, so that at least half of the document lies between them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "families/longformer/longformer_config.h"
#include "longspan/train.h"

namespace longspan {

struct EvidenceDocument {
  std::string text;
  bool same = false;
  std::string colours;          // anna's and otto's: "red blue"
  idx_t first = 0, second = 0;  // tokens at which the facts begin, [CLS] being token 0
};

// The tokens of a fact: name, "has", colour, full stop.
inline constexpr idx_t kFactTokens = 4;

// Which documents: those of training and of the test come from different streams.
enum class EvidenceSplit : std::uint64_t { kTrain = 1, kHeldOut = 2, kTest = 3 };

// Document `number` of `tokens` tokens with [CLS] and [SEP], with `decoys` sentences that do not
// count: a function of its arguments. Even numbers are "same", odd ones "different".
EvidenceDocument MakeEvidence(idx_t tokens, idx_t decoys, std::uint64_t seed, EvidenceSplit split,
                              idx_t number);

// The words of the documents, BERT's special tokens first: a vocab.txt.
std::vector<std::string> EvidenceVocabulary();
// A classifier for documents of `tokens` tokens: three layers of 64 channels, windows of 8 tokens
// to each side.
LongformerConfig EvidenceConfig(idx_t tokens);

// Writes that classifier with random weights, and the vocabulary as its tokenizer.
void WriteEvidenceModel(idx_t tokens, std::uint64_t seed, const std::filesystem::path& directory);

// What a stage's documents are labelled with: both colours, or whether they are the same.
enum class EvidenceLabel { kColours, kSame };

// Lengths grow while the model learns: on short documents it finds what counts, on longer ones
// where to look. Whether two things are the same is hard to find from nothing (no fact alone
// lowers the loss), so the first stages ask for the colours themselves; then comes another head.
struct EvidenceStage {
  idx_t tokens, decoys, updates, batch;
  EvidenceLabel label;
};
std::vector<EvidenceStage> EvidenceStages(idx_t tokens);

// Writes documents [0, count) as JSON lines.
void WriteEvidence(const std::filesystem::path& file, const EvidenceStage& stage,
                   std::uint64_t seed, EvidenceSplit split, idx_t count);

}  // namespace longspan
