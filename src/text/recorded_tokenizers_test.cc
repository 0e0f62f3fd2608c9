// What the package `tokenizers` makes of texts, recorded by tools/make_tokenizer_fixtures.py, and
// what is made of them here: ids, offsets, types, decoded texts, cut rows and windows.
#include <fmt/format.h>
#include <utf8proc.h>
#include <xxhash.h>

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "tests/support/files.h"
#include "text/open_tokenizer.h"
#include "text/text_test.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

using nlohmann::json;
using test::GetFile;
using test::PutFile;

// In the place of a paragraph's hash: two ways to cut it are equally good, and which one a library
// takes depends on its version.
constexpr std::string_view kTie = "--------";

// Base64 without line breaks.
std::string FromBase64(std::string_view text) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(kDigits.find(c));
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 0xFF);
  }
  return bytes;
}

std::vector<idx_t> Offsets(const Encoding& e) {
  std::vector<idx_t> offsets;
  for (const Span& s : e.chars) offsets.insert(offsets.end(), {s.begin, s.end});
  return offsets;
}

// The recorded hash of some encodings: count, ids and offsets of each as little-endian int32.
class Digest {
 public:
  void Add(const Encoding& e) {
    Put(e.size());
    for (const std::int32_t id : e.ids) Put(id);
    for (const Span& s : e.chars) {
      Put(s.begin);
      Put(s.end);
    }
  }
  std::string Text() const {
    return fmt::format("{:016x}", XXH64(bytes_.data(), bytes_.size(), 0)).substr(8);
  }

 private:
  static_assert(std::endian::native == std::endian::little);
  void Put(idx_t value) {
    const auto word = static_cast<std::uint32_t>(value);
    bytes_.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  std::string bytes_;
};

std::string Show(const Tokenizer& tokenizer, const Encoding& e) {
  std::string text;
  for (std::size_t i = 0; i < e.ids.size(); ++i) {
    text += std::to_string(e.ids[i]) + " '" + tokenizer.TokenOf(e.ids[i]) + "' " +
            std::to_string(e.chars[i].begin) + "-" + std::to_string(e.chars[i].end) + "  ";
  }
  return text;
}

class Recorded : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    cases_ = io::ReadJsonFile(kFolder / (std::string(GetParam()) + ".cases.json"));
    if (cases_.contains("directory")) {
      tokenizers_.push_back(OpenTokenizer(kFolder / cases_["directory"].get<std::string>()));
      return;
    }
    const auto base = kFolder / cases_["base"].get<std::string>();
    json document = io::ReadJsonFile(base / "tokenizer.json");
    document.merge_patch(cases_["patch"]);
    PutFile(folder_ / "tokenizer.json", document.dump());
    tokenizers_.push_back(OpenTokenizer(folder_.path()));
    const bool older =
        std::filesystem::exists(base / "vocab.json") || std::filesystem::exists(base / "vocab.txt");
    if (!cases_["patch"].empty() || !older) return;
    // The same tokenizer in its older files.
    for (const auto& entry : std::filesystem::directory_iterator(base)) {
      const auto name = entry.path().filename();
      if (name != "tokenizer.json") PutFile(files_ / name.native(), GetFile(entry.path()));
    }
    tokenizers_.push_back(OpenTokenizer(files_.path()));
  }

  const Tokenizer& tokenizer() const { return *tokenizers_[0]; }

  test::TempDir folder_, files_;
  json cases_;
  std::vector<std::unique_ptr<Tokenizer>> tokenizers_;  // all of which must agree
};

// Whether all of [first, last) are of one kind and neither decompose nor have another case, as most
// ideographs and all private and unassigned characters.
bool AllAlike(char32_t first, char32_t last) {
  const auto* one = utf8proc_get_property(static_cast<utf8proc_int32_t>(first));
  for (char32_t c = first; c < last; ++c) {
    const auto* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    if (p->category != one->category || p->decomp_seqindex != UINT16_MAX ||
        p->lowercase_seqindex != UINT16_MAX || p->uppercase_seqindex != UINT16_MAX ||
        p->combining_class != 0) {
      return false;
    }
  }
  return true;
}

// Of blocks whose scalars are all alike each tokenizer takes a quarter, another one than the next
// tokenizer does; of all others every one.
TEST_P(Recorded, EveryScalarValue) {
  constexpr char32_t kBlock = 256, kAlikeStep = 4;
  const auto turn =
      static_cast<char32_t>(XXH64(GetParam(), std::strlen(GetParam()), 0) % kAlikeStep);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr char32_t kStep = 31, kEmptyStep = 31;  // blocks: every one takes minutes
#else
  // No scalar of the planes 4 to 13, 15 and 16 has a property of its own: samples of them do.
  constexpr char32_t kStep = 1, kEmptyStep = 17;
#endif
  const std::string hashes = cases_["scalars"];
  std::size_t at = 0;
  for (char32_t first = 0; first < 0x110000; first += kBlock) {
    if (first >= 0xD800 && first < 0xE000) continue;
    const bool empty_plane = first >= 0x40000 && first / 0x10000 != 14;
    if (first / kBlock % (empty_plane ? kEmptyStep : kStep) != 0 ||
        (!empty_plane && first / kBlock % kAlikeStep != turn && AllAlike(first, first + kBlock))) {
      at += 8;
      continue;
    }
    Digest digest;
    std::string x, among;
    for (char32_t c = first; c < first + kBlock; ++c) {
      x.clear();
      AppendUtf8(c, x);
      digest.Add(tokenizer().Encode(x, kPlain)[0]);
      among.assign("a").append(x).append("b 1").append(x).append("1 !").append(x).append("!");
      digest.Add(tokenizer().Encode(among, kPlain)[0]);
    }
    ASSERT_EQ(digest.Text(), hashes.substr(at, 8))
        << "a scalar in [" << std::uint32_t{first} << ", " << std::uint32_t{first + kBlock}
        << "): tools/make_tokenizer_fixtures.py --show " << GetParam() << " shows what is expected";
    at += 8;
  }
  EXPECT_EQ(at, hashes.size());
}

TEST_P(Recorded, EveryParagraphOfTheNovel) {
  const std::string hashes = cases_["novel"];
  const std::string novel = GetFile(test::kRoot / "data/persuasion.txt");
  for (const auto& t : tokenizers_) {
    std::size_t at = 0;
    int ties = 0;
    for (std::size_t begin = 0; begin <= novel.size(); at += 8) {
      const std::size_t end = std::min(novel.find("\n\n", begin), novel.size());
      const std::string paragraph = novel.substr(begin, end - begin);
      Digest digest;
      digest.Add(t->Encode(paragraph)[0]);
      const std::string hash = hashes.substr(at, 8);
      if (hash == kTie) ++ties;
      ASSERT_TRUE(digest.Text() == hash || hash == kTie) << paragraph;
      begin = end + 2;
    }
    EXPECT_LE(ties, 3);
    EXPECT_EQ(at, hashes.size());
  }
}

TEST_P(Recorded, Texts) {
  ASSERT_GE(cases_["texts"].size(), 100u);
  for (const json& row : cases_["texts"]) {
    const std::string text = row.contains("text") ? row["text"].get<std::string>()
                                                  : FromBase64(row["bytes"].get<std::string>());
    for (const auto& t : tokenizers_) {
      const Encoding e = t->Encode(text, kPlain)[0];
      EXPECT_EQ(e.ids, row["ids"].get<std::vector<std::int32_t>>()) << row << "\n" << Show(*t, e);
      EXPECT_EQ(Offsets(e), row["offsets"].get<std::vector<idx_t>>()) << row << "\n" << Show(*t, e);
      EXPECT_EQ(t->Decode(e.ids, false), row["decoded"].get<std::string>()) << row;
      EXPECT_EQ(t->Decode(e.ids, true),
                row.value(row.contains("skipped") ? "skipped" : "decoded", std::string()))
          << row;
      // Bytes and characters are the same places.
      std::vector<idx_t> starts;
      const Glyphs glyphs = DecodeUtf8(text, starts);
      for (std::size_t i = 0; i < e.ids.size(); ++i) {
        EXPECT_EQ(e.bytes[i].begin, starts[static_cast<std::size_t>(e.chars[i].begin)]);
        EXPECT_EQ(e.bytes[i].end, starts[static_cast<std::size_t>(e.chars[i].end)]);
      }
    }
  }
}

TEST_P(Recorded, Pairs) {
  ASSERT_GE(cases_["pairs"].size(), 20u);
  for (const json& row : cases_["pairs"]) {
    for (const auto& t : tokenizers_) {
      const Encoding e =
          t->EncodePair(row["pair"][0].get<std::string>(), row["pair"][1].get<std::string>())[0];
      EXPECT_EQ(e.ids, row["ids"].get<std::vector<std::int32_t>>()) << row;
      EXPECT_EQ(e.type_ids, row["types"].get<std::vector<std::int32_t>>()) << row;
      EXPECT_EQ(Offsets(e), row["offsets"].get<std::vector<idx_t>>()) << row;
    }
  }
}

class RecordedCuts : public Recorded {};
TEST_P(RecordedCuts, CutRowsAndWindows) {
  ASSERT_GE(cases_["cuts"].size(), 12u);
  for (const json& row : cases_["cuts"]) {
    const std::string how = row["how"];
    EncodeOptions options;
    options.max_length = row["most"];
    options.stride = row["stride"];
    options.overflow = how == "window"     ? Overflow::kWindow
                       : how == "truncate" ? Overflow::kTruncate
                                           : Overflow::kTruncateFirst;
    const std::string first = row["texts"][0];
    const auto encodings =
        row["texts"].size() == 1
            ? tokenizer().Encode(first, options)
            : tokenizer().EncodePair(first, row["texts"][1].get<std::string>(), options);
    ASSERT_EQ(encodings.size(), row["rows"].size()) << row;
    for (std::size_t i = 0; i < encodings.size(); ++i) {
      EXPECT_EQ(encodings[i].ids, row["rows"][i].get<std::vector<std::int32_t>>()) << row;
      if (i >= row["types"].size()) continue;
      EXPECT_EQ(encodings[i].type_ids, row["types"][i].get<std::vector<std::int32_t>>()) << row;
    }
  }
}

std::string TestName(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
}

// By what the `tokenizers` package made of texts; and by the `sentencepiece` package, which cuts no
// rows.
const auto kTokenizers = testing::Values(
    "roberta", "roberta-prefix", "gpt2", "bytes-whole", "bert-uncased", "bert-cased", "accents",
    "pieces", "nfc", "nfkc", "nfkd", "reformer-5", "reformer-5-first", "reformer-5-bytes",
    "unigram", "unigram-whole", "llama3", "gpt4o", "gemma", "splits", "splits-odd");
INSTANTIATE_TEST_SUITE_P(Tokenizers, Recorded, kTokenizers, TestName);
INSTANTIATE_TEST_SUITE_P(Tokenizers, RecordedCuts, kTokenizers, TestName);
INSTANTIATE_TEST_SUITE_P(SentencePiece, Recorded, testing::Values("spiece-bpe", "spiece-unigram"),
                         TestName);

}  // namespace
}  // namespace longspan::text
