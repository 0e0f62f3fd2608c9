#include "lab/long_evidence.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/errors.h"
#include "base/rng.h"
#include "families/longformer/longformer_files.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "train/length_batches.h"

namespace longspan {
namespace {

constexpr std::array<const char*, 2> kNames = {"anna", "otto"};
constexpr std::array<const char*, 8> kOthers = {"bela", "cora", "dirk", "emil",
                                                "fira", "gabi", "hugo", "ines"};
constexpr std::array<const char*, 2> kColours = {"red", "blue"};
constexpr std::array<const char*, 10> kSyllables = {"lo", "mi", "ra", "tu", "ne",
                                                    "ka", "si", "po", "du", "fe"};
constexpr idx_t kCell = kFactTokens + 2;  // a decoy and the words around it

std::string NoiseWord(idx_t number) {
  return std::string(kSyllables[static_cast<std::size_t>(number % 10)]) +
         kSyllables[static_cast<std::size_t>(number / 10)];
}

void PutFact(const char* name, bool blue, idx_t at, std::vector<std::string>* words) {
  const auto place = words->begin() + at;
  place[0] = name;
  place[1] = "has";
  place[2] = kColours[blue ? 1 : 0];
  place[3] = ".";
}

}  // namespace

EvidenceDocument MakeEvidence(idx_t tokens, idx_t decoys, std::uint64_t seed, EvidenceSplit split,
                              idx_t number) {
  const std::uint64_t key = DeriveKey(DeriveKey(DeriveKey(seed, static_cast<std::uint64_t>(split)),
                                                static_cast<std::uint64_t>(tokens)),
                                      static_cast<std::uint64_t>(number));
  Rng rng(key);
  const idx_t length = tokens - 2;  // without [CLS] and [SEP]
  std::vector<std::string> words;
  for (idx_t i = 0; i < length; ++i) words.push_back(NoiseWord(rng.Below(100)));
  EvidenceDocument d;
  d.same = number % 2 == 0;
  const bool blue = rng.Below(2) == 1, otto_first = rng.Below(2) == 1;
  const idx_t head = std::max<idx_t>(tokens / 8, 16) - kFactTokens;
  const idx_t tail = 5 * tokens / 8;
  const bool other_blue = blue == d.same;
  const auto colour = [](bool is_blue) { return kColours[is_blue ? 1 : 0]; };
  d.colours = fmt::format("{} {}", colour(otto_first ? other_blue : blue),
                          colour(otto_first ? blue : other_blue));
  const idx_t first = rng.Below(head), second = tail + rng.Below(length - kFactTokens - tail);
  // Decoys stand in cells of their own, none of which touches a fact.
  std::vector<idx_t> cells(static_cast<std::size_t>(length / kCell));
  std::iota(cells.begin(), cells.end(), 0);
  std::erase_if(cells, [&](idx_t cell) {
    const auto touches = [&](idx_t fact) {
      return fact < (cell + 1) * kCell && cell * kCell < fact + kFactTokens;
    };
    return touches(first) || touches(second);
  });
  Shuffle(DeriveKey(key, 1), cells);
  cells.resize(static_cast<std::size_t>(std::min(decoys, static_cast<idx_t>(cells.size()))));
  for (const idx_t cell : cells) {
    const auto who = static_cast<std::size_t>(rng.Below(static_cast<idx_t>(kOthers.size())));
    PutFact(kOthers[who], rng.Below(2) == 1, cell * kCell + 1, &words);
  }
  PutFact(kNames[otto_first ? 1 : 0], blue, first, &words);
  PutFact(kNames[otto_first ? 0 : 1], other_blue, second, &words);
  for (const std::string& word : words) d.text += (d.text.empty() ? "" : " ") + word;
  d.first = first + 1;
  d.second = second + 1;
  return d;
}

std::vector<std::string> EvidenceVocabulary() {
  std::vector<std::string> words = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "has"};
  words.insert(words.end(), kNames.begin(), kNames.end());
  words.insert(words.end(), kColours.begin(), kColours.end());
  words.insert(words.end(), kOthers.begin(), kOthers.end());
  for (idx_t i = 0; i < 100; ++i) words.push_back(NoiseWord(i));
  return words;
}

LongformerConfig EvidenceConfig(idx_t tokens) {
  LongformerConfig c;
  c.head = HeadKind::kSequence;
  c.attention_window = {16, 16, 16};
  c.vocab_size = static_cast<idx_t>(EvidenceVocabulary().size());
  c.hidden_size = 64;
  c.heads = 4;
  c.feed_forward_size = 128;
  c.max_positions = tokens + 1;
  c.token_types = 2;
  c.hidden_dropout = c.attention_dropout = 0.0;
  c.layer_norm_eps = 1e-5;
  c.initializer_range = 0.1;
  c.pad_token = 0;
  c.bos_token = 2;
  c.eos_token = c.sep_token = 3;
  c.labels = {"different", "same"};
  c.problem = ProblemType::kSingleLabel;
  return c;
}

std::vector<EvidenceStage> EvidenceStages(idx_t tokens) {
  constexpr EvidenceLabel kBoth = EvidenceLabel::kColours, kSame = EvidenceLabel::kSame;
  std::vector<EvidenceStage> stages = {{32, 0, 300, 32, kBoth},  {48, 1, 400, 32, kBoth},
                                       {64, 2, 500, 32, kBoth},  {64, 2, 300, 32, kSame},
                                       {128, 3, 300, 32, kSame}, {512, 4, 300, 8, kSame},
                                       {2048, 6, 150, 4, kSame}, {4096, 8, 150, 4, kSame}};
  std::erase_if(stages, [&](const EvidenceStage& stage) { return stage.tokens > tokens; });
  if (stages.back().tokens != tokens) {
    stages.push_back({tokens, stages.back().decoys, 200, std::max<idx_t>(4, 2048 / tokens), kSame});
  }
  return stages;
}

void WriteEvidence(const std::filesystem::path& file, const EvidenceStage& stage,
                   std::uint64_t seed, EvidenceSplit split, idx_t count) {
  io::EnsureWritableDirectory(file.parent_path());
  const bool colours = stage.label == EvidenceLabel::kColours;
  io::AtomicFile out(file);
  for (idx_t i = 0; i < count; ++i) {
    const EvidenceDocument d = MakeEvidence(stage.tokens, stage.decoys, seed, split, i);
    const std::string same = d.same ? "same" : "different";
    const nlohmann::ordered_json line = {
        {"text", d.text}, {"label", colours ? d.colours : same}, {"facts", {d.first, d.second}}};
    out.Write(io::DumpJson(line, -1));
  }
  out.Commit();
}

void WriteEvidenceModel(idx_t tokens, std::uint64_t seed, const std::filesystem::path& directory) {
  Longformer model(EvidenceConfig(tokens));
  model.Initialise(seed);
  SaveLongformer(model, directory);
  std::string vocabulary;
  for (const std::string& word : EvidenceVocabulary()) vocabulary += word + "\n";
  io::WriteFileAtomic(directory / "vocab.txt", vocabulary);
}

}  // namespace longspan
