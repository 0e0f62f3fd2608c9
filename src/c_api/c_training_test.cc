// Options by name, training, evaluation and folders through the interface for C.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "longspan/c_api.h"
#include "longspan/folders.h"
#include "longspan/named_options.h"
#include "longspan/train.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;

bool SaidLast(std::string_view what) {
  return std::string_view(longspan_last_error()).find(what) != std::string_view::npos;
}

class CTraining : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(longspan_context_new(1, &context_), LONGSPAN_OK);
    ASSERT_EQ(longspan_options_new(&options_), LONGSPAN_OK);
    std::string rows = "text,label\n";
    for (int i = 0; i < 8; ++i) {
      rows += "still " + std::to_string(i) + ",calm\nwild " + std::to_string(i) + ",storm\n";
    }
    PutFile(folder_ / "rows.csv", rows);
  }
  void TearDown() override {
    longspan_report_free(report_);
    longspan_options_free(options_);
    longspan_context_free(context_);
  }
  void Set(const char* name, const std::string& value) {
    ASSERT_EQ(longspan_options_set(options_, name, value.c_str()), LONGSPAN_OK);
  }
  // A model of a kilobyte or two of bytes, and what trains it for some updates.
  void SetTraining(const char* output, int steps) {
    longspan_options* init = nullptr;
    ASSERT_EQ(longspan_options_new(&init), LONGSPAN_OK);
    ASSERT_EQ(longspan_options_set(init, "preset", "tiny"), LONGSPAN_OK);
    ASSERT_EQ(longspan_options_set(init, "overwrite", "true"), LONGSPAN_OK);
    ASSERT_EQ(longspan_model_init(context_, (folder_ / "start").c_str(), init, nullptr),
              LONGSPAN_OK)
        << longspan_last_error();
    longspan_options_free(init);
    Set("model", folder_ / "start");
    Set("output", folder_ / output);
    Set("train", folder_ / "rows.csv");
    Set("steps", std::to_string(steps));
    Set("tokens", "32");
    Set("batch", "2");
    Set("accumulate", "1");
    Set("learning-rate", "1e-3");
    Set("held_out", "0.25");
  }
  longspan_status Train(longspan_on_train tell = nullptr, void* user = nullptr) {
    longspan_report_free(report_);
    report_ = nullptr;
    return longspan_train(context_, "classify", options_, tell, user, &report_);
  }
  double Value(const char* name) {
    double value = std::nan("");
    EXPECT_EQ(longspan_report_value(report_, name, &value), LONGSPAN_OK) << longspan_last_error();
    return value;
  }

  TempDir folder_;
  longspan_context* context_ = nullptr;
  longspan_options* options_ = nullptr;
  longspan_report* report_ = nullptr;
};

// What a callback has seen, and what it wants at an update.
struct Seen {
  std::vector<longspan_train_event> events;
  std::vector<std::string> metrics;
  std::int64_t at = -1;
  longspan_train_wish wish = LONGSPAN_TRAIN_ON;
  longspan_context* cancelled = nullptr;  // at that update
};

longspan_train_wish See(void* user, const longspan_train_event* event) {
  Seen& seen = *static_cast<Seen*>(user);
  seen.events.push_back(*event);
  for (std::size_t i = 0; i < event->metric_count; ++i) {
    seen.metrics.emplace_back(event->metrics[i].name);
  }
  if (event->kind != LONGSPAN_EVENT_STEP || event->step != seen.at) return LONGSPAN_TRAIN_ON;
  if (seen.cancelled != nullptr) longspan_context_cancel(seen.cancelled);
  return seen.wish;
}

TEST_F(CTraining, TrainsAndEvaluatesAsTheLibraryDoes) {
  SetTraining("run", 3);
  Seen seen;
  ASSERT_EQ(Train(See, &seen), LONGSPAN_OK) << longspan_last_error();
  EXPECT_EQ(Value("step"), 3.0);
  EXPECT_EQ(Value("stopped"), 0.0);
  ASSERT_FALSE(seen.events.empty());
  EXPECT_EQ(seen.events.front().size, sizeof(longspan_train_event));
  EXPECT_GT(std::count(seen.metrics.begin(), seen.metrics.end(), "accuracy"), 0);
  // The same run by the structs of C++.
  TrainOptions same = FineTuneOptions();
  same.model = folder_ / "start";
  same.output = folder_ / "same";
  same.data.train = {folder_ / "rows.csv"};
  same.data.held_out = 0.25;
  same.steps = 3;
  same.tokens = 32;
  same.batch = 2;
  same.accumulate = 1;
  same.optimizer.learning_rate = 1e-3;
  ClassifyOptions task;
  task.epochs = 0.0;
  Context context(1);
  const TrainResult result = TrainClassifier(context, same, task);
  EXPECT_EQ(Value("loss"), result.eval_loss);
  EXPECT_EQ(GetFile(folder_ / "run" / "model.safetensors"),
            GetFile(folder_ / "same" / "model.safetensors"));
  // Evaluation.
  longspan_options* of_eval = nullptr;
  ASSERT_EQ(longspan_options_new(&of_eval), LONGSPAN_OK);
  longspan_options_set(of_eval, "model", (folder_ / "run").c_str());
  longspan_options_set(of_eval, "data", (folder_ / "rows.csv").c_str());
  longspan_report_free(report_);
  report_ = nullptr;
  ASSERT_EQ(longspan_evaluate(context_, "classify", of_eval, &report_), LONGSPAN_OK)
      << longspan_last_error();
  longspan_options_free(of_eval);
  ClassifierEvalOptions eval;
  eval.model = folder_ / "run";
  eval.file = folder_ / "rows.csv";
  const ClassifierEval expected = EvaluateClassifier(context, eval);
  EXPECT_EQ(Value("loss"), expected.loss);
  EXPECT_EQ(Value("accuracy"), expected.accuracy);
  EXPECT_EQ(Value("counted"), 16.0);
  EXPECT_EQ(Value("cut"), 0.0);
  EXPECT_STREQ(longspan_report_name(report_, 0), "loss");
  EXPECT_EQ(longspan_report_name(report_, longspan_report_count(report_)), nullptr);
  double value = 0.0;
  EXPECT_EQ(longspan_report_value(report_, "perplexity", &value), LONGSPAN_USAGE);
  EXPECT_TRUE(SaidLast("report: it has no 'perplexity', only loss, accuracy"));
}

TEST_F(CTraining, StopsResumesAndIsCancelled) {
  SetTraining("run", 4);
  Seen seen;
  seen.at = 2;
  seen.wish = LONGSPAN_TRAIN_STOP;
  ASSERT_EQ(Train(See, &seen), LONGSPAN_OK) << longspan_last_error();
  EXPECT_EQ(Value("stopped"), 1.0);
  EXPECT_EQ(Value("step"), 2.0);
  Set("resume", "true");
  seen.at = 3;
  seen.wish = LONGSPAN_TRAIN_ON;
  seen.cancelled = context_;
  EXPECT_EQ(Train(See, &seen), LONGSPAN_CANCELLED);
  EXPECT_EQ(report_, nullptr);
  longspan_context_reset(context_);
  ASSERT_EQ(Train(), LONGSPAN_OK) << longspan_last_error();
  EXPECT_EQ(Value("step"), 4.0);
  EXPECT_EQ(Value("resumed"), 1.0);
}

TEST_F(CTraining, WhatIsWrongIsNamed) {
  EXPECT_EQ(Train(), LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "train: model is missing, set the option");
  SetTraining("run", 1);
  Set("stepz", "3");
  EXPECT_EQ(Train(), LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "train: 'stepz' is no option here; is 'steps' meant?");
  longspan_options_free(options_);
  ASSERT_EQ(longspan_options_new(&options_), LONGSPAN_OK);
  SetTraining("run", 1);
  for (const auto& [name, value, says] :
       {std::array{"steps", "ten", "train: steps is 'ten', need an integer"},
        std::array{"held_out", "1,5", "train: held_out is '1,5', need a number"},
        std::array{"resume", "yes", "train: resume is 'yes', need 'true' or 'false'"},
        std::array{"seed", "-1", "train: seed is '-1', need an integer that is not negative"},
        std::array{"row-ranks", "1x", "train: row_ranks is '1x', need an integer of 32 bits"},
        std::array{"label_separator", "||", "train: label_separator is '||', need one ASCII"},
        std::array{"overflow", "drop", "overflow is 'drop', need window"},
        std::array{"dtype", "int8", "dtype is 'int8', need"},
        std::array{"schedule", "odd", "odd"}}) {
    longspan_options* const before = options_;
    ASSERT_EQ(longspan_options_new(&options_), LONGSPAN_OK);
    SetTraining("run", 1);
    Set(name, value);
    EXPECT_EQ(Train(), LONGSPAN_USAGE) << name;
    EXPECT_TRUE(SaidLast(says)) << longspan_last_error();
    longspan_options_free(options_);
    options_ = before;
  }
  longspan_options_add(options_, "steps", "2");
  EXPECT_EQ(Train(), LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "train: steps has 2 values, need one");
  EXPECT_EQ(longspan_train(context_, "ner", options_, nullptr, nullptr, nullptr), LONGSPAN_USAGE);
  EXPECT_TRUE(SaidLast("task is 'ner', need one of lm, mlm, classify"));
  Set("steps", "1");
  Set("train", folder_ / "none.csv");
  EXPECT_EQ(Train(), LONGSPAN_IO);
  EXPECT_EQ(Listing(folder_.path()), "rows.csv start");
}

TEST_F(CTraining, NullsAreRefusedEverywhere) {
  EXPECT_EQ(longspan_options_new(nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_options_set(nullptr, "a", "b"), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_options_set(options_, nullptr, "b"), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_options_add(options_, "a", nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_train(nullptr, "lm", options_, nullptr, nullptr, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_train(context_, nullptr, options_, nullptr, nullptr, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_train(context_, "lm", nullptr, nullptr, nullptr, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_evaluate(context_, "lm", options_, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_evaluate(context_, "lm", options_, &report_), LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "evaluate: model is missing, set the option");
  EXPECT_EQ(longspan_model_init(context_, nullptr, options_, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_model_convert(context_, "a", nullptr, nullptr, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_model_load_in(nullptr, "a", nullptr, nullptr), LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "context: is NULL");
  char* json = nullptr;
  EXPECT_EQ(longspan_describe(nullptr, 0, &json), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_describe("a", 0, nullptr), LONGSPAN_USAGE);
  double value = 0.0;
  EXPECT_EQ(longspan_report_value(nullptr, "a", &value), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_report_count(nullptr), 0U);
  EXPECT_EQ(longspan_report_note_count(nullptr), 0U);
  EXPECT_EQ(longspan_report_note(nullptr, 0), nullptr);
  longspan_report_free(nullptr);
  longspan_options_free(nullptr);
  longspan_text_free(nullptr);
}

TEST_F(CTraining, MakesDescribesAndConvertsFolders) {
  Set("preset", "tiny");
  Set("head", "classify");
  longspan_options_add(options_, "labels", "calm");
  longspan_options_add(options_, "labels", "storm");
  const std::string made = folder_ / "made", out = folder_ / "out";
  ASSERT_EQ(longspan_model_init(context_, made.c_str(), options_, &report_), LONGSPAN_OK)
      << longspan_last_error();
  EXPECT_GT(Value("parameters"), 1000.0);
  char* json = nullptr;
  ASSERT_EQ(longspan_describe(made.c_str(), 0, &json), LONGSPAN_OK);
  EXPECT_NE(std::string_view(json).find("\"storm\""), std::string_view::npos) << json;
  longspan_text_free(json);
  longspan_report_free(report_);
  report_ = nullptr;
  ASSERT_EQ(longspan_model_convert(context_, made.c_str(), out.c_str(), nullptr, &report_),
            LONGSPAN_OK)
      << longspan_last_error();
  EXPECT_EQ(Value("shards"), 1.0);
  EXPECT_GT(Value("tensors"), 10.0);
  // What has no place, what is there already, what nobody can become, what the context ends.
  EXPECT_EQ(longspan_model_init(context_, made.c_str(), options_, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_describe((folder_ / "none").c_str(), 0, &json), LONGSPAN_IO);
  Set("to", "odd");
  EXPECT_EQ(longspan_model_init(context_, (folder_ / "new").c_str(), options_, nullptr),
            LONGSPAN_USAGE);
  EXPECT_TRUE(SaidLast("init: 'to' is no option here"));
  longspan_context_cancel(context_);
  EXPECT_EQ(longspan_model_init(context_, (folder_ / "new").c_str(), nullptr, nullptr),
            LONGSPAN_CANCELLED);
  EXPECT_EQ(
      longspan_model_convert(context_, made.c_str(), (folder_ / "new").c_str(), nullptr, nullptr),
      LONGSPAN_CANCELLED);
  longspan_model* model = nullptr;
  EXPECT_EQ(longspan_model_load_in(context_, made.c_str(), nullptr, &model), LONGSPAN_CANCELLED);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(Listing(folder_.path()), "made out rows.csv");
}

// The last error is each thread's own.
TEST_F(CTraining, ErrorsBelongToTheirThread) {
  EXPECT_EQ(longspan_options_new(nullptr), LONGSPAN_USAGE);
  std::string other = "?";
  std::thread([&] { other = longspan_last_error(); }).join();
  EXPECT_EQ(other, "");
  EXPECT_STREQ(longspan_last_error(), "options: is NULL");
}

TEST(NamedOptionsOfTexts, ReadListsAndOptionalValues) {
  TextOptions options("ask");
  options.Add("matryoshka", "64");
  options.Add("matryoshka", "32");
  options.Set("stride", "5");
  std::vector<idx_t> widths;
  options.Read("matryoshka", widths);
  EXPECT_EQ(widths, (std::vector<idx_t>{64, 32}));
  std::optional<idx_t> stride, absent;
  options.Read("stride", stride);
  options.Read("absent", absent);
  EXPECT_EQ(stride, 5);
  EXPECT_FALSE(absent);
  options.CheckAllRead();
  EXPECT_TRUE(test::Throws([&] { options.For("again").CheckAllRead(); }, ErrorCode::kUsage,
                           "again: 'matryoshka' is no option here"));
  options.Add("matryoshka", "x");
  EXPECT_TRUE(test::Throws([&] { options.Read("matryoshka", widths); }, ErrorCode::kUsage,
                           "ask: matryoshka is 'x', need integers"));
}

}  // namespace
}  // namespace longspan
