#include "train/row_lengths.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "longspan/tokenizer.h"
#include "tests/support/files.h"
#include "train/lm_data.h"

namespace longspan {
namespace {

using test::TempDir;
using test::Throws;

TEST(RowLengths, AreReadAndWritten) {
  for (const char* text : {"512:1000,4096:", "64:", "16:1,32:2,8:3,64:"}) {
    EXPECT_EQ(LengthsText(ParseLengths(text)), text);
  }
  for (const char* text : {"", "512", "512:1000", "512:,4096:", "512:0,4096:", "0:5,16:", "a:1,16:",
                           "512:1000,", "16:1:2,16:", "-1:1,16:", "16:1 ,16:", ":,:"}) {
    EXPECT_TRUE(Throws([&] { ParseLengths(text); }, ErrorCode::kUsage, "512:1000,4096:")) << text;
  }
}

TEST(RowLengths, BelongToTheUpdate) {
  TrainOptions o;
  o.tokens = 7;
  EXPECT_EQ(TokensAt(o, 3), 7);
  o.lengths = ParseLengths("16:2,64:1,32:");
  ResolveLengths(false, &o);
  EXPECT_EQ(o.tokens, 64);
  const idx_t expected[] = {16, 16, 64, 32, 32};
  for (idx_t step = 1; step <= 5; ++step) EXPECT_EQ(TokensAt(o, step), expected[step - 1]);
  EXPECT_TRUE(Throws([&] { ResolveLengths(true, &o); }, ErrorCode::kUsage, "packed"));
}

// Bytes, and tokens of documents.
TEST(RowLengths, RowsOfAnUpdateHaveThem) {
  const TempDir d;
  std::ofstream(d / "text") << std::string(500, 'a') << "\n\n" << std::string(300, 'b');
  TrainOptions o;
  o.data.train = {d / "text"};
  o.batch = 2;
  o.accumulate = 3;
  o.lengths = ParseLengths("8:2,32:");
  ResolveLengths(false, &o);
  Context context(1);
  for (const Documents documents : {Documents::kJoined, Documents::kBlankLine}) {
    LanguageModelOptions task;
    task.documents = documents;
    const auto data = MakeLmData(context, o, task, *text::MakeBytesTokenizer());
    for (const idx_t step : {1, 2, 3}) {
      const idx_t tokens = step == 3 ? 32 : 8;
      const StepSize size = data->Draw(step);
      EXPECT_EQ(size.tokens, 6 * tokens);
      EXPECT_EQ(size.counted, 6 * tokens);
      const BatchView rows = data->Micro(1);
      EXPECT_EQ(rows.tokens, tokens);
      EXPECT_EQ(rows.ids.size(), static_cast<std::size_t>(2 * tokens));
    }
  }
}

}  // namespace
}  // namespace longspan
