#include "text/bytes_tokenizer.h"

#include "tests/support/files.h"

namespace longspan::text {
namespace {

using test::Throws;

TEST(BytesTokenizer, IsTheBytePlusTwo) {
  EXPECT_EQ(BytesTokenizer::Encode("Hi"), (std::vector<std::int32_t>{'H' + 2, 'i' + 2}));
  EXPECT_TRUE(BytesTokenizer::Encode("").empty());
  std::string every;
  for (int b = 0; b < 256; ++b) every += static_cast<char>(b);
  const auto ids = BytesTokenizer::Encode(every);
  ASSERT_EQ(ids.size(), 256u);
  for (std::int32_t b = 0; b < 256; ++b) EXPECT_EQ(ids[static_cast<std::size_t>(b)], b + 2);
  EXPECT_EQ(BytesTokenizer::Decode(ids), every);
  EXPECT_EQ(BytesTokenizer::kVocabulary, 258);
}

TEST(BytesTokenizer, SpecialIdsGiveNothing) {
  const std::int32_t ids[] = {0, 'a' + 2, 1, 'b' + 2, 0, 0};
  EXPECT_EQ(BytesTokenizer::Decode(ids), "ab");
}

TEST(BytesTokenizer, RejectsForeignIds) {
  for (const std::int32_t id : {-1, 258, 100'000}) {
    const std::int32_t ids[] = {5, id};
    EXPECT_TRUE(Throws([&] { BytesTokenizer::Decode(ids); }, ErrorCode::kFormat,
                       "id " + std::to_string(id) + " at position 1, must be in [0, 258)"));
  }
  std::vector<std::int32_t> out(3);
  EXPECT_TRUE(Throws([&] { BytesTokenizer::EncodeInto({}, out); }, ErrorCode::kUsage,
                     "0 bytes into 3 ids"));
}

}  // namespace
}  // namespace longspan::text
