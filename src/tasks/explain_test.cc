// Sentences, and what a text's scores lose without them.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/errors.h"
#include "families/longformer/family.h"
#include "families/model_inside.h"
#include "tasks/sentences.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"

namespace longspan {
namespace {

// The sentences as texts; checks that together they are the whole text, in bytes and characters.
std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> pieces;
  idx_t byte = 0, character = 0;
  for (const Sentence& s : SplitSentences(text)) {
    EXPECT_EQ(s.bytes.begin, byte);
    EXPECT_EQ(s.chars.begin, character);
    EXPECT_LT(s.bytes.begin, s.bytes.end);
    byte = s.bytes.end;
    character = s.chars.end;
    pieces.push_back(text.substr(static_cast<std::size_t>(s.bytes.begin),
                                 static_cast<std::size_t>(s.bytes.end - s.bytes.begin)));
  }
  EXPECT_EQ(byte, static_cast<idx_t>(text.size()));
  return pieces;
}
using Pieces = std::vector<std::string>;

TEST(Sentences, EndAtStopsAndEmptyLines) {
  EXPECT_EQ(Split("One. Two! Three?  \"Four.\" five"),
            (Pieces{"One. ", "Two! ", "Three?  ", "\"Four.\" ", "five"}));
  EXPECT_EQ(Split("A title\n\nThe text\ngoes on\r\n\r\nand on"),
            (Pieces{"A title\n\n", "The text\ngoes on\r\n\r\n", "and on"}));
  EXPECT_EQ(Split("  \n Led by blanks. Then more."),
            (Pieces{"  \n Led by blanks. ", "Then more."}));
  EXPECT_EQ(Split("Really?! Yes... Well"), (Pieces{"Really?! ", "Yes... ", "Well"}));
  EXPECT_EQ(Split(""), Pieces{});
  EXPECT_EQ(Split(" \n\n "), Pieces{" \n\n "});
}

TEST(Sentences, StopsInsideWordsAndNumbersEndNothing) {
  EXPECT_EQ(Split("Mr. Elliot paid 3.50 to J. R. Smith. He left."),
            (Pieces{"Mr. Elliot paid 3.50 to J. R. Smith. ", "He left."}));
  EXPECT_EQ(Split("See e.g. Anne, or no. so. Done."),
            (Pieces{"See e.g. Anne, or no. so. ", "Done."}));
}

TEST(Sentences, OtherScriptsAndInvalidBytes) {
  EXPECT_EQ(Split("猫がいる。犬もいる！終"), (Pieces{"猫がいる。", "犬もいる！", "終"}));
  EXPECT_EQ(Split("Ça va ? Oui…\u00a0Bon."), (Pieces{"Ça va ? ", "Oui…\u00a0", "Bon."}));
  EXPECT_EQ(Split("a\xff\xc3. B\xe4"), (Pieces{"a\xff\xc3. ", "B\xe4"}));
  const auto places = SplitSentences("Ä. Ö.");
  EXPECT_EQ(places[1].chars, (text::Span{3, 5}));
  EXPECT_EQ(places[1].bytes, (text::Span{4, 7}));
}

TEST(Sentences, LongRunsAreCutAtLineBreaksThenBlanksThenAnywhere) {
  std::string lines;
  for (int i = 0; i < 50; ++i) lines += "a line without any full stop " + std::to_string(i) + "\n";
  const Pieces pieces = Split(lines);
  EXPECT_GT(pieces.size(), 2u);
  for (const std::string& piece : pieces) {
    EXPECT_LE(piece.size(), static_cast<std::size_t>(kLongestSentence));
    EXPECT_EQ(piece.back(), '\n');
  }
  std::string words;
  for (int i = 0; i < 400; ++i) words += "word ";
  for (const std::string& piece : Split(words)) EXPECT_EQ(piece.back(), ' ');
  const Pieces solid = Split(std::string(1500, 'x'));
  EXPECT_EQ(solid.size(), 3u);
}

// ---- what is left out ---------------------------------------------------------------------------

using text::Overflow;

TaskModel Judge(ProblemType problem, const TaskOptions& options = {}) {
  LongformerConfig config;
  config.head = HeadKind::kSequence;
  config.attention_window = {8, 8};
  config.vocab_size = 60;
  config.hidden_size = 16;
  config.heads = 2;
  config.feed_forward_size = 32;
  config.max_positions = 64;
  config.token_types = 1;
  config.labels = {"a", "b", "c"};
  config.problem = problem;
  Longformer model(config);
  model.Initialise(7);
  const View<float, 1> values = model.parameters().Write().values();
  for (idx_t i = 0; i < values.size(); ++i) values.data[i] *= 8.0f;
  std::vector<std::string> words;
  for (int i = 0; i < 55; ++i) words.push_back("w" + std::to_string(i));
  return TaskModel(
      MakeModel(MakeTextModel(std::move(model)), std::make_unique<test::WordTokenizer>(
                                                     words, test::WordTokenizer::Family::kRoberta)),
      options);
}

std::vector<double> ScoresOfText(Context& context, TaskModel& model, const TaskText& text) {
  const TaskRows rows = model.Encode(std::span(&text, 1), Overflow::kWindow);
  return Classify(context, model, rows)[0].scores;
}

// Each sentence's influence is what Classify alone says of the text with and without it.
void ExpectByHand(ProblemType problem, const TaskOptions& options) {
  Context context(2);
  TaskModel model = Judge(problem, options);
  const std::vector<TaskText> texts = {
      {"w1 w2 w3. W w4 w5 w6! W w7 w8", std::nullopt},
      {"w9 w1", std::nullopt},
      {"w1 w2. W w30", "w3 w4 w5? W w40 w41 w42 w43 w44 w45 w46 w47 w48 w49. W w6"}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  const auto whole = Classify(context, model, rows);
  const auto explained = Explain(context, model, texts, whole);
  ASSERT_EQ(explained.size(), 3u);
  EXPECT_EQ(explained[0].sentences.size(), 3u);
  EXPECT_TRUE(explained[1].sentences.empty());  // one sentence
  EXPECT_EQ(explained[2].sentences.size(), 5u);
  for (const std::size_t i : {0u, 2u}) {
    EXPECT_EQ(explained[i].scores, whole[i].scores);
    for (std::size_t s = 0; s < explained[i].sentences.size(); ++s) {
      const LeftOut& sentence = explained[i].sentences[s];
      TaskText rest = texts[i];
      std::string& part = sentence.sequence == 0 ? rest.text : *rest.pair;
      part = part.substr(0, static_cast<std::size_t>(sentence.place.bytes.begin)) +
             part.substr(static_cast<std::size_t>(sentence.place.bytes.end));
      const std::vector<double> without = ScoresOfText(context, model, rest);
      for (std::size_t label = 0; label < 3; ++label) {
        EXPECT_NEAR(explained[i].Influence(static_cast<idx_t>(s), static_cast<idx_t>(label)),
                    whole[i].scores[label] - without[label], 1e-5);
      }
    }
  }
  const std::vector<idx_t> order = explained[0].MostInfluential(1, 2);
  ASSERT_EQ(order.size(), 2u);
  for (idx_t s = 0; s < 3; ++s) {
    EXPECT_LE(std::abs(explained[0].Influence(s, 1)),
              std::abs(explained[0].Influence(order[0], 1)));
  }
}

TEST(Explain, IsTheDifferenceThatASentenceMakes) {
  ExpectByHand(ProblemType::kSingleLabel, {});
  ExpectByHand(ProblemType::kMultiLabel, {});
  ExpectByHand(ProblemType::kSingleLabel, {.max_length = 12});  // in windows
}

TEST(Explain, BatchesRunTogether) {
  Context one(1), three(3);
  TaskModel model = Judge(ProblemType::kSingleLabel);
  std::string text;
  for (int i = 0; i < 12; ++i) text += "W w" + std::to_string(i) + " w3. ";
  const std::vector<TaskText> texts = {{text, std::nullopt}};
  const auto whole = Classify(one, model, model.Encode(texts, Overflow::kWindow));
  idx_t batches = 0;
  one.OnProgress([&](idx_t, idx_t) { ++batches; });
  const auto a = Explain(one, model, texts, whole);
  EXPECT_EQ(a[0].sentences.size(), 12u);
  EXPECT_EQ(batches, 1);  // all of one length
  const auto b = Explain(three, model, texts, whole);
  for (std::size_t s = 0; s < 12; ++s)
    EXPECT_EQ(a[0].sentences[s].scores, b[0].sentences[s].scores);
}

TEST(Explain, ATextIsTakenAsSoonAsItIsExplained) {
  Context context(2);
  TaskModel model = Judge(ProblemType::kSingleLabel, {.batch_tokens = 20});
  const std::vector<TaskText> texts = {{"w1 w2 w3. W w4 w5 w6! W w7 w8", std::nullopt},
                                       {"w9 w1", std::nullopt},  // one sentence: nothing to ask
                                       {"w1 w2. W w30 w31 w32 w33. W w3", std::nullopt}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  const auto whole = Classify(context, model, rows);
  std::vector<std::string> events;
  context.OnProgress([&](idx_t, idx_t) { events.push_back("batch"); });
  std::vector<ExplainedText> taken;
  Explain(context, model, texts, whole, [&](std::size_t i, const ExplainedText& explained) {
    events.push_back("text " + std::to_string(i));
    taken.push_back(explained);
  });
  context.OnProgress({});
  EXPECT_EQ(events.back(), "text 2");
  const auto second = std::find(events.begin(), events.end(), "text 1");
  ASSERT_NE(second, events.end());
  EXPECT_EQ(*(second - 1), "text 0");
  EXPECT_EQ(*(second + 1), "batch");  // of the third text
  const auto all = Explain(context, model, texts, whole);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    ASSERT_EQ(taken[i].sentences.size(), all[i].sentences.size());
    for (std::size_t s = 0; s < all[i].sentences.size(); ++s) {
      EXPECT_EQ(taken[i].sentences[s].scores, all[i].sentences[s].scores);
    }
  }
}

TEST(Explain, SmallChangesDecideNothing) {
  ExplainedText text{{0.5, 0.3, 200.0}, {}};
  EXPECT_FALSE(text.Decided(0, ScoreKind::kClasses));  // nothing was left out
  text.sentences = {{0, {}, {0.495, 0.315, 199.0}}, {0, {}, {0.509, 0.29, 197.0}}};
  EXPECT_FALSE(text.Decided(0, ScoreKind::kClasses));
  EXPECT_TRUE(text.Decided(1, ScoreKind::kLabels));  // 0.015 in either direction
  EXPECT_TRUE(text.Decided(2, ScoreKind::kValues));  // 1.5 % of the number
  text.scores[2] = 198.0;
  EXPECT_FALSE(text.Decided(2, ScoreKind::kValues));
}

TEST(Explain, ManySentencesAreJoined) {
  Context context(2);
  TaskModel model = Judge(ProblemType::kSingleLabel, {.overflow = Overflow::kTruncate});
  std::string text;
  for (idx_t i = 0; i < 2 * kMostLeftOut + 1; ++i) text += "We. ";
  const std::vector<TaskText> texts = {{text, std::nullopt}};
  const auto whole = Classify(context, model, model.Encode(texts, Overflow::kWindow));
  const auto explained = Explain(context, model, texts, whole);
  const std::vector<LeftOut>& sentences = explained[0].sentences;
  EXPECT_LE(static_cast<idx_t>(sentences.size()), kMostLeftOut);
  EXPECT_GT(static_cast<idx_t>(sentences.size()), kMostLeftOut / 2);
  EXPECT_EQ(sentences.back().place.bytes.end, static_cast<idx_t>(text.size()));
}

TEST(ClassifyTexts, WindowsKnowTheirPlace) {
  Context context(1);
  TaskModel model = Judge(ProblemType::kSingleLabel, {.max_length = 8, .stride = 2});
  const std::string text = "w10 w11 w12 w13 w14 w15 w16 w17 w18 w19";
  const std::vector<TaskText> texts = {{text, std::nullopt}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  const ClassifiedText c = Classify(context, model, rows)[0];
  ASSERT_EQ(c.windows.size(), rows.of(0).size());
  ASSERT_EQ(c.windows.size(), 2u);
  EXPECT_EQ(c.windows[0].chars, (text::Span{0, 23}));
  EXPECT_EQ(c.windows[1].chars, (text::Span{16, 39}));
  EXPECT_EQ(c.windows[0].tokens, 8);
  for (std::size_t label = 0; label < 3; ++label) {
    EXPECT_NEAR(c.scores[label], (c.windows[0].scores[label] + c.windows[1].scores[label]) / 2,
                1e-9);
  }
}

}  // namespace
}  // namespace longspan
