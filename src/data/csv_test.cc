#include "data/csv.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan {
namespace {

using Record = std::vector<std::string>;
using test::Throws;

data::TextStream Stream(std::string_view text) {
  return {data::MemoryBytes(text, "t.csv"), "t.csv", data::kUtf8, data::LineBreaks::kTable};
}

std::vector<Record> ReadRecords(std::string_view text, char separator = ',') {
  data::TextStream stream = Stream(text);
  data::CsvReader reader(stream, separator, 1000);
  std::vector<Record> records;
  for (Record fields; reader.Next(&fields);) records.push_back(fields);
  return records;
}

TEST(CsvTest, FieldsQuotesAndLineEnds) {
  EXPECT_EQ(ReadRecords("a,b\nc,d\n"), (std::vector<Record>{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(ReadRecords("\xef\xbb\xbf"
                        "a,b\r\n\r\nc,d"),
            (std::vector<Record>{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(ReadRecords("\"x, \"\"y\"\"\nz\",,\n,\n"),
            (std::vector<Record>{{"x, \"y\"\nz", "", ""}, {"", ""}}));
  EXPECT_EQ(ReadRecords("\"a\"\r\n\"b\"\r"), (std::vector<Record>{{"a"}, {"b"}}));
  EXPECT_TRUE(ReadRecords("").empty());
  EXPECT_TRUE(ReadRecords("\n\r\n").empty());
  EXPECT_EQ(ReadRecords("5\" long,b\n"), (std::vector<Record>{{"5\" long", "b"}}));
  // Line breaks of a text are line feeds, whatever they were.
  EXPECT_EQ(ReadRecords("\"a\r\nb\rc\"\n"), (std::vector<Record>{{"a\nb\nc"}}));
}

TEST(CsvTest, QuotesInTabs) {
  // In quotes, closed before the field ends.
  EXPECT_EQ(ReadRecords("a\tb\n\"x \"\"y\"\"\"\tz\n", '\t'),
            (std::vector<Record>{{"a", "b"}, {"x \"y\"", "z"}}));
  // A sentence that opens with a mark, and one that ends with one lines below.
  EXPECT_EQ(ReadRecords("t\tl\n\"Anne.\tp\nHe.\"\tn\n", '\t'),
            (std::vector<Record>{{"t", "l"}, {"\"Anne.", "p"}, {"He.\"", "n"}}));
  EXPECT_EQ(ReadRecords("t\tl\nsaid \"no\".\tn\n\"no\" he said\tn\n", '\t'),
            (std::vector<Record>{{"t", "l"}, {"said \"no\".", "n"}, {"\"no\" he said", "n"}}));
  // Tabs and line breaks in quotes, which only the number of fields can tell.
  EXPECT_EQ(ReadRecords("t\tl\n\"a\tb\"\tn\n\"c\nd\"\tp\n", '\t'),
            (std::vector<Record>{{"t", "l"}, {"a\tb", "n"}, {"c\nd", "p"}}));
  EXPECT_EQ(ReadRecords("t\tl\n\"a\nb\tn\n", '\t'),
            (std::vector<Record>{{"t", "l"}, {"\"a"}, {"b", "n"}}));
}

TEST(CsvTest, LinesAreThoseOfTheFile) {
  data::TextStream stream = Stream("h\n\n\"a\nb\r\nc\"\nd\n");
  data::CsvReader reader(stream, ',', 1000);
  Record fields;
  std::vector<idx_t> lines;
  while (reader.Next(&fields)) lines.push_back(reader.line());
  EXPECT_EQ(lines, (std::vector<idx_t>{1, 3, 6}));
}

TEST(CsvTest, DamageIsNamedWithItsLine) {
  const auto throws = [](std::string_view text, const char* says,
                         ErrorCode code = ErrorCode::kFormat) {
    return Throws([&] { ReadRecords(text); }, code, says);
  };
  EXPECT_TRUE(throws("a\nb,\"c\nd\n", "t.csv:2: the quote that opens here is never closed"));
  EXPECT_TRUE(throws("a\n\"b\"c\n", "t.csv:2: bytes behind a closing quote: \"c"));
  EXPECT_TRUE(throws("a\rb\r", "t.csv:1: a carriage return alone ends no line"));
  EXPECT_TRUE(throws("a\nb" + std::string(2000, 'x'), "t.csv:2: a record has more than 1000 bytes",
                     ErrorCode::kLimit));
  const std::string commas(4096, ',');
  data::TextStream stream = Stream(commas);
  data::CsvReader reader(stream, ',', 10000);
  Record fields;
  EXPECT_TRUE(
      Throws([&] { reader.Next(&fields); }, ErrorCode::kFormat, "t.csv:1: more than 4096 fields"));
}

TEST(CsvTest, GoesOnBehindALineThatItRefuses) {
  data::TextStream stream = Stream("a\n\"b\"c\nd\n");
  data::CsvReader reader(stream, ',', 1000);
  Record fields;
  EXPECT_TRUE(reader.Next(&fields));
  EXPECT_THROW(reader.Next(&fields), Error);
  EXPECT_TRUE(reader.can_go_on());
  EXPECT_TRUE(reader.Next(&fields));
  EXPECT_EQ(fields, Record{"d"});
  EXPECT_EQ(reader.line(), 3);
}

TEST(CsvTest, LinesOfBlanksAreNoRecords) {
  EXPECT_EQ(ReadRecords(" \na,b\n   \n \t\nc,d\n  "),
            (std::vector<Record>{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(ReadRecords("a\n\" \"\n x\n"), (std::vector<Record>{{"a"}, {" "}, {" x"}}));
  // Tabs and commas separate fields: such a line is a record of empty ones.
  EXPECT_EQ(ReadRecords("a\tb\n \n\t\n", '\t'), (std::vector<Record>{{"a", "b"}, {"", ""}}));
  EXPECT_EQ(ReadRecords("a,b\n,\n"), (std::vector<Record>{{"a", "b"}, {"", ""}}));
}

TEST(CsvTest, GoesOnBehindARecordThatIsTooLong) {
  const std::string many(2000, 'x');
  // Line breaks, separators and doubled quotes within quotes belong to it.
  for (const std::string& record :
       {many, "b,\"" + many + "\"\"\n,\"\"\"", "\"\"," + many + "\"", "\"\"\"\n\"," + many}) {
    const std::string text = "a\n" + record + "\nd\n";  // the stream reads it as it goes
    data::TextStream stream = Stream(text);
    data::CsvReader reader(stream, ',', 1000);
    Record fields;
    EXPECT_TRUE(reader.Next(&fields));
    EXPECT_TRUE(Throws([&] { reader.Next(&fields); }, ErrorCode::kLimit, "t.csv:2"));
    EXPECT_TRUE(reader.can_go_on());
    EXPECT_TRUE(reader.Next(&fields)) << record.size();
    EXPECT_EQ(fields, Record{"d"});
    EXPECT_FALSE(reader.Next(&fields));
  }
  const std::string text = "a\n\"" + many + "\nd\n";
  data::TextStream stream = Stream(text);
  data::CsvReader reader(stream, ',', 1000);
  Record fields;
  EXPECT_TRUE(reader.Next(&fields));
  EXPECT_TRUE(Throws([&] { reader.Next(&fields); }, ErrorCode::kLimit, "t.csv:2"));
  EXPECT_TRUE(
      Throws([&] { reader.Next(&fields); }, ErrorCode::kFormat, "t.csv:2: a quote in this"));
  EXPECT_FALSE(reader.can_go_on());
}

}  // namespace
}  // namespace longspan
