#include "text/open_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "base/errors.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/policy.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"
#include "text/bytes_tokenizer.h"
#include "text/post_processor_json.h"
#include "text/sentencepiece_file.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_settings.h"
#include "text/vocabulary_files.h"

namespace longspan::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string SourceOf(const fs::path& path) { return io::Escape(path.native(), 4096); }

// The id of a token in the parts so far; none when no table has it.
std::optional<std::int32_t> IdIn(const TokenizerParts& parts, const std::string& content) {
  for (const AddedToken& token : parts.added) {
    if (token.content == content) return token.id;
  }
  return parts.vocabulary.IdOf(content);
}

// Spellings that mean a role when no file tells the roles.
struct UsualName {
  std::string_view content, role;
};
constexpr UsualName kUsualNames[] = {
    {"[CLS]", "cls_token"},         {"[SEP]", "sep_token"},         {"[PAD]", "pad_token"},
    {"[UNK]", "unk_token"},         {"[MASK]", "mask_token"},       {"<s>", "cls_token"},
    {"<s>", "bos_token"},           {"</s>", "sep_token"},          {"</s>", "eos_token"},
    {"<pad>", "pad_token"},         {"<unk>", "unk_token"},         {"<mask>", "mask_token"},
    {"<|endoftext|>", "bos_token"}, {"<|endoftext|>", "eos_token"},
};

// Roles of a tokenizer.json: what the files beside it say, then what its own sections say, then
// what its special tokens are usually called.
void SetRoles(const TokenizerSettings& settings, TokenizerParts& parts) {
  for (const Role& role : kRoles) {
    const auto told = settings.roles.find(role.name);
    if (told == settings.roles.end()) continue;
    if (const auto id = IdIn(parts, told->second.first.content)) parts.special.*role.id = id;
  }
  for (const auto& [content, name] : kUsualNames) {
    const auto token =
        std::find_if(parts.added.begin(), parts.added.end(),
                     [&, &c = content](const auto& t) { return t.special && t.content == c; });
    const auto role = std::find_if(std::begin(kRoles), std::end(kRoles),
                                   [&, &n = name](const Role& r) { return r.name == n; });
    auto& id = parts.special.*role->id;
    if (token != parts.added.end() && !id) id = token->id;
  }
}

std::unique_ptr<Tokenizer> FromTokenizerJson(const fs::path& file,
                                             const TokenizerSettings& settings) {
  const std::string source = SourceOf(file);
  TokenizerParts parts = ReadTokenizerJson(ReadTokenizerJsonFile(file), source);
  SetRoles(settings, parts);
  parts.longest = settings.longest;
  return MakeSubwordTokenizer(std::move(parts), source);
}

// Adds special tokens to those of the parts.
class SpecialTokens {
 public:
  SpecialTokens(const std::string& source, TokenizerParts& parts) : source_(source), parts_(parts) {
    for (std::size_t i = 0; i < parts.added.size(); ++i) places_.emplace(parts.added[i].content, i);
  }

  // Unless it is there; `must`: it has to have an id.
  std::optional<std::int32_t> Add(AddedToken token, bool must) {
    const auto there = places_.find(token.content);
    if (there != places_.end()) {
      parts_.added[there->second].special = true;
      return parts_.added[there->second].id;
    }
    const auto id = parts_.vocabulary.IdOf(token.content);
    Check(id || !must, ErrorCode::kFormat,
          "{}: special token \"{}\" is neither in the vocabulary nor in added_tokens.json", source_,
          io::Escape(token.content));
    if (!id) return std::nullopt;
    token.id = *id;
    token.special = true;
    places_.emplace(token.content, parts_.added.size());
    parts_.added.push_back(std::move(token));
    return id;
  }

 private:
  const std::string& source_;
  TokenizerParts& parts_;
  std::unordered_map<std::string, std::size_t> places_;  // by content
};

// Added tokens and roles of a vocabulary without tokenizer.json; `usual` are the names of the roles
// that the files do not tell.
void AddTokens(const TokenizerSettings& settings, const std::vector<UsualName>& usual,
               bool mask_takes_space, const std::string& source, TokenizerParts& parts) {
  parts.added = settings.added;
  SpecialTokens special(source, parts);
  for (const Role& role : kRoles) {
    const auto told = settings.roles.find(role.name);
    const auto name = std::find_if(usual.begin(), usual.end(),
                                   [&](const UsualName& u) { return u.role == role.name; });
    AddedToken token;
    bool flags = false;
    if (told != settings.roles.end()) {
      std::tie(token, flags) = told->second;
    } else if (name != usual.end()) {
      token.content = name->content;
    } else {
      continue;
    }
    if (!flags && role.name == "mask_token") token.lstrip = mask_takes_space;
    if (!flags) token.normalized = false;
    parts.special.*role.id = special.Add(std::move(token), told != settings.roles.end());
  }
  for (AddedToken token : settings.more_special) special.Add(std::move(token), true);
}

void CheckClass(const TokenizerSettings& settings, std::initializer_list<std::string_view> known,
                std::string_view files, const std::string& source) {
  const std::string& name = settings.tokenizer_class;
  Check(name.empty() || std::find(known.begin(), known.end(), name) != known.end(),
        ErrorCode::kFormat, "{}: tokenizer_class {} is not read from {}, only {}", source,
        io::Escape(name), files, fmt::join(known, ", "));
}

// vocab.json and merges.txt: GPT-2's form when tokenizer_config.json says so or the vocabulary has
// no <s>, otherwise RoBERTa's.
std::unique_ptr<Tokenizer> FromBpeFiles(const fs::path& directory,
                                        const TokenizerSettings& settings) {
  const fs::path file = directory / "vocab.json", merges = directory / "merges.txt";
  const std::string source = SourceOf(directory);
  Check(io::Exists(merges), ErrorCode::kFormat, "{}: vocab.json is there, merges.txt is not",
        source);
  CheckClass(
      settings,
      {"RobertaTokenizer", "LongformerTokenizer", "BartTokenizer", "LEDTokenizer", "GPT2Tokenizer"},
      "vocab.json and merges.txt", source);
  TokenizerParts parts;
  parts.vocabulary = VocabularyOf(ReadTokenizerJsonFile(file), SourceOf(file));
  parts.model.emplace(BpeModel(parts.vocabulary,
                               ParseMerges(ReadTokenizerFile(merges), SourceOf(merges)), {},
                               SourceOf(merges)));
  parts.kind = "byte-level BPE";
  const bool gpt2 = settings.tokenizer_class == "GPT2Tokenizer" ||
                    (settings.tokenizer_class.empty() && !parts.vocabulary.IdOf("<s>"));
  parts.prefix_space = settings.prefix_space.value_or(false);
  if (parts.prefix_space) parts.pre_tokenizer.Add(PreTokenizerStep::Kind::kPrefixSpace);
  parts.pre_tokenizer.Add(PreTokenizerStep::Kind::kExpression);
  parts.decoder.Add({.kind = DecoderStep::Kind::kByteLevel});
  parts.trim_offsets = settings.trim_offsets.value_or(!gpt2);
  parts.longest = settings.longest;
  if (gpt2) {
    AddTokens(settings,
              {{"<|endoftext|>", "bos_token"},
               {"<|endoftext|>", "eos_token"},
               {"<|endoftext|>", "unk_token"}},
              false, source, parts);
    if (settings.add_bos.value_or(false)) {
      Check(parts.special.bos.has_value(), ErrorCode::kFormat,
            "{}: add_bos_token without a bos_token", source);
      parts.single.insert(parts.single.begin(), {-1, *parts.special.bos, 0});
      parts.pair = {{-1, *parts.special.bos, 0}, {0, 0, 0}, {-1, *parts.special.bos, 1}, {1, 0, 1}};
    }
    return MakeSubwordTokenizer(std::move(parts), source);
  }
  AddTokens(settings,
            {{"<s>", "bos_token"},
             {"</s>", "eos_token"},
             {"</s>", "sep_token"},
             {"<s>", "cls_token"},
             {"<unk>", "unk_token"},
             {"<pad>", "pad_token"},
             {"<mask>", "mask_token"}},
            true, source, parts);
  Check(parts.special.cls && parts.special.sep, ErrorCode::kFormat,
        "{}: the vocabulary has no cls_token (<s>) or no sep_token (</s>)", source);
  UseRobertaTemplate(*parts.special.cls, *parts.special.sep, parts);
  return MakeSubwordTokenizer(std::move(parts), source);
}

std::unique_ptr<Tokenizer> FromVocabTxt(const fs::path& directory,
                                        const TokenizerSettings& settings) {
  const fs::path file = directory / "vocab.txt";
  const std::string source = SourceOf(directory);
  CheckClass(settings, {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"}, "vocab.txt",
             source);
  Check(settings.plain_words, ErrorCode::kFormat,
        "{}: tokenizer_config.json has never_split or do_basic_tokenize false, which is not read",
        source);
  TokenizerParts parts;
  parts.vocabulary = ParseVocabTxt(ReadTokenizerFile(file), SourceOf(file));
  const bool lower = settings.lower_case.value_or(true);
  parts.normalizer = BertNormalizer(true, settings.space_cjk.value_or(true),
                                    settings.strip_accents.value_or(lower), lower);
  parts.pre_tokenizer.Add(PreTokenizerStep::Kind::kSpaces);
  parts.pre_tokenizer.Add(PreTokenizerStep::Kind::kEachPunctuation);
  parts.decoder.Add({.kind = DecoderStep::Kind::kWordPiece});
  parts.longest = settings.longest;
  AddTokens(settings,
            {{"[UNK]", "unk_token"},
             {"[SEP]", "sep_token"},
             {"[PAD]", "pad_token"},
             {"[CLS]", "cls_token"},
             {"[MASK]", "mask_token"}},
            false, source, parts);
  Check(parts.special.unk && parts.special.cls && parts.special.sep, ErrorCode::kFormat,
        "{}: vocab.txt lacks one of unk_token ([UNK]), cls_token ([CLS]) and sep_token ([SEP])",
        source);
  parts.model.emplace(WordPieceModel(parts.vocabulary, {.unk = *parts.special.unk}));
  parts.kind = "WordPiece";
  UseBertTemplate(*parts.special.cls, *parts.special.sep, parts);
  return MakeSubwordTokenizer(std::move(parts), source);
}

// spiece.model, with the special tokens of a ReformerTokenizer: its control pieces and its unknown
// piece are found in a text where they are spelled out.
std::unique_ptr<Tokenizer> FromSentencePiece(const fs::path& path,
                                             const TokenizerSettings& settings) {
  const std::string source = SourceOf(path);
  CheckClass(settings, {"ReformerTokenizer", "PreTrainedTokenizer", "TokenizersBackend"},
             "spiece.model", source);
  const std::string bytes = ReadTokenizerFile(path);
  const SentencePieceFile file = ReadSentencePieceFile(bytes, source);
  TokenizerParts parts;
  parts.vocabulary = VocabularyOf(file, source);
  parts.longest = settings.longest;
  const std::string& unk = file.pieces[static_cast<std::size_t>(file.unk)].text;
  AddTokens(settings,
            {{file.bos, "bos_token"},
             {file.eos, "eos_token"},
             {unk, "unk_token"},
             {file.pad, "pad_token"}},
            false, source, parts);
  SpecialTokens special(source, parts);
  for (const SentencePiece& piece : file.pieces) {
    if (piece.type != PieceType::kControlSymbol && piece.type != PieceType::kUnknown) continue;
    AddedToken token;
    token.content = piece.text;
    special.Add(std::move(token), true);
  }
  return MakeSentencePieceTokenizer(std::move(parts), file, bytes, source);
}

// One of the models whose ids can be bytes.
bool IsByteModel(const fs::path& config, std::span<const std::string_view> byte_models) {
  if (!io::Exists(config)) return false;
  const json object = io::ReadJsonFile(config);
  const std::string source = SourceOf(config);
  const std::string type = io::GetString(object, "model_type", "", source);
  return std::find(byte_models.begin(), byte_models.end(), type) != byte_models.end() &&
         io::GetInt(object, "vocab_size", 0, INT64_MAX, 0, source) >= BytesTokenizer::kVocabulary;
}

}  // namespace

std::unique_ptr<Tokenizer> OpenTokenizer(const fs::path& given,
                                         std::span<const std::string_view> byte_models) {
  const fs::path directory = io::TransformerFolder(given);
  const std::string source = SourceOf(directory);
  Check(io::IsDirectory(directory), ErrorCode::kIo, "{}: no such directory", source);
  io::Confine(directory);
  const auto has = [&](const char* name) { return io::Exists(directory / name); };
  if (has("tokenizer.json")) {
    return FromTokenizerJson(directory / "tokenizer.json", ReadTokenizerSettings(directory));
  }
  if (has("vocab.json")) return FromBpeFiles(directory, ReadTokenizerSettings(directory));
  if (has("vocab.txt")) return FromVocabTxt(directory, ReadTokenizerSettings(directory));
  if (has("spiece.model")) {
    return FromSentencePiece(directory / "spiece.model", ReadTokenizerSettings(directory));
  }
  for (const char* name : {"sentencepiece.bpe.model", "tokenizer.model"}) {
    Check(!has(name), ErrorCode::kFormat,
          "{}: {} is not read, its ids are not those of its pieces; save it with `transformers` as "
          "tokenizer.json",
          source, name);
  }
  if (IsByteModel(directory / "config.json", byte_models)) {
    return MakeBytesTokenizer(ReadTokenizerSettings(directory).longest);
  }
  Fail(ErrorCode::kFormat,
       "{}: no tokenizer: neither tokenizer.json, vocab.json with merges.txt, vocab.txt, "
       "spiece.model nor the config.json of a Reformer on bytes (vocab_size {} or more)",
       source, BytesTokenizer::kVocabulary);
}

}  // namespace longspan::text
