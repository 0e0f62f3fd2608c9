#include "ops/embedding/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/embedding/embedding_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Complex;
using test::RandomNormal;
using test::ToDouble;

struct Case {
  idx_t tokens, vocabulary, width;
};

constexpr Case kCases[] = {{1, 1, 1},     {5, 3, 7},      {17, 4, 8},  {64, 258, 64},
                           {100, 10, 65}, {333, 50, 129}, {40, 7, 200}};

// A third of the text is one id, as spaces are in text.
std::vector<std::int32_t> RandomIds(std::uint64_t seed, idx_t tokens, idx_t vocabulary) {
  Rng rng(seed);
  std::vector<std::int32_t> ids;
  for (idx_t t = 0; t < tokens; ++t) {
    const idx_t id = rng.Below(3) == 0 ? vocabulary / 2 : rng.Below(vocabulary);
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

TEST(EmbeddingReference, GradientAgreesWithComplexStep) {
  const idx_t tokens = 9, vocabulary = 4, width = 3;
  const auto ids = RandomIds(1, tokens, vocabulary);
  const auto table = ToDouble(RandomNormal(2, vocabulary * width));
  const auto weights = ToDouble(RandomNormal(3, tokens * width));
  const auto loss = [&](std::span<const Complex> inputs) {
    const auto out = ref::EmbeddingForward<Complex>(ids, {inputs.begin(), inputs.end()}, width);
    Complex sum = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += weights[i] * out[i] * out[i];
    return sum;
  };
  const auto out = ref::EmbeddingForward<double>(ids, table, width);
  std::vector<double> dout, dtable(table.size());
  for (std::size_t i = 0; i < out.size(); ++i) dout.push_back(2.0 * weights[i] * out[i]);
  ref::EmbeddingBackward(ids, dout, width, dtable);
  EXPECT_EQ(test::CheckGradient(loss, table, dtable), "");
}

TEST(Embedding, ForwardCopiesRows) {
  Context context(2);
  for (const Case& c : kCases) {
    const auto ids = RandomIds(4, c.tokens, c.vocabulary);
    auto table = RandomNormal(5, c.vocabulary * c.width);
    std::vector<float> out(static_cast<std::size_t>(c.tokens * c.width));
    EmbeddingForward(context, ids, {table.data(), {c.vocabulary, c.width}},
                     {out.data(), {c.tokens, c.width}});
    EXPECT_SAME_BITS(out, ref::EmbeddingForward(ids, table, c.width));
  }
}

TEST(Embedding, BackwardAddsInTokenOrder) {
  Context context(2);
  for (const Case& c : kCases) {
    const auto ids = RandomIds(6, c.tokens, c.vocabulary);
    auto dout = RandomNormal(7, c.tokens * c.width);
    auto dtable = RandomNormal(8, c.vocabulary * c.width);  // accumulates onto what is there
    std::vector<float> expected = dtable;
    ref::EmbeddingBackward(ids, dout, c.width, expected);
    EmbeddingBackward(context, ids, {dout.data(), {c.tokens, c.width}},
                      {dtable.data(), {c.vocabulary, c.width}});
    // The order is promised, so the plain loop in fp32 gives the very bits.
    EXPECT_SAME_BITS(dtable, expected);
  }
}

TEST(Embedding, PlantedBugIsSeen) {
  const idx_t tokens = 40, vocabulary = 9, width = 33;
  const auto ids = RandomIds(9, tokens, vocabulary);
  auto dout = RandomNormal(10, tokens * width);
  std::vector<float> dtable(static_cast<std::size_t>(vocabulary * width));
  std::vector<double> oracle(dtable.size());
  ref::EmbeddingBackward(ids, ToDouble(dout), width, oracle);
  ref::EmbeddingBackward(ids, dout, width, dtable);
  auto tolerance = test::DerivedTolerance(dtable, oracle, 3.0);
  EXPECT_MATCHES(dtable, oracle, tolerance);
  auto shifted = ids;  // the bug: the last token's row goes to its neighbour
  shifted.back() = (shifted.back() + 1) % static_cast<std::int32_t>(vocabulary);
  std::vector<float> wrong(dtable.size());
  ref::EmbeddingBackward(shifted, dout, width, wrong);
  tolerance.max_abs *= 10.0;
  tolerance.rel_l2 *= 10.0;
  EXPECT_FALSE(test::Compare(wrong, oracle, tolerance).ok);
}

TEST(Embedding, StridedRowsKeepTheirPadding) {
  Context context(2);
  const idx_t tokens = 12, vocabulary = 5, width = 70, stride = 83;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto ids = RandomIds(11, tokens, vocabulary);
  const auto values = RandomNormal(12, tokens * width);
  std::vector<float> dout(static_cast<std::size_t>(tokens * stride), nan);
  std::vector<float> dtable(static_cast<std::size_t>(vocabulary * stride), nan);
  View<float, 2> dout_view(dout.data(), {tokens, width}, {stride, 1});
  View<float, 2> dtable_view(dtable.data(), {vocabulary, width}, {stride, 1});
  for (idx_t t = 0; t < tokens; ++t) {
    for (idx_t c = 0; c < width; ++c) {
      dout_view(t, c) = values[static_cast<std::size_t>(t * width + c)];
    }
  }
  for (idx_t v = 0; v < vocabulary; ++v) {
    for (idx_t c = 0; c < width; ++c) dtable_view(v, c) = 0.0f;
  }
  EmbeddingBackward(context, ids, dout_view, dtable_view);
  std::vector<float> expected(static_cast<std::size_t>(vocabulary * width));
  ref::EmbeddingBackward(ids, values, width, expected);
  for (idx_t v = 0; v < vocabulary; ++v) {
    for (idx_t c = 0; c < stride; ++c) {
      const float value = dtable[static_cast<std::size_t>(v * stride + c)];
      if (c < width) {
        EXPECT_EQ(value, expected[static_cast<std::size_t>(v * width + c)]);
      } else {
        EXPECT_TRUE(std::isnan(value));
      }
    }
  }
}

TEST(Embedding, NoTokensChangeNothing) {
  Context context(1);
  std::vector<float> table = {1.0f, 2.0f};
  EmbeddingForward(context, {}, {table.data(), {1, 2}}, {nullptr, {0, 2}});
  EmbeddingBackward(context, {}, {nullptr, {0, 2}}, {table.data(), {1, 2}});
  EXPECT_THAT(table, testing::ElementsAre(1.0f, 2.0f));
}

TEST(Embedding, SameBitsForAnyThreads) {
  const idx_t tokens = 500, vocabulary = 37, width = 300;
  const auto ids = RandomIds(13, tokens, vocabulary);
  auto dout = RandomNormal(14, tokens * width);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    std::vector<float> dtable(static_cast<std::size_t>(vocabulary * width));
    std::vector<float> out(dout.size());
    EmbeddingBackward(context, ids, {dout.data(), {tokens, width}},
                      {dtable.data(), {vocabulary, width}});
    EmbeddingForward(context, ids, {dtable.data(), {vocabulary, width}},
                     {out.data(), {tokens, width}});
    out.insert(out.end(), dtable.begin(), dtable.end());
    return out;
  });
}

// Runs `call` and returns the error's text; checks its code.
template <class Call>
std::string MessageOf(ErrorCode code, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(Embedding, BadArgumentsNameBothValues) {
  Context context(1);
  std::vector<float> table(12), out(8);
  const View<float, 2> table_view(table.data(), {3, 4});
  const auto forward = [&](std::vector<std::int32_t> ids, idx_t rows, idx_t width) {
    return [&, ids, rows, width] {
      EmbeddingForward(context, ids, table_view, {out.data(), {rows, width}});
    };
  };
  using testing::HasSubstr;
  EXPECT_THAT(MessageOf(ErrorCode::kFormat, forward({0, 3}, 2, 4)),
              testing::AllOf(HasSubstr("id 3 at position 1"), HasSubstr("vocabulary of 3")));
  EXPECT_THAT(MessageOf(ErrorCode::kFormat, forward({-1, 0}, 2, 4)), HasSubstr("id -1"));
  EXPECT_THAT(MessageOf(ErrorCode::kUsage, forward({0}, 2, 4)),
              testing::AllOf(HasSubstr("1 ids"), HasSubstr("2 rows")));
  EXPECT_THAT(MessageOf(ErrorCode::kUsage, forward({0, 1}, 2, 3)),
              testing::AllOf(HasSubstr("4 wide"), HasSubstr("are 3")));
  EXPECT_THAT(MessageOf(ErrorCode::kFormat,
                        [&] {
                          const std::int32_t ids[] = {9};
                          EmbeddingBackward(context, ids, {out.data(), {1, 4}}, table_view);
                        }),
              HasSubstr("id 9"));
}

}  // namespace
}  // namespace longspan
