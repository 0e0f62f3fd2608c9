// spiece.model: what is read of it and refused, the same tokenizer in the two words, training.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/json.h"
#include "tests/support/files.h"
#include "text/base64.h"
#include "text/characters_map.h"
#include "text/open_tokenizer.h"
#include "text/sentencepiece_json.h"
#include "text/sentencepiece_trainer.h"
#include "text/stream_decoder.h"
#include "text/text_test.h"

namespace longspan::text {
namespace {

using nlohmann::json;
using test::GetFile;
using test::PutFile;
using test::TempDir;
using test::Throws;
using FileKind = SentencePieceFile::Kind;

std::string Novel() { return GetFile(test::kRoot / "data/persuasion.txt"); }
std::string Model(const char* name) { return GetFile(kFolder / name / "spiece.model"); }

// ---- the file -----------------------------------------------------------------------------------

// A field of bytes, as protocol buffers write it.
std::string Bytes(int field, const std::string& value) {
  return std::string{static_cast<char>(field << 3 | 2), static_cast<char>(value.size())} + value;
}
std::string Number(int field, int value) {
  return std::string{static_cast<char>(field << 3), static_cast<char>(value)};
}
std::string Piece(const std::string& text, int type) {
  return Bytes(1, Bytes(1, text) + Number(3, type));
}

void Refused(const std::string& model, std::string_view says, int line) {
  EXPECT_TRUE(Throws([&] { ReadSentencePieceFile(model, "f"); }, ErrorCode::kFormat, says))
      << "line " << line;
}
#define REFUSED(model, says) Refused(model, says, __LINE__)

TEST(SentencePieceFileTest, SaysWhatTheModelIs) {
  const SentencePieceFile file = ReadSentencePieceFile(Model("spiece-bpe"), "f");
  EXPECT_EQ(file.kind, FileKind::kBpe);
  ASSERT_EQ(file.pieces.size(), 320u);
  EXPECT_EQ(file.unk, 0);
  EXPECT_EQ(file.pieces[0].text, "<unk>");
  EXPECT_EQ(file.pieces[2].text, "</s>");
  EXPECT_EQ(file.pieces[2].type, PieceType::kControlSymbol);
  EXPECT_TRUE(file.dummy_prefix && file.drop_extra_spaces && !file.byte_fallback);
  EXPECT_FALSE(file.characters_map.empty());
  const SentencePieceFile unigram = ReadSentencePieceFile(Model("spiece-unigram"), "f");
  EXPECT_EQ(unigram.kind, FileKind::kUnigram);
  EXPECT_TRUE(unigram.byte_fallback && !unigram.drop_extra_spaces);
  EXPECT_TRUE(unigram.characters_map.empty());
  EXPECT_FALSE(
      ReadSentencePieceFile(EncodingModel(Model("spiece-bpe"), false, false), "f").dummy_prefix);
}

TEST(SentencePieceFileTest, RefusesWhatCannotBe) {
  const std::string good = Piece("<unk>", 2) + Piece("a", 1);
  ReadSentencePieceFile(good, "f");
  REFUSED("", "no SentencePiece model: it has no pieces");
  REFUSED("not a model at all", "f: ");
  REFUSED(good + Piece("a", 1), "piece 2 \"a\" is there twice");
  REFUSED(good + Piece("", 1), "piece 2 is empty");
  REFUSED(good + Piece("b", 7), "piece 2 has the unknown type 7");
  REFUSED(good + Piece("<u>", 2), "2 pieces are of the type unknown, must be one");
  REFUSED(Piece("a", 1), "0 pieces are of the type unknown");
  REFUSED(good + Piece(std::string("a\0b", 3), 1), "has a zero byte");
  REFUSED(good + Bytes(1, Bytes(1, "b") + std::string("\x15\0\0\xC0\x7F", 5)), "has the score nan");
  REFUSED(good + Bytes(2, Number(3, 3)), "model type word (3) is not read");
  REFUSED(good + Bytes(2, Number(3, 9)), "model type 9 is not read");
  REFUSED(good + Bytes(2, Number(35, 1)).substr(0, 3), "a field that is longer than its message");
  REFUSED(good + "\x0A\x7F", "a field that is longer than its message");
  REFUSED(good + "\x08", "a number that is cut off");
  REFUSED(good + "\x0B\x01", "a field of an unknown type");
  REFUSED(good + Bytes(3, Bytes(2, "abcd")), "precompiled_charsmap of 4 bytes is damaged");
  REFUSED(good + Bytes(5, Bytes(2, "abcd")), "a denormalizer_spec with a map of characters");
  REFUSED(good + Bytes(3, Number(5, 0)), "escape_whitespaces false is not read");
  const std::string bytes_wanted = "\x12\x03\x98\x02\x01";  // trainer_spec: byte_fallback true
  REFUSED(good + bytes_wanted, "byte_fallback without a piece <0x00>");
  // Every shorter file is refused or another model, never a crash.
  const std::string whole = Model("spiece-bpe");
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    try {
      ReadSentencePieceFile(whole.substr(0, size), "f");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFormat);
    }
  }
}

TEST(CharactersMapTest, EveryStepStaysInside) {
  const std::string map = ReadSentencePieceFile(Model("spiece-bpe"), "f").characters_map;
  const CharactersMap good(map, "f");
  EXPECT_EQ(good.Find("\xEF\xAC\x81x"), "fi");  // the ligature
  EXPECT_EQ(good.Find("\n"), " ");
  EXPECT_FALSE(good.Find("a").has_value());
  // A trie whose units lead behind its end.
  std::string bad = map;
  for (std::size_t at = 4; at < 4 + 1024; ++at) bad[at] = static_cast<char>(0xFF);
  EXPECT_TRUE(Throws([&] { CharactersMap(bad, "f"); }, ErrorCode::kFormat, "leads out of it"));
  EXPECT_TRUE(Throws([&] { CharactersMap(map.substr(0, map.size() - 1) + "x", "f"); },
                     ErrorCode::kFormat, "is damaged"));
}

TEST(Base64Test, ThereAndBack) {
  for (const std::string_view bytes : {"", "f", "fo", "foo", "\xFF\x01\x7F\x80"}) {
    const std::string text(bytes);
    EXPECT_EQ(DecodeBase64(EncodeBase64(text), "f"), text);
  }
  EXPECT_EQ(EncodeBase64("foob"), "Zm9vYg==");
  EXPECT_TRUE(Throws([] { DecodeBase64("Zm9?", "f"); }, ErrorCode::kFormat, "at character 3"));
  EXPECT_TRUE(Throws([] { DecodeBase64("Zm9vY", "f"); }, ErrorCode::kFormat, "cut short"));
}

// ---- opening ------------------------------------------------------------------------------------

TEST(OpenSentencePiece, HasHuggingFacesSpecialTokens) {
  const auto t = OpenTokenizer(kFolder / "spiece-bpe");
  EXPECT_EQ(t->kind(), "SentencePiece BPE");
  EXPECT_EQ(t->vocabulary(), 320);
  EXPECT_EQ(t->special().unk, 0);
  EXPECT_EQ(t->special().bos, 1);
  EXPECT_EQ(t->special().eos, 2);
  EXPECT_FALSE(t->special().pad.has_value());
  const Encoding e = t->Encode("She</s>", kPlain)[0];
  EXPECT_EQ(e.ids.back(), 2);
  EXPECT_EQ(t->Decode(e.ids, false), "She</s>");
  EXPECT_EQ(t->Decode(e.ids, true), "She");
  EXPECT_EQ(t->IdOf("</s>"), 2);
  EXPECT_TRUE(Throws([&] { t->TokenOf(320); }, ErrorCode::kFormat, "id 320 has no token"));
}

TEST(OpenSentencePiece, RefusesOtherClassesAndDamage) {
  TempDir d;
  PutFile(d / "spiece.model", Model("spiece-bpe"));
  PutFile(d / "tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})");
  EXPECT_TRUE(Throws([&] { OpenTokenizer(d.path()); }, ErrorCode::kFormat,
                     "tokenizer_class T5Tokenizer is not read from spiece.model"));
  PutFile(d / "tokenizer_config.json", R"({"pad_token": "<pad>"})");
  EXPECT_TRUE(Throws([&] { OpenTokenizer(d.path()); }, ErrorCode::kFormat, "\"<pad>\""));
  // As the package saves it when a padding token was added: one id more than the model has.
  PutFile(d / "added_tokens.json", R"({"<pad>": 320})");
  EXPECT_EQ(OpenTokenizer(d.path())->vocabulary(), 321);
  EXPECT_EQ(OpenTokenizer(d.path())->special().pad, 320);
  PutFile(d / "spiece.model", Model("spiece-bpe").substr(0, 3000));
  EXPECT_TRUE(Throws([&] { OpenTokenizer(d.path()); }, ErrorCode::kFormat, "spiece.model: "));
}

TEST(OpenSentencePiece, ATextThatGoesOnHasNoSpaceBeforeIt) {
  for (const char* name : {"spiece-bpe", "spiece-unigram", "reformer-5", "unigram"}) {
    const auto t = OpenTokenizer(kFolder / name);
    EncodeOptions options = kPlain;
    const Encoding first = t->Encode("had", options)[0];
    options.continues = true;
    const Encoding rest = t->Encode("had", options)[0];
    EXPECT_NE(first.ids, rest.ids) << name;
    EXPECT_FALSE(t->TokenOf(rest.ids[0]).starts_with("\xE2\x96\x81")) << name;
    EXPECT_EQ(rest.chars.front().begin, 0) << name;
    EXPECT_EQ(rest.chars.back().end, 3) << name;
  }
}

// ---- training -----------------------------------------------------------------------------------

TokenizerTraining Small(FileKind kind, idx_t vocabulary, bool bytes) {
  TokenizerTraining o;
  o.algorithm = kind == FileKind::kBpe ? PieceAlgorithm::kBpe : PieceAlgorithm::kUnigram;
  o.vocabulary = vocabulary;
  o.byte_fallback = bytes;
  return o;
}

class Training : public testing::TestWithParam<std::tuple<FileKind, bool>> {};

TEST_P(Training, BothWordsAreOneTokenizerAndTextsComeBack) {
  const auto [kind, bytes] = GetParam();
  const std::string novel = Novel();
  const std::string text = novel.substr(0, 200000);
  const std::string model = TrainSentencePiece({text}, Small(kind, bytes ? 600 : 320, bytes));
  EXPECT_EQ(model, TrainSentencePiece({text}, Small(kind, bytes ? 600 : 320, bytes)));
  TempDir both, alone;
  WriteTokenizer(model, both.path());
  PutFile(alone / "spiece.model", model);
  const auto by_json = OpenTokenizer(both.path());    // tokenizer.json
  const auto by_model = OpenTokenizer(alone.path());  // the library
  EXPECT_EQ(by_json->vocabulary(), bytes ? 600 : 320);
  for (const char* role : {"<unk>", "<s>", "</s>"}) {
    EXPECT_EQ(by_json->IdOf(role), by_model->IdOf(role));
  }
  std::vector<std::string> texts = {"",
                                    " ",
                                    "  two  spaces ",
                                    "\n\nlines\n",
                                    "a</s>b",
                                    "\xE2\x98\x82",
                                    "never\tseen \xF0\x9F\x98\x80 \xE6\xBC\xA2"};
  for (std::size_t at = 0; at + 997 < novel.size(); at += 5003) {
    texts.push_back(novel.substr(at, 997));
  }
  for (const std::string& x : texts) {
    const Encoding a = by_json->Encode(x, kPlain)[0], b = by_model->Encode(x, kPlain)[0];
    EXPECT_EQ(a.ids, b.ids) << x;
    const bool known = std::count(a.ids.begin(), a.ids.end(), 0) == 0;
    if (known && x.find("</s>") == x.npos) {
      EXPECT_EQ(by_json->Decode(a.ids, false), x);
      EXPECT_EQ(by_model->Decode(a.ids, false), x);
    }
    EXPECT_TRUE(known || !bytes) << x;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Training,
                         testing::Combine(testing::Values(FileKind::kBpe, FileKind::kUnigram),
                                          testing::Bool()));

TEST(TrainingErrors, AreOneClearLine) {
  const std::string text = Novel().substr(0, 5000);
  const auto refused = [&](const std::vector<std::string_view>& texts, const TokenizerTraining& o,
                           std::string_view says, ErrorCode code = ErrorCode::kUsage) {
    EXPECT_TRUE(Throws([&] { TrainSentencePiece(texts, o); }, code, says)) << says;
  };
  refused({text}, Small(FileKind::kBpe, 320, true), "320 pieces are too few");
  refused({text}, Small(FileKind::kBpe, 20, false), "20 pieces are too few");
  refused({text}, Small(FileKind::kBpe, 30000, true),
          "the text is too small for 30000 pieces, it has ");
  refused({text}, Small(FileKind::kUnigram, 30000, true),
          "the text is too small for 30000 pieces, it has ");
  refused({}, Small(FileKind::kBpe, 320, true), "the text is empty", ErrorCode::kFormat);
  refused({" \n"}, Small(FileKind::kBpe, 320, true), "the text is empty", ErrorCode::kFormat);
  TokenizerTraining odd = Small(FileKind::kBpe, 320, false);
  odd.normalization = "rot13";
  refused({text}, odd, "normalization: 'rot13' is unknown");
  odd = Small(FileKind::kBpe, 320, false);
  odd.coverage = 0.5;
  refused({text}, odd, "coverage: 0.5 is not from 0.98 to 1");
  refused({"\xE2\x96\x85\xE2\x96\x85"}, Small(FileKind::kBpe, 320, true),
          "no characters that can be learnt");
  odd = Small(FileKind::kBpe, 2, false);
  refused({text}, odd, "vocab-size: 2 is not from 4");
}

// ---- text from ids that come one by one ---------------------------------------------------------

TEST(StreamDecoderTest, GivesWhatDecodeGives) {
  const std::string novel = Novel();
  const std::string text =
      novel.substr(1000, 500) + " caf\xC3\xA9 \xE6\xBC\xA2\xE5\xAD\x97 \xF0\x9F\x98\x80!";
  for (const char* name : {"spiece-unigram", "unigram", "reformer-5", "roberta", "bert-uncased"}) {
    const auto t = OpenTokenizer(kFolder / name);
    const std::vector<std::int32_t> ids = t->Encode(text, kPlain)[0].ids;
    for (const std::size_t before : {std::size_t{0}, ids.size() / 2}) {
      const auto known = std::span(ids).first(before);
      StreamDecoder decoder(*t, known);
      std::string streamed = t->Decode(known, true);
      for (std::size_t i = before; i < ids.size(); ++i) streamed += decoder.Add(ids[i]);
      streamed += decoder.Finish();
      EXPECT_EQ(streamed, t->Decode(ids, true)) << name << " " << before;
    }
  }
}

// A special token adds nothing, and the word after it keeps its space.
TEST(StreamDecoderTest, AnIdThatAddsNothingEatsNoSpace) {
  const auto t = OpenTokenizer(kFolder / "spiece-bpe");
  EncodeOptions plain;
  plain.special_tokens = false;
  const auto ids = t->Encode("the sea and the ship", plain).front().ids;
  ASSERT_TRUE(t->special().eos.has_value());
  StreamDecoder decoder(*t);
  std::string all = decoder.Add(ids[0]);
  EXPECT_EQ(decoder.Add(*t->special().eos), "");
  for (std::size_t i = 1; i < ids.size(); ++i) all += decoder.Add(ids[i]);
  EXPECT_EQ(all + decoder.Finish(), t->Decode(ids, true));
}

TEST(StreamDecoderTest, GivesWholeCharactersOfBytes) {
  const auto t = MakeBytesTokenizer();
  // Whole characters of one to four bytes, halves of others between them, and what never was one.
  const std::string text =
      "a\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80 \xE6\xBC z\xFF\x80\xC3\xC3\xA9\xF0\x9F";
  StreamDecoder decoder(*t);
  std::vector<std::string> pieces;
  for (const char byte : text) pieces.push_back(decoder.Add(static_cast<unsigned char>(byte) + 2));
  EXPECT_EQ(decoder.Add(1), "");  // a special token
  pieces.push_back(decoder.Finish());
  const std::vector<std::string> expected = {
      "a", "", "\xC3\xA9", "",          "",  "\xE6\xBC\xA2", "",     "", "",     "\xF0\x9F\x98\x80",
      " ", "", "",         "\xE6\xBC ", "z", "\xFF",         "\x80", "", "\xC3", "\xC3\xA9",
      "",  "", "\xF0\x9F"};
  EXPECT_EQ(pieces, expected);
}

TEST(StreamDecoderTest, HoldsHalfCharactersBack) {
  const auto t = OpenTokenizer(kFolder / "spiece-unigram");
  StreamDecoder decoder(*t);
  const auto byte = [&](const char* token) { return *t->IdOf(token); };
  EXPECT_EQ(decoder.Add(byte("<0xE6>")), "");
  EXPECT_EQ(decoder.Add(byte("<0xBC>")), "");
  EXPECT_EQ(decoder.Add(byte("<0xA2>")), "\xE6\xBC\xA2");
  EXPECT_EQ(decoder.Add(byte("<0xE6>")), "");
  EXPECT_EQ(decoder.Finish(), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace longspan::text
