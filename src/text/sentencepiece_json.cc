#include "text/sentencepiece_json.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/errors.h"
#include "text/base64.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpaceMark = "\xE2\x96\x81";  // U+2581 stands for a space

bool IsSpecial(const SentencePiece& piece) {
  return piece.type == PieceType::kControlSymbol || piece.type == PieceType::kUnknown;
}

Json AddedTokensOf(const SentencePieceFile& file) {
  Json tokens = Json::array();
  for (std::size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePiece& piece = file.pieces[id];
    if (!IsSpecial(piece) && piece.type != PieceType::kUserDefined) continue;
    tokens.push_back({{"id", id},
                      {"content", piece.text},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", IsSpecial(piece)}});
  }
  return tokens;
}

Json NormalizerOf(const SentencePieceFile& file) {
  Json steps = Json::array();
  if (!file.characters_map.empty()) {
    steps.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", EncodeBase64(file.characters_map)}});
  }
  if (file.drop_extra_spaces) {
    steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}});
  }
  if (file.dummy_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}});
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json DecoderOf(const SentencePieceFile& file) {
  Json steps = Json::array();
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}});
  if (file.byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (file.dummy_prefix || file.drop_extra_spaces) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

// Every way in which a piece is made of two others. The library merges the pair whose piece has the
// best score, which is that of the lowest id.
Json MergesOf(const SentencePieceFile& file) {
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t id = 0; id < file.pieces.size(); ++id) {
    if (file.pieces[id].type == PieceType::kNormal) ids.emplace(file.pieces[id].text, id);
  }
  struct Merge {
    double score;
    std::size_t id;
    std::string_view left, right;
  };
  std::vector<Merge> merges;
  for (const auto& [text, id] : ids) {
    for (std::size_t at = 1; at < text.size(); ++at) {
      const std::string_view left = text.substr(0, at), right = text.substr(at);
      if (ids.contains(left) && ids.contains(right)) {
        merges.push_back({file.pieces[id].score, id, left, right});
      }
    }
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, a.id, a.left.size()) < std::tuple(-b.score, b.id, b.left.size());
  });
  Json list = Json::array();
  for (const Merge& merge : merges) list.push_back({merge.left, merge.right});
  return list;
}

Json ModelOf(const SentencePieceFile& file) {
  const std::string& unk = file.pieces[static_cast<std::size_t>(file.unk)].text;
  if (file.kind == SentencePieceFile::Kind::kUnigram) {
    Json vocab = Json::array();
    for (const SentencePiece& piece : file.pieces) vocab.push_back({piece.text, piece.score});
    return {{"type", "Unigram"},
            {"unk_id", file.unk},
            {"vocab", vocab},
            {"byte_fallback", file.byte_fallback}};
  }
  Json vocab = Json::object();
  for (std::size_t id = 0; id < file.pieces.size(); ++id) vocab[file.pieces[id].text] = id;
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unk},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", file.byte_fallback},
          {"ignore_merges", false},
          {"vocab", vocab},
          {"merges", MergesOf(file)}};
}

}  // namespace

Json TokenizerJsonOf(const SentencePieceFile& file) {
  Check(!file.space_as_suffix, ErrorCode::kFormat,
        "tokenizer: a SentencePiece model with treat_whitespace_as_suffix is not written");
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedTokensOf(file)},
          {"normalizer", NormalizerOf(file)},
          {"pre_tokenizer",
           {{"type", "Metaspace"},
            {"replacement", kSpaceMark},
            {"prepend_scheme", "never"},
            {"split", true}}},
          {"post_processor", nullptr},
          {"decoder", DecoderOf(file)},
          {"model", ModelOf(file)}};
}

Json TokenizerConfigOf(const SentencePieceFile& file) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"unk_token", file.pieces[static_cast<std::size_t>(file.unk)].text}};
  for (const SentencePiece& piece : file.pieces) {
    if (piece.type != PieceType::kControlSymbol) continue;
    if (piece.text == file.bos) config["bos_token"] = piece.text;
    if (piece.text == file.eos) config["eos_token"] = piece.text;
    if (piece.text == file.pad) config["pad_token"] = piece.text;
  }
  return config;
}

}  // namespace longspan::text
