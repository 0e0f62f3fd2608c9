#include "train/trained_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan {
namespace {

using testing::ElementsAre;

ParameterTable Table() {
  ParameterTable table;
  table.Add("longformer.embeddings.word_embeddings.weight", {4, 2}, ParameterKind::kEmbedding);
  table.Add("longformer.encoder.layer.0.output.dense.weight", {2, 2}, ParameterKind::kMatrix);
  table.Add("longformer.encoder.layer.1.output.dense.weight", {2, 2}, ParameterKind::kMatrix);
  table.Add("classifier.dense.weight", {2, 2}, ParameterKind::kMatrix);
  return table;
}

TEST(MatchesPattern, AStarStandsForAnyLetters) {
  const auto matches = [](const char* pattern) {
    return MatchesPattern(pattern, "encoder.layer.10.bias");
  };
  for (const char* pattern : {"*", "encoder.*", "*bias", "*.1*.bias", "encoder.layer.10.bias",
                              "encoder.layer.10.bias*", "***", "*a*a*", "enc*layer*b*s"}) {
    EXPECT_TRUE(matches(pattern)) << pattern;
  }
  for (const char* pattern : {"", "encoder", "layer*", "*.2*.bias", "*bias.", "*a*a*a*", "?ncoder*",
                              "encoder.layer.10.bia"}) {
    EXPECT_FALSE(matches(pattern)) << pattern;
  }
}

TEST(FrozenParameters, FollowBothOptions) {
  const ParameterTable table = Table();
  const auto frozen = [&](const TrainedParameters& trained) {
    return FrozenParameters(trained, table);
  };
  EXPECT_THAT(frozen({}), ElementsAre(false, false, false, false));
  EXPECT_THAT(frozen({{"classifier.*"}, {}, {}}), ElementsAre(true, true, true, false));
  EXPECT_THAT(frozen({{}, {"*embeddings*", "*.layer.0.*"}, {}}),
              ElementsAre(true, true, false, false));
  EXPECT_THAT(frozen({{"*.layer.*"}, {"*.0.*"}, {}}), ElementsAre(true, true, false, true));
  EXPECT_TRUE(test::Throws(
      [&] {
        frozen({{}, {"*.layers.*"}, {}});
      },
      ErrorCode::kUsage,
      "freeze: '*.layers.*' matches no parameter; there are: "
      "longformer.embeddings.word_embeddings.weight, "
      "longformer.encoder.layer.*.output.dense.weight, "
      "classifier.dense.weight"));
  EXPECT_TRUE(test::Throws(
      [&] {
        frozen({{"classifer.*"}, {}, {}});
      },
      ErrorCode::kUsage, "train-only: 'classifer.*'"));
  EXPECT_TRUE(test::Throws(
      [&] {
        frozen({{}, {"*"}, {}});
      },
      ErrorCode::kUsage, "no parameter is left to train"));
}

TEST(FrozenBy, IsTheSameByNameAndTakesAnyPattern) {
  const ParameterTable table = Table();
  for (const TrainedParameters& trained :
       {TrainedParameters{}, TrainedParameters{{"classifier.*"}, {}, {}},
        TrainedParameters{{"*.layer.*"}, {"*.0.*"}, {}}}) {
    const std::vector<bool> frozen = FrozenParameters(trained, table);
    const auto by_name = FrozenBy(trained);
    for (std::size_t i = 0; i < frozen.size(); ++i) {
      EXPECT_EQ(by_name(table.list()[i].name), frozen[i]) << table.list()[i].name;
    }
  }
  EXPECT_FALSE(
      FrozenBy({{}, {"*.layer.7.*"}, {}})("longformer.encoder.layer.1.output.dense.weight"));
}

TEST(HeadParameters, AreThoseOutsideTheEncoder) {
  EXPECT_THAT(HeadParameters(Table()), ElementsAre(false, false, false, true));
  ParameterTable bare;
  bare.Add("embeddings.word_embeddings.weight", {4, 2}, ParameterKind::kEmbedding);
  EXPECT_TRUE(test::Throws([&] { HeadParameters(bare); }, ErrorCode::kUsage, "head-lr: the model"));
}

}  // namespace
}  // namespace longspan
