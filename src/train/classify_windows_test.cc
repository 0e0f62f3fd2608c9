// Classifiers of texts that are longer than a row: evaluations say what Classify says, and a
// training learns from windows as from texts of their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "longspan/tasks.h"
#include "train/classify_task.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using test::GetFile;
using test::PutFile;
using test::Throws;
using text::Overflow;
using Json = nlohmann::json;

constexpr idx_t kTokens = 12, kStride = 2;  // of a row; of neighbours

// Words that are letters.
std::string LetterText(Rng* rng, idx_t words) {
  std::string text;
  for (idx_t w = 0; w < words; ++w) {
    text += static_cast<char>('a' + rng->Below(10));
    text += ' ';
  }
  return text;
}

class ClassifyWindows : public testing::Test {
 protected:
  // A random classifier of letters. Its weights are large, so that windows differ.
  std::filesystem::path Model(ProblemType problem, double range = 0.8) const {
    LongformerConfig c = LetterLongformer(10);
    c.sep_token = 3;
    c.head = HeadKind::kSequence;
    c.problem = problem;
    c.labels = {"even", "odd", "none"};
    if (problem == ProblemType::kRegression) c.labels = {"value"};
    c.initializer_range = range;
    SaveLetterLongformer(c, d_ / "model");
    return d_ / "model";
  }

  // Texts of 1 to 40 words, some in pairs, with labels of the problem; as a file too.
  std::filesystem::path Texts(ProblemType problem) {
    Rng rng(3);
    std::string lines;
    texts_.clear();
    for (idx_t n = 0; n < 20; ++n) {
      Json row = {{"id", n}, {"text", LetterText(&rng, 1 + 2 * n)}};
      if (n % 3 == 1) {
        row["text"] = LetterText(&rng, 3);
        row["text_pair"] = LetterText(&rng, 1 + n);
      }
      if (n == 2) row["text_pair"] = "";  // a single text
      const std::string label = n % 2 == 0 ? "even" : "odd";
      row["label"] = label;
      if (problem == ProblemType::kMultiLabel)
        row["label"] = n % 5 == 0 ? Json::array() : Json{label};
      if (problem == ProblemType::kRegression) row["label"] = 0.25 * static_cast<double>(n);
      texts_.push_back({row["text"], std::nullopt});
      if (n % 3 == 1) texts_.back().pair = row["text_pair"];
      lines += row.dump() + "\n";
    }
    return PutFile(d_ / "rows.jsonl", lines);
  }

  std::vector<ClassifiedText> Asked(const TaskOptions& options) {
    return Classify(context_, TaskModel::Load(d_ / "model", options), texts_);
  }

  test::TempDir d_;
  std::vector<TaskText> texts_;  // those of the file
  Context context_{2};
};

// The mean loss from the scores alone.
double LossFrom(ProblemType problem, const Predictions& said) {
  double sum = 0.0, count = 0.0;
  for (const Prediction& one : said.rows) {
    if (problem == ProblemType::kRegression) {
      sum += std::pow(one.scores[0] - one.gold_value, 2);
      ++count;
    } else if (problem == ProblemType::kSingleLabel) {
      sum -= std::log(one.scores[static_cast<std::size_t>(one.gold[0])]);
      ++count;
    }
    for (std::size_t k = 0; problem == ProblemType::kMultiLabel && k < one.scores.size(); ++k) {
      const bool has = std::count(one.gold.begin(), one.gold.end(), static_cast<idx_t>(k)) > 0;
      sum -= std::log(has ? one.scores[k] : 1.0 - one.scores[k]);
      ++count;
    }
  }
  return sum / count;
}

// Weights so small that every score is exactly one half.
TEST_F(ClassifyWindows, ALabelIsGivenFromOneHalfOnInEveryPlace) {
  ClassifierEvalOptions o;
  o.model = Model(ProblemType::kMultiLabel, 1e-30);
  o.file = PutFile(d_ / "rows.jsonl", R"({"text": "a b", "label": ["even", "odd", "none"]})"
                                      "\n"
                                      R"({"text": "c", "label": []})"
                                      "\n");
  Predictions said;
  const ClassifierEval e = EvaluateClassifier(context_, o, &said);
  texts_ = {{"a b", std::nullopt}};
  EXPECT_EQ(Asked({})[0].scores, (std::vector<double>{0.5, 0.5, 0.5}));
  for (const Prediction& one : said.rows) {
    EXPECT_EQ(one.scores, (std::vector<double>{0.5, 0.5, 0.5}));
    EXPECT_EQ(one.predicted, (std::vector<idx_t>{0, 1, 2}));
  }
  EXPECT_EQ(e.accuracy, 0.5);
  EXPECT_EQ(e.exact_match, 0.5);
  EXPECT_TRUE(HasLabel(0.25, 0.25));
  EXPECT_FALSE(HasLabel(0.25, 0.5));
  EXPECT_FALSE(HasLabel(std::nan(""), 0.0));
}

TEST_F(ClassifyWindows, AnEvaluationSaysWhatClassifySays) {
  for (const ProblemType problem :
       {ProblemType::kSingleLabel, ProblemType::kMultiLabel, ProblemType::kRegression}) {
    SCOPED_TRACE(ProblemName(problem));
    ClassifierEvalOptions o;
    o.model = Model(problem);
    o.file = Texts(problem);
    o.tokens = kTokens;
    o.task.stride = kStride;
    Predictions said;
    const ClassifierEval e = EvaluateClassifier(context_, o, &said);
    const auto asked = Asked({.max_length = kTokens, .stride = kStride});
    ASSERT_EQ(said.rows.size(), asked.size());
    idx_t windows = 0, in_windows = 0, right = 0;
    for (std::size_t n = 0; n < asked.size(); ++n) {
      const Prediction& one = said.rows[n];
      EXPECT_EQ(one.scores, asked[n].scores) << n;
      windows += std::ssize(asked[n].windows);
      in_windows += asked[n].windows.size() > 1 ? 1 : 0;
      std::vector<idx_t> best = Largest(asked[n].scores, 1);
      if (problem == ProblemType::kMultiLabel) {
        best.clear();
        for (idx_t k = 0; k < 3; ++k) {
          if (HasLabel(asked[n].scores[static_cast<std::size_t>(k)])) best.push_back(k);
        }
      }
      if (problem == ProblemType::kRegression) best.clear();
      EXPECT_EQ(one.predicted, best) << n;
      right += one.gold == one.predicted ? 1 : 0;
    }
    EXPECT_EQ(e.windows, windows);
    EXPECT_EQ(e.in_windows, in_windows);
    EXPECT_GT(in_windows, 10);
    EXPECT_EQ(e.longest, 39);  // [CLS], 37 words, [SEP]
    EXPECT_EQ(e.cut, 0);
    EXPECT_NEAR(e.loss, LossFrom(problem, said), 1e-9 * e.loss);
    if (problem == ProblemType::kRegression) continue;
    EXPECT_EQ(e.exact_match, static_cast<double>(right) / 20.0);
    EXPECT_EQ(std::count(e.right.begin(), e.right.end(), true), right);
  }
}

// Without options too: the model has 32 positions, and 39 tokens are read in two windows.
TEST_F(ClassifyWindows, TheDefaultsAreThoseOfClassify) {
  ClassifierEvalOptions o;
  o.model = Model(ProblemType::kSingleLabel);
  o.file = Texts(ProblemType::kSingleLabel);
  for (const idx_t told : {0, 20}) {
    if (told > 0)
      PutFile(d_ / "model/tokenizer_config.json", Json{{"model_max_length", told}}.dump());
    Predictions said;
    const ClassifierEval e = EvaluateClassifier(context_, o, &said);
    EXPECT_EQ(e.tokens, told > 0 ? told : 32);
    const auto asked = Asked({});
    for (std::size_t n = 0; n < asked.size(); ++n) EXPECT_EQ(said.rows[n].scores, asked[n].scores);
    EXPECT_EQ(asked[18].windows.size(), told > 0 ? 3u : 2u);
  }
}

TEST_F(ClassifyWindows, PredictionsHaveTheBeginningsOfTheirTexts) {
  ClassifierEvalOptions o;
  o.model = Model(ProblemType::kSingleLabel);
  std::string wide;  // 400 characters of two bytes
  for (int i = 0; i < 400; ++i) wide += "\xC3\xA4";
  o.file = PutFile(d_ / "rows.jsonl",
                   Json{{"text", "a b"}, {"text_pair", wide}, {"label", "odd"}}.dump() + "\n" +
                       Json{{"text", "a b" + wide}, {"label", "even"}}.dump() + "\n");
  Predictions said;
  EvaluateClassifier(context_, o, &said);
  ASSERT_EQ(said.rows.size(), 2u);
  EXPECT_EQ(said.rows[0].text, "a b");
  EXPECT_EQ(said.rows[0].text_pair, wide.substr(0, 600));
  EXPECT_EQ(said.rows[1].text, "a b" + wide.substr(0, 594));
  EXPECT_EQ(said.rows[1].text_pair, "");
}

// Of a text in one row nothing changes, and what is too long is told.
TEST_F(ClassifyWindows, WhatBecomesOfLongTextsIsTold) {
  ClassifierEvalOptions o;
  o.model = Model(ProblemType::kSingleLabel);
  o.file = Texts(ProblemType::kSingleLabel);
  const auto notes = [&](Overflow overflow, idx_t tokens) {
    o.tokens = tokens;
    o.task.overflow = overflow;
    return EvaluateClassifier(context_, o).notes;
  };
  EXPECT_THAT(notes(Overflow::kWindow, kTokens),
              testing::Contains(
                  testing::HasSubstr("of 20 texts have more than 12 tokens and are read in ")));
  EXPECT_THAT(notes(Overflow::kTruncate, kTokens),
              testing::Contains(testing::HasSubstr("of 20 texts are cut to 12 tokens; the longest "
                                                   "has 39")));
  EXPECT_TRUE(Throws([&] { notes(Overflow::kError, kTokens); }, ErrorCode::kLimit,
                     "of 20 texts are too long"));
  EXPECT_TRUE(
      Throws([&] { notes(Overflow::kTruncateFirst, kTokens); }, ErrorCode::kUsage, "overflow"));
  o.task.stride = 10;
  EXPECT_TRUE(Throws([&] { notes(Overflow::kWindow, kTokens); }, ErrorCode::kUsage,
                     "stride: 10 must be below the 10 tokens of text in a row"));
  o.task.stride = -1;
  EXPECT_TRUE(Throws([&] { notes(Overflow::kWindow, kTokens); }, ErrorCode::kUsage,
                     "stride: -1 is below 0"));
}

// Texts of 11 to 40 words with their labels, and the same cut by hand into windows of ten words.
struct LongTexts {
  std::string whole, pieces;
};
LongTexts MakeLongTexts(idx_t texts) {
  Rng rng(4);
  LongTexts made;
  for (idx_t n = 0; n < texts; ++n) {
    const std::string text = LetterText(&rng, 11 + rng.Below(30));
    const Json label = n % 2 == 0 ? "even" : "odd";
    made.whole += Json{{"text", text}, {"label", label}}.dump() + "\n";
    for (std::size_t at = 0; at < text.size(); at += 20) {
      made.pieces += Json{{"text", text.substr(at, 20)}, {"label", label}}.dump() + "\n";
    }
  }
  return made;
}

class TrainingInWindows : public testing::Test {
 protected:
  TrainingInWindows() {
    SaveLetterLongformer(LetterLongformer(10), d_ / "start");
    const LongTexts texts = MakeLongTexts(6);
    PutFile(d_ / "whole.jsonl", texts.whole);
    PutFile(d_ / "pieces.jsonl", texts.pieces);
  }

  TrainResult Train(const std::string& run, const std::string& texts, Overflow overflow,
                    int threads = 2, idx_t stop_after = 0, bool resume = false) {
    TrainOptions o = FineTuneOptions();
    o.model = d_ / "start";
    o.output = d_ / run;
    o.data.train = {d_ / texts};
    o.data.eval = d_ / "whole.jsonl";
    o.tokens = kTokens;
    o.steps = 4;
    o.batch = 2;
    o.accumulate = 2;
    o.optimizer.learning_rate = 3e-3;
    o.checkpoints.eval_every = o.checkpoints.save_every = 2;
    o.checkpoints.resume = resume;
    ClassifyOptions task;
    task.epochs = 0.0;
    task.overflow = overflow;
    // By rows of the classes: windows, where texts are read in windows.
    task.weights.balanced = true;
    Context context(threads);
    idx_t step = 0;
    TrainHooks hooks;
    hooks.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) step = event.step;
      if (event.kind == TrainEvent::Kind::kNote) notes_.push_back(event.text);
    };
    hooks.should_stop = [&] { return stop_after > 0 && step >= stop_after; };
    return TrainClassifier(context, o, task, hooks);
  }
  std::string Weights(const std::string& run) const {
    return GetFile(d_ / run / "model.safetensors");
  }

  test::TempDir d_;
  std::vector<std::string> notes_;
};

TEST_F(TrainingInWindows, EachWindowIsARowWithTheLabelOfItsText) {
  const TrainResult result = Train("whole", "whole.jsonl", Overflow::kWindow);
  EXPECT_THAT(notes_, testing::Contains(testing::StartsWith(
                          "train: 6 of 6 texts have more than 12 tokens and are read in ")));
  EXPECT_THAT(notes_, testing::Contains(testing::StartsWith("held out: 6 of 6 texts have more")));
  Train("pieces", "pieces.jsonl", Overflow::kWindow);
  EXPECT_EQ(Weights("whole"), Weights("pieces"));
  EXPECT_EQ(result.held_out_texts, 6);
  // What was measured is what the folder is asked for: it knows the length of its rows, and so do
  // its checkpoints.
  ClassifierEvalOptions o;
  o.model = d_ / "whole";
  o.file = d_ / "whole.jsonl";
  Context context(1);
  const ClassifierEval e = EvaluateClassifier(context, o);
  EXPECT_EQ(e.tokens, kTokens);
  for (const char* folder : {"whole", "whole/checkpoint-2"}) {
    EXPECT_EQ(TaskModel::Load(d_ / folder).longest(), kTokens) << folder;
  }
  EXPECT_EQ(TaskModel::Load(d_ / "start").longest(), 32);
  EXPECT_EQ(e.in_windows, 6);
  EXPECT_EQ(e.loss, result.eval_loss);
  EXPECT_EQ(e.accuracy, result.metrics[0].value);
}

TEST_F(TrainingInWindows, TheSameBitsForAnyThreadsAndInterruptions) {
  Train("one", "whole.jsonl", Overflow::kWindow);
  Train("two", "whole.jsonl", Overflow::kWindow, 3);
  EXPECT_EQ(Weights("one"), Weights("two"));
  EXPECT_TRUE(Train("stopped", "whole.jsonl", Overflow::kWindow, 1, 3).stopped);
  EXPECT_TRUE(Throws([&] { Train("stopped", "whole.jsonl", Overflow::kTruncate, 1, 0, true); },
                     ErrorCode::kUsage, "with --overflow window, this"));
  EXPECT_EQ(Train("stopped", "whole.jsonl", Overflow::kWindow, 2, 0, true).step, 4);
  EXPECT_EQ(Weights("one"), Weights("stopped"));
}

}  // namespace
}  // namespace longspan
