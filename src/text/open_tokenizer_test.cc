// What the files of a directory may say, what is refused, and how it is told.
#include "text/open_tokenizer.h"

#include <nlohmann/json.hpp>

#include "io/json.h"
#include "tests/support/files.h"
#include "text/text_test.h"
#include "text/tokenizer_limits.h"
#include "text/vocabulary_files.h"

namespace longspan::text {
namespace {

using nlohmann::json;
using test::PutFile;
using test::Throws;
using Ids = std::vector<std::int32_t>;

const json kAsIs = json::object();  // a patch that changes nothing

void Refused(const test::TempDir& folder, std::string_view says, int line,
             std::span<const std::string_view> byte_models = {}) {
  EXPECT_TRUE(Throws([&] { OpenTokenizer(folder.path(), byte_models); }, ErrorCode::kFormat, says))
      << "line " << line;
}

// The recorded tokenizer.json with a merge patch.
class TokenizerJson : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> Open(const json& patch, const char* base = "bert-uncased") {
    json document = io::ReadJsonFile(kFolder / base / "tokenizer.json");
    document.merge_patch(patch);
    PutFile(folder_ / "tokenizer.json", document.dump());
    return OpenTokenizer(folder_.path());
  }
  void Refuse(const json& patch, std::string_view says, const char* base = "bert-uncased") {
    EXPECT_TRUE(Throws([&] { Open(patch, base); }, ErrorCode::kFormat, says)) << patch;
  }
  test::TempDir folder_;
};

// {"type": t} in the place of a section.
json Only(const char* section, json component) {
  json patch;
  // A merge patch of a list replaces, so the section goes through one.
  patch[section] = {{"type", "Sequence"}};
  const std::map<std::string, std::string> names = {{"normalizer", "normalizers"},
                                                    {"pre_tokenizer", "pretokenizers"},
                                                    {"post_processor", "processors"},
                                                    {"decoder", "decoders"}};
  for (const char* field : {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase",
                            "single", "pair", "special_tokens", "prefix", "cleanup",
                            "add_prefix_space", "trim_offsets", "use_regex", "sep", "cls"}) {
    patch[section][field] = nullptr;
  }
  patch[section][names.at(section)] = json::array({std::move(component)});
  return patch;
}

TEST_F(TokenizerJson, UnknownComponentsAreRefusedByName) {
  for (const char* type : {"Nmt", "ByteLevel"}) {
    Refuse(Only("normalizer", {{"type", type}}),
           "normalizer: normalizers[0]: " + std::string(type) + " is not read, only Bert");
  }
  for (const char* type : {"Digits", "UnicodeScripts", "CharDelimiterSplit"}) {
    Refuse(Only("pre_tokenizer", {{"type", type}}),
           "pre_tokenizer: pretokenizers[0]: " + std::string(type) + " is not read");
  }
  Refuse(Only("post_processor", {{"type", "X"}}), "post_processor: processors[0]: X is not read");
  for (const char* type : {"BPEDecoder", "CTC"}) {
    Refuse(Only("decoder", {{"type", type}}),
           "decoder: decoders[0]: " + std::string(type) + " is not read");
  }
  for (const char* type : {"WordLevel"}) {
    Refuse({{"model", {{"type", type}}}}, "model: " + std::string(type) + " is not read");
  }
}

TEST_F(TokenizerJson, UnknownFieldsAndOptionsAreRefused) {
  Refuse({{"sparkles", 1}}, "a section \"sparkles\" is not known");
  Refuse({{"normalizer", {{"fold", true}}}},
         "normalizer: BertNormalizer has a field \"fold\", which is not known");
  Refuse({{"model", {{"drop", 1}}}}, "model: WordPiece has a field \"drop\"");
  Refuse({{"model", {{"dropout", 0.5}}}}, "model: BPE with dropout is not read", "roberta");
  Refuse({{"model", {{"byte_fallback", true}}}}, "ByteLevel and byte_fallback is not read",
         "roberta");
  Refuse({{"model", {{"end_of_word_suffix", "</w>"}}}}, "BPE with end_of_word_suffix", "roberta");
  Refuse({{"model", {{"continuing_subword_prefix", "##"}}}}, "continuing_subword_prefix",
         "roberta");
  Refuse({{"model", {{"unk_token", "<none>"}}}},
         "unk_token \"<none>\" is neither in the vocabulary nor in added_tokens", "roberta");
  Refuse({{"pre_tokenizer", {{"use_regex", 1}}}}, "use_regex is 1, must be true or false",
         "roberta");
  Refuse({{"pre_tokenizer",
           {{"type", "Whitespace"},
            {"add_prefix_space", nullptr},
            {"trim_offsets", nullptr},
            {"use_regex", nullptr}}}},
         "BPE over characters with neither unk_token nor byte_fallback is not read", "roberta");
  Refuse(Only("pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}),
         "WordPiece behind ByteLevel is not read");
  const json split = {{"type", "Split"}, {"behavior", "Isolated"}, {"invert", false}};
  const auto with = [&](const json& more) {
    json component = split;
    component.update(more);
    return Only("pre_tokenizer", component);
  };
  Refuse(with({{"pattern", {{"Regex", "\\d"}}}}),
         "the expression \"\\\\d\" is not read, only GPT-2's, GPT-4's");
  Refuse(with({{"pattern", {{"String", ""}}}}), "a String of 0 bytes");
  Refuse(with({{"pattern", {{"String", "a"}}}, {"behavior", "Merged"}}),
         "Merged\\\", must be one of Isolated, Removed, Contiguous, MergedWithPrevious");
  Refuse(Only("pre_tokenizer", {{"type", "Punctuation"}, {"behavior", "Kept"}}),
         "Kept\\\", must be one of Isolated, Removed");
}

// The package opens such files, and refuses the texts that ask for the token.
TEST_F(TokenizerJson, AnUnknownTokenThatIsOnlyAddedIsRefusedWhereATextNeedsIt) {
  const auto added = [](int id) {
    return json{{"id", id},        {"content", "<none>"}, {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  const auto bytes =
      Open({{"model", {{"unk_token", "<none>"}}}, {"added_tokens", {added(2000)}}}, "roberta");
  EXPECT_EQ(bytes->special().unk, 2000);
  EXPECT_EQ(bytes->Encode("x<none>\xE2\x98\x83", kPlain)[0].ids[1], 2000);
  const auto expect_refused = [](const Tokenizer& tokenizer, std::string_view text) {
    EXPECT_TRUE(Throws([&] { tokenizer.Encode(text, kPlain); }, ErrorCode::kFormat,
                       "has no token, and unk_token \"<none>\""));
  };
  const auto pieces = Open({{"model", {{"unk_token", "<none>"}}}, {"added_tokens", {added(2000)}}});
  EXPECT_EQ(pieces->Encode("the <none>", kPlain)[0].ids.back(), 2000);
  expect_refused(*pieces, "the \xE2\x98\x83");
  const json characters = {{"model",
                            {{"type", "BPE"},
                             {"unk_token", "<none>"},
                             {"vocab", {{"a", 0}, {"b", 1}}},
                             {"merges", json::array()}}},
                           {"added_tokens", {added(2)}}};
  PutFile(folder_ / "tokenizer.json", characters.dump());
  const auto few = OpenTokenizer(folder_.path());
  EXPECT_EQ(few->Encode("ab<none>", kPlain)[0].ids, (std::vector<std::int32_t>{0, 1, 2}));
  expect_refused(*few, "abc");
}

TEST_F(TokenizerJson, TemplatesAndAddedTokensAreChecked) {
  const auto id = [](int value) {
    return json{{"post_processor", {{"special_tokens", {{"[CLS]", {{"ids", {value}}}}}}}}};
  };
  Refuse(id(1 << 20), "the template's special token has id 1048576, which no token has");
  Refuse(id(-1), "an id must be an integer in [0, 2000000]");
  Refuse({{"post_processor", {{"single", json::array()}}}},
         "single has the first text 0 times, must have it once");
  Refuse({{"post_processor", {{"special_tokens", {{"[CLS]", nullptr}}}}}},
         "special_tokens: [CLS] is missing");
  json token = {{"id", 9},         {"content", "<new>"},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", false}};
  Refuse({{"added_tokens", {token}}},
         "added token \"<new>\" has id 9, in the vocabulary it is absent");
  token["id"] = 1500;
  EXPECT_EQ(
      Open({{"added_tokens", {token}}})->Encode("a<new>", {.special_tokens = false})[0].ids[1],
      1500);
  EXPECT_EQ(Open({{"added_tokens", {token}}})->vocabulary(), 1501);
  Refuse({{"added_tokens", {token, token}}}, "\"<new>\" with id 1500 is there twice");
  token["content"] = std::string(kLongestToken + 1, 'x');
  Refuse({{"added_tokens", {token}}}, "added_tokens[0]: content has 1025 bytes");
  token["content"] = "x";
  token.erase("rstrip");
  Refuse({{"added_tokens", {token}}}, "added_tokens[0]: rstrip is missing");
  token["rstrip"] = false;
  token["bold"] = true;
  Refuse({{"added_tokens", {token}}}, "added_tokens[0]: a field \"bold\" is not known");
}

TEST_F(TokenizerJson, VocabulariesAndMergesAreChecked) {
  Refuse({{"model", {{"vocab", {{"zzz", 5}}}}}}, "id 5 is both");
  Refuse({{"model", {{"vocab", {{"zzz", "5"}}}}}}, "token \"zzz\" has the id \\\"5\\\"");
  Refuse({{"model", {{"vocab", {{"zzz", 1 << 20}}}}}},
         "has id 1048576, must be in [0, 66883) for 1347 entries");
  Refuse({{"model", {{"vocab", {{std::string(kLongestToken + 1, 'x'), 1500}}}}}}, "has 1025 bytes");
  Refuse({{"model", {{"max_input_chars_per_word", kLongestWord + 1}}}},
         "max_input_chars_per_word is 1001, must be an integer in [0, 1000]");
  Refuse({{"model", {{"merges", {"a b", "ab"}}}}}, "merges[1]: \"ab\" must be two tokens",
         "roberta");
  Refuse({{"model", {{"merges", {"a b c"}}}}}, "merges[0]: \"a b c\" must be two tokens",
         "roberta");
  Refuse({{"model", {{"merges", {1}}}}}, "merges[0]: must be", "roberta");
  Refuse({{"model", {{"merges", json::array({json::array({"zq", "qz"})})}}}},
         "\"zq\" is not in the vocabulary", "roberta");
  json deep = {{"type", "NFD"}};
  for (int i = 0; i < limits::kMostTokenizerDepth; ++i) {
    deep = {{"type", "Sequence"}, {"normalizers", json::array({deep})}};
  }
  Refuse(Only("normalizer", deep), "nested deeper than 32");
  json many = json::array();
  for (std::size_t i = 0; i <= kMostSteps; ++i) many.push_back({{"type", "NFD"}});
  Refuse(Only("normalizer", {{"type", "Sequence"}, {"normalizers", many}}),
         "normalizers must be a list of at most 64 elements");
}

TEST_F(TokenizerJson, NothingIsDoneTooOften) {
  json list = json::array();
  for (int i = 0; i < 9; ++i) list.push_back({{"type", "NFD"}});
  json lists = json::array();
  for (int i = 0; i < 8; ++i) lists.push_back({{"type", "Sequence"}, {"normalizers", list}});
  Refuse(Only("normalizer", {{"type", "Sequence"}, {"normalizers", lists}}),
         "72 steps of one kind, at most 64 are done");
  json places = json::array({{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}});
  while (places.size() <= kMostTemplatePlaces) {
    places.push_back({{"SpecialToken", {{"id", "[CLS]"}, {"type_id", 0}}}});
  }
  Refuse({{"post_processor", {{"single", places}}}}, "single must be a list of at most 64");
  Refuse({{"added_tokens", json(std::vector<int>(kMostAddedTokens + 1))}},
         "added_tokens must be a list of at most 100000 elements");
}

TEST_F(TokenizerJson, TruncationAndPaddingAreNotApplied) {
  const auto t = Open({{"truncation", {{"max_length", 4}}}, {"padding", {{"length", 99}}}});
  EXPECT_EQ(t->Encode("one two three four five")[0].size(),
            Open(kAsIs)->Encode("one two three four five")[0].size());
}

TEST_F(TokenizerJson, RolesComeFromTheFilesBesideIt) {
  EXPECT_EQ(Open(kAsIs)->special().mask, 4);  // [MASK] is called what it is usually called
  EXPECT_EQ(Open(kAsIs)->special().unk, 1);
  EXPECT_FALSE(Open(kAsIs)->special().bos);
  PutFile(folder_ / "special_tokens_map.json", R"({"mask_token": "[PAD]", "bos_token": "[CLS]"})");
  PutFile(folder_ / "tokenizer_config.json",
          R"({"mask_token": "[SEP]", "eos_token": {"content": "[SEP]"}, "model_max_length": 128})");
  const auto t = Open(kAsIs);
  EXPECT_EQ(t->special().mask, 0);
  EXPECT_EQ(t->special().bos, 2);
  EXPECT_EQ(t->special().eos, 3);
  EXPECT_EQ(t->longest(), 128);
  const auto longest = [&](const char* value) {
    PutFile(folder_ / "tokenizer_config.json",
            std::string("{\"model_max_length\": ") + value + "}");
    return Open(kAsIs)->longest();
  };
  EXPECT_FALSE(longest("1000000000000000019884624838656"));
  EXPECT_FALSE(longest("1e30"));
  EXPECT_FALSE(longest("null"));
  EXPECT_TRUE(Throws([&] { longest("-1"); }, ErrorCode::kFormat, "model_max_length is -1"));
}

// Small files of the older kind.
class OldFiles : public testing::Test {
 protected:
  void Bert(const char* config = "{}") {
    PutFile(folder_ / "vocab.txt",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nA\na\n\xC3\xA9\ne\n##b\n\xE4\xB8\xAD");
    PutFile(folder_ / "tokenizer_config.json", config);
  }
  void Gpt(const std::string& more = "", const char* config = "{}") {
    json table = json::object();
    for (const char* token : {"a", "b", "ab", "\u0120", "\u0120\x61\x62", "<|endoftext|>"}) {
      table[token] = table.size();
    }
    if (!more.empty()) table.update(json::parse(more));
    PutFile(folder_ / "vocab.json", table.dump());
    PutFile(folder_ / "merges.txt", "#version: 0.2\na b\n\xC4\xA0 ab\n");
    PutFile(folder_ / "tokenizer_config.json", config);
  }
  Ids Encode(std::string_view text) { return OpenTokenizer(folder_.path())->Encode(text)[0].ids; }
  test::TempDir folder_;
};

TEST_F(OldFiles, BertsSwitches) {
  Bert();
  EXPECT_EQ(Encode("A \xC3\xA9"
                   "b \xE4\xB8\xAD\xE4\xB8\xAD"),
            (Ids{2, 6, 8, 9, 10, 10, 3}));
  Bert(R"({"do_lower_case": false})");
  EXPECT_EQ(Encode("A \xC3\xA9"), (Ids{2, 5, 7, 3}));
  Bert(R"({"do_lower_case": false, "strip_accents": true})");
  EXPECT_EQ(Encode("A \xC3\xA9"), (Ids{2, 5, 8, 3}));
  Bert(R"({"strip_accents": false, "tokenize_chinese_chars": false})");
  EXPECT_EQ(Encode("A \xC3\xA9 \xE4\xB8\xAD\xE4\xB8\xAD"), (Ids{2, 6, 7, 1, 3}));
  Bert(R"({"never_split": ["a"]})");
  Refused(folder_, "never_split", __LINE__);
  Bert(R"({"do_basic_tokenize": false})");
  Refused(folder_, "do_basic_tokenize", __LINE__);
  Bert(R"({"tokenizer_class": "BertJapaneseTokenizer"})");
  Refused(folder_, "tokenizer_class BertJapaneseTokenizer is not read from vocab.txt", __LINE__);
  Bert(R"({"tokenizer_class": "DistilBertTokenizerFast", "cls_token": "[MASK]"})");
  EXPECT_EQ(Encode("a"), (Ids{4, 6, 3}));
  Bert(R"({"cls_token": "[NONE]"})");
  Refused(folder_, "special token \"[NONE]\" is neither in the vocabulary nor", __LINE__);
  Bert(R"({"do_lower_case": "yes"})");
  Refused(folder_, "do_lower_case is \\\"yes\\\", must be true or false", __LINE__);
}

TEST_F(OldFiles, GptAndRobertaByWhatTheVocabularyHas) {
  Gpt();
  EXPECT_EQ(Encode("ab ab<|endoftext|>"), (Ids{2, 4, 5}));
  EXPECT_EQ(OpenTokenizer(folder_.path())->special().eos, 5);
  Gpt("", R"({"add_prefix_space": true})");
  EXPECT_EQ(Encode("ab"), (Ids{4}));
  Gpt("", R"({"add_bos_token": true})");
  EXPECT_EQ(Encode("ab"), (Ids{5, 2}));
  Gpt(R"({"<s>": 6, "</s>": 7, "<mask>": 8})");
  EXPECT_EQ(Encode("ab <mask>"), (Ids{6, 2, 8, 7}));  // the mask takes the space before it
  EXPECT_EQ(OpenTokenizer(folder_.path())->AddedTokens(true), 4);
  Gpt(R"({"<s>": 6})");
  Refused(folder_, "no cls_token (<s>) or no sep_token (</s>)", __LINE__);
  Gpt("", R"({"tokenizer_class": "CLIPTokenizer"})");
  Refused(folder_, "tokenizer_class CLIPTokenizer is not read from vocab.json", __LINE__);
}

TEST_F(OldFiles, AddedTokensWithTheirFlags) {
  Gpt();
  PutFile(folder_ / "added_tokens.json", R"({"<x>": 6, "<y>": 7})");
  PutFile(folder_ / "special_tokens_map.json", R"({"additional_special_tokens": ["<y>"]})");
  EXPECT_EQ(Encode("a<x>b<y>"), (Ids{0, 6, 1, 7}));
  const auto t = OpenTokenizer(folder_.path());
  EXPECT_EQ(t->Decode(Ids{0, 6, 1, 7}, true), "a<x>b");
  EXPECT_EQ(t->vocabulary(), 8);
  Gpt("",
      R"({"added_tokens_decoder": {"6": {"content": "<x>", "lstrip": true, "special": true}}})");
  EXPECT_EQ(Encode("a <x>b"), (Ids{0, 6, 1}));
  EXPECT_EQ(OpenTokenizer(folder_.path())->Decode(Ids{0, 6, 1}, true), "ab");
  Gpt("", R"({"added_tokens_decoder": {"6x": {"content": "<x>"}}})");
  Refused(folder_, "\"6x\" is no id", __LINE__);
  Gpt();
  std::filesystem::remove(folder_ / "special_tokens_map.json");
  PutFile(folder_ / "added_tokens.json", R"({"<x>": 3})");
  Refused(folder_, "added token \"<x>\" has id 3, in the vocabulary it is absent and this id is",
          __LINE__);
  PutFile(folder_ / "added_tokens.json", R"({"<x>": -3})");
  Refused(folder_, "added_tokens.json: \"<x>\": must be an integer", __LINE__);
}

TEST_F(OldFiles, DamagedOnesAreRefused) {
  Gpt();
  std::filesystem::remove(folder_ / "merges.txt");
  Refused(folder_, "vocab.json is there, merges.txt is not", __LINE__);
  PutFile(folder_ / "merges.txt", "#version: 0.2\na b\nb a\n");
  Refused(folder_, "merges.txt: merge 1 (\"b\" with \"a\"): \"ba\" is not in the vocabulary",
          __LINE__);
  PutFile(folder_ / "merges.txt", "a b\n\n");
  Refused(folder_, "merges.txt: line 2: \"\" must be two tokens", __LINE__);
  PutFile(folder_ / "merges.txt", "a \xFF\n");
  Refused(folder_, "merges.txt: byte 2: invalid UTF-8", __LINE__);
  PutFile(folder_ / "vocab.json", "[]");
  Refused(folder_, "vocab.json: must be an object of tokens and ids", __LINE__);
  PutFile(folder_ / "vocab.json", "{}");
  Refused(folder_, "vocab.json: 0 tokens", __LINE__);
  std::filesystem::remove(folder_ / "vocab.json");
  PutFile(folder_ / "vocab.txt", "a\nb\na\n");
  Refused(folder_, "vocab.txt: token \"a\" has two ids, 0 and 2", __LINE__);
  PutFile(folder_ / "vocab.txt", "");
  Refused(folder_, "vocab.txt: 0 lines", __LINE__);
  PutFile(folder_ / "vocab.txt", "a\nb\n");
  Refused(folder_, "vocab.txt lacks one of unk_token", __LINE__);
  PutFile(folder_ / "vocab.txt", std::string(kLongestToken + 1, 'x'));
  Refused(folder_, "has 1025 bytes, at most 1024 are read", __LINE__);
}

TEST_F(OldFiles, LinesOfVocabTxtEndBeforeTheirWhiteSpace) {
  const Vocabulary v = ParseVocabTxt("a \r\nb\xC2\x85\n\nc", "f");
  EXPECT_EQ(v.IdOf("a"), 0);
  EXPECT_EQ(v.IdOf("b"), 1);
  EXPECT_EQ(v.IdOf("c"), 3);
  EXPECT_EQ(v.size(), 4);
}

TEST(OpenTokenizer, BytesOrNothing) {
  test::TempDir folder;
  EXPECT_TRUE(Throws([&] { OpenTokenizer(folder / "none"); }, ErrorCode::kIo, "no such directory"));
  Refused(folder, "neither tokenizer.json, vocab.json with merges.txt, vocab.txt, spiece.model nor",
          __LINE__);
  PutFile(folder / "config.json", R"({"model_type": "reformer", "vocab_size": 258})");
  constexpr std::string_view kByteModels[] = {"reformer"};
  EXPECT_EQ(OpenTokenizer(folder.path(), kByteModels)->kind(), "bytes");
  EXPECT_FALSE(OpenTokenizer(folder.path(), kByteModels)->longest());
  PutFile(folder / "tokenizer_config.json", R"({"model_max_length": 96})");
  EXPECT_EQ(OpenTokenizer(folder.path(), kByteModels)->longest(), 96);
  Refused(folder, "no tokenizer", __LINE__);  // without a word that its ids may be bytes
  PutFile(folder / "config.json", R"({"model_type": "reformer", "vocab_size": 257})");
  Refused(folder, "no tokenizer", __LINE__, kByteModels);
  PutFile(folder / "config.json", R"({"model_type": "longformer", "vocab_size": 258})");
  Refused(folder, "no tokenizer", __LINE__, kByteModels);
  PutFile(folder / "sentencepiece.bpe.model", "x");
  Refused(folder, "sentencepiece.bpe.model is not read", __LINE__);
  PutFile(folder / "spiece.model", "x");
  Refused(folder, "spiece.model: damaged", __LINE__);
}

TEST(OpenTokenizer, WhatWasDownloadedInTheirPlaceIsNamed) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1355256\n";
  const std::string lfs = "not a tokenizer's file; this is a git-LFS pointer";
  const std::string page = "not a tokenizer's file; this is a web page";
  for (const char* name : {"tokenizer.json", "vocab.json", "vocab.txt", "spiece.model"}) {
    test::TempDir folder;
    PutFile(folder / "merges.txt", "a b");
    PutFile(folder / name, pointer);
    Refused(folder, std::string(name) + ": " + lfs, __LINE__);
    PutFile(folder / name, "<!DOCTYPE html>\n<html>");
    Refused(folder, std::string(name) + ": " + page, __LINE__);
  }
  for (const char* name :
       {"merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
    test::TempDir folder;
    PutFile(folder / "vocab.json", R"({"a": 0})");
    PutFile(folder / "merges.txt", "");
    PutFile(folder / name, pointer);
    Refused(folder, std::string(name) + ": " + lfs, __LINE__);
  }
  // A vocabulary whose first token looks like the start of a page.
  test::TempDir folder;
  PutFile(folder / "vocab.txt", "<!\n[UNK]\n[SEP]\n[CLS]\n");
  EXPECT_EQ(OpenTokenizer(folder.path())->IdOf("<!"), 0);
}

TEST(OpenTokenizer, IdsFarFromTheVocabularyAreRefused) {
  test::TempDir folder;
  PutFile(folder / "vocab.txt", "[UNK]\n[SEP]\n[CLS]\na\n");
  PutFile(folder / "added_tokens.json", R"({"<x>": 1000000})");
  Refused(folder,
          "added token \"<x>\" has id 1000000, must be in [0, 65544) beside a vocabulary of 4",
          __LINE__);
  PutFile(folder / "added_tokens.json", R"({"<x>": 4})");
  EXPECT_EQ(OpenTokenizer(folder.path())->vocabulary(), 5);
  test::TempDir pieces;
  std::filesystem::copy(kFolder / "spiece-bpe/spiece.model", pieces / "spiece.model");
  PutFile(pieces / "added_tokens.json", R"({"<x>": 1000000})");
  Refused(pieces, "added token \"<x>\" has id 1000000, must be in [0, ", __LINE__);
}

TEST(OpenTokenizer, FilesThatAreTooLargeAreNotRead) {
  test::TempDir folder;
  PutFile(folder / "vocab.txt", "a");
  std::filesystem::resize_file(folder / "vocab.txt", kMostTokenizerBytes + 1);
  Refused(folder, "at most 67108864 are read", __LINE__);
  PutFile(folder / "tokenizer.json", "{");
  std::filesystem::resize_file(folder / "tokenizer.json", kMostTokenizerBytes + 1);
  Refused(folder, "at most 67108864 are read", __LINE__);
}

}  // namespace
}  // namespace longspan::text
