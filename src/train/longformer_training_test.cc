// Longformers learning on a small scale: exact means, the same bits whatever interrupts or divides
// the work, heads, evaluation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/rng.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "tests/support/word_tokenizer.h"
#include "train/letter_training_test.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::Throws;
using Family = test::WordTokenizer::Family;

LongformerConfig TinyLongformer(HeadKind head = HeadKind::kMaskedLm) {
  LongformerConfig c;
  c.head = head;
  c.attention_window = {4, 8};
  c.vocab_size = 16;
  c.hidden_size = 32;
  c.heads = 2;
  c.feed_forward_size = 64;
  c.max_positions = 65;
  c.token_types = 2;
  c.pad_token = 0;
  c.layer_norm_eps = 1e-5;
  c.initializer_range = 0.1;
  return c;
}

class LongformerTraining : public LetterTraining {
 protected:
  LongformerTraining()
      : LetterTraining({10, 3, 24, 4}, [](const fs::path& folder) {
          Longformer model(TinyLongformer());
          model.Initialise(1);
          SaveLongformer(model, folder);
          std::ofstream(folder / "vocab.txt") << "kept beside the weights\n";
        }) {
    global_ = GlobalRule::Parse("first:1");
  }

  // Every line but for what a clock says.
  std::vector<std::string> Metrics(const std::string& run) const {
    std::ifstream in(d_.path() / run / "metrics.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      auto j = nlohmann::json::parse(line);
      for (const char* name : {"seconds", "tokens_per_s", "rss_bytes"}) j.erase(name);
      lines.push_back(j.dump());
    }
    return lines;
  }
};

const char* const kLongformerKinds[] = {"mlm", "packed", "classes", "sets", "regression"};

TEST_F(LongformerTraining, SameBitsForAnyThreadsAndInterruptions) {
  for (const std::string kind : kLongformerKinds) {
    Train(kind, Options(kind));
    for (const int threads : {1, 3}) {
      const std::string run = kind + std::to_string(threads);
      Train(kind, Options(run), threads);
      EXPECT_EQ(Weights(run), Weights(kind)) << run;
      EXPECT_EQ(Metrics(run), Metrics(kind)) << run;
    }
    for (const idx_t stop : {1, 6}) {
      const std::string run = kind + "-stopped" + std::to_string(stop);
      TrainOptions o = Options(run);
      EXPECT_TRUE(Train(kind, o, 2, stop).stopped);
      EXPECT_TRUE(fs::exists(o.output / ("checkpoint-" + std::to_string(stop)) / "vocab.txt"));
      o.checkpoints.resume = true;
      const TrainResult result = Train(kind, o, 1);
      EXPECT_EQ(result.step, 10);
      EXPECT_EQ(Weights(run), Weights(kind)) << run;
      EXPECT_EQ(Metrics(run), Metrics(kind)) << run;
      EXPECT_TRUE(fs::exists(o.output / "vocab.txt"));
      // A finished run has nothing left to do and remembers what it measured.
      const TrainResult again = Train(kind, o);
      ASSERT_EQ(again.metrics.size(), result.metrics.size());
      for (std::size_t i = 0; i < again.metrics.size(); ++i) {
        EXPECT_EQ(again.metrics[i].name, result.metrics[i].name);
        EXPECT_EQ(again.metrics[i].value, result.metrics[i].value);
      }
    }
  }
}

TEST_F(LongformerTraining, ADividedBatchHasTheGradientOfTheWhole) {
  for (const std::string kind : kLongformerKinds) {
    SCOPED_TRACE(kind);
    const auto sums = [&](idx_t batch) {
      TrainOptions o = Options("none");
      o.batch = batch;
      o.accumulate = 6 / batch;
      // Which texts an update sees depends on the batch; an epoch sees them all.
      const bool of_words = kind == "mlm" || kind == "packed";
      return of_words ? SumsOf(kind, o, 3, 3) : SumsOf(kind, o, 1, 60 / 6);
    };
    const Sums whole = sums(6);
    for (const idx_t batch : {1, 2}) ExpectNear(sums(batch), whole);
  }
}

TEST_F(LongformerTraining, LearnsTheRule) {
  TrainOptions o = Options("rule");
  o.steps = 150;
  o.compute.dropout = 0.0;
  o.accumulate = 4;
  o.checkpoints.log_every = 50;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  const TrainResult result = Train("mlm", o);
  ASSERT_EQ(result.metrics.size(), 2u);
  EXPECT_EQ(result.metrics[0].name, "accuracy");
  EXPECT_GT(result.metrics[0].value, 0.8);  // letters alone: 0.1
  EXPECT_NEAR(result.metrics[1].value, std::exp(result.eval_loss), 1e-9);
  EXPECT_TRUE(std::isnan(result.eval_bits_per_byte));

  o = Options("letters");
  o.model = d_.path() / "rule";
  o.steps = 120;
  o.compute.dropout = 0.0;
  o.checkpoints.log_every = 50;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  std::vector<std::string> notes;
  const TrainResult letters = Train("classes", o, 2, 0, &notes);
  EXPECT_GT(letters.metrics[0].value, 0.9);  // accuracy on other texts; a third by chance
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[0].rfind("new: classifier.dense.bias", 0), 0u) << notes[0];
  EXPECT_EQ(notes[1].rfind("left out: lm_head.bias", 0), 0u) << notes[1];
  EXPECT_EQ(notes[2], "global tokens: first:1, as in its training");
  // The folder is the classifier that was measured.
  const auto back = LoadTextModel(o.output, {});
  EXPECT_EQ(back->info().labels, (std::vector<std::string>{"has a", "has b", "neither"}));
  const ClassifyTarget target{back->info().labels, back->info().problem};
  EXPECT_EQ(target.problem, ProblemType::kSingleLabel);
  Context context(1);
  const GlobalPolicy global = GlobalPolicy::Parse("auto").For(HeadKind::kSequence);
  const ClassifierEval eval =
      EvaluateRows(context, *back, target, global, Rows(Letters(2), target));
  EXPECT_EQ(eval.loss, letters.eval_loss);
  EXPECT_EQ(eval.accuracy, letters.metrics[0].value);
  EXPECT_EQ(eval.right.size(), 60u);
  // It goes on learning under the same labels, even if the texts have but some of them.
  const LabelledTexts five = Letters(5);
  LabelledTexts some{five.source, {}, false, 0, "some"};
  for (const LabelledText& row : five.rows) {
    if (row.labels[0] != "has a") some.rows.push_back(row);
  }
  EXPECT_EQ(ChooseTarget(some, ProblemType::kInferred, back->info()).labels, target.labels);
}

// Nobody needs to say again which tokens were global: neither in an evaluation nor in a training.
TEST_F(LongformerTraining, AFolderSaysWhichTokensWereGlobal) {
  const fs::path start = d_.path() / "letters";
  SaveLetterLongformer(LetterLongformer(10), start);
  Context context(2);
  const auto train = [&](const fs::path& model, const char* run, const GlobalRule& global) {
    TrainOptions o = Options(run);
    o.model = model;
    o.steps = 2;
    o.checkpoints.save_every = 1;
    MaskedLmOptions task;
    task.global = global;
    TrainMaskedLm(context, o, task);
    return o.output;
  };
  const auto rule = [](const fs::path& folder) { return ReadTextModelInfo(folder).global.Name(); };
  const fs::path run = train(start, "first", GlobalRule::First(1));
  for (const fs::path& folder : {run, run / "checkpoint-1"}) {
    EXPECT_EQ(rule(folder), "first:1");
    const auto loss = [&](const GlobalRule& global) {
      MaskedLmEvalOptions o;
      o.model = folder;
      o.text = d_.path() / "text";
      o.task.global = global;
      const MaskedLmEval e = EvaluateMaskedLm(context, o);
      EXPECT_EQ(std::count_if(e.notes.begin(), e.notes.end(),
                              [](const auto& n) { return n.rfind("global tokens: ", 0) == 0; }),
                1);
      return e.loss;
    };
    EXPECT_EQ(loss({}), loss(GlobalRule::First(1)));
    EXPECT_NE(loss({}), loss(GlobalRule::Head()));
  }
  EXPECT_EQ(rule(train(run, "again", {})), "first:1");
  EXPECT_EQ(rule(train(run, "other", GlobalRule::Every(8))), "every:8");
  EXPECT_EQ(rule(train(run, "head", GlobalRule::Head())), "auto");
}

TEST_F(LongformerTraining, PredictionsDoNotDependOnTheBatch) {
  LongformerConfig config = TinyLongformer(HeadKind::kSequence);
  config.labels = {"has a", "has b", "neither"};
  config.problem = ProblemType::kSingleLabel;
  Longformer longformer(config);
  longformer.Initialise(3);
  const auto model = MakeTextModel(std::move(longformer));
  ExpectPredictionsApart(*model, {config.labels, config.problem},
                         GlobalPolicy::Parse("auto").For(HeadKind::kSequence));
}

TEST_F(LongformerTraining, RecomputationKeepsTheBits) {
  Context context(2);
  for (const bool recompute : {false, true}) {
    MaskedLmOptions task;
    TrainOptions o = Options(recompute ? "again" : "kept");
    o.compute.recompute = recompute;
    MaskedLmTask run(context, o, task, Words(), InfoOf(TinyLongformer()));
    RunTraining(context, o, run, {});
  }
  EXPECT_EQ(Weights("again"), Weights("kept"));
}

// The same rows, masks and dropout; products round to 8 bits.
TEST_F(LongformerTraining, Bf16LearnsAsFp32Does) {
  Context context(2);
  double loss[2];
  for (const bool half : {false, true}) {
    TrainOptions o = Options(half ? "half" : "full");
    o.compute.dtype = half ? DType::kBF16 : DType::kF32;
    MaskedLmTask run(context, o, {}, Words(), InfoOf(TinyLongformer()));
    EXPECT_EQ(run.DecidingOptions().contains("dtype"), half);
    loss[half] = RunTraining(context, o, run, {}).eval_loss;
  }
  EXPECT_NE(Weights("half"), Weights("full"));
  EXPECT_NEAR(loss[1], loss[0], 0.02 * loss[0]);
}

// Documents stand between special tokens of their own, and only their words are to be guessed.
TEST_F(LongformerTraining, PackedRowsMaskWordsOnly) {
  const MaskedRows form(Words(), InfoOf(TinyLongformer()), 0.5);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(5 + i % 10);
  const std::vector<PackedPieces::Piece> first = {{0, 4}, {4, 5}}, second = {{5, 12}};
  Batch rows;
  rows.Reset(2, 12, 0);
  rows.labels.assign(24, kIgnoreLabel);
  idx_t masked = form.PutPacked(0, ids, first, 7, &rows);
  masked += form.PutPacked(1, ids, second, 8, &rows);
  EXPECT_EQ(rows.documents, (std::vector<idx_t>{6, 3, 3, 9, 3}));
  const std::vector<std::int32_t> plain = {2, 5,  6,  7,  8,  3,  2, 9, 3, 0, 0, 0,
                                           2, 10, 11, 12, 13, 14, 5, 6, 3, 0, 0, 0};
  idx_t labelled = 0;
  for (std::size_t t = 0; t < plain.size(); ++t) {
    const bool word = plain[t] >= 5;
    EXPECT_EQ(rows.roles[t] == kHiddenToken, plain[t] == 0) << t;
    if (!word || rows.labels[t] == kIgnoreLabel) {
      EXPECT_EQ(rows.ids[t], plain[t]) << t;
      EXPECT_EQ(rows.labels[t], kIgnoreLabel) << t;
      continue;
    }
    EXPECT_EQ(rows.labels[t], plain[t]) << t;
    ++labelled;
  }
  EXPECT_EQ(labelled, masked);
  EXPECT_GE(labelled, 3);
}

// A packed run tells what it packs, its loss is that of its rows' documents run one by one, and
// what it measures is what `eval` measures.
TEST_F(LongformerTraining, PackedLossIsThatOfTheDocumentsApart) {
  Context context(2);
  const MaskedLmOptions options = MaskOptions(true);
  TrainOptions o = Options("apart");
  o.compute.dropout = 0.0;
  std::vector<std::string> notes;
  MaskedLmTask task(context, o, options, Words(), InfoOf(TinyLongformer()));
  task.Load(o.model, TrainTask::Origin::kStart, &notes);
  EXPECT_THAT(notes, testing::UnorderedElementsAre(testing::StartsWith("packed: 1800 tokens in "),
                                                   "global tokens: first:1, as the options say"));

  const MaskedRows form(Words(), InfoOf(TinyLongformer()), options.mask_share);
  const TokenStream stream =
      ReadMaskedText(context, Words(), o.data.train, o.data.read, options, form, {}, &notes);
  const auto all = static_cast<idx_t>(stream.ids().size());
  const MaskedText held =
      MaskedText::Of(stream, all - LastPart(all, o.data.held_out), all, true, form, o.tokens);
  const auto model = LoadTextModel(o.model, {});
  const GlobalPolicy global = GlobalPolicy::Parse("first:1");
  HeadLoss apart;
  for (idx_t row = 0; row < held.packed->rows(); ++row) {
    Batch rows;
    rows.Reset(1, o.tokens, 0);
    rows.labels.assign(static_cast<std::size_t>(o.tokens), kIgnoreLabel);
    const std::uint64_t key =
        DeriveKey(MaskKey(o.seed, kEvaluationStep), static_cast<std::uint64_t>(row));
    form.PutPacked(0, held.ids, held.packed->Pieces(row), key, &rows);
    std::size_t at = 0;
    for (const idx_t length : rows.documents) {
      const auto count = static_cast<std::size_t>(length);
      if (rows.roles[at] != kHiddenToken) {
        Batch one;
        one.Reset(1, length, 0);
        one.SetRow(0, std::span(rows.ids).subspan(at, count));
        one.labels.assign(rows.labels.begin() + static_cast<std::ptrdiff_t>(at),
                          rows.labels.begin() + static_cast<std::ptrdiff_t>(at + count));
        global.Mark(model->info(), &one);
        const HeadLoss loss = model->Loss(context, one.view());
        apart.sum += loss.sum;
        apart.counted += loss.counted;
      }
      at += count;
    }
  }
  const double loss = task.Evaluate(context, {}).loss;
  EXPECT_GT(apart.counted, 10);
  EXPECT_NEAR(loss, apart.sum / static_cast<double>(apart.counted), 1e-5);
  EXPECT_EQ(loss, MaskedLoss(context, *model, form, global, held, o.tokens,
                             MaskKey(o.seed, kEvaluationStep))
                      .mean);
}

TEST_F(LongformerTraining, LongTextsAreCutOnlyWhenAsked) {
  Context context(2);
  const LabelledTexts texts = Letters(1);
  const ClassifyTarget target =
      ChooseTarget(texts, ProblemType::kInferred, InfoOf(TinyLongformer()));
  EXPECT_TRUE(Throws(
      [&] {
        TokenizeRows(context, Words(), texts, target, InfoOf(TinyLongformer()), {.tokens = 12});
      },
      ErrorCode::kLimit,
      "of 60 texts are too long: raise --tokens, or read them with --overflow window, or cut"));
  TextModelInfo full = InfoOf(TinyLongformer());
  full.longest = 12;
  EXPECT_TRUE(Throws([&] { TokenizeRows(context, Words(), texts, target, full, {.tokens = 12}); },
                     ErrorCode::kLimit,
                     "the model has no more positions (a BERT or RoBERTa gets them by `longspan "
                     "convert FROM TO --to longformer --max-pos 512`), so read them with"));
  const ClassifyRows cut = TokenizeRows(context, Words(), texts, target, InfoOf(TinyLongformer()),
                                        {12, text::Overflow::kTruncate});
  const ClassifyRows whole = Rows(texts, target);
  idx_t longer = 0;
  for (idx_t r = 0; r < whole.size(); ++r) {
    longer += whole.length(r) > 12;
    EXPECT_EQ(cut.length(r), std::min<idx_t>(12, whole.length(r)));
  }
  EXPECT_GT(longer, 10);
  EXPECT_EQ(cut.cut, longer);
  EXPECT_EQ(whole.cut, 0);
}

TEST_F(LongformerTraining, WhatDoesNotFitIsNamed) {
  Context context(1);
  const TrainOptions o = Options("run");
  const auto mlm = [&](const TrainOptions& options, const MaskedLmOptions& task,
                       const LongformerConfig& config) {
    MaskedLmTask run(context, options, task, Words(), InfoOf(config));
  };
  LongformerConfig small = TinyLongformer();
  small.vocab_size = 12;
  EXPECT_TRUE(Throws([&] { mlm(o, {}, small); }, ErrorCode::kFormat, "it has 15 ids"));
  TrainOptions longer = o;
  longer.tokens = 2500;
  EXPECT_TRUE(
      Throws([&] { mlm(longer, {}, TinyLongformer()); }, ErrorCode::kUsage, "lower --tokens"));
  MaskedLmOptions packed;
  packed.packed = true;
  mlm(longer, packed, TinyLongformer());  // no text is too short for rows of whole documents
  packed.documents = Documents::kJoined;
  EXPECT_TRUE(Throws([&] { mlm(o, packed, TinyLongformer()); }, ErrorCode::kUsage,
                     "documents: a masked language model reads documents one by one"));
  TrainOptions nothing = o;
  std::ofstream(d_.path() / "empty") << "\n";
  nothing.data.train = {d_.path() / "empty"};
  packed.documents = Documents::kLine;
  EXPECT_TRUE(
      Throws([&] { mlm(nothing, packed, TinyLongformer()); }, ErrorCode::kUsage, "has no tokens"));
  EXPECT_TRUE(Throws(
      [&] {
        MaskedLmTask run(context, o, packed, test::WordTokenizer({"a"}, Family::kNoFrame),
                         InfoOf(TinyLongformer()));
      },
      ErrorCode::kFormat, "special tokens stand around each document, and the tokenizer has none"));
  MaskedLmOptions none;
  none.mask_share = 0.0;
  EXPECT_TRUE(Throws([&] { mlm(o, none, TinyLongformer()); }, ErrorCode::kUsage, "mask-share"));
  EXPECT_TRUE(Throws([&] { TokensOfRows(65, InfoOf(TinyLongformer())); }, ErrorCode::kUsage,
                     "64 positions"));
  const auto choose = [](const std::string& label) {
    LabelledText row;
    row.labels = {label};
    const LabelledTexts one{"letters", {row}, false, 0, "one"};
    ChooseTarget(one, ProblemType::kInferred, InfoOf(TinyLongformer()));
  };
  EXPECT_TRUE(Throws([&] { choose("same"); }, ErrorCode::kFormat, "1 different label, need"));
  EXPECT_TRUE(Throws([&] { choose("0.5"); }, ErrorCode::kUsage, "--problem regression"));
  const ClassifyTarget target{{"x", "y"}, ProblemType::kSingleLabel};
  EXPECT_TRUE(Throws([&] { Rows(Letters(1), target); }, ErrorCode::kFormat,
                     "is not one of the 2 that the model has"));
  // A run goes on with its own data and options only.
  Train("classes", o, 2, 5);
  TrainOptions resumed = o;
  resumed.checkpoints.resume = true;
  EXPECT_TRUE(Throws([&] { Train("mlm", resumed); }, ErrorCode::kUsage, "resume: the run was"));
}

}  // namespace
}  // namespace longspan
