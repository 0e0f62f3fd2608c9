#include "data/labelled_prose.h"

#include <gtest/gtest.h>

#include "data/corpus.h"
#include "data/inputs.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::PutFile;
using test::TempDir;
using test::Throws;
using Lines = std::vector<std::string>;

data::RowRules LabelRules() {
  data::RowRules rules;
  rules.fields = {{"text", true}, {"label"}};
  rules.labels = true;
  return rules;
}

// "LABEL: TEXT" of each row, prose without a label as it is, or why a row is refused.
Lines LabelsOf(data::RowReader reader) {
  Lines lines;
  while (const auto row = reader.Next()) {
    lines.push_back(row->refused        ? row->refused->what()
                    : row->has_fields() ? row->fields["label"].dump() + ": " + row->Text("text")
                                        : row->text);
  }
  return lines;
}

Lines LabelsOf(std::string_view bytes, data::RowRules rules = LabelRules()) {
  return LabelsOf(data::RowReader(bytes, "f", data::Format::kText, rules));
}

TEST(LabelledProseTest, TheFirstLineDecides) {
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    const std::string text =
        "\xef\xbb\xbf" + end + " \t" + end + "__label__a one two " + end + end + " __label__b\tx";
    EXPECT_EQ(LabelsOf(text), (Lines{"\"a\": one two ", "\"b\": x"}));
  }
  EXPECT_EQ(LabelsOf("__label__a __label__b,c x\n__label__d y"),
            (Lines{"[\"a\",\"b,c\"]: x", "\"d\": y"}));
  EXPECT_EQ(LabelsOf("One __label__a\n__label__b x\n"), (Lines{"One __label__a\n__label__b x"}));
  EXPECT_EQ(LabelsOf("__labe"), (Lines{"__labe"}));
  data::RowRules others = LabelRules();
  others.labels = false;
  EXPECT_EQ(LabelsOf("__label__a x\n", others), (Lines{"__label__a x"}));
  EXPECT_TRUE(data::BeginsWithLabel("\n __label__a"));
  EXPECT_FALSE(data::BeginsWithLabel("x__label__a"));
}

TEST(LabelledProseTest, LinesThatAreHalfSoAreNamed) {
  EXPECT_EQ(
      LabelsOf("__label__a x\nno label\n__label__a\n__label__ x\n__label__a x __label__b\n"
               "__label__a __label__a x\n__label__b y\n"),
      (Lines{"\"a\": x",
             "f:2: has no label; every line of a file whose first one begins with __label__ must "
             "begin so",
             "f:3: no text stands after its labels",
             "f:4: __label__ without a name; write __label__NAME",
             "f:5: a label stands in the text; write all labels at the beginning of the line",
             "f:6: label \"a\" stands there twice", "\"b\": y"}));
}

TEST(LabelledProseTest, SubFoldersAreLabels) {
  const TempDir d;
  fs::create_directories(d / "ham");
  fs::create_directories(d / "spam/.git");
  PutFile(d / "spam/1", "Buy now.\n");
  PutFile(d / "ham/2.txt", "Until\nthen.\n");
  PutFile(d / "ham/empty", "");
  PutFile(d / ".hidden", "x");
  const auto all = [&] {
    data::Texts texts({d.path().string()}, {}, LabelRules());
    Lines lines;
    while (const auto row = texts.Next()) {
      lines.push_back(row->fields.dump());
      if (row->refused) throw Error(*row->refused);
    }
    return lines;
  };
  const Lines both = {R"({"label":"ham","text":"Until\nthen."})",
                      R"({"label":"spam","text":"Buy now."})"};
  EXPECT_EQ(all(), both);
  const auto refuses = [&](const char* name, const char* text, const char* says) {
    fs::create_directories((d / name).parent_path());
    PutFile(d / name, text);
    const auto thrown = Throws([&] { all(); }, ErrorCode::kFormat, (d / name).string() + says);
    fs::remove_all(d / std::string(name).substr(0, std::string(name).find('/')));
    return thrown;
  };
  EXPECT_TRUE(refuses("about.txt", "x", ": lies beside sub-folders whose names are the labels"));
  EXPECT_TRUE(refuses("all.csv", "text\nx\n", ": lies beside sub-folders"));
  EXPECT_TRUE(refuses("eggs/a.csv", "text\nx\n", ": a table or JSON in a sub-folder"));
  EXPECT_TRUE(refuses("eggs/more/a", "x", ": lies in a folder within the one whose name"));
  EXPECT_TRUE(refuses("eggs/a", "__label__x y", ": begins with __label__, but lies in a folder"));
  fs::create_directories(d / "eggs");
  EXPECT_TRUE(Throws([&] { all(); }, ErrorCode::kFormat,
                     (d / "eggs").string() + ": holds no text, and its name is a label"));
  fs::remove(d / "eggs");
  EXPECT_EQ(all(), both);
}

TEST(LabelledProseTest, FoldersOfFilesWithLabelsHaveNone) {
  const TempDir d;
  fs::create_directories(d / "tables");
  PutFile(d / "a.txt", "__label__x one\n");
  PutFile(d / "tables/b.csv", "text,label\ntwo,y\n");
  data::Texts texts({d.path().string()}, {}, LabelRules());
  EXPECT_EQ(texts.Next()->fields.dump(), R"({"label":"x","text":"one"})");
  EXPECT_EQ(texts.Next()->fields.dump(), R"({"label":"y","text":"two"})");
  EXPECT_FALSE(texts.Next().has_value());
}

TEST(LabelledProseTest, ACorpusHasRowsOfLines) {
  const TempDir d;
  PutFile(d / "a.txt", "__label__x one\nno label\n__label__y two\n");
  data::CorpusRules rules;
  rules.labels = true;
  Lines labels, bad;
  rules.fields = {{"label"}};
  rules.on_row = [&](const data::Row& row, bool) {
    labels.push_back(row.fields["label"].get<std::string>());
  };
  rules.on_bad = [&](const Error& error) { bad.push_back(error.what()); };
  const data::Corpus corpus = data::ReadCorpus({d / "a.txt"}, rules);
  ASSERT_EQ(corpus.files.size(), 1u);
  EXPECT_EQ(corpus.files[0].text(), "one\ntwo");
  EXPECT_EQ(labels, (Lines{"x", "y"}));
  ASSERT_EQ(bad.size(), 1u);
  EXPECT_NE(bad[0].find("a.txt:2: has no label"), std::string::npos);
}

}  // namespace
}  // namespace longspan
