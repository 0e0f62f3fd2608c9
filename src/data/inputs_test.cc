#include "data/inputs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using data::Texts;
using test::PutFile;
using test::TempDir;
using test::Throws;

data::RowRules InputRules() {
  data::RowRules rules;
  rules.fields = {{"text", true}};
  return rules;
}

TEST(InputsTest, EndingsInAnyCase) {
  using data::Format;
  for (const auto& [name, format] : {std::pair("a.CSV", Format::kCsv),
                                     {"b.Tsv.GZ", Format::kTsv},
                                     {"c.ndjson", Format::kJsonLines},
                                     {"d.jsonl.zst", Format::kJsonLines},
                                     {"e.JSON", Format::kJson},
                                     {"f.txt", Format::kText},
                                     {"g.md", Format::kText},
                                     {"h", Format::kText},
                                     {".csv", Format::kText}}) {
    EXPECT_EQ(data::FormatOf(name), format) << name;
  }
  DataOptions options;
  options.format = DataFormat::kCsv;
  EXPECT_EQ(data::FormatOf("-", options), Format::kCsv);
  EXPECT_EQ(ParseDataFormat("ndjson"), DataFormat::kJsonLines);
  EXPECT_EQ(ParseDataFormat("auto"), DataFormat::kAuto);
  EXPECT_TRUE(Throws([] { ParseDataFormat("xml"); }, ErrorCode::kUsage, "'xml'"));
}

TEST(InputsTest, FoldersWithoutWhatNobodyMeant) {
  const TempDir d;
  fs::create_directories(d / "sub/.git");
  PutFile(d / "b.txt", "second");
  PutFile(d / "a.csv", "text\nfirst\n");
  PutFile(d / "sub/c", "third");
  for (const char* name :
       {".hidden", "sub/.git/config", "b.txt~", "#b.txt#", "b.txt.swp", "Thumbs.db", "b.bak"}) {
    PutFile(d / name, "nobody means me");
  }
  PutFile(d / "empty.txt", "");
  PutFile(d / "image.png", std::string_view("\x89PNG\0\0", 6));
  PutFile(d / "report.pdf", "%PDF-1.4\n1 0 obj");
  fs::create_symlink("nowhere", d / "dangling");
  fs::create_symlink("turning", d / "turning");
  fs::create_directory_symlink("sub", d / "linked");
  ASSERT_EQ(mkfifo((d / "fifo").c_str(), 0600), 0);
  Texts texts({d.path().string()}, {"fourth"}, InputRules());
  std::vector<std::string> all;
  while (auto row = texts.Next()) all.push_back(row->has_fields() ? row->Text("text") : row->text);
  EXPECT_EQ(all, (std::vector<std::string>{"first", "second", "third", "fourth"}));
  const auto notes = texts.TakeNotes();
  const auto told = [&](std::size_t i, const char* what) {
    return notes[i] == (d / what).string() + ", passed over" ? "" : notes[i];
  };
  ASSERT_EQ(notes.size(), 7u);
  EXPECT_EQ(told(0, "dangling: a link to nowhere"), "");
  EXPECT_EQ(told(1, "empty.txt: empty"), "");
  EXPECT_EQ(told(2, "fifo: not a regular file but a FIFO"), "");
  EXPECT_EQ(told(3, "image.png: binary"), "");
  EXPECT_EQ(told(4, "linked: a link to a folder, which is not followed"), "");
  EXPECT_EQ(told(5, "report.pdf: a PDF"), "");
  EXPECT_EQ(told(6, "turning: cannot open: Too many levels of symbolic links"), "");
}

TEST(InputsTest, WhatIsNotThereIsSaid) {
  const TempDir d;
  fs::create_directory(d / "nothing");
  const auto open = [&](const std::string& path) { Texts({path}, {}, InputRules()); };
  EXPECT_TRUE(Throws([&] { open((d / "none").string()); }, ErrorCode::kIo, "No such file"));
  EXPECT_TRUE(
      Throws([&] { open((d / "nothing").string()); }, ErrorCode::kFormat, "no file to read"));
  EXPECT_TRUE(Throws([&] { Texts({}, {}, InputRules()); }, ErrorCode::kUsage, "nothing to read"));
  fs::create_symlink("nowhere", d / "nothing/dangling");
  EXPECT_TRUE(Throws([&] { open((d / "nothing").string()); }, ErrorCode::kFormat,
                     "dangling: a link to nowhere"));
  fs::create_symlink("loop", d / "loop");
  EXPECT_TRUE(Throws([&] { open((d / "loop").string()); }, ErrorCode::kIo, "symbolic links"));
  ASSERT_EQ(mkfifo((d / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(Throws([&] { open((d / "fifo").string()); }, ErrorCode::kIo,
                     "fifo: not a regular file but a FIFO; redirect it and give - (longspan"));
}

TEST(InputsTest, StandardInputHasSeveralNames) {
  for (const char* name : {"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}) {
    const std::vector<data::InputFile> files = data::ListFiles({name});
    ASSERT_EQ(files.size(), 1u);
    EXPECT_EQ(files[0].path, "-");
  }
}

// In a folder it is passed over, as what cannot be read is.
TEST(InputsTest, Utf16WithoutAMarkIsNamedInFolders) {
  const TempDir d;
  PutFile(d / "a.txt", std::string("w\0i\0d\0e\0r\0", 10));
  PutFile(d / "b.txt", "good");
  Texts texts({d.path().string()}, {}, InputRules());
  EXPECT_EQ(texts.Next()->text, "good");
  const std::vector<std::string> notes = texts.TakeNotes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("a.txt: UTF-16 without a byte-order mark (every second byte is 0) "
                          "(--encoding utf-16le reads it), passed over"),
            std::string::npos);
}

TEST(InputsTest, AFileThatCannotBeReadIsOneRefusal) {
  const TempDir d;
  PutFile(d / "a.csv", "other\nx\n");
  PutFile(d / "b.txt", "good");
  PutFile(d / "c.gz", "no gzip");
  Texts texts({(d / "a.csv").string(), (d / "c.gz").string(), (d / "b.txt").string()},
              {"", "\xff", "ok"}, InputRules());
  std::vector<std::string> all;
  while (auto row = texts.Next()) all.push_back(row->refused ? "!" : row->text);
  EXPECT_EQ(all, (std::vector<std::string>{"!", "!", "good", "", "!", "ok"}));
}

TEST(InputsTest, ChunksAreBounded) {
  const TempDir d;
  std::string lines;
  for (int i = 0; i < 1500; ++i) lines += "{\"text\":\"x\"}\n";
  PutFile(d / "a.jsonl", lines);
  Texts texts({(d / "a.jsonl").string()}, {}, InputRules());
  std::vector<std::size_t> sizes;
  while (const std::size_t size = texts.NextChunk().size()) sizes.push_back(size);
  EXPECT_EQ(sizes, (std::vector<std::size_t>{512, 512, 476}));
}

}  // namespace
}  // namespace longspan
