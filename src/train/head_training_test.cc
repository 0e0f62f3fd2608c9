// Trainings of classes of words, answers and choices on a small scale: one update as torch makes
// it, exact means, the same bits whatever interrupts or divides the work, rows learnt by heart.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "families/families.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/modernbert/modernbert_files.h"
#include "families/reformer/reformer_files.h"
#include "tests/support/files.h"
#include "train/answer_task.h"
#include "train/choice_task.h"
#include "train/schedule.h"
#include "train/stop_after_test.h"
#include "train/token_class_task.h"
#include "train/trainer.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using test::GetFile;
using test::PutFile;
using test::TempDir;

constexpr const char* kSpecialWords = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
constexpr const char* kWords[] = {"anna", "otto", "went",  "saw", "rome",  "york", "to",
                                  "and",  "who",  "where", "in",  "lives", "."};

void PutVocabulary(const fs::path& folder) {
  std::string words = kSpecialWords;
  for (const char* word : kWords) words += std::string(word) + "\n";
  PutFile(folder / "vocab.txt", words);
}

void PutLongformer(const fs::path& folder) {
  LongformerConfig c;
  c.head = HeadKind::kNone;
  c.attention_window = {4, 8};
  c.vocab_size = 20;
  c.hidden_size = 32;
  c.heads = 2;
  c.feed_forward_size = 64;
  c.max_positions = 65;
  c.token_types = 2;
  c.pad_token = 0;
  c.sep_token = 3;
  c.layer_norm_eps = 1e-5;
  c.initializer_range = 0.1;
  Longformer model(c);
  model.Initialise(1);
  SaveLongformer(model, folder);
  PutVocabulary(folder);
}

void PutModernBert(const fs::path& folder) {
  ModernBertConfig c;
  c.full = {true, false};
  c.vocab_size = 20;
  c.hidden_size = 32;
  c.heads = 2;
  c.feed_forward_size = 48;
  c.max_positions = 64;
  c.local_attention = 8;
  c.initializer_range = 0.1;
  c.pad_token = 0;
  c.cls_token = c.bos_token = 2;
  c.sep_token = c.eos_token = 3;
  ModernBert model(c);
  model.Initialise(1);
  SaveModernBert(model, folder);
  PutVocabulary(folder);
}

void PutReformer(const fs::path& folder) {
  ReformerConfig c;
  c.head = HeadKind::kQuestion;
  c.layers = {LayerKind::kLocal, LayerKind::kLsh};
  c.vocab_size = 20;
  c.hidden_size = 32;
  c.heads = 2;
  c.head_size = 16;
  c.feed_forward_size = 64;
  c.max_positions = 64;
  c.axial_shape = {8, 8};
  c.axial_dims = {8, 24};
  c.axial_norm_std = 0.1;
  c.local_chunk = c.lsh_chunk = 8;
  c.local_after = c.lsh_after = 1;
  c.num_hashes = 2;
  c.initializer_range = 0.1;
  Reformer model(c);
  model.Initialise(1);
  SaveReformer(model, folder);
  PutVocabulary(folder);
}

// `rows` rows of a task, whose lengths differ.
std::string Rows(const std::string& task, int rows) {
  Rng rng(5);
  const auto any = [&](std::initializer_list<const char*> words) {
    return std::string(words.begin()[rng.Below(static_cast<idx_t>(words.size()))]);
  };
  std::string lines;
  for (int r = 0; r < rows; ++r) {
    const std::string who = any({"anna", "otto"}), place = any({"rome", "york"});
    const std::string other = place == "rome" ? "york" : "rome";
    std::string filler;
    for (idx_t i = rng.Below(9); i > 0; --i) filler += any({"went ", "saw ", "and ", "to "});
    const std::string text = filler + who + " lives in " + place + " .";
    Json row = {{"id", r}};
    if (task == "token-classify") {
      row["text"] = text;
      const auto span = [&](const std::string& word, const char* label) {
        const std::size_t at = text.rfind(word);
        return Json{{"start", at}, {"end", at + word.size()}, {"label", label}};
      };
      row["spans"] = {span(who, "PER"), span(place, "LOC")};
    } else if (task == "qa") {
      const bool none = r % 5 == 4;
      row["question"] = none ? "who went ?" : "where lives " + who;
      row["context"] = text;
      row["answers"] = Json::array();
      if (!none) row["answers"].push_back({{"text", place}, {"answer_start", text.rfind(place)}});
    } else {
      row["context"] = text;
      row["question"] = "where";
      row["choices"] = {"in " + other, "in " + place};
      if (r % 3 == 0) row["choices"].push_back("to " + who);
      if (r % 2 == 0) std::swap(row["choices"][0], row["choices"][1]);
      row["label"] = "in " + place;
    }
    lines += row.dump() + "\n";
  }
  return lines;
}

const char* const kHeadTasks[] = {"token-classify", "qa", "multiple-choice"};

class HeadTraining : public testing::Test {
 protected:
  HeadTraining() { PutLongformer(d_ / "longformer"); }

  TrainOptions Options(const std::string& task, const std::string& run,
                       const std::string& model = "longformer") const {
    TrainOptions o = FineTuneOptions();
    o.model = d_ / model;
    o.output = d_ / run;
    o.data.train = {d_ / (task + ".jsonl")};
    o.data.eval = d_ / (task + ".jsonl");
    o.steps = 6;
    o.batch = 2;
    o.accumulate = 2;
    o.optimizer.learning_rate = 3e-3;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = o.checkpoints.save_every = 3;
    return o;
  }

  static TrainResult Train(const std::string& task, const TrainOptions& o, int threads = 2,
                           idx_t stop_after = 0, const ClassWeights& weights = {}) {
    Context context(threads);
    if (task == "token-classify") {
      TokenClassOptions own;
      own.epochs = 0.0;
      own.weights = weights;
      return TrainTokenClassifier(context, o, own, StopAfter(stop_after));
    }
    if (task == "qa") {
      AnswerTaskOptions own;
      own.epochs = 0.0;
      return TrainQuestionAnswering(context, o, own, StopAfter(stop_after));
    }
    ChoiceTaskOptions own;
    own.epochs = 0.0;
    return TrainMultipleChoice(context, o, own, StopAfter(stop_after));
  }

  void PutRows(const std::string& task, int rows) const {
    PutFile(d_ / (task + ".jsonl"), Rows(task, rows));
  }
  std::string Weights(const std::string& run) const {
    return GetFile(d_.path() / run / "model.safetensors");
  }

  TempDir d_;
};

TEST_F(HeadTraining, SameBitsForAnyThreadsAndInterruptions) {
  for (const std::string task : kHeadTasks) {
    PutRows(task, 9);
    Train(task, Options(task, task));
    Train(task, Options(task, task + "3"), 3);
    EXPECT_EQ(Weights(task + "3"), Weights(task)) << task;
    TrainOptions o = Options(task, task + "-stopped");
    EXPECT_TRUE(Train(task, o, 2, 4).stopped);
    o.checkpoints.resume = true;
    const TrainResult result = Train(task, o, 1);
    EXPECT_EQ(result.step, 6);
    EXPECT_EQ(Weights(task + "-stopped"), Weights(task)) << task;
    o.data.train = {PutFile(d_ / "other.jsonl", Rows(task, 8))};
    EXPECT_TRUE(test::Throws([&] { Train(task, o); }, ErrorCode::kFormat, "resume")) << task;
  }
}

// How long the rows are that a folder is evaluated on.
idx_t EvaluatedTokens(const std::string& task, const fs::path& model, const fs::path& rows) {
  Context context(1);
  const auto options = [&](auto o) {
    o.model = model;
    o.file = rows;
    return o;
  };
  if (task == "token-classify") {
    return EvaluateTokenClassifier(context, options(TokenClassEvalOptions())).tokens;
  }
  if (task == "qa") return EvaluateQuestionAnswering(context, options(AnswerEvalOptions())).tokens;
  return EvaluateMultipleChoice(context, options(ChoiceEvalOptions())).tokens;
}

TEST_F(HeadTraining, ARunAndItsCheckpointsRememberHowLongTheirRowsWere) {
  for (const std::string task : kHeadTasks) {
    PutRows(task, 4);
    TrainOptions o = Options(task, task);
    o.tokens = 32;
    o.steps = 1;
    Train(task, o);
    const fs::path rows = o.data.eval;
    EXPECT_EQ(EvaluatedTokens(task, o.output, rows), 32) << task;
    EXPECT_EQ(EvaluatedTokens(task, o.output / "checkpoint-1", rows), 32) << task;
    // Longer rows are learnt by who asks for them.
    o.model = o.output;
    o.output = d_ / (task + "-longer");
    o.tokens = 48;
    Train(task, o);
    EXPECT_EQ(EvaluatedTokens(task, o.output, rows), 48) << task;
  }
}

// What is learnt is found again in the folder, by the same measures.
class HeadsLearnTenRows : public HeadTraining {
 protected:
  TrainResult Learn(const std::string& task, const std::string& model) {
    PutRows(task, 10);
    if (model == "modernbert") PutModernBert(d_ / model);
    if (model == "reformer") PutReformer(d_ / model);
    TrainOptions o = Options(task, "run-" + model, model);
    o.steps = 80;
    o.batch = 5;
    o.compute.dropout = 0.0;
    o.optimizer.learning_rate = 1e-2;
    o.checkpoints.eval_every = o.checkpoints.save_every = 0;
    return Train(task, o);
  }
  template <class Options>
  Options Measured(const std::string& task, const std::string& model) const {
    Options o;
    o.model = d_ / ("run-" + model);
    o.file = d_ / (task + ".jsonl");
    return o;
  }

  Context context_{2};
};

TEST_F(HeadsLearnTenRows, ClassesOfWords) {
  for (const std::string model : {"longformer", "modernbert"}) {
    const TrainResult words = Learn("token-classify", model);
    EXPECT_EQ(words.metrics[0].name, "accuracy");
    EXPECT_EQ(words.metrics[0].value, 1.0) << model;
    EXPECT_EQ(words.metrics[1].name, "f1");
    EXPECT_EQ(words.metrics[1].value, 1.0) << model;
    const auto o = Measured<TokenClassEvalOptions>("token-classify", model);
    std::vector<TaggedWords> said;
    const TokenClassEval eval = EvaluateTokenClassifier(context_, o, &said);
    EXPECT_EQ(eval.loss, words.eval_loss);
    EXPECT_EQ(eval.texts, 10);
    ASSERT_EQ(eval.entity.types.size(), 2u);
    EXPECT_EQ(eval.entity.types[0].name, "LOC");
    EXPECT_EQ(eval.entity.types[0].hits, 10);
    EXPECT_EQ(said[3].said, said[3].gold);
    const ModelInfo info = ReadModelInfo(o.model);
    EXPECT_EQ(info.labels, (std::vector<std::string>{"B-LOC", "B-PER", "O"}));
  }
}

TEST_F(HeadsLearnTenRows, Answers) {
  for (const std::string model : {"longformer", "modernbert", "reformer"}) {
    const TrainResult answers = Learn("qa", model);
    EXPECT_EQ(answers.metrics[0].name, "exact_match");
    EXPECT_EQ(answers.metrics[0].value, 1.0) << model;
    EXPECT_EQ(answers.held_out_texts, 10);
    std::vector<AnsweredPair> said;
    const AnswerEval eval =
        EvaluateQuestionAnswering(context_, Measured<AnswerEvalOptions>("qa", model), &said);
    EXPECT_EQ(eval.loss, answers.eval_loss);
    EXPECT_EQ(eval.score.answerable, 8);
    EXPECT_TRUE(eval.may_be_none);
    EXPECT_EQ(said[0].said, said[0].gold[0]);
    EXPECT_TRUE(said[4].answer.none);
  }
}

TEST_F(HeadsLearnTenRows, Choices) {
  for (const std::string model : {"longformer", "modernbert"}) {
    const TrainResult chosen = Learn("multiple-choice", model);
    EXPECT_EQ(chosen.metrics[0].value, 1.0) << model;
    std::vector<ChosenAnswer> said;
    const ChoiceEval eval = EvaluateMultipleChoice(
        context_, Measured<ChoiceEvalOptions>("multiple-choice", model), &said);
    EXPECT_EQ(eval.loss, chosen.eval_loss);
    EXPECT_EQ(eval.right, 10);
    EXPECT_EQ(eval.choices, 24);
    EXPECT_NEAR(eval.chance, (6 * 0.5 + 4.0 / 3.0) / 10.0, 1e-12);
    EXPECT_EQ(said[1].question.choices[static_cast<std::size_t>(said[1].said)].substr(0, 3), "in ");
  }
}

// Rows side by side, padded and one by one have the same loss and the same gradient.
TEST_F(HeadTraining, ADividedBatchHasTheGradientOfTheWhole) {
  PutModernBert(d_ / "modernbert");
  Context context(2);
  for (const std::string task : kHeadTasks) {
    PutRows(task, 8);
    for (const std::string model : {"longformer", "modernbert"}) {
      std::vector<std::vector<float>> gradients;
      std::vector<double> losses;
      for (const idx_t batch : {8, 1, 3}) {
        TrainOptions o = Options(task, "none", model);
        o.tokens = 24;
        o.batch = batch;
        o.accumulate = 8;
        o.compute.dropout = 0.0;
        const TextModelInfo info = ReadTextModelInfo(o.model);
        const auto tokenizer = OpenModelTokenizer(o.model);
        std::unique_ptr<TrainTask> run;
        if (task == "token-classify") {
          const TaggedTexts texts = ReadTaggedTexts(o.data.train, {}, {});
          const auto labels = ChooseTags(texts, info);
          const auto rows = [&] {
            return TokenizeTagged(context, *tokenizer, texts, labels, info, {}, o.tokens);
          };
          run = std::make_unique<TokenClassTask>(o, TokenClassOptions{}, *tokenizer, info, labels,
                                                 rows(), rows());
        } else if (task == "qa") {
          const AnsweredTexts texts = ReadAnsweredTexts(o.data.train, {});
          const auto rows = [&] {
            return TokenizeAnswered(context, *tokenizer, texts, info, {}, o.tokens, true);
          };
          run = std::make_unique<AnswerTask>(o, AnswerTaskOptions{}, *tokenizer, info, rows(),
                                             rows(), texts, true);
        } else {
          const ChoiceTexts texts = ReadChoiceTexts(o.data.train, {});
          const auto rows = [&] {
            return TokenizeChoices(context, *tokenizer, texts, info, {}, o.tokens);
          };
          run = std::make_unique<ChoiceTask>(o, ChoiceTaskOptions{}, *tokenizer, info, rows(),
                                             rows());
        }
        run->Load(o.model, TrainTask::Origin::kStart, nullptr);
        run->parameters().AllocateGradients();
        const StepSize size = run->Draw(1);
        double sum = 0.0;
        for (idx_t m = 0; m < o.accumulate; ++m) {
          sum += run->Accumulate(context, m, 1.0f / static_cast<float>(size.counted), {}).sum;
        }
        losses.push_back(sum / static_cast<double>(size.counted));
        const View<float, 1> flat = run->parameters().gradients();
        gradients.emplace_back(flat.data, flat.data + flat.size());
      }
      for (std::size_t i = 1; i < gradients.size(); ++i) {
        EXPECT_NEAR(losses[i], losses[0], 1e-5 * std::abs(losses[0])) << task << " " << model;
        double difference = 0.0, norm = 0.0;
        for (std::size_t n = 0; n < gradients[0].size(); ++n) {
          const auto a = static_cast<double>(gradients[0][n]);
          difference += std::pow(static_cast<double>(gradients[i][n]) - a, 2);
          norm += a * a;
        }
        EXPECT_LT(std::sqrt(difference / norm), 1e-5) << task << " " << model;
      }
    }
  }
}

// One update from the data's files to the weights, as transformers and torch make it
// (tools/make_step_fixtures.py). The bounds are those of golden/PROVENANCE.md: 1e-4 of a gradient's
// norm, and an update at epsilon 1e-3 changes relatively no more than its gradient does.
TEST_F(HeadTraining, OneUpdateIsThatOfTheOriginal) {
  const fs::path folder = test::kRoot / "tests" / "steps";
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    ++cases;
    const Json j = Json::parse(GetFile(entry.path()));
    const std::string model = j["model"], name = entry.path().stem();
    const std::string task = model.ends_with("tokencls") ? "token-classify"
                             : model.ends_with("qa")     ? "qa"
                                                         : "multiple-choice";
    const fs::path start = d_ / name;
    fs::create_directories(start);
    for (const char* file : {"config.json", "model.safetensors"}) {
      fs::copy_file(test::kGolden / model / file, start / file);
    }
    std::string words, rows;
    for (const Json& word : j["vocabulary"]) words += word.get<std::string>() + "\n";
    for (const Json& row : j["rows"]) rows += row.dump() + "\n";
    PutFile(start / "vocab.txt", words);
    TrainOptions o = Options(task, name + "-run", name);
    o.data.train = {PutFile(d_ / (name + ".jsonl"), rows)};
    o.data.eval = o.data.train[0];
    o.steps = 1;
    o.batch = static_cast<idx_t>(j["rows"].size());
    o.accumulate = 1;
    o.schedule = {ScheduleKind::kConstant, 0, 1.0};
    const Json& given = j["options"];
    o.optimizer.learning_rate = given["learning_rate"];
    o.optimizer.beta1 = given["beta1"];
    o.optimizer.beta2 = given["beta2"];
    o.optimizer.epsilon = given["epsilon"];
    o.optimizer.weight_decay = given["weight_decay"];
    o.optimizer.clip = given["clip"];
    ClassWeights weights;
    for (std::size_t k = 0; k < j["class_weights"].size(); ++k) {
      weights.of[DefaultLabel(static_cast<idx_t>(k))] = j["class_weights"][k];
    }
    Train(task, o, 2, 0, weights);
    std::ifstream log(o.output / "metrics.jsonl");
    std::string line;
    std::getline(log, line);
    const Json first = Json::parse(line);
    const double loss = j["loss"], gradient = j["gradient_norm"];
    EXPECT_NEAR(first["loss"].get<double>(), loss, 2e-5 * loss) << name;
    EXPECT_NEAR(first["grad_norm"].get<double>(), gradient, 1e-4 * gradient) << name;
    const auto before = LoadTextModel(start, {}), after = LoadTextModel(o.output, {});
    for (const auto& [parameter, expected] : j["weights"].items()) {
      const View<const float, 1> old = before->parameters().vector(parameter);
      const View<const float, 1> now = after->parameters().vector(parameter);
      const auto change = [&](idx_t i) {
        return static_cast<double>(now(i)) - static_cast<double>(old(i));
      };
      double squares = 0.0;
      for (idx_t i = 0; i < old.size(); ++i) squares += change(i) * change(i);
      const double norm = expected["change"];
      // Weights are fp32: each change is rounded to half a unit in the last place of about 1.
      const double rounding = 6e-8 * std::sqrt(static_cast<double>(old.size()));
      EXPECT_NEAR(std::sqrt(squares), norm, 2e-4 * norm + rounding) << name << " " << parameter;
      for (std::size_t k = 0; k < expected["places"].size(); ++k) {
        EXPECT_NEAR(change(expected["places"][k]), expected["changes"][k].get<double>(),
                    2e-4 * norm + 1.2e-7)
            << name << " " << parameter << " " << expected["places"][k];
      }
    }
  }
  EXPECT_EQ(cases, 8);
}

}  // namespace
}  // namespace longspan
