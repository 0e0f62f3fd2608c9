// Sets of labels in a table's field.
#include "train/label_sets.h"

#include "tests/support/files.h"

namespace longspan {
namespace {

using test::Throws;
using Names = std::vector<std::string>;

void ExpectItems(std::string_view field, const Names& items, bool bits = false) {
  const auto set = ParseLabelSet(field);
  ASSERT_TRUE(set.has_value()) << field;
  EXPECT_EQ(set->items, items) << field;
  EXPECT_EQ(set->zeros_and_ones, bits) << field;
}

TEST(LabelSets, Lists) {
  ExpectItems("['glad', 'calm']", {"glad", "calm"});
  ExpectItems(R"(["glad","calm"])", {"glad", "calm"});
  ExpectItems(" ['glad'] ", {"glad"});
  ExpectItems(R"(['it\'s', "a, b", "[c]", ''])", {"it's", "a, b", "[c]", ""});
  ExpectItems("['glad' ,'calm',]", {"glad", "calm"});
  ExpectItems("[]", {});
  ExpectItems("[ ]", {});
  ExpectItems("[2, 15]", {"2", "15"});
  ExpectItems("['1', '0']", {"1", "0"});  // names, as they are in quotation marks
}

TEST(LabelSets, ZerosAndOnes) {
  for (const char* field : {"[1, 0, 1]", "[1,0,1]", "[1 0 1]", "[1. 0. 1.]", "[1.0, 0.0, 1.0]",
                            "[True, False, True]", "[true,false,true]"}) {
    ExpectItems(field, {"1", "0", "1"}, true);
  }
  EXPECT_EQ(NamesOfOnes(*ParseLabelSet("[1, 0, 1]")), (Names{"LABEL_0", "LABEL_2"}));
  EXPECT_EQ(NamesOfOnes(*ParseLabelSet("[0, 0]")), Names{});
}

TEST(LabelSets, WidthOfAFile) {
  const auto width = [](std::initializer_list<const char*> fields) {
    OneHotRule rule;
    for (const char* field : fields) rule.Add(*ParseLabelSet(field));
    return rule.width();
  };
  EXPECT_EQ(width({"[1, 0, 1]", "[0, 1, 0]", "[0, 0, 0]"}), 3);
  EXPECT_EQ(width({"[1, 0, 1]", "[0, 1]"}), 0);
  EXPECT_EQ(width({"[1, 0, 1]", "[0, 1]", "[1, 1]"}), 0);
  EXPECT_EQ(width({"[1, 0]", "[2, 5]"}), 0);
  EXPECT_EQ(width({"[1]", "[0]"}), 0);
  EXPECT_EQ(width({}), 0);
}

TEST(LabelSets, OtherFieldsAreNames) {
  for (const char* field : {"", "glad", "a|b", "[a", "a]", "(1, 0)", "[", "x [1]"}) {
    EXPECT_FALSE(ParseLabelSet(field).has_value()) << field;
  }
}

TEST(LabelSets, WhatIsRefused) {
  for (const char* field :
       {"[glad, calm]", "['a' 'b']", "['a]", "[[1, 0]]", "[0.3, 0.7]", "[1, -1]", "[,]",
        "['a'; 'b']", "[None]", "[1,,0]", "['a'b]", "[1 'a']"}) {
    EXPECT_TRUE(Throws([&] { ParseLabelSet(field); }, ErrorCode::kFormat,
                       "write a set of labels as a|b, or as ['a', 'b'] or [1, 0, 1]"))
        << field;
  }
}

}  // namespace
}  // namespace longspan
