// Texts that ranks share, and that a later start goes on with.
#include "cli/answer_parts.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "longspan/files.h"
#include "tests/support/files.h"
#include "tests/support/thread_world.h"

namespace longspan::cli {
namespace {

using test::OnRanks;
using test::PutFile;
using test::TempDir;
using test::Throws;

TEST(DealParts, TheLargestGoesFirstToWhoHasLeast) {
  const std::vector<std::uint64_t> bytes = {1, 9, 0, 5, 4, 0, 1};
  EXPECT_EQ(DealParts(bytes, 2), (std::vector<int>{0, 0, -1, 1, 1, -1, 1}));
  EXPECT_EQ(DealParts(bytes, 1), (std::vector<int>{0, 0, -1, 0, 0, -1, 0}));
  EXPECT_EQ(DealParts({}, 3), std::vector<int>());
}

class Parts : public ::testing::Test {
 protected:
  // Seven files that are a part each.
  void SetUp() override {
    std::filesystem::create_directory(texts());
    for (int i = 0; i < 7; ++i) {
      PutFile(texts() / (std::to_string(i) + ".txt"),
              std::string(std::size_t{130} << 10, static_cast<char>('a' + i)));
    }
  }

  std::filesystem::path texts() const { return folder_ / "texts"; }
  std::filesystem::path parts() const { return folder_ / ".out.longspan-parts"; }
  TextInputs Inputs() const {
    InputOptions options;
    options.paths = {texts().string()};
    return TextInputs(options);
  }

  // Answers each text by its first letter, on so many ranks; stops after `most` parts a rank.
  // Returns how many parts each rank has computed, and adds what rank 0 joins to `joined`.
  std::map<int, int> Run(int ranks, bool resume, const std::string& setup,
                         std::string* joined = nullptr, int most = 100) {
    std::mutex mutex;
    std::map<int, int> computed;
    OnRanks(ranks, [&](World& world) {
      AnswerParts parts(world, folder_ / "out", resume);
      TextInputs inputs = Inputs();
      parts.Begin(inputs.Again(), setup, [](const std::string&) {});
      int mine = 0;
      for (std::vector<InputText> some; !(some = parts.Next(inputs)).empty();) {
        ASSERT_EQ(some.size(), 1u);
        if (++mine > most) return;
        AnswerPart part;
        part.records.push_back(some[0].text.substr(0, 1));
        part.vectors = {0.1f, static_cast<float>(some[0].text[0])};
        part.counts = {1, 2, 3, 4};
        parts.Write(part);
      }
      {
        const std::lock_guard lock(mutex);
        computed[world.rank()] = mine;
      }
      parts.Meet({});
      if (joined == nullptr || !world.is_first()) return;
      parts.ForEach([&](const AnswerPart& part, bool before) {
        const std::string letter = part.records.at(0);
        EXPECT_EQ(part.vectors, (std::vector<float>{0.1f, static_cast<float>(letter[0])}));
        EXPECT_EQ(part.counts.globals, 4);
        *joined += (before ? "+" : "") + letter;
      });
      parts.Remove();
    });
    return computed;
  }

  TempDir folder_;
  const std::string setup_ = std::string(32, '5');
};

TEST_F(Parts, ComeBackInTheOrderOfTheTextsHoweverManyRanksThereAre) {
  for (const int ranks : {1, 2, 3, 9}) {
    std::string joined;
    int all = 0;
    for (const auto& [rank, parts] : Run(ranks, false, setup_, &joined)) {
      EXPECT_LE(parts, 7 / ranks + 1) << rank;
      all += parts;
    }
    EXPECT_EQ(all, 7);
    EXPECT_EQ(joined, "abcdefg");
    EXPECT_FALSE(std::filesystem::exists(parts()));
  }
}

TEST_F(Parts, AResumeComputesWhatIsMissingDamagedOrChangedAndNoMore) {
  Run(1, false, setup_, nullptr, 5);
  PutFile(texts() / "1.txt", std::string(std::size_t{140} << 10, 'B'));
  const auto third = parts() / "part-000000003";
  std::string text = io::ReadWholeFile(third, 1 << 20);
  text.back() = static_cast<char>(text.back() ^ 1);
  PutFile(third, text);
  PutFile(parts() / "part-000000099", "of a longer folder");
  std::string joined;
  EXPECT_EQ(Run(2, true, setup_, &joined), (std::map<int, int>{{0, 2}, {1, 2}}));
  EXPECT_EQ(joined, "+aB+cd+efg");
}

TEST_F(Parts, OfOtherOptionsAreRefusedAndNothingIsThrownAwayUnasked) {
  Run(1, false, setup_);
  const std::string other(32, '6');
  EXPECT_TRUE(
      Throws([&] { Run(1, true, other); }, ErrorCode::kUsage, "remove that folder to start again"));
  EXPECT_EQ(Run(1, true, setup_)[0], 0);
  EXPECT_TRUE(Throws([&] { Run(1, false, other); }, ErrorCode::kUsage,
                     "it has 7 finished parts of an earlier run; go on from them with --resume"));
  std::filesystem::remove_all(parts());
  EXPECT_EQ(Run(1, false, other)[0], 7);
}

TEST_F(Parts, OfAnotherProcessThatStillWritesAreLocked) {
  World alone;
  AnswerParts first(alone, folder_ / "out", false), second(alone, folder_ / "out", false);
  first.Begin(Inputs(), setup_, {});
  EXPECT_TRUE(Throws([&] { second.Begin(Inputs(), setup_, {}); }, ErrorCode::kLocked,
                     "in use by another process"));
}

TEST_F(Parts, TextsThatChangeMeanwhileEndTheRun) {
  World alone;
  AnswerParts parts(alone, folder_ / "out", false);
  TextInputs inputs = Inputs();
  parts.Begin(inputs.Again(), setup_, {});
  PutFile(texts() / "0.txt", std::string(std::size_t{130} << 10, 'z'));
  EXPECT_TRUE(Throws([&] { parts.Next(inputs); }, ErrorCode::kFormat,
                     "0.txt: these texts are not what was there at the start"));
}

}  // namespace
}  // namespace longspan::cli
