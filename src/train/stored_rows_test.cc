// Rows of data that lie in files: what is written comes back, and memory does not grow with them.
#include "train/stored_rows.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "families/families.h"
#include "tests/support/files.h"
#include "train/answer_task.h"
#include "train/choice_task.h"
#include "train/embed_rows.h"
#include "train/rerank_task.h"
#include "train/row_training.h"
#include "train/token_class_task.h"
#include "train/training_test.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Names = std::vector<std::string>;

TEST(StoredRowsTest, RowsComeBackFromMemoryAndFromAFile) {
  const test::TempDir d;
  for (const std::uint64_t in_memory : {1000u, 10u}) {
    StoredRows<LabelledText> rows(data::ScratchPlace{d / "run", in_memory});
    for (int n = 0; n < 5; ++n) {
      const std::string number = std::to_string(n);
      rows.push_back({"text " + number, "", Names(n), 0.5 * n, n, "a.csv:" + number, "\"x\""});
    }
    ASSERT_EQ(rows.size(), 5u);
    int n = 0;
    for (const LabelledText& row : rows) {
      const std::string number = std::to_string(n);
      EXPECT_EQ(row.text, "text " + number);
      EXPECT_EQ(row.pair, "");
      EXPECT_EQ(row.labels, Names(n));
      EXPECT_EQ(row.value, 0.5 * n);
      EXPECT_EQ(row.line, n);
      EXPECT_EQ(row.where, "a.csv:" + number);
      EXPECT_EQ(row.id, "\"x\"");
      ++n;
    }
    // A copy and the list grow apart, though they share the file.
    StoredRows<LabelledText> copy = rows;
    copy.push_back({"of the copy", "", {}, 0.0, 0, "", ""});
    rows.push_back({"of the list", "", {}, 0.0, 0, "", ""});
    EXPECT_EQ(copy[5].text, "of the copy");
    EXPECT_EQ(rows[5].text, "of the list");
    EXPECT_EQ(copy[4].text, rows[4].text);
  }
}

TEST(StoredRowsTest, SplitRowsAreThoseThatAreDrawn) {
  StoredRows<ChoiceText> rows;
  for (idx_t n = 0; n < 10; ++n) rows.push_back({{"q", {"a", "bc"}}, n, "", ""});
  const std::vector<bool> held = HeldOutRows(10, 0.3, 7);
  const auto [train, rest] = SplitRows(rows, 0.3, 7);
  EXPECT_EQ(rest.size(), 3u);
  std::size_t trained = 0, kept = 0;
  for (std::size_t n = 0; n < 10; ++n) {
    EXPECT_EQ(held[n] ? rest[kept++].label : train[trained++].label, static_cast<idx_t>(n));
  }
  EXPECT_EQ(train[0].question.choices, (std::vector<std::string>{"a", "bc"}));
}

TEST(StoredRowsTest, ChunksHaveAllRowsInOrderAndFewMegabytes) {
  StoredRows<PairRow> rows;
  constexpr std::size_t kBytes = StoredRows<PairRow>::kChunkBytes / 2;
  for (const std::size_t size : {kBytes, kBytes, kBytes, 3 * kBytes, std::size_t{1}}) {
    rows.push_back({std::string(size, 'x'), "", {}, 0.0, ""});
  }
  std::vector<std::pair<std::size_t, std::size_t>> chunks;  // the first row, how many
  rows.ForEachChunk([&](std::size_t first, std::span<const PairRow> some) {
    chunks.emplace_back(first, some.size());
    EXPECT_EQ(some.back().anchor.size(), first == 0 ? kBytes : first == 2 ? 3 * kBytes : 1);
  });
  EXPECT_EQ(chunks, (std::vector<std::pair<std::size_t, std::size_t>>{{0, 2}, {2, 2}, {4, 1}}));
}

TEST(StoredRowsTest, TypesAreKeptFromTheFirstRowThatHasOne) {
  EncodedRows rows;
  const std::vector<std::int32_t> two{7, 8}, zeros{0, 0}, ones{0, 1};
  rows.Add(two, zeros, "a");
  EXPECT_TRUE(rows.row(0).types.empty());
  rows.Add(two, ones, "b");
  rows.Add(two, zeros, "c");
  for (const auto& [row, types] : {std::pair{0, &zeros}, {1, &ones}, {2, &zeros}}) {
    EXPECT_TRUE(std::ranges::equal(rows.row(row).ids, two));
    EXPECT_TRUE(std::ranges::equal(rows.row(row).types, *types)) << row;
  }
}

// ---- memory -------------------------------------------------------------------------------------

constexpr int kWordsOfText = 1500;  // of a text, 5 bytes each

// Rows of each task: texts of kWordsOfText words.
std::string RowsOfTask(const std::string& task, int rows) {
  std::string lines;
  for (int r = 0; r < rows; ++r) {
    Json row;
    std::string text = std::to_string(r);
    std::vector<std::string> words(kWordsOfText, "anna"), tags(kWordsOfText, "O");
    for (const std::string& word : words) text += " " + word;
    tags[0] = "B-PER";
    if (task == "classify") row = {{"text", text}, {"label", r % 2 == 0 ? "a" : "b"}};
    if (task == "token-classify") row = {{"tokens", words}, {"tags", tags}};
    if (task == "qa") {
      row = {{"question", "who"}, {"context", text}, {"answers", Json::array()}};
    }
    if (task == "multiple-choice") {
      row = {{"context", text}, {"question", "q"}, {"choices", {"a", "b"}}, {"label", 0}};
    }
    if (task == "embed") row = {{"anchor", text}, {"positive", "p" + std::to_string(r)}};
    if (task == "rerank") row = {{"query", "who"}, {"text", text}, {"label", 1}};
    lines += row.dump() + "\n";
  }
  return lines;
}

std::uint64_t HeapInUse() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Reads of each file, so that what is yet to be written is.
void Settle(const EncodedRows& rows) { rows.row(0); }
void Settle(const TaggedRows& rows) {
  rows.row(0);
  rows.labels.all();
  rows.words.all();
  rows.gold.all();
}
void Settle(const AnswerRows& rows) {
  rows.row(0);
  rows.windows[0];
}
void Settle(const EmbedRows& rows) {
  rows.texts.rows.row(0);
  rows.texts.windows(0);
}
void Settle(const JudgedRows& rows) { Settle(rows.rows); }

template <class Rows>
std::shared_ptr<void> Kept(Rows rows) {
  Settle(rows);
  return std::make_shared<Rows>(std::move(rows));
}

class RowsInMemory : public testing::TestWithParam<const char*> {
 protected:
  RowsInMemory() {
    LongformerConfig config = LetterLongformer(1);
    config.max_positions = 4 * kWordsOfText + 1;
    SaveLongformer(Longformer(config), d_ / "model");
    test::PutFile(d_ / "model/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nanna\n");
    info_ = ReadTextModelInfo(d_ / "model");
  }

  // What stays of the texts of a file when they are tokens, as the task's training reads them.
  std::shared_ptr<void> Read(const std::string& task, const fs::path& file) {
    const data::ScratchPlace place{d_ / "run", 1000};
    const auto tokenizer = OpenModelTokenizer(d_ / "model");
    const idx_t tokens = 4 * kWordsOfText;
    Context context(1);
    if (task == "classify") {
      const auto texts = ReadLabelledTexts({file}, {}, ProblemType::kInferred, nullptr, place);
      const ClassifyTarget target = ChooseTarget(texts, ProblemType::kInferred, info_);
      return Kept(TokenizeRows(context, *tokenizer, texts, target, info_, {.tokens = tokens}));
    }
    if (task == "token-classify") {
      const auto texts = ReadTaggedTexts({file}, {}, {}, nullptr, place);
      return Kept(
          TokenizeTagged(context, *tokenizer, texts, ChooseTags(texts, info_), info_, {}, tokens));
    }
    if (task == "qa") {
      const auto texts = ReadAnsweredTexts({file}, {}, nullptr, place);
      AnswerRows rows = TokenizeAnswered(context, *tokenizer, texts, info_, {}, tokens, true);
      return std::make_shared<std::pair<AnsweredTexts, std::shared_ptr<void>>>(
          texts, Kept(std::move(rows)));
    }
    if (task == "multiple-choice") {
      const auto texts = ReadChoiceTexts({file}, {}, nullptr, place);
      return Kept(TokenizeChoices(context, *tokenizer, texts, info_, {}, tokens));
    }
    if (task == "embed") {
      const auto texts = ReadPairTexts({file}, {}, {}, nullptr, place);
      VectorTextRules rules;
      rules.tokens = tokens;
      return Kept(TokenizePairs(context, *tokenizer, texts, info_, rules));
    }
    auto texts = ReadJudgedTexts({file}, {}, {}, nullptr, place);
    return Kept(TokenizeJudged(context, *tokenizer, std::move(texts),
                               ReadCrossEncoderFolder(d_ / "model"), info_,
                               {.tokens = tokens, .pairs = true}));
  }

  // The heap that rows take.
  std::uint64_t Taken(const std::string& task, int rows) {
    const fs::path file = test::PutFile(d_ / (task + ".jsonl"), RowsOfTask(task, rows));
    const std::uint64_t before = HeapInUse();
    const auto kept = Read(task, file);
    return HeapInUse() - before;
  }

  test::TempDir d_;
  TextModelInfo info_;
};

// A text of 7.5 kB and its tokens (6 kB of ids, more with tags and windows) leave a few hundred
// bytes in memory.
TEST_P(RowsInMemory, GrowsBySomeBytesARow) {
  Taken(GetParam(), 2);  // what is made once
  const std::uint64_t few = Taken(GetParam(), 8), many = Taken(GetParam(), 40);
  EXPECT_LT(static_cast<double>(many) - static_cast<double>(few), 32 * 1000.0)
      << few << " and " << many;
}

INSTANTIATE_TEST_SUITE_P(Tasks, RowsInMemory,
                         testing::Values("classify", "token-classify", "qa", "multiple-choice",
                                         "embed", "rerank"),
                         [](const auto& task) {
                           std::string name = task.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace longspan
