// What is told where cairo is missing, which no test machine lacks.
#include "cli/visual/cairo_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "longspan/error.h"

namespace longspan::cli {
namespace {

std::string Refusal(const char* library, const char* name) {
  try {
    FunctionOf(library, name);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    return error.what();
  }
  return "";
}

TEST(CairoLibrary, AMissingLibrarySaysWhatToInstall) {
  EXPECT_THAT(Refusal("libno-such-cairo.so.2", "cairo_arc"), testing::HasSubstr("libcairo2"));
}

TEST(CairoLibrary, AnOldLibraryIsNamed) {
  EXPECT_THAT(Refusal("libm.so.6", "cairo_arc"), testing::HasSubstr("has no cairo_arc"));
}

TEST(CairoLibrary, IsCalledThroughItsName) {
  EXPECT_STREQ(CAIRO(status_to_string)(CAIRO_STATUS_SUCCESS), "no error has occurred");
}

}  // namespace
}  // namespace longspan::cli
