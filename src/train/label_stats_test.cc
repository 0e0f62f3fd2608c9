// Labels as `data stats` counts them, and which bytes are a text's.
#include "train/label_stats.h"

#include <gtest/gtest.h>

#include <fstream>

#include "longspan/data_stats.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using Counts = std::vector<std::pair<std::string, idx_t>>;

DataStats StatsOf(const std::string& name, const std::string& text,
                  const std::string& documents = "file", const std::string& field = "label") {
  const test::TempDir d;
  std::ofstream(d / name, std::ios::binary) << text;
  DataStatsOptions o;
  o.files = {d / name};
  o.documents = ParseDocuments(documents);
  o.data.label_field = field;
  Context context(1);
  return CollectDataStats(context, o);
}

Counts CountsOf(const LabelStats& s) {
  Counts counts;
  for (const LabelCount& c : s.counts) counts.emplace_back(c.label, c.rows);
  return counts;
}

TEST(LabelStatsTest, OfATable) {
  const DataStats s = StatsOf("a.csv", "text,label\na,x\nb,y\nc,\nd,y\n\"\",z\ne,a|b\n");
  ASSERT_TRUE(s.labels.has_value());
  EXPECT_EQ(CountsOf(*s.labels), (Counts{{"y", 2}, {"a|b", 1}, {"x", 1}}));
  EXPECT_EQ(s.labels->rows, 4);
  EXPECT_EQ(s.labels->without, 1);  // a row without a text is no document
  EXPECT_FALSE(s.labels->sets);
  EXPECT_EQ(s.documents, 5);
  EXPECT_FALSE(StatsOf("a.csv", "text,other\na,x\n").labels.has_value());
  EXPECT_FALSE(StatsOf("a.txt", "label\n").labels.has_value());
  EXPECT_EQ(CountsOf(*StatsOf("a.csv", "text,other\na,x\n", "file", "other").labels),
            (Counts{{"x", 1}}));
}

TEST(LabelStatsTest, OfJsonAndOfSets) {
  const std::string lines =
      "{\"text\":\"a\",\"label\":[\"p\",\"q\"]}\n{\"text\":\"b\",\"label\":[]}\n"
      "{\"text\":\"c\",\"label\":[\"q\"]}\n{\"text\":\"d\",\"label\":{\"x\":1}}\n"
      "{\"text\":\"e\",\"label\":null}\n{\"text\":\"f\"}\n";
  const LabelStats s = *StatsOf("a.jsonl", lines).labels;
  EXPECT_TRUE(s.sets);
  EXPECT_EQ(CountsOf(s), (Counts{{"q", 2}, {"p", 1}}));
  EXPECT_EQ(s.rows, 3);
  EXPECT_EQ(s.without, 2);
  EXPECT_EQ(s.unusable, 1);
  EXPECT_NE(s.first_unusable.find("a.jsonl:4"), std::string::npos) << s.first_unusable;
  // Rows of zeros and ones mean the labels at their places, as in a training.
  EXPECT_EQ(CountsOf(*StatsOf("a.csv", "text,label\na,\"[1, 0, 1]\"\nb,\"[0, 0, 1]\"\n").labels),
            (Counts{{"LABEL_2", 2}, {"LABEL_0", 1}}));
  EXPECT_EQ(CountsOf(*StatsOf("a.jsonl",
                              "{\"text\":\"a\",\"label\":3}\n"
                              "{\"text\":\"b\",\"label\":true}\n")
                          .labels),
            (Counts{{"3", 1}, {"true", 1}}));
}

TEST(LabelStatsTest, OfNumbers) {
  for (const char* text : {"text,label\na,1\nb,2.5\nc,4\n", "text,label\na,4\nb,1\nc,25e-1\n"}) {
    const LabelStats s = *StatsOf("a.csv", text).labels;
    ASSERT_TRUE(s.numbers.has_value());
    EXPECT_EQ(s.numbers->lowest, 1.0);
    EXPECT_EQ(s.numbers->highest, 4.0);
    EXPECT_DOUBLE_EQ(s.numbers->mean, 2.5);
    EXPECT_TRUE(s.counts.empty());
  }
  const LabelStats json = *StatsOf("a.jsonl", "{\"text\":\"a\",\"label\":0.5}\n").labels;
  EXPECT_EQ(json.numbers->mean, 0.5);
  EXPECT_FALSE(StatsOf("a.csv", "text,label\na,1\nb,2\n").labels->numbers.has_value());
  EXPECT_FALSE(StatsOf("a.csv", "text,label\na,1.5\nb,two\n").labels->numbers.has_value());
}

TEST(DataStatsTest, BytesAreThoseOfTheDocuments) {
  const DataStats table = StatsOf("a.csv", "text,label\nab,x\ncd,y\nef,x\n");
  EXPECT_EQ(table.bytes, 6);
  EXPECT_EQ(table.bytes, table.characters);
  EXPECT_EQ(table.separators, 0);
  const std::string prose = "one\ntwo\n\n\nthree\n";
  const DataStats paragraphs = StatsOf("a.txt", prose, "blank-line");
  EXPECT_EQ(paragraphs.documents, 2);
  EXPECT_EQ(paragraphs.bytes, 12);
  EXPECT_EQ(paragraphs.bytes, paragraphs.byte_lengths.total);
  EXPECT_EQ(paragraphs.bytes + paragraphs.separators, static_cast<idx_t>(prose.size()));
}

}  // namespace
}  // namespace longspan
