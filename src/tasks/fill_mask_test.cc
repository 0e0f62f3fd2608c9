// How guesses for masks join a text.

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "families/longformer/family.h"
#include "families/model_inside.h"
#include "longspan/tasks.h"
#include "tasks/tasks_test.h"
#include "tests/support/files.h"
#include "text/open_tokenizer.h"

namespace longspan {
namespace {

using test::Throws;

MaskGuess GuessOf(const std::string& in_text, bool continues_word) {
  MaskGuess guess;
  guess.in_text = in_text;
  guess.continues_word = continues_word;
  return guess;
}

std::vector<FilledMask> MasksAt(std::initializer_list<text::Span> places) {
  std::vector<FilledMask> masks;
  for (const text::Span& place : places) masks.push_back({{}, place, {}});
  return masks;
}

TEST(TextWithGuessesOf, HasOneSpaceBeforeAWordAndNoneBeforeALaterPiece) {
  const std::string text = "The sea <mask> grey.";
  const auto with = [&](const std::string& in_text, bool continues) {
    return TextWithGuesses(text, MasksAt({{8, 14}}), std::vector{GuessOf(in_text, continues)});
  };
  EXPECT_EQ(with("was", false), "The sea was grey.");
  EXPECT_EQ(with(" was", false), "The sea was grey.");
  EXPECT_EQ(with("'s", true), "The sea's grey.");
  // A mask that takes the space before it with it.
  EXPECT_EQ(TextWithGuesses(text, MasksAt({{7, 14}}), std::vector{GuessOf(" was", false)}),
            "The sea was grey.");
  const std::string two = "<mask>\n<mask>  <mask>";
  EXPECT_EQ(TextWithGuesses(
                two, MasksAt({{0, 6}, {7, 13}, {15, 21}}),
                std::vector{GuessOf(" It", false), GuessOf(" was", false), GuessOf("ing", true)}),
            "It\nwasing");
  EXPECT_EQ(TextWithGuesses(two, MasksAt({{7, 13}}), std::vector{GuessOf("\xC3\xA9", false)}),
            "<mask>\n\xC3\xA9  <mask>");
}

TEST(TextWithGuessesOf, RefusesWhatDoesNotFit) {
  const std::vector one = {GuessOf("a", false)};
  const auto refuses = [&](std::initializer_list<text::Span> places, const char* says) {
    return Throws([&] { TextWithGuesses("a <mask>", MasksAt(places), one); }, ErrorCode::kUsage,
                  says);
  };
  EXPECT_TRUE(refuses({{2, 8}, {2, 8}}, "1 guesses for 2 masks"));
  EXPECT_TRUE(refuses({{2, 9}}, "mask 0 at bytes 2 to 9"));
  EXPECT_TRUE(refuses({{-1, 1}}, "mask 0 at bytes -1 to 1"));
  EXPECT_TRUE(refuses({{5, 2}}, "mask 0 at bytes 5 to 2"));
}

// The texts with each token of the vocabulary for the mask of `before` + mask + " grey.".
std::map<std::string, std::string> Sequences(std::unique_ptr<text::Tokenizer> words,
                                             const std::string& before) {
  LongformerConfig config;
  config.head = HeadKind::kMaskedLm;
  config.attention_window = {4};
  config.vocab_size = words->vocabulary();
  config.hidden_size = 4;
  config.heads = 1;
  config.feed_forward_size = 4;
  config.max_positions = 34;
  config.token_types = 1;
  Longformer model(config);
  model.Initialise(7);
  const std::string mask = words->TokenOf(*words->special().mask);
  const TaskModel asked(MakeModel(MakeTextModel(std::move(model)), std::move(words)));
  Context context(1);
  const std::vector<TaskText> texts = {{before + mask + " grey.", std::nullopt}};
  const auto filled = FillMasks(context, asked, texts, config.vocab_size);
  std::map<std::string, std::string> sequences;
  const FilledMask& found = filled[0].masks.at(0);
  for (const MaskGuess& guess : found.guesses) {
    sequences[guess.token] = TextWithGuesses(texts[0].text, {&found, 1}, {&guess, 1});
  }
  return sequences;
}

std::map<std::string, std::string> Sequences(const char* tokenizer, const std::string& before) {
  return Sequences(text::OpenTokenizer(test::kRoot / "tests/tokenizers" / tokenizer), before);
}

TEST(TextWithGuessesOf, ReadsAsTheTokenizerMeansIt) {
  auto pieces = Sequences("bert-uncased", "the sea ");
  EXPECT_EQ(pieces.at("##s"), "the seas grey.");
  EXPECT_EQ(pieces.at("was"), "the sea was grey.");
  EXPECT_EQ(pieces.at("."), "the sea . grey.");
  EXPECT_EQ(Sequences("bert-uncased", "").at("was"), "was grey.");
  // Its mask takes the space before it.
  auto bytes = Sequences("roberta", "the sea ");
  EXPECT_EQ(bytes.at("\xC4\xA0was"), "the sea was grey.");
  EXPECT_EQ(bytes.at("s"), "the seas grey.");
  EXPECT_EQ(bytes.at("."), "the sea. grey.");
  EXPECT_EQ(Sequences("roberta", "").at("\xC4\xA0was"), "was grey.");
  // Words by themselves have no space, as SentencePiece's.
  EXPECT_EQ(Sequences(MakeWords(WordFamily::kRoberta), "w1 ").at("w2"), "w1 w2 grey.");
}

}  // namespace
}  // namespace longspan
