#include "io/csv.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan {
namespace {

using Record = std::vector<std::string>;
using test::Throws;

std::vector<Record> Read(std::string_view text, char separator = ',') {
  io::CsvReader reader(text, separator, "t.csv");
  std::vector<Record> records;
  for (Record fields; reader.Next(&fields);) records.push_back(fields);
  return records;
}

TEST(CsvTest, FieldsQuotesAndLineEnds) {
  EXPECT_EQ(Read("a,b\nc,d\n"), (std::vector<Record>{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(Read("\xef\xbb\xbf"
                 "a,b\r\n\r\nc,d"),
            (std::vector<Record>{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(Read("\"x, \"\"y\"\"\nz\",,\n,\n"),
            (std::vector<Record>{{"x, \"y\"\nz", "", ""}, {"", ""}}));
  EXPECT_EQ(Read("a b\t1\n\"q\t\"\t2", '\t'), (std::vector<Record>{{"a b", "1"}, {"q\t", "2"}}));
  EXPECT_EQ(Read("\"a\"\r\n\"b\"\r"), (std::vector<Record>{{"a"}, {"b"}}));
  EXPECT_TRUE(Read("").empty());
  EXPECT_TRUE(Read("\n\r\n").empty());
  EXPECT_EQ(Read("5\" long,b\n"), (std::vector<Record>{{"5\" long", "b"}}));
  EXPECT_EQ(Read("a\rb\n"), (std::vector<Record>{{"a\rb"}}));  // a lone CR ends no line
}

TEST(CsvTest, LinesAreThoseOfTheFile) {
  io::CsvReader reader("h\n\n\"a\nb\nc\"\nd\n", ',', "t.csv");
  Record fields;
  std::vector<idx_t> lines;
  while (reader.Next(&fields)) lines.push_back(reader.line());
  EXPECT_EQ(lines, (std::vector<idx_t>{1, 3, 6}));
}

TEST(CsvTest, DamageIsNamedWithItsLine) {
  const auto throws = [](std::string_view text, const char* says) {
    return Throws([&] { Read(text); }, ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(throws("a\nb,\"c\nd\n", "t.csv:2: the quote that opens here is never closed"));
  EXPECT_TRUE(throws("a\n\"b\"c\n", "t.csv:2: bytes behind a closing quote: \"c"));
  EXPECT_TRUE(throws(std::string(4096, ','), "t.csv:1: more than 4096 fields"));
}

}  // namespace
}  // namespace longspan
