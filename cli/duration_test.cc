#include "cli/duration.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan::cli {
namespace {

TEST(Duration, IsNumbersWithUnits) {
  EXPECT_EQ(ParseDuration("--max-time", "90s"), 90.0);
  EXPECT_EQ(ParseDuration("--max-time", "30m"), 1800.0);
  EXPECT_EQ(ParseDuration("--max-time", "1.5h"), 5400.0);
  EXPECT_EQ(ParseDuration("--max-time", "1h30m"), 5400.0);
  EXPECT_EQ(ParseDuration("--max-time", "2d"), 172800.0);
  for (const char* text :
       {"", "30", "m", "0s", "-5m", "5 m", "1h30", "5y", "1e3s", "nan s", "infs"}) {
    EXPECT_TRUE(test::Throws([&] { ParseDuration("--max-time", text); }, ErrorCode::kUsage,
                             "--max-time: '"))
        << text;
  }
}

}  // namespace
}  // namespace longspan::cli
