// What a value is in a table's cell.
#include "cli/text_table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cli/predictions_file.h"
#include "cli/visual/json_text.h"

namespace longspan::cli {
namespace {

// An id, a number of the command's own and an id of an evaluation are one kind of cell.
TEST(TextTableCells, AreTheSameWhereverAValueStands) {
  const struct {
    const char* json;
    const char* cell;
  } kCells[] = {{"null", ""},
                {"17", "17"},
                {"1.0", "1.0"},
                {"1.50", "1.5"},
                {"1e-7", "1e-07"},
                {"123456789012345678901234567890", "123456789012345678901234567890"},
                {"true", "true"},
                {"\"a7\"", "a7"},
                {"[1,\"a,b\"]", "[1,\"a,b\"]"}};
  TextTable table(OutputForm::kTsv, [](const std::string&) {});
  table.Header(true, {});
  for (const auto& [json, cell] : kCells) {
    const nlohmann::ordered_json value = ParsedJson(json);
    EXPECT_EQ(CellOf(value), cell) << json;
    EXPECT_EQ(IdField(json), cell) << json;
    if (value.is_array()) continue;  // the file puts it between quotation marks
    EXPECT_EQ(table.Begin({{"input", "a"}, {"id", value}}), std::string("a\t") + cell) << json;
  }
  EXPECT_EQ(IdField(""), "");
  EXPECT_EQ(CellOf(std::nan("")), "");
  EXPECT_EQ(CellOf(1.0 / 3.0), "0.3333333333333333");
}

}  // namespace
}  // namespace longspan::cli
