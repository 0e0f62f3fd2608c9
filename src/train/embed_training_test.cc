// Models learning to make vectors: cached gradients, data of each form, folders that open as
// embedders, the same bits whatever interrupts or divides the work.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "families/families.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer_files.h"
#include "io/checkpoint.h"
#include "longspan/evaluate.h"
#include "longspan/tasks.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "train/embed_task.h"
#include "train/stop_after_test.h"
#include "train/trainer.h"
#include "train/training_test.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::PutFile;
using test::TempDir;
using test::Throws;

class EmbedTraining : public testing::Test {
 protected:
  EmbedTraining() {
    SaveLetterLongformer(LetterLongformer(20), start());
    // Ten questions, a letter each; the answer is another letter among ones that many share.
    std::string pairs, triplets, scored;
    for (int i = 0; i < 10; ++i) {
      const auto letter = [&](int n) { return std::string(1, static_cast<char>('a' + n % 20)); };
      const std::string question = letter(i), answer = "k " + letter(10 + (i + 3) % 10) + " l";
      const std::string other = "k " + letter(10 + (i + 4) % 10) + " l";
      pairs += nlohmann::json{{"anchor", question}, {"positive", answer}}.dump() + "\n";
      triplets += nlohmann::json{{"anchor", question},
                                 {"positive", answer},
                                 {"negative", nlohmann::json{other, "m n"}}}
                      .dump() +
                  "\n";
      scored += question + "," + answer + "," + (i % 2 == 0 ? "0.9" : "-0.3") + "\n";
    }
    PutFile(d_ / "pairs.jsonl", pairs);
    PutFile(d_ / "triplets.jsonl", triplets);
    PutFile(d_ / "scored.csv", "sentence1,sentence2,score\n" + scored);
  }

  fs::path start() const { return d_ / "start"; }

  TrainOptions Options(const std::string& data, const std::string& run) const {
    TrainOptions o = FineTuneOptions();
    o.model = start();
    o.data.train = {d_ / data};
    o.data.eval = d_ / data;
    o.output = d_ / run;
    o.steps = 6;
    o.accumulate = 1;
    o.optimizer.learning_rate = 3e-3;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = o.checkpoints.save_every = 3;
    return o;
  }
  static EmbedTrainingOptions BySteps(EmbedLoss loss = EmbedLoss::kAuto) {
    EmbedTrainingOptions task;
    task.loss = loss;
    task.negatives_batch = 4;
    task.epochs = 0.0;
    return task;
  }
  TrainResult Train(const TrainOptions& o, const EmbedTrainingOptions& task, int threads = 2,
                    idx_t stop_after = 0) const {
    Context context(threads);
    return TrainEmbedder(context, o, task, StopAfter(stop_after));
  }
  std::string Weights(const std::string& run) const {
    return GetFile(d_ / run / "model.safetensors");
  }

  TempDir d_;
};

TEST_F(EmbedTraining, LearnsToFindTenAnswers) {
  TrainOptions o = Options("pairs.jsonl", "run");
  o.steps = 60;
  o.compute.dropout = 0.0;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  EmbedTrainingOptions task = BySteps();
  task.negatives_batch = 10;
  task.matryoshka = {16, 8};
  const TrainResult result = Train(o, task);
  ASSERT_EQ(result.metrics.size(), 4u);
  EXPECT_EQ(result.metrics[0].name, "mrr");
  EXPECT_EQ(result.metrics[1].name, "recall_1");
  EXPECT_EQ(result.metrics[1].value, 1.0);
  EXPECT_LT(result.eval_loss, 0.3);  // at the start above 4: ln 10 for each of two widths
  // The folder is the embedder that was measured.
  EmbedderEvalOptions eval;
  eval.model = o.output;
  eval.file = d_ / "pairs.jsonl";
  eval.task = task;
  Context context(1);
  const EmbedderEval measured = EvaluateEmbedder(context, eval);
  EXPECT_EQ(measured.loss, result.eval_loss);
  EXPECT_EQ(measured.recall_1, 1.0);
  EXPECT_EQ(measured.mrr, 1.0);
  EXPECT_EQ(measured.queries, 10);
  EXPECT_EQ(measured.candidates, 10);
  eval.model = start();
  EXPECT_LT(EvaluateEmbedder(context, eval).recall_1, 0.5);
  const Embedder embedder = Embedder::Load(o.output);
  const Tensor query = embedder.EmbedOne(context, "a");
  const std::vector<std::string> texts = {"k o l", "k n l", "k p l"};
  EXPECT_EQ(Nearest(query, embedder.Embed(context, texts), 1)[0].row, 1);
}

TEST_F(EmbedTraining, SameBitsForAnyThreadsAndInterruptions) {
  for (const EmbedLoss loss : {EmbedLoss::kInBatch, EmbedLoss::kTriplet, EmbedLoss::kCosent}) {
    const std::string data = loss == EmbedLoss::kCosent ? "scored.csv" : "triplets.jsonl";
    const std::string name(EmbedLossName(loss));
    TrainOptions o = Options(data, name);
    o.accumulate = 2;
    const TrainResult whole = Train(o, BySteps(loss));
    EXPECT_EQ(whole.step, 6);
    o.output = d_ / (name + "-one");
    Train(o, BySteps(loss), 1);
    EXPECT_EQ(Weights(name + "-one"), Weights(name));
    o.output = d_ / (name + "-stopped");
    EXPECT_TRUE(Train(o, BySteps(loss), 2, 4).stopped);
    o.checkpoints.resume = true;
    EXPECT_EQ(Train(o, BySteps(loss), 3).eval_loss, whole.eval_loss);
    EXPECT_EQ(Weights(name + "-stopped"), Weights(name));
    EmbedTrainingOptions other = BySteps(loss);
    other.scale = 10.0;
    EXPECT_TRUE(Throws([&] { Train(o, other); }, ErrorCode::kUsage, "scale"));
  }
}

// ---- cached gradients ---------------------------------------------------------------------------

// Four rows of 4, 1 and 12 tokens, the last in windows of 5, as vectors of a model and back.
struct Pass {
  std::unique_ptr<TextModel> model;
  EmbedPlan plan;
  EmbedRows rows;
  GlobalPolicy global = GlobalPolicy::Parse("none");
  VectorRows chosen;
  std::vector<idx_t> numbers;

  Pass(std::unique_ptr<TextModel> given, const fs::path& folder, PoolingMode mode)
      : model(std::move(given)) {
    PairTexts texts{"", {}, false, ""};
    for (const char* anchor : {"a b", "c", "d e f"}) {
      texts.rows.push_back({anchor, std::string(anchor) + " g h i j k l m n", {"o p"}, 0.0, "x"});
    }
    SentenceFolder modules;
    modules.pooling.modes = {mode, PoolingMode::kMean};
    modules.modules = {MakeNormalize()};
    EmbedTrainingOptions task;
    task.loss = EmbedLoss::kTriplet;
    plan = MakeEmbedPlan(task, modules, model->info(), false);
    Context context(1);
    VectorTextRules rules;
    rules.tokens = 6;
    rules.anchor_prompt = "q";
    rules.pools_prompt = false;
    rows = TokenizePairs(context, *OpenModelTokenizer(folder), texts, model->info(), rules);
    const std::vector<idx_t> all = {0, 1, 2};
    chosen = VectorRowsOf(rows, all, &numbers);
    model->parameters().AllocateGradients();
  }
  double Loss(Context& context, VectorPass& pass, const StepDropout& dropout, bool backward) {
    const Tensor vectors = pass.Forward(context, numbers, dropout);
    Tensor d(vectors.shape());
    const double loss = LossOfVectors(context, plan.loss, chosen, vectors.view<2>(), 1.0f, &d).sum;
    if (!backward) return loss;
    const View<float, 1> gradients = model->parameters().gradients();
    std::fill_n(gradients.data, gradients.size(), 0.0f);
    pass.Backward(context, d);
    return loss;
  }
  std::vector<float> Gradients() const {
    const View<float, 1> flat = model->parameters().gradients();
    return {flat.data, flat.data + flat.size()};
  }
};

std::unique_ptr<TextModel> TinyReformerEncoder() {
  ReformerConfig c;
  c.head = HeadKind::kNone;
  c.is_decoder = false;
  c.layers = {LayerKind::kLocal, LayerKind::kLsh};
  c.vocab_size = 25;
  c.hidden_size = 16;
  c.heads = 2;
  c.head_size = 8;
  c.feed_forward_size = 32;
  c.max_positions = 32;
  c.axial_shape = {4, 8};
  c.axial_dims = {4, 12};
  c.local_chunk = c.lsh_chunk = 4;
  c.local_after = c.lsh_after = 1;
  c.num_hashes = 1;
  c.initializer_range = 0.2;
  c.hidden_dropout = c.local_dropout = c.lsh_dropout = 0.1;
  Reformer model(c);
  model.Initialise(2);
  return MakeTextModel(std::move(model));
}

class CachedGradients : public EmbedTraining {
 protected:
  std::unique_ptr<TextModel> Model(bool reformer) const {
    if (reformer) return TinyReformerEncoder();
    LoadOptions load;
    load.head = WantedHead{HeadKind::kNone, {}, ProblemType::kInferred, 1};
    return LoadTextModel(start(), load);
  }
};

// One text at a time, or all at once: the same gradients, up to the order of sums.
TEST_F(CachedGradients, DoNotDependOnHowManyTextsRunTogether) {
  Context context(2);
  for (const bool reformer : {false, true}) {
    for (const PoolingMode mode : {PoolingMode::kMax, PoolingMode::kCls, PoolingMode::kLastToken,
                                   PoolingMode::kWeightedMean, PoolingMode::kMeanSqrtLen}) {
      Pass p(Model(reformer), start(), mode);
      VectorPass together(*p.model, p.global, p.plan.head, p.rows.texts, 4096);
      VectorPass alone(*p.model, p.global, p.plan.head, p.rows.texts, 1);
      const double loss = p.Loss(context, together, {}, true);
      const std::vector<float> all = p.Gradients();
      EXPECT_NEAR(p.Loss(context, alone, {}, true), loss, 1e-5 * loss);
      const std::vector<float> single = p.Gradients();
      double difference = 0.0, norm = 0.0;
      for (std::size_t i = 0; i < all.size(); ++i) {
        difference += std::pow(static_cast<double>(all[i]) - static_cast<double>(single[i]), 2);
        norm += std::pow(static_cast<double>(all[i]), 2);
      }
      EXPECT_GT(norm, 0.0);
      EXPECT_LT(std::sqrt(difference / norm), 1e-5) << PoolingName(mode) << reformer;
    }
  }
}

// The loss moves along the gradient as the gradient says: with dropout, which must be the same in
// both passes. Differences of fp32 losses, over a step at which they are exact to a per cent.
TEST_F(CachedGradients, AreThoseOfTheLossWithItsDropout) {
  Context context(2);
  const StepDropout dropout{true, 99};
  for (const PoolingMode mode : {PoolingMode::kMax, PoolingMode::kWeightedMean, PoolingMode::kCls,
                                 PoolingMode::kLastToken, PoolingMode::kMeanSqrtLen}) {
    Pass p(Model(false), start(), mode);
    VectorPass pass(*p.model, p.global, p.plan.head, p.rows.texts, 16);
    p.Loss(context, pass, dropout, true);
    const std::vector<float> gradient = p.Gradients();
    double squares = 0.0;
    for (const float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);
    const double step = 2e-3 / std::sqrt(squares);
    double losses[2];
    for (const int side : {0, 1}) {
      const double by = (side == 0 ? step : -2.0 * step);
      {
        const ParameterWriter writer = p.model->parameters().Write();
        for (std::size_t i = 0; i < gradient.size(); ++i) {
          writer.values().data[i] += static_cast<float>(by * static_cast<double>(gradient[i]));
        }
      }
      losses[side] = p.Loss(context, pass, dropout, false);
    }
    EXPECT_NEAR((losses[0] - losses[1]) / (2.0 * step), squares, 0.01 * squares);
    // With other masks it is another loss.
    EXPECT_GT(std::abs(p.Loss(context, pass, {true, 98}, false) - losses[1]), 1e-3 * losses[1]);
  }
}

// ---- data and folders ---------------------------------------------------------------------------

TEST_F(EmbedTraining, ReadsEachFormAndSaysWhatItCannotUse) {
  const auto read = [&](const std::string& name, const std::string& text) {
    return ReadPairTexts({PutFile(d_ / name, text)}, {}, {}, nullptr);
  };
  const PairTexts scored = ReadPairTexts({d_ / "scored.csv"}, {}, {}, nullptr);
  EXPECT_TRUE(scored.scored);
  EXPECT_EQ(scored.rows[1].score, -0.3);
  const PairTexts table =
      read("t.tsv", "anchor\tpositive\tnegative\nq\tr\t[\"x\", \"y\"]\nq2\tr2\tz\nq3\tr3\t\n");
  EXPECT_EQ(table.rows[0].negatives, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(table.rows[1].negatives, (std::vector<std::string>{"z"}));
  EXPECT_TRUE(table.rows[2].negatives.empty());
  EXPECT_TRUE(
      Throws([&] { read("a.jsonl", "{\"anchor\": \"q\"}\n"); }, ErrorCode::kFormat, "a.jsonl:1"));
  EXPECT_TRUE(Throws([&] { read("b.csv", "x,y\n1,2\n"); }, ErrorCode::kFormat, "--columns"));
  EXPECT_TRUE(Throws([&] { read("c.csv", "sentence1,sentence2,score\na,b,high\n"); },
                     ErrorCode::kFormat, "score \"high\" is no number"));
  EXPECT_TRUE(Throws(
      [&] { read("d.jsonl", "{\"anchor\": \"q\", \"positive\": \"r\", \"negative\": [1]}\n"); },
      ErrorCode::kFormat, "entry that is no text"));
  EXPECT_TRUE(Throws([&] { read("e.txt", "prose\n"); }, ErrorCode::kUsage, "pairs of texts"));
  TrainOptions o = Options("pairs.jsonl", "never");
  EXPECT_TRUE(Throws([&] { Train(o, BySteps(EmbedLoss::kCosine)); }, ErrorCode::kUsage, "cosine"));
  EXPECT_TRUE(
      Throws([&] { Train(o, BySteps(EmbedLoss::kTriplet)); }, ErrorCode::kFormat, "no negative"));
  EmbedTrainingOptions task = BySteps();
  task.negatives_batch = 1;
  EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kUsage, "negatives-batch: one row"));
  task = BySteps();
  task.matryoshka = {17};
  EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kUsage, "matryoshka: 17"));
  task = BySteps();
  task.margin = 1.0;
  EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kUsage, "margin: has no effect"));
  task = BySteps();
  task.cosine_distance = true;
  EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kUsage, "distance: has no effect"));
  task = BySteps(EmbedLoss::kTriplet);
  task.scale = 10.0;
  EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kUsage, "scale: has no effect"));
  o.data.train = {PutFile(d_ / "f.csv", "sentence1,sentence2,score\na,b,4.5\n")};
  o.data.eval = d_ / "f.csv";
  EXPECT_TRUE(Throws([&] { Train(o, BySteps()); }, ErrorCode::kFormat, "score 4.5 is no cosine"));
  o = Options("pairs.jsonl", "never");
  o.tokens = 4;
  task = BySteps();
  task.overflow = text::Overflow::kError;
  EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kLimit, "--overflow window"));
}

TEST_F(EmbedTraining, WritesAFolderOfSentenceTransformers) {
  TrainOptions o = Options("pairs.jsonl", "run");
  o.steps = 1;
  EmbedTrainingOptions task = BySteps();
  task.pooling = PoolingMode::kCls;
  task.anchor_prompt = "a ";
  Train(o, task);
  const auto json = [&](const char* name) {
    return nlohmann::json::parse(GetFile(o.output / name));
  };
  EXPECT_EQ(json("modules.json")[0]["type"], "sentence_transformers.models.Transformer");
  EXPECT_EQ(json("modules.json")[1]["path"], "1_Pooling");
  EXPECT_EQ(json("1_Pooling/config.json")["pooling_mode_cls_token"], true);
  EXPECT_EQ(json("1_Pooling/config.json")["pooling_mode_mean_tokens"], false);
  EXPECT_EQ(json("1_Pooling/config.json")["word_embedding_dimension"], 16);
  EXPECT_EQ(json("sentence_bert_config.json")["max_seq_length"], 32);
  EXPECT_EQ(json("config_sentence_transformers.json")["prompts"]["query"], "a ");
  EXPECT_EQ(json("config.json")["architectures"][0], "LongformerModel");
  // A folder of that kind keeps what nobody changes, and goes on where it was.
  nlohmann::json modules = json("modules.json");
  modules.push_back({{"idx", 2},
                     {"name", "2"},
                     {"path", "2_Normalize"},
                     {"type", "sentence_transformers.models.Normalize"}});
  PutFile(o.output / "modules.json", modules.dump());
  o.model = o.output;
  o.output = d_ / "again";
  task = BySteps();
  task.text_prompt = "b ";
  Train(o, task);
  EXPECT_EQ(json("modules.json"), modules);
  EXPECT_EQ(json("1_Pooling/config.json")["pooling_mode_cls_token"], true);
  EXPECT_EQ(json("config_sentence_transformers.json")["prompts"]["query"], "a ");
  EXPECT_EQ(json("config_sentence_transformers.json")["prompts"]["document"], "b ");
  Context context(1);
  EmbedOptions options;
  options.prompt_name = "query";
  const Tensor vector = Embedder::Load(o.output, options).EmbedOne(context, "c");
  double squares = 0.0;
  for (idx_t c = 0; c < 16; ++c) squares += std::pow(double{vector.data<float>()[c]}, 2);
  EXPECT_NEAR(squares, 1.0, 1e-6);
}

// A checkpoint makes the vectors of the folder that the run would leave there.
TEST_F(EmbedTraining, ACheckpointIsAnEmbedderToo) {
  const auto vector = [](const fs::path& folder, const char* text) {
    Context context(1);
    const Tensor made = Embedder::Load(folder).EmbedOne(context, text);
    return std::vector<float>(made.data<float>(), made.data<float>() + made.size());
  };
  TrainOptions o = Options("pairs.jsonl", "first");
  EmbedTrainingOptions task = BySteps();
  task.pooling = PoolingMode::kCls;
  task.anchor_prompt = "a b ";
  Train(o, task);
  // It goes on from a folder with a module behind the pooling, whose transformer lies in a folder.
  const fs::path nested = d_ / "nested";
  fs::create_directories(nested / "0_Transformer");
  fs::copy(d_ / "first", nested / "0_Transformer");
  fs::copy(d_ / "first" / "1_Pooling", nested / "1_Pooling");
  PutFile(nested / "1_Pooling" / "a name", "that no checkpoint can have");
  const auto module = [](int number, const char* path, const std::string& kind) {
    return nlohmann::json{{"idx", number},
                          {"name", std::to_string(number)},
                          {"path", path},
                          {"type", "sentence_transformers.models." + kind}};
  };
  PutFile(nested / "modules.json",
          nlohmann::json({module(0, "0_Transformer", "Transformer"),
                          module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")})
              .dump());
  o.model = nested;
  o.output = d_ / "second";
  Train(o, BySteps());
  for (const char* run : {"first", "second"}) {
    const fs::path checkpoint = d_ / run / "checkpoint-6";
    io::VerifyCheckpoint(checkpoint);
    EXPECT_TRUE(io::IsCheckpoint(checkpoint));
    for (const char* text : {"a", "c k l"}) {
      EXPECT_EQ(vector(checkpoint, text), vector(d_ / run, text)) << run;
    }
    EXPECT_EQ(GetFile(checkpoint / "config_sentence_transformers.json"),
              GetFile(d_ / run / "config_sentence_transformers.json"));
  }
  EXPECT_EQ(Embedder::Load(d_ / "first" / "checkpoint-6").prompt(),
            Embedder::Load(d_ / "first").prompt());
  EXPECT_NE(vector(d_ / "first" / "checkpoint-3", "a"), vector(d_ / "first", "a"));
  // A run clears what its checkpoints hold, and nothing else.
  o.checkpoints.overwrite = true;
  Train(o, BySteps());
  PutFile(d_ / "second" / "checkpoint-6" / "1_Pooling" / "mine", "");
  EXPECT_TRUE(Throws([&] { Train(o, BySteps()); }, ErrorCode::kUsage, "checkpoint-6"));
}

// A pooler that no vector reads stays as it was, whatever the weight decay.
TEST_F(EmbedTraining, LeavesThePoolerAlone) {
  LongformerConfig c = LongformerPreset("tiny");
  c.head = HeadKind::kNone;
  c.vocab_size = 25;
  c.pad_token = 0;
  Longformer model(c);
  model.Initialise(5);
  SaveLongformer(model, d_ / "bare");
  PutFile(d_ / "bare" / "vocab.txt", LetterVocabulary(20));
  TrainOptions o = Options("pairs.jsonl", "run");
  o.model = d_ / "bare";
  o.steps = 2;
  Train(o, BySteps());
  const auto weights = [](const fs::path& folder, const char* name) {
    const auto loaded = LoadTextModel(folder, {});
    const View<const float, 1> flat = loaded->parameters().vector(name);
    return std::vector<float>(flat.data, flat.data + flat.size());
  };
  const char* pooler = "pooler.dense.weight";
  EXPECT_EQ(weights(o.output, pooler), weights(o.model, pooler));
  const char* query = "encoder.layer.0.attention.self.query.weight";
  EXPECT_NE(weights(o.output, query), weights(o.model, query));
}

}  // namespace
}  // namespace longspan
