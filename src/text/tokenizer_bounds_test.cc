// What hostile tokenizers can make of a text: never more than the bounds, never in more than linear
// time; and that what is honest stays inside of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "base/cancel.h"
#include "base/limits.h"
#include "io/json.h"
#include "tests/support/files.h"
#include "text/added_tokens.h"
#include "text/base64.h"
#include "text/literal_search.h"
#include "text/open_tokenizer.h"
#include "text/sentencepiece_file.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/text_test.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

using nlohmann::json;
using test::GetFile;
using test::PutFile;
using test::Throws;

json Replace(const std::string& from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

// The recorded tokenizer with one section made of these steps.
std::unique_ptr<Tokenizer> With(const char* section, const json& steps,
                                const char* base = "bert-uncased") {
  test::TempDir folder;
  json document = io::ReadJsonFile(kFolder / base / "tokenizer.json");
  const std::map<std::string, std::string> lists = {
      {"normalizer", "normalizers"}, {"pre_tokenizer", "pretokenizers"}, {"decoder", "decoders"}};
  document[section] = {{"type", "Sequence"}, {lists.at(section), steps}};
  PutFile(folder / "tokenizer.json", document.dump());
  return OpenTokenizer(folder.path());
}

std::string Times(std::string_view text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

// A map of characters by which "a" becomes `to`: a trie of two nodes.
std::string MapOfA(const std::string& to) {
  constexpr std::size_t kUnits = 512, kRoot = 256, kLeaf = 352;
  std::vector<std::uint32_t> units(kUnits, 0);
  units[0] = kRoot << 10;
  units[kRoot ^ 'a'] = 1u << 10 | 1u << 8 | 'a';
  units[kLeaf] = 0x80000000u;
  std::string map;
  const auto put = [&](std::uint32_t word) {
    for (int i = 0; i < 4; ++i) map += static_cast<char>(word >> (8 * i) & 0xFF);
  };
  put(4 * kUnits);
  for (const std::uint32_t unit : units) put(unit);
  return map + to + '\0';
}

TEST(Growth, NormalizersThatMultiply) {
  const json doubled = std::vector<json>(30, Replace("a", "aa"));
  EXPECT_TRUE(Throws([&] { With("normalizer", doubled)->Encode("a"); }, ErrorCode::kLimit,
                     "tokenizer: normalizer step 21 (Replace) makes 1048594 characters or more of "
                     "a text of 1 bytes, at most 1048592 are made (16 for each byte and 1048576)"));
  const json thousand = std::vector<json>(64, Replace("a", std::string(1000, 'a')));
  EXPECT_TRUE(Throws([&] { With("normalizer", thousand)->Encode("a"); }, ErrorCode::kLimit,
                     "normalizer step 3 (Replace) makes"));
  const json map = {{"type", "Precompiled"},
                    {"precompiled_charsmap", EncodeBase64(MapOfA(std::string(1000, 'a')))}};
  EXPECT_TRUE(Throws([&] { With("normalizer", std::vector<json>(3, map))->Encode("a"); },
                     ErrorCode::kLimit, "normalizer step 3 (Precompiled) makes"));
  const json spaces = {{"type", "Replace"},
                       {"pattern", {{"Regex", " {2,}"}}},
                       {"content", std::string(500, ' ') + "x" + std::string(500, ' ')}};
  EXPECT_TRUE(Throws([&] { With("normalizer", std::vector<json>(20, spaces))->Encode("a  b"); },
                     ErrorCode::kLimit, "(Replace) makes"));
  // Parts between added tokens share what there is.
  const json prepended = std::vector<json>(64, {{"type", "Prepend"}, {"prepend", "aaaaaaaa"}});
  const auto t = With("normalizer", prepended);
  EXPECT_EQ(t->Encode("a", kPlain)[0].size(), 1);
  EXPECT_TRUE(
      Throws([&] { t->Encode(Times("a[SEP]", 10000)); }, ErrorCode::kLimit, "normalizer step "));
}

TEST(Growth, PreTokenizersThatMultiply) {
  json steps = json::array();
  for (int i = 0; i < 32; ++i) {
    steps.push_back({{"type", "Metaspace"}, {"replacement", i % 2 == 0 ? "!" : "?"}});
    steps.push_back({{"type", "Punctuation"}});
  }
  EXPECT_TRUE(Throws([&] { With("pre_tokenizer", steps)->Encode("a b"); }, ErrorCode::kLimit,
                     "pre_tokenizer step "));
}

TEST(Growth, DecodersThatMultiply) {
  const auto ids = [](const Tokenizer& t) { return t.Encode("a", kPlain)[0].ids; };
  for (const json& steps : {json(std::vector<json>(30, Replace("a", "aa"))),
                            json(std::vector<json>(64, Replace("a", std::string(1000, 'a'))))}) {
    const auto t = With("decoder", steps);
    EXPECT_TRUE(Throws([&] { t->Decode(ids(*t), true); }, ErrorCode::kLimit, "decoder step "));
  }
  const auto t = With("decoder", std::vector<json>(20, Replace("a", "aa")));
  EXPECT_EQ(t->Decode(ids(*t), true), std::string(1 << 20, 'a'));
}

TEST(Growth, AddedTokensThatMultiply) {
  test::TempDir folder;
  json document = io::ReadJsonFile(kFolder / "bert-uncased" / "tokenizer.json");
  const auto entries = document["model"]["vocab"].size();
  document["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", std::vector<json>(15, Replace("a", "aa"))}};
  for (std::size_t i = 0; i < 100; ++i) {
    document["added_tokens"].push_back({{"id", entries + i},
                                        {"content", "a" + std::to_string(i)},
                                        {"single_word", false},
                                        {"lstrip", false},
                                        {"rstrip", false},
                                        {"normalized", true},
                                        {"special", false}});
  }
  PutFile(folder / "tokenizer.json", document.dump());
  EXPECT_TRUE(Throws([&] { OpenTokenizer(folder.path()); }, ErrorCode::kLimit,
                     "(Replace) makes 1053634 characters or more of a text of 316 bytes, at most "
                     "1053632 are made"));
}

TEST(Growth, MapsOfSentencePieceModels) {
  std::string model = GetFile(kFolder / "spiece-bpe/spiece.model");
  const std::string map = MapOfA(std::string(100, 'a'));
  // normalizer_spec (3) with precompiled_charsmap (2); lengths as numbers of two bytes.
  const auto number = [](std::size_t n) {
    return std::string{static_cast<char>(0x80 | (n & 0x7F)), static_cast<char>(n >> 7)};
  };
  const std::string spec = "\x12" + number(map.size()) + map;
  model += "\x1A" + number(spec.size()) + spec;
  EXPECT_TRUE(Throws([&] { ReadSentencePieceFile(model, "f"); }, ErrorCode::kLimit,
                     "f: precompiled_charsmap makes 17 bytes of one or more, at most 16 are made"));
}

TEST(Growth, LeavesRoomForUnicode) {
  // GlyphsOf U+FDFA compatibility makes 18 characters of 33 bytes.
  const std::string text = Times("\xEF\xB7\xBA", 100000);
  for (const char* base : {"bert-uncased", "roberta"}) {
    const auto t = With("normalizer", std::vector<json>(2, {{"type", "NFKD"}}), base);
    const Encoding e = t->Encode(text, kPlain)[0];
    EXPECT_GE(e.size(), 100000) << base;
    EXPECT_EQ(e.bytes.back().end, 300000) << base;
  }
}

// ---- time ---------------------------------------------------------------------------------------

// Loose: what is quadratic takes minutes.
class Quick {
 public:
  ~Quick() { EXPECT_LT(std::chrono::steady_clock::now() - begin_, std::chrono::seconds(60)); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// A text of Gemma's tokenizer is one word, however long it is.
TEST(Time, OneLongWordCanBeCancelled) {
  const Quick quick;
  const auto t = OpenTokenizer(kFolder / "gemma");
  std::string text;
  while (text.size() < std::size_t{1} << 19) text += "she had been forced into prudence, ";
  auto whole = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 2; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    t->Encode(text, kPlain);
    whole = std::min(whole, std::chrono::steady_clock::now() - begin);
  }
  std::atomic<bool> flag{false};
  std::thread stop([&] {
    std::this_thread::sleep_for(whole / 2);
    flag = true;
  });
  const CancelScope scope(&flag);
  EXPECT_THROW(t->Encode(text, kPlain), Cancelled);
  stop.join();
}

TEST(Time, LiteralsAndTokensThatNearlyMatch) {
  const Quick quick;
  const std::string text(1 << 20, 'a'), near = std::string(1000, 'a') + "b";
  const json split = {{"type", "Split"},
                      {"pattern", {{"String", near}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  EXPECT_EQ(With("pre_tokenizer", std::vector<json>(64, split))->Encode(text, kPlain)[0].size(), 1);
  const auto t = With("normalizer", std::vector<json>(64, Replace(near, "x")));
  EXPECT_EQ(t->Encode(text, kPlain)[0].size(), 1);
  AddedTokenFinder finder;
  finder.Add(GlyphsOf(near), {.content = near, .id = 1});
  finder.Finish();
  EXPECT_EQ(finder.Split(GlyphsOf(text)).size(), 1u);
  const auto d = With("decoder", {{{"type", "Fuse"}}, Replace(near, "x"), Replace("a", "b")});
  const std::vector<std::int32_t> ids(1 << 20, d->Encode("a", kPlain)[0].ids[0]);
  EXPECT_EQ(d->Decode(ids, true), std::string(1 << 20, 'b'));
}

TEST(Time, UnknownCharactersInARow) {
  const Quick quick;
  const auto t = OpenTokenizer(kFolder / "spiece-bpe");
  const std::string one = "\xE7\x95\x8C";
  const Encoding few = t->Encode(Times(one, 3), kPlain)[0];
  const Encoding many = t->Encode(Times(one, 1'000'000), kPlain)[0];
  EXPECT_EQ(many.ids, few.ids);
  EXPECT_EQ(few.bytes.back(), (Span{0, 9}));
  EXPECT_EQ(many.bytes.back(), (Span{0, 3'000'000}));
  const Encoding broken = t->Encode(std::string(400'000, '\xFF'), kPlain)[0];
  EXPECT_LE(broken.size(), 2);  // U+FFFD may be a space to the model
}

// ---- against the plain way ----------------------------------------------------------------------

std::string Random(std::mt19937& random, std::size_t most, std::string_view letters) {
  std::string text(1 + random() % most, ' ');
  for (char& c : text) c = letters[random() % letters.size()];
  return text;
}

TEST(LiteralSearchTest, FindsWhatPlainSearchFinds) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = Random(random, 40, "ab"), literal = Random(random, 6, "ab");
    const LiteralSearch search(std::u32string(literal.begin(), literal.end()));
    const std::size_t at = random() % text.size();
    const std::size_t expected = text.find(literal, at);
    EXPECT_EQ(search.Find(GlyphsOf(text), at, text.size()), std::min(expected, text.size()));
    EXPECT_EQ(FindText(text, literal, at), expected);
  }
  EXPECT_EQ(LiteralSearch().Find(GlyphsOf("ab"), 0, 2), 2u);
  EXPECT_EQ(FindText("ab", "", 0), std::string_view::npos);
}

TEST(AddedTokenFinderTest, FindsTheLeftmostAndOfTheseTheLongest) {
  std::mt19937 random(2);
  for (int i = 0; i < 5000; ++i) {
    std::vector<std::string> tokens;
    AddedTokenFinder finder;
    for (std::int32_t id = 0; id < 5; ++id) {
      tokens.push_back(Random(random, 5, "abc"));
      finder.Add(GlyphsOf(tokens.back()), {.content = tokens.back(), .id = id});
    }
    finder.Finish();
    const std::string text = Random(random, 30, "abc");
    std::string expected, found;
    for (std::size_t at = 0; at < text.size();) {
      std::string longest;
      for (const std::string& token : tokens) {
        const bool here = text.compare(at, token.size(), token) == 0;
        if (here && token.size() > longest.size()) longest = token;
      }
      expected += longest.empty() ? text.substr(at, 1) : "[" + longest + "]";
      at += std::max<std::size_t>(longest.size(), 1);
    }
    for (const AddedSplit& split : finder.Split(GlyphsOf(text))) {
      const std::string part = text.substr(split.begin, split.end - split.begin);
      found += split.id < 0 ? part : "[" + part + "]";
      if (split.id >= 0) {
        EXPECT_EQ(tokens[static_cast<std::size_t>(split.id)], part);
      }
    }
    EXPECT_EQ(found, expected) << text;
  }
}

// ---- texts in pieces ----------------------------------------------------------------------------

std::unique_ptr<Tokenizer> Pieces(const char* name, const SentencePieceCut& cut) {
  const std::string bytes = GetFile(kFolder / name / "spiece.model");
  const SentencePieceFile file = ReadSentencePieceFile(bytes, name);
  TokenizerParts parts;
  parts.vocabulary = VocabularyOf(file, name);
  return MakeSentencePieceTokenizer(std::move(parts), file, bytes, name, cut);
}

TEST(SentencePieceCutTest, TokensAreThoseOfTheWholeText) {
  const std::string novel = GetFile(test::kRoot / "data/persuasion.txt");
  const std::string odd =
      "caf\xC3\xA9 na\xC3\xAFve \xE7\x95\x8C\xE7\x95\x8C x \xE7\x95\x8C y  two   three\n\nfour ";
  for (const char* name : {"spiece-bpe", "spiece-unigram"}) {
    const auto whole = Pieces(name, {});
    for (const SentencePieceCut& cut : {SentencePieceCut{300, 60}, SentencePieceCut{1000, 1000}}) {
      const auto cutting = Pieces(name, cut);
      for (std::size_t at = 0; at + 3000 < novel.size(); at += 20000) {
        const std::string text = novel.substr(at, 2000) + odd + novel.substr(at + 2000, 1000);
        EncodeOptions options = kPlain;
        for (const bool continues : {false, true}) {
          options.continues = continues;
          const Encoding a = whole->Encode(text, options)[0], b = cutting->Encode(text, options)[0];
          EXPECT_EQ(a.ids, b.ids) << name << " " << at;
          EXPECT_EQ(a.chars, b.chars) << name << " " << at;
        }
      }
    }
  }
}

TEST(SentencePieceCutTest, TextsWithoutSpacesLoseNothing) {
  for (const char* name : {"spiece-bpe", "spiece-unigram"}) {
    const auto cutting = Pieces(name, {30, 30});
    for (const std::string& text :
         {std::string(500, 'a'), Times("\xE7\x95\x8C", 100), Times("\xC3\xA9", 77) + "b"}) {
      const Encoding e = cutting->Encode(text, kPlain)[0];
      for (std::size_t i = 1; i < e.ids.size(); ++i) {
        EXPECT_TRUE(e.bytes[i].begin == e.bytes[i - 1].end || e.bytes[i] == e.bytes[i - 1]);
      }
      EXPECT_EQ(e.bytes.front().begin, 0);
      EXPECT_EQ(e.bytes.back().end, static_cast<idx_t>(text.size()));
    }
    // Spaces at the ends of pieces.
    const auto whole = Pieces(name, {});
    const std::string apart = "one" + std::string(100, ' ') + "two";
    if (ReadSentencePieceFile(GetFile(kFolder / name / "spiece.model"), name).drop_extra_spaces) {
      EXPECT_EQ(cutting->Encode(apart, kPlain)[0].ids, whole->Encode(apart, kPlain)[0].ids);
    }
  }
}

}  // namespace
}  // namespace longspan::text
