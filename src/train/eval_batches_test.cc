// Evaluations whose batches ranks share: who computes what, the figures of one process bit for bit,
// and how a stop, a failure or another rank's texts end them. The ranks are threads.
#include "train/eval_batches.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/reformer_files.h"
#include "longspan/head_training.h"
#include "tests/support/thread_world.h"
#include "train/choice_task.h"
#include "train/evaluate.h"
#include "train/lm_data.h"
#include "train/mlm_task.h"
#include "train/rerank_task.h"
#include "train/token_class_task.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::PutFile;
using test::TempDir;
using test::Throws;
using test::TryOnRanks;

// ---- dealing ------------------------------------------------------------------------------------

// Of one evaluation: which ranks computed a batch, and what each rank was given of it.
struct Dealt {
  std::mutex mutex;
  std::vector<std::vector<int>> finders;           // by batch
  std::vector<std::vector<idx_t>> used, progress;  // by rank
};

void Deal(int ranks, int row_ranks, idx_t batches, Dealt* dealt) {
  dealt->finders.resize(static_cast<std::size_t>(batches));
  dealt->used.resize(static_cast<std::size_t>(ranks));
  dealt->progress.resize(static_cast<std::size_t>(ranks));
  OnRanks(ranks, [&](World& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    Context context(1);
    context.Join(&world);
    const SharedRows rows(context, row_ranks);
    EvalHooks hooks;
    hooks.on_progress = [&](idx_t done, idx_t all) {
      EXPECT_EQ(all, 10 * batches);
      dealt->progress[rank].push_back(done);
    };
    ForEachBatch<idx_t>(
        context, hooks, {batches, 10 * batches},
        [&](idx_t batch) {
          const std::lock_guard lock(dealt->mutex);
          dealt->finders[static_cast<std::size_t>(batch)].push_back(world.rank());
          // Batch 2 finds nothing.
          return std::vector<idx_t>(batch == 2 ? 0 : 2, 100 * batch);
        },
        [&](idx_t batch, std::span<const idx_t> found) {
          EXPECT_EQ(std::ssize(found), batch == 2 ? 0 : 2);
          for (const idx_t one : found) EXPECT_EQ(one, 100 * batch);
          dealt->used[rank].push_back(batch);
          return 10 * (batch + 1);
        });
  });
}

TEST(EvalBatches, EachIsComputedOnceAndUsedInOrderByAllRanks) {
  for (const int ranks : {1, 2, 3, 5}) {
    for (const idx_t batches : {0, 1, 4, 7}) {
      Dealt dealt;
      Deal(ranks, 1, batches, &dealt);
      std::vector<idx_t> all;
      for (idx_t batch = 0; batch < batches; ++batch) {
        all.push_back(batch);
        EXPECT_EQ(dealt.finders[static_cast<std::size_t>(batch)],
                  std::vector<int>{static_cast<int>(batch) % ranks});
      }
      for (const auto& used : dealt.used) EXPECT_EQ(used, all) << ranks;
      for (const auto& progress : dealt.progress) {
        EXPECT_EQ(std::ssize(progress), (batches + ranks - 1) / ranks);
        if (!progress.empty()) {
          EXPECT_EQ(progress.back(), 10 * batches);
        }
      }
    }
  }
}

TEST(EvalBatches, RanksThatShareRowsComputeABatchTogether) {
  Dealt dealt;
  Deal(4, 2, 3, &dealt);
  for (std::vector<int>& finders : dealt.finders) std::sort(finders.begin(), finders.end());
  EXPECT_EQ(dealt.finders, (std::vector<std::vector<int>>{{0, 1}, {2, 3}, {0, 1}}));
  for (const auto& used : dealt.used) EXPECT_EQ(used, (std::vector<idx_t>{0, 1, 2}));
}

// What each of three ranks throws, and how many batches it has used.
std::vector<std::exception_ptr> TryToDeal(const std::function<bool(int rank, idx_t batch)>& stops,
                                          const std::function<idx_t(int rank)>& batches,
                                          std::vector<idx_t>* used) {
  used->assign(3, 0);
  return TryOnRanks(3, [&](World& world) {
    Context context(1);
    context.Join(&world);
    idx_t last = -1;  // computed here
    EvalHooks hooks;
    hooks.should_stop = [&] { return stops(world.rank(), last); };
    try {
      ForEachBatch<double>(
          context, hooks, {batches(world.rank()), 9},
          [&](idx_t batch) {
            last = batch;
            if (batch == 8) throw Error(ErrorCode::kLimit, "memory: refused");
            return std::vector<double>(1);
          },
          [&](idx_t batch, std::span<const double>) {
            ++(*used)[static_cast<std::size_t>(world.rank())];
            return batch + 1;
          });
      ADD_FAILURE() << "nothing ended rank " << world.rank();
    } catch (const Cancelled&) {
    }
  });
}

TEST(EvalBatches, AStopOfOneRankEndsAllAfterTheSameBatch) {
  std::vector<idx_t> used;
  const auto thrown = TryToDeal([](int rank, idx_t batch) { return rank == 1 && batch == 4; },
                                [](int) { return 9; }, &used);
  // As a training does: what all know is no failure.
  for (const std::exception_ptr& error : thrown) EXPECT_EQ(error, nullptr);
  EXPECT_EQ(used, (std::vector<idx_t>{6, 6, 6}));
}

TEST(EvalBatches, AFailureOfOneRankIsThatRanksAndTheOthersName) {
  std::vector<idx_t> used;
  const auto thrown = TryToDeal([](int, idx_t) { return false; }, [](int) { return 9; }, &used);
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[2]); }, ErrorCode::kLimit, "refused"));
  for (const int other : {0, 1}) {
    EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[static_cast<std::size_t>(other)]); },
                       ErrorCode::kPeer, "rank 2, after update 0, failed: memory: refused"));
  }
}

TEST(EvalBatches, RanksWithOtherRowsAreRefusedBeforeTheyWaitForEachOther) {
  std::vector<idx_t> used;
  for (const std::exception_ptr& thrown : TryToDeal(
           [](int, idx_t) { return false; }, [](int rank) { return rank == 2 ? 7 : 8; }, &used)) {
    EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown); }, ErrorCode::kFormat,
                       "what is evaluated is 9 rows or tokens in 7 batches, on rank 0 it is 9 rows "
                       "or tokens in 8 batches"));
  }
  EXPECT_EQ(used, (std::vector<idx_t>{0, 0, 0}));
}

// ---- the figures of one process -----------------------------------------------------------------

std::string Exact(std::span<const double> figures) {
  std::string text;
  for (const double figure : figures) text += fmt::format("{:a} ", figure);
  return text;
}

std::string Exact(std::initializer_list<double> figures) {
  return Exact(std::span(figures.begin(), figures.size()));
}

// Models of letters with each head, and rows of 3 to 16 letters. Of a Reformer rows of different
// lengths are batches of their own; a Longformer takes them side by side, kFew tokens at a time.
class SharedEvaluations : public ::testing::Test {
 protected:
  using Evaluate = std::function<std::string(Context&)>;

  // Whether two and three ranks find the bits of one process, in fewer turns.
  static void ExpectTheSame(const Evaluate& evaluate) {
    idx_t turns = 0;
    const auto counted = [&](idx_t, idx_t) { ++turns; };
    Context alone(1);
    alone.OnProgress(counted);
    const std::string expected = evaluate(alone);
    const idx_t batches = std::exchange(turns, 0);
    EXPECT_GE(batches, 2);
    for (const int ranks : {2, 3}) {
      OnRanks(ranks, [&](World& world) {
        Context context(1);
        context.Join(&world);
        if (world.is_first()) context.OnProgress(counted);
        EXPECT_EQ(evaluate(context), expected) << world.rank() << " of " << ranks;
      });
      EXPECT_EQ(std::exchange(turns, 0), (batches + ranks - 1) / ranks);
    }
  }

  static constexpr idx_t kFew = 60;

  std::filesystem::path ReformerOf(HeadKind head, std::vector<std::string> labels = {}) const {
    ReformerConfig c = SmallReformer();
    c.head = head;
    c.layers = {LayerKind::kLocal, LayerKind::kLsh};
    c.local_after = c.lsh_after = 1;
    c.vocab_size = 15;
    c.initializer_range = 0.1;
    if (!labels.empty()) c.labels = std::move(labels);
    Reformer model(c);
    model.Initialise(1);
    SaveReformer(model, d_ / "model");
    PutFile(d_ / "model" / "vocab.txt", LetterVocabulary(10));
    return d_ / "model";
  }

  std::filesystem::path LongformerOf(HeadKind head, std::vector<std::string> labels = {}) const {
    LongformerConfig c = LetterLongformer(10);
    c.sep_token = 3;
    c.head = head;
    if (!labels.empty()) c.labels = std::move(labels);
    SaveLetterLongformer(c, d_ / "model");
    return d_ / "model";
  }

  static ReformerConfig SmallReformer() {
    ReformerConfig c = ReformerPreset("tiny");
    c.hidden_size = 32;
    c.heads = 2;
    c.head_size = 16;
    c.feed_forward_size = 32;
    c.axial_shape = {8, 16};
    c.axial_dims = {8, 24};
    c.local_chunk = c.lsh_chunk = 8;
    return c;
  }

  // row(words, number) as lines of a file.
  template <class Row>
  std::filesystem::path RowsOf(const Row& row) const {
    std::string lines;
    Rng rng(3);
    for (idx_t number = 0; number < 14; ++number) {
      std::vector<std::string> words;
      for (idx_t i = 0; i < 3 + number; ++i) {
        words.emplace_back(1, static_cast<char>('a' + rng.Below(10)));
      }
      lines += row(words, number).dump() + "\n";
    }
    PutFile(d_ / "rows.jsonl", lines);
    return d_ / "rows.jsonl";
  }

  static std::string Joined(const std::vector<std::string>& words) {
    return fmt::format("{}", fmt::join(words, " "));
  }

  TempDir d_;
};

TEST_F(SharedEvaluations, OfClassesHaveTheBitsOfOneProcess) {
  ClassifierEvalOptions o;
  o.model = ReformerOf(HeadKind::kSequence, {"even", "odd"});
  o.file = RowsOf([](const auto& words, idx_t n) {
    return nlohmann::json{{"text", Joined(words)}, {"label", n % 2 == 0 ? "even" : "odd"}};
  });
  for (const idx_t tokens : {0, 8}) {  // of 14 texts none is in windows, or ten are
    o.tokens = tokens;
    ExpectTheSame([&](Context& context) {
      Predictions all;
      const ClassifierEval e = EvaluateClassifier(context, o, &all);
      EXPECT_EQ(e.in_windows, tokens == 0 ? 0 : 10);
      std::string text = Exact({e.loss, e.accuracy, e.auc, e.macro.f1, e.mcc});
      for (const Prediction& one : all.rows) text += Exact(one.scores);
      return text;
    });
  }
}

TEST_F(SharedEvaluations, OfTagsHaveTheBitsOfOneProcess) {
  const std::vector<std::string> labels = {"B-X", "I-X", "O"};
  const auto model = LoadTextModel(LongformerOf(HeadKind::kToken, labels), {}, nullptr);
  const std::filesystem::path file = RowsOf([](const auto& words, idx_t) {
    std::vector<std::string> tags(words.size(), "O");
    tags[1] = "B-X";
    tags[2] = "I-X";
    return nlohmann::json{{"tokens", words}, {"tags", tags}};
  });
  ExpectTheSame([&](Context& context) {
    std::vector<std::string> notes;
    const TaggedTexts texts = ReadTaggedTexts({file}, {}, {}, &notes);
    const TaggedRows rows = TokenizeTagged(context, Words(), texts, labels, model->info(), {}, 30);
    EvalHooks hooks = AgreedHooks(context, model->parameters(), rows.fingerprint);
    hooks.batch_tokens = kFew;
    std::vector<std::int32_t> said;
    const TokenClassEval e =
        EvaluateTagged(context, *model, labels, GlobalPolicy(), rows, hooks, &said);
    return Exact({e.loss, e.accuracy, e.entity.micro.f1, e.entity.micro.recall}) +
           fmt::format("{}", fmt::join(said, " "));
  });
}

TEST_F(SharedEvaluations, OfAnswersInWindowsHaveTheBitsOfOneProcess) {
  AnswerEvalOptions o;
  o.model = ReformerOf(HeadKind::kQuestion);
  o.tokens = 14;
  o.task.stride = 2;
  o.file = RowsOf([](const auto& words, idx_t) {
    return nlohmann::json{{"question", "a b"},
                          {"context", Joined(words)},
                          {"answers", {{{"text", words[0]}, {"answer_start", 0}}}}};
  });
  ExpectTheSame([&](Context& context) {
    std::vector<AnsweredPair> pairs;
    const AnswerEval e = EvaluateQuestionAnswering(context, o, &pairs);
    EXPECT_GT(e.windows, e.score.questions);
    std::string text = Exact({e.loss, e.score.all.exact, e.score.all.f1});
    for (const AnsweredPair& pair : pairs) text += pair.said + Exact({pair.answer.score});
    return text;
  });
}

TEST_F(SharedEvaluations, OfChoicesHaveTheBitsOfOneProcess) {
  const auto model = LoadTextModel(LongformerOf(HeadKind::kChoice), {}, nullptr);
  const std::filesystem::path file = RowsOf([](const auto& words, idx_t) {
    return nlohmann::json{
        {"context", Joined(words)}, {"question", "c"}, {"choices", {"a b", "d"}}, {"label", "d"}};
  });
  ExpectTheSame([&](Context& context) {
    std::vector<std::string> notes;
    const ChoiceTexts texts = ReadChoiceTexts({file}, {}, &notes);
    const ChoiceRows rows = TokenizeChoices(context, Words(), texts, model->info(), {}, 30);
    EvalHooks hooks = AgreedHooks(context, model->parameters(), rows.fingerprint);
    hooks.batch_tokens = kFew;
    std::vector<float> logits;
    const ChoiceEval e = EvaluateChoices(context, *model, GlobalPolicy(), rows, hooks, &logits);
    return Exact({e.loss, e.accuracy}) + Exact(std::vector<double>(logits.begin(), logits.end()));
  });
}

TEST_F(SharedEvaluations, OfRankingsHaveTheBitsOfOneProcess) {
  const auto model = LoadTextModel(LongformerOf(HeadKind::kSequence, {"relevant"}), {}, nullptr);
  const std::filesystem::path file = RowsOf([](const auto& words, idx_t) {
    return nlohmann::json{
        {"query", words[0]}, {"positive", Joined(words)}, {"negatives", {"a b c", "d"}}};
  });
  ExpectTheSame([&](Context& context) {
    std::vector<std::string> notes;
    const JudgedRows rows =
        TokenizeJudged(context, Words(), ReadJudgedTexts({file}, {}, {}, &notes),
                       CrossEncoderFolder(), model->info(), {.tokens = 30, .pairs = true});
    EvalHooks hooks = AgreedHooks(context, model->parameters(), rows.rows.fingerprint);
    hooks.batch_tokens = kFew;
    const RerankerEval e =
        EvaluateJudged(context, *model, GlobalPolicy(), rows.rows, rows.queries, hooks);
    return Exact({e.loss, e.accuracy, e.average_precision, e.mrr, e.ndcg});
  });
}

// Texts of more than 10 tokens are read in windows, whose states ranks exchange.
TEST_F(SharedEvaluations, OfVectorsHaveTheBitsOfOneProcess) {
  EmbedderEvalOptions o;
  o.model = ReformerOf(HeadKind::kNone);
  o.tokens = 10;
  o.file = RowsOf([](const auto& words, idx_t) {
    return nlohmann::json{{"anchor", words[0] + " " + words[1]}, {"positive", Joined(words)}};
  });
  for (const PoolingMode pooling : {PoolingMode::kMean, PoolingMode::kMax}) {
    o.task.pooling = pooling;
    ExpectTheSame([&](Context& context) {
      const EmbedderEval e = EvaluateEmbedder(context, o);
      return Exact({e.loss, e.mrr, e.recall_1, e.recall_5});
    });
  }
}

TEST_F(SharedEvaluations, OfMaskedTokensHaveTheBitsOfOneProcess) {
  const auto model = LoadTextModel(LongformerOf(HeadKind::kMaskedLm), {}, nullptr);
  const test::WordTokenizer tokenizer = Words();
  const MaskedRows form(tokenizer, model->info(), 0.3);
  WriteLetters(d_ / "text");
  for (const bool packed : {false, true}) {
    MaskedLmOptions task;
    task.packed = packed;
    task.documents = packed ? Documents::kBlankLine : Documents::kFile;
    ExpectTheSame([&](Context& context) {
      std::vector<std::string> notes;
      const TokenStream stream =
          ReadMaskedText(context, tokenizer, {d_ / "text"}, {}, task, form, {}, &notes);
      constexpr idx_t kTokens = 24, kAll = 700;
      const MaskedText text = MaskedText::Of(stream, 0, kAll, packed, form, kTokens);
      EvalHooks hooks = AgreedHooks(context, model->parameters(), stream.fingerprint());
      hooks.batch_tokens = kFew;
      const HeadLoss loss = MaskedLoss(context, *model, form, {}, text, kTokens, 5, hooks);
      return Exact({loss.sum, loss.mean, static_cast<double>(loss.counted),
                    static_cast<double>(loss.correct)});
    });
  }
}

class SharedLmEvaluations : public SharedEvaluations {
 protected:
  SharedLmEvaluations() : model_(SmallReformer()) { model_.Initialise(1); }

  static std::string Exactly(const EvalResult& result) {
    return Exact({result.loss, result.bits_per_byte, result.accuracy}) +
           std::to_string(result.counted);
  }

  Reformer model_;
};

TEST_F(SharedLmEvaluations, OfBytesHaveTheBitsOfOneProcess) {
  std::vector<std::uint8_t> bytes;
  Rng rng(1);
  for (int i = 0; i < 700; ++i) bytes.push_back(static_cast<std::uint8_t>('a' + rng.Below(26)));
  for (const idx_t stride : {0, 5, 32}) {
    ExpectTheSame([&](Context& context) {
      EvalHooks hooks = AgreedHooks(context, model_.parameters(), "bytes");
      hooks.batch_tokens = kFew;
      return Exactly(EvaluateText(context, model_, bytes, 32, stride, hooks));
    });
  }
}

TEST_F(SharedLmEvaluations, OfPackedDocumentsHaveTheBitsOfOneProcess) {
  TrainOptions o;
  o.tokens = 128;
  LanguageModelOptions task;
  task.packed = true;
  task.documents = Documents::kLine;
  std::string line, text;
  for (int word = 0; word < 60; ++word) line += "acdbe"[word * word % 5] + std::string(" ");
  for (int i = 0; i < 30; ++i) text += line.substr(i % 7) + "\n";
  PutFile(d_ / "train", line + "\n");
  PutFile(d_ / "held", text);
  o.data.train = {d_ / "train"};
  o.data.eval = d_ / "held";
  const test::WordTokenizer tokenizer({"a", "b", "c", "d", "e"},
                                      test::WordTokenizer::Family::kRoberta);
  ExpectTheSame([&](Context& context) {
    const auto data = MakeLmData(context, o, task, tokenizer);
    EvalHooks hooks = AgreedHooks(context, model_.parameters(), data->Fingerprint());
    hooks.batch_tokens = 4 * o.tokens;
    return Exactly(data->Evaluate(context, model_, hooks));
  });
}

TEST_F(SharedLmEvaluations, RanksWithOtherWeightsOrTextsAreNamed) {
  const auto refused = [&](const char* what, const std::string& text, std::uint64_t seed) {
    for (const std::exception_ptr& thrown : TryOnRanks(2, [&](World& world) {
           Context context(1);
           context.Join(&world);
           Reformer model(SmallReformer());
           model.Initialise(world.is_first() ? 1 : seed);
           AgreedHooks(context, model.parameters(), world.is_first() ? "one" : text);
         })) {
      EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown); }, ErrorCode::kFormat, what));
    }
  };
  refused("the texts' fingerprint is other, on rank 0 it is one", "other", 1);
  refused("the model's checksum is", "one", 2);
}

}  // namespace
}  // namespace longspan
