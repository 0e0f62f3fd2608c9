#include "data/corpus.h"

#include <gtest/gtest.h>

#include "data/gzip_test.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using data::Corpus;
using data::CorpusRules;
using test::PutFile;
using test::TempDir;
using test::Throws;
using Views = std::vector<std::string_view>;

TEST(CorpusTest, ProseIsMappedWhereNothingChanges) {
  const TempDir d;
  PutFile(d / "a", "one\ntwo\n");
  PutFile(d / "b",
          "\xef\xbb\xbf"
          "one\r\ntwo\r");
  for (const std::uint64_t copy_below : {std::uint64_t{0}, data::MappedFile::kCopyBelow}) {
    CorpusRules rules;
    rules.copy_below = copy_below;
    for (const char* name : {"a", "b"}) {
      const Corpus corpus = data::ReadCorpus({d / name}, rules);
      ASSERT_EQ(corpus.files.size(), 1u);
      EXPECT_EQ(corpus.files[0].text(), "one\ntwo\n");
      EXPECT_FALSE(corpus.files[0].has_rows());
      // The same text is the same data, however it was written.
      EXPECT_EQ(corpus.files[0].Fingerprint(),
                data::ReadCorpus({d / "a"}, {}).files[0].Fingerprint());
    }
  }
  CorpusRules rules;
  rules.any_bytes = true;
  rules.options.encoding = "bytes";
  EXPECT_EQ(data::ReadCorpus({d / "b"}, rules).files[0].text(),
            "\xef\xbb\xbf"
            "one\r\ntwo\r");
}

// Also with a frame to be skipped in front, whose mark is another one.
TEST(CorpusTest, PackedProseIsNeverLearntAsItLies) {
  const TempDir d;
  const std::string skipped("\x50\x2a\x4d\x18\x01\0\0\0x", 9);
  // A frame that holds "ab" as it is.
  const std::string raw("\x28\xb5\x2f\xfd\x20\x02\x11\0\0ab", 11);
  CorpusRules rules;
  rules.any_bytes = true;
  for (const std::string& packed : {raw, skipped + raw}) {
    PutFile(d / "p", packed);
    EXPECT_EQ(data::ReadCorpus({d / "p"}, rules).files[0].text(), "ab");
  }
}

TEST(CorpusTest, RowsAreDocuments) {
  const TempDir d;
  PutFile(d / "a.jsonl", "{\"text\":\"x\\n\\ny\"}\n{\"text\":\" \"}\n{\"text\":\"z\"}\n");
  PutFile(d / "b.csv", "label,text\n1,p\n2,\n3,q\n");
  const Corpus corpus = data::ReadCorpus({d / "a.jsonl", d / "b.csv"}, {});
  ASSERT_EQ(corpus.files.size(), 2u);
  EXPECT_EQ(corpus.files[0].DocumentsOf(Documents::kLine), (Views{"x\n\ny", "z"}));
  EXPECT_EQ(corpus.files[0].DocumentsOf(Documents::kJoined), (Views{"x\n\ny\nz"}));
  EXPECT_EQ(corpus.files[1].text(), "p\nq");
  EXPECT_EQ(corpus.empty, 2u);
  EXPECT_EQ(corpus.notes, (std::vector<std::string>{"2 rows have no text"}));
}

TEST(CorpusTest, EverythingIsCheckedBeforeAnythingIsUsed) {
  const TempDir d;
  PutFile(d / "good.txt", "good\n");
  PutFile(d / "latin.txt", "good\nf\xfchlte\n");
  PutFile(d / "bad.jsonl", "{\"text\":\"a\"}\n{\"text\":1}\n{\"x\":1}\n{\"text\":\"b\"}\n");
  PutFile(d / "lines.txt", "{\"text\":\"a\"}\n");
  PutFile(d / "nul.txt", std::string_view("a\0b", 3));
  const auto throws = [&](const char* name, const char* says, const CorpusRules& rules = {}) {
    return Throws(
        [&] {
          data::ReadCorpus({d / "good.txt", d / name}, rules);
        },
        ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(throws("latin.txt", "latin.txt:2: byte 1 of the line is 0xfc"));
  EXPECT_TRUE(throws("bad.jsonl", "bad.jsonl:2: text is 1, must be a string"));
  EXPECT_TRUE(throws("lines.txt", "--format jsonl"));
  EXPECT_TRUE(throws("nul.txt", "byte 1 is 0"));
  CorpusRules skip;
  skip.options.skip_bad = true;
  const Corpus some = data::ReadCorpus({d / "bad.jsonl", d / "latin.txt"}, skip);
  EXPECT_EQ(some.bad, 3u);
  EXPECT_EQ(some.files[0].text(), "a\nb");
  CorpusRules latin;
  latin.options.encoding = "latin-1";
  EXPECT_EQ(data::ReadCorpus({d / "latin.txt"}, latin).files[0].text(), "good\nf\xc3\xbchlte\n");
  CorpusRules bytes;
  bytes.any_bytes = true;
  std::size_t read = 0;
  for (const auto& file : data::ReadCorpus({d / "latin.txt", d / "nul.txt"}, bytes).files) {
    read += file.text().size();
  }
  EXPECT_EQ(read, 15u);
  CorpusRules as_text;
  as_text.options.format = DataFormat::kText;
  EXPECT_EQ(data::ReadCorpus({d / "lines.txt"}, as_text).files[0].text(), "{\"text\":\"a\"}\n");
  EXPECT_TRUE(Throws([&] { data::ReadCorpus({}, {}); }, ErrorCode::kUsage, "no file"));
}

TEST(CorpusTest, HalfAPackedFileEndsItWhateverMayBeLeftOut) {
  const TempDir d;
  const std::string whole = test::Gzip(std::string(5000, 'a') + "\nthe end\n");
  PutFile(d / "good.txt", "good\n");
  PutFile(d / "cut.txt.gz", whole.substr(0, whole.size() - 6));
  PutFile(d / "bits.txt.gz", whole.substr(0, 12) + "\xff\xff" + whole.substr(14));
  PutFile(d / "named.txt.gz", "no gzip at all");
  CorpusRules skip;
  skip.options.skip_bad = true;
  for (const char* name : {"cut.txt.gz", "bits.txt.gz", "named.txt.gz"}) {
    EXPECT_TRUE(Throws(
        [&] {
          data::ReadCorpus({d / "good.txt", d / name}, skip);
        },
        ErrorCode::kFormat, name));
  }
  // Who only counts goes on.
  std::vector<std::string> said;
  skip.on_bad = [&](const Error& error) { said.emplace_back(error.what()); };
  EXPECT_EQ(data::ReadCorpus({d.path()}, skip).files.size(), 1u);
  EXPECT_EQ(said.size(), 3u);
}

TEST(CorpusTest, FilesOfOtherKindsAreNoProse) {
  const TempDir d;
  PutFile(d / "a.txt", "BZh91AY&SY\x1f");
  PutFile(d / "b.txt", "%PDF-1.4\nobj");
  CorpusRules rules;
  rules.any_bytes = true;
  EXPECT_TRUE(Throws([&] { data::ReadCorpus({d / "a.txt"}, rules); }, ErrorCode::kFormat,
                     "a.txt: is bzip2, no text: unpack it first; --format text takes it"));
  EXPECT_TRUE(Throws([&] { data::ReadCorpus({d / "b.txt"}, {}); }, ErrorCode::kFormat,
                     "is a PDF, no text"));
  rules.options.encoding = "latin-1";
  EXPECT_TRUE(
      Throws([&] { data::ReadCorpus({d / "a.txt"}, rules); }, ErrorCode::kFormat, "is bzip2"));
  rules.options = {};
  rules.options.format = DataFormat::kText;
  EXPECT_EQ(data::ReadCorpus({d / "a.txt"}, rules).files[0].text(), "BZh91AY&SY\x1f");
}

// What does not lie as it is read goes into a file without a name, and is the same text there.
TEST(CorpusTest, ALargeTextLiesInAFileOfItsOwn) {
  const TempDir d;
  PutFile(d / "a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\\nlines\"}\n{\"text\":\"x\"}\n");
  PutFile(d / "b.txt", "lines\r\nof\rany kind\n");
  PutFile(d / "c.txt.gz", test::Gzip("packed\r\ntext"));
  PutFile(d / "d.txt", "prose that might be copied");
  CorpusRules rules;
  rules.scratch_near = d / "run";
  rules.scratch_above = 4;
  const Corpus memory = data::ReadCorpus({d.path()}, {});
  Corpus scratch = data::ReadCorpus({d.path()}, rules);
  EXPECT_EQ(test::Listing(d.path()), "a.jsonl b.txt c.txt.gz d.txt");
  ASSERT_EQ(scratch.files.size(), memory.files.size());
  for (std::size_t i = 0; i < memory.files.size(); ++i) {
    EXPECT_EQ(scratch.files[i].text(), memory.files[i].text());
    EXPECT_EQ(scratch.files[i].Fingerprint(), memory.files[i].Fingerprint());
    EXPECT_EQ(scratch.files[i].DocumentsOf(Documents::kLine),
              memory.files[i].DocumentsOf(Documents::kLine));
  }
  data::CorpusFile last;
  scratch.files[0].Split(5, false, &last);
  EXPECT_EQ(scratch.files[0].DocumentsOf(Documents::kFile), (Views{"one", "two\nlines"}));
  EXPECT_EQ(last.DocumentsOf(Documents::kFile), Views{"x"});
  // Whoever changes the file changes nothing that was copied.
  PutFile(d / "d.txt", "other");
  EXPECT_EQ(scratch.files[3].text(), "prose that might be copied");
  scratch.files[3].CheckUnchanged();
}

TEST(CorpusTest, FilesComeOneByOneAndTheLastIsKnown) {
  const TempDir d;
  for (const char* name : {"a", "b", "c"}) PutFile(d / name, name);
  std::string seen;
  const Corpus told =
      data::ReadCorpus({d.path()}, CorpusRules(), [&](const data::CorpusFile& file, bool last) {
        seen += std::string(file.text()) + (last ? "!" : " ");
      });
  EXPECT_EQ(seen, "a b c!");
  EXPECT_TRUE(told.files.empty());
}

TEST(CorpusTest, TheEndIsSplitOffAtABorder) {
  const TempDir d;
  PutFile(d / "a",
          "ab\xc3\xbc"
          "cd");
  PutFile(d / "b.jsonl", "{\"text\":\"aaaa\"}\n{\"text\":\"bb\"}\n{\"text\":\"cc\"}\n");
  const auto split = [&](const char* name, std::size_t at, bool any_bytes) {
    data::CorpusFile file = data::ReadCorpus({d / name}, {}).files[0], last;
    const std::string whole = file.Fingerprint();
    file.Split(at, any_bytes, &last);
    EXPECT_EQ(file.Fingerprint(), whole);
    return std::pair(std::string(file.text()), std::string(last.text()));
  };
  EXPECT_EQ(split("a", 3, false), (std::pair<std::string, std::string>("ab\xc3\xbc", "cd")));
  EXPECT_EQ(split("a", 3, true), (std::pair<std::string, std::string>("ab\xc3",
                                                                      "\xbc"
                                                                      "cd")));
  EXPECT_EQ(split("b.jsonl", 2, true), (std::pair<std::string, std::string>("aaaa", "bb\ncc")));
  EXPECT_EQ(split("b.jsonl", 6, true), (std::pair<std::string, std::string>("aaaa\nbb", "cc")));
  EXPECT_EQ(split("b.jsonl", 99, true), (std::pair<std::string, std::string>("aaaa\nbb\ncc", "")));
}

TEST(DocumentsTest, EndWhereTheyAreSaidTo) {
  const char* text = "a b\nc\n\n \nd\n\n";
  EXPECT_EQ(data::SplitDocuments(text, Documents::kFile), (Views{"a b\nc\n\n \nd\n"}));
  EXPECT_EQ(data::SplitDocuments(text, Documents::kJoined), Views{text});
  EXPECT_EQ(data::SplitDocuments(text, Documents::kBlankLine), (Views{"a b\nc", "d"}));
  EXPECT_EQ(data::SplitDocuments(text, Documents::kLine), (Views{"a b", "c", "d"}));
  EXPECT_EQ(data::SplitDocuments("x", Documents::kBlankLine), Views{"x"});
  EXPECT_TRUE(data::SplitDocuments(" \n\n", Documents::kFile).empty());
  EXPECT_TRUE(Throws([] { ParseDocuments("page"); }, ErrorCode::kUsage, "'page'"));
}

}  // namespace
}  // namespace longspan
