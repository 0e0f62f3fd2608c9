// Documents with long evidence: what counts is there, once, where it is said to be.
#include "lab/long_evidence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace longspan {
namespace {

std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

TEST(LongEvidenceTest, TheLabelIsInTheTwoFactsAlone) {
  const auto vocabulary = EvidenceVocabulary();
  const std::set<std::string> known(vocabulary.begin(), vocabulary.end());
  EXPECT_EQ(known.size(), vocabulary.size());
  idx_t anna_first = 0, first_red = 0, same_red = 0, same = 0;
  for (idx_t number = 0; number < 200; ++number) {
    const EvidenceDocument d = MakeEvidence(4096, 8, 7, EvidenceSplit::kTest, number);
    const auto words = Words(d.text);
    ASSERT_EQ(words.size(), 4094u);  // with [CLS] and [SEP] 4096
    for (const std::string& word : words) ASSERT_TRUE(known.count(word)) << word;
    EXPECT_EQ(std::count(words.begin(), words.end(), "anna"), 1);
    EXPECT_EQ(std::count(words.begin(), words.end(), "otto"), 1);
    EXPECT_EQ(std::count(words.begin(), words.end(), "has"), 10);
    const auto a = words.begin() + d.first - 1, b = words.begin() + d.second - 1;
    EXPECT_TRUE((*a == "anna" && *b == "otto") || (*a == "otto" && *b == "anna"));
    EXPECT_EQ(d.same, a[2] == b[2]);
    EXPECT_EQ(d.colours, *a == "anna" ? a[2] + " " + b[2] : b[2] + " " + a[2]);
    EXPECT_LE(d.first + kFactTokens, 512);
    EXPECT_GE(d.second, 2560);
    EXPECT_EQ(d.same, number % 2 == 0);
    anna_first += *a == "anna";
    first_red += a[2] == "red";
    same_red += d.same && a[2] == "red";
    same += d.same;
  }
  // No fact alone, and no order, tells the label: five standard deviations.
  EXPECT_EQ(same, 100);
  EXPECT_NEAR(static_cast<double>(anna_first), 100, 36);
  EXPECT_NEAR(static_cast<double>(first_red), 100, 36);
  EXPECT_NEAR(static_cast<double>(same_red), 50, 25);
}

TEST(LongEvidenceTest, SplitsDoNotMeet) {
  std::set<std::string> texts;
  for (const auto split : {EvidenceSplit::kTrain, EvidenceSplit::kHeldOut, EvidenceSplit::kTest}) {
    for (idx_t number = 0; number < 300; ++number) {
      texts.insert(MakeEvidence(512, 4, 1, split, number).text);
    }
  }
  EXPECT_EQ(texts.size(), 900u);
  EXPECT_EQ(MakeEvidence(512, 4, 1, EvidenceSplit::kTest, 3).text,
            MakeEvidence(512, 4, 1, EvidenceSplit::kTest, 3).text);
  EXPECT_NE(MakeEvidence(512, 4, 2, EvidenceSplit::kTest, 3).text,
            MakeEvidence(512, 4, 1, EvidenceSplit::kTest, 3).text);
}

TEST(LongEvidenceTest, EveryStageHasRoomForItsDocuments) {
  for (const idx_t tokens : {64, 100, 4096, 10000}) {
    const auto stages = EvidenceStages(tokens);
    EXPECT_EQ(stages.back().tokens, tokens);
    for (const EvidenceStage& stage : stages) {
      for (idx_t number = 0; number < 50; ++number) {
        const EvidenceDocument d =
            MakeEvidence(stage.tokens, stage.decoys, 1, EvidenceSplit::kTrain, number);
        const auto words = Words(d.text);
        EXPECT_EQ(static_cast<idx_t>(words.size()), stage.tokens - 2);
        EXPECT_EQ(std::count(words.begin(), words.end(), "has"), stage.decoys + 2);
        EXPECT_LT(d.first + kFactTokens, d.second);
      }
    }
  }
}

}  // namespace
}  // namespace longspan
