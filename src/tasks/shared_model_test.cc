// One loaded model, many threads: the bits of one, an end when the caller wants it, and no more
// memory than was granted.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <thread>

#include "base/arena.h"
#include "base/errors.h"
#include "families/longformer/family.h"
#include "families/model_inside.h"
#include "families/reformer/family.h"
#include "longspan/generate.h"
#include "longspan/tasks.h"
#include "tasks/tasks_test.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::Throws;

constexpr int kThreads = 8;

Model SharedLongformer(HeadKind head, DType compute, idx_t layers = 2) {
  LongformerConfig config;
  config.head = head;
  config.attention_window.assign(static_cast<std::size_t>(layers), 32);
  config.vocab_size = 60;
  config.hidden_size = 64;
  config.heads = 4;
  config.feed_forward_size = 128;
  config.max_positions = 514;
  config.token_types = 1;
  config.labels = {"a", "b", "c"};
  Longformer model(config);
  model.Initialise(7);
  ModelOptions options;
  options.compute = compute;
  return MakeModel(MakeTextModel(std::move(model)), MakeWords(WordFamily::kRoberta), options);
}

std::vector<TaskText> SomeTexts() {
  std::vector<TaskText> texts;
  for (const idx_t words : {3, 40, 41, 200, 600, 7}) texts.push_back({Text(words, words)});
  return texts;
}

std::vector<float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.size()};
}

// Runs `work` in several threads, each with a context of its own and another number of threads.
template <class Work>
void InThreads(const Work& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&work, i] {
      Context context(1 + i % 3);
      for (int again = 0; again < 2; ++again) work(context);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(SharedModel, ThreadsGetTheBitsOfOne) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const TaskModel encoder(SharedLongformer(HeadKind::kNone, compute));
    const TaskModel judge(SharedLongformer(HeadKind::kSequence, compute));
    const Embedder embedder(encoder);
    const std::vector<TaskText> texts = SomeTexts();
    std::vector<std::string> plain;
    for (const TaskText& text : texts) plain.push_back(text.text);
    // Other models of the same weights say what is right: bf16 weights of these are still to be
    // rounded when the threads begin.
    Context one(1);
    const Embedder embedder_alone(TaskModel(SharedLongformer(HeadKind::kNone, compute)));
    const std::vector<float> vectors = Values(embedder_alone.Embed(one, plain));
    const auto classes =
        Classify(one, TaskModel(SharedLongformer(HeadKind::kSequence, compute)), texts);
    std::atomic<int> same = 0;
    InThreads([&](Context& context) {
      if (Values(embedder.Embed(context, plain)) == vectors) ++same;
      const auto found = Classify(context, judge, texts);
      bool equal = true;
      for (std::size_t i = 0; i < found.size(); ++i) {
        equal = equal && found[i].scores == classes[i].scores;
      }
      if (equal) ++same;
    });
    EXPECT_EQ(same, kThreads * 2 * 2);
  }
}

TEST(SharedModel, ThreadsContinueTexts) {
  ReformerConfig config = ReformerPreset("tiny");
  config.hidden_size = 32;
  config.heads = 2;
  config.head_size = 16;
  config.feed_forward_size = 32;
  config.axial_dims = {8, 24};
  const std::string json = ToJson(config);
  const Model shared = Model::Init(json, 3);
  GenerateOptions options;
  options.tokens = 6;
  Context alone(1);
  const std::string written = Generate(alone, Model::Init(json, 3), "It was", options).text;
  std::atomic<int> same = 0;
  InThreads([&](Context& context) {
    if (Generate(context, shared, "It was", options).text == written) ++same;
  });
  EXPECT_EQ(same, kThreads * 2);
}

TEST(SharedModel, ACallEndsWithinASecondOfAnotherThreadsWish) {
  using Clock = std::chrono::steady_clock;
  // Some minutes of work.
  const TaskModel judge(SharedLongformer(HeadKind::kSequence, DType::kF32, 24));
  const std::vector<TaskText> texts(4000, TaskText{Text(480, 1)});
  const TaskRows rows = judge.Encode(texts);
  std::atomic<bool> wish = false;
  Context context(2);
  context.CancelWhen(&wish);
  Clock::time_point wished;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    wished = Clock::now();
    wish = true;
  });
  EXPECT_TRUE(Throws([&] { Classify(context, judge, rows); }, ErrorCode::kCancelled, "cancelled"));
  const std::chrono::duration<double> late = Clock::now() - wished;
  other.join();
  EXPECT_LT(late.count(), 1.0);
  // The context and the model are as good as before.
  wish = false;
  EXPECT_EQ(Classify(context, judge, std::span<const TaskText>(texts).first(1)).size(), 1u);
}

TEST(SharedModel, EncodingEndsAndCountsToo) {
  const TaskModel judge(SharedLongformer(HeadKind::kSequence, DType::kF32));
  const std::vector<TaskText> texts(50, TaskText{Text(400, 1)});
  Context context(1);
  const idx_t tokens = judge.Encode(texts).tokens(0) * 50;
  // Two ids of 4 bytes, two places of 16 and two marks of 1 for each token.
  context.LimitMemory(static_cast<std::size_t>(tokens) * 42);
  EXPECT_EQ(judge.Encode(context, texts).texts(), 50);
  context.LimitMemory(static_cast<std::size_t>(tokens) * 42 - 1);
  EXPECT_TRUE(
      Throws([&] { judge.Encode(context, texts); }, ErrorCode::kLimit, "encoded texts: needs"));
  context.LimitMemory(0);
  const std::atomic<bool> wish = true;
  context.CancelWhen(&wish);
  EXPECT_THROW(judge.Encode(context, texts), Cancelled);
  EXPECT_NO_THROW(judge.Encode(texts));  // the wish is that context's alone
}

TEST(SharedModel, ThreadsEncodeTheSameRowsAndTellTheFirstError) {
  TaskOptions options;
  options.max_length = 64;
  const TaskModel judge(SharedLongformer(HeadKind::kSequence, DType::kF32), options);
  std::vector<TaskText> texts;
  for (idx_t i = 0; i < 700; ++i) texts.push_back({Text(i % 90, i)});  // several chunks; windows
  texts[3].pair = Text(20, 5);
  const TaskRows alone = judge.Encode(texts);
  Context context(4);
  const TaskRows together = judge.Encode(context, texts);
  EXPECT_EQ(together.first, alone.first);
  ASSERT_EQ(together.rows.size(), alone.rows.size());
  for (std::size_t r = 0; r < alone.rows.size(); ++r) {
    ASSERT_EQ(together.rows[r].ids, alone.rows[r].ids) << "row " << r;
    ASSERT_EQ(together.rows[r].bytes, alone.rows[r].bytes) << "row " << r;
  }
  for (const std::size_t bad : {600, 610, 630}) texts[bad].text = Text(200, 1);
  for (TaskText& text : std::span(texts).first(600)) text = {"short"};
  const auto encode = [&] { judge.Encode(context, texts, text::Overflow::kError); };
  EXPECT_TRUE(Throws(encode, ErrorCode::kLimit, "text 601: "));
}

TEST(SharedModel, RowsThatNobodyEncodedAreRefused) {
  const TaskModel judge(SharedLongformer(HeadKind::kSequence, DType::kF32));
  const TaskRows good = judge.Encode(SomeTexts());
  Context context(1);
  const auto refuses = [&](const std::function<void(TaskRows&)>& spoil, const char* says) {
    TaskRows rows = good;
    spoil(rows);
    return Throws([&] { Classify(context, judge, rows); }, ErrorCode::kUsage, says);
  };
  EXPECT_TRUE(refuses([](TaskRows& r) { r.first.clear(); }, "rows: `first`"));
  EXPECT_TRUE(refuses([](TaskRows& r) { r.first.back() += 5; }, "rows: `first`"));
  EXPECT_TRUE(refuses([](TaskRows& r) { r.first.front() = -1; }, "rows: `first`"));
  EXPECT_TRUE(refuses([](TaskRows& r) { std::swap(r.first[1], r.first[2]); }, "rows: `first`"));
  EXPECT_TRUE(refuses([](TaskRows& r) { r.rows.pop_back(); }, "rows: `first`"));
  EXPECT_TRUE(refuses([](TaskRows& r) { r.rows[1].ids.clear(); }, "row 1 has 0 ids"));
  EXPECT_TRUE(refuses([](TaskRows& r) { r.rows[1].type_ids.pop_back(); }, "row 1 has"));
  EXPECT_TRUE(refuses([](TaskRows& r) { r.rows[0].sequence.pop_back(); }, "row 0 has"));
  EXPECT_TRUE(
      Throws([&] { Explain(context, judge, SomeTexts(), std::span<const ClassifiedText>()); },
             ErrorCode::kUsage, "explain: 6 texts, and scores of 0"));
  EXPECT_TRUE(
      Throws([&] { judge.model().Loss(context, BatchView()); }, ErrorCode::kUsage, "batch: 0 ids"));
}

TEST(SharedModel, ATextMayGoOnUntilTheCallerEndsIt) {
  const Model model = Model::Init(ToJson(ReformerPreset("tiny")), 3);
  GenerateOptions options;
  options.tokens = std::numeric_limits<idx_t>::max();
  Context context(1);
  int pieces = 0;
  const auto third = [&](std::string_view) { return ++pieces < 3; };
  EXPECT_EQ(Generate(context, model, "It was", options, third).ending, Ending::kCaller);
  EXPECT_GE(pieces, 3);
  EXPECT_TRUE(Throws([&] { SearchBeams(context, model, "It was", options, BeamOptions()); },
                     ErrorCode::kUsage, "needs as many positions"));
}

TEST(SharedModel, AHookMayEndACall) {
  const TaskModel judge(SharedLongformer(HeadKind::kSequence, DType::kF32), {.batch_tokens = 50});
  Context context(1);
  idx_t told = 0;
  context.OnProgress([&](idx_t, idx_t) {
    if (++told == 2) throw Cancelled();
  });
  EXPECT_THROW(Classify(context, judge, SomeTexts()), Cancelled);
  EXPECT_EQ(told, 2);
}

TEST(SharedModel, MoreMemoryThanGrantedIsRefusedBeforeItIsTaken) {
  const Model model = SharedLongformer(HeadKind::kMaskedLm, DType::kF32);
  const std::vector<std::int32_t> ids(512, 9);
  const std::vector<std::vector<std::int32_t>> rows(8, ids);
  const Batch batch = Batch::Of(rows, 1);
  Context context(2);
  context.LimitMemory(std::size_t{1} << 20);
  EXPECT_TRUE(Throws([&] { model.Hidden(context, batch.view()); }, ErrorCode::kLimit,
                     "the limit is 1.05 MB (1048576 bytes)"));
  EXPECT_EQ(context.arena().capacity(), 0u);  // nothing was booked
  EXPECT_TRUE(Throws([&] { model.Logits(context, batch.view()); }, ErrorCode::kLimit, "logits"));
  EXPECT_EQ(context.arena().capacity(), 0u);
  // What the rehearsal says suffices, and is needed.
  const std::size_t needs = RehearseCall(context, [&](Context& rehearsal) {
    Tensor hidden({8 * 512, model.info().width});
    model.inside().Encode(rehearsal, batch.view(), hidden.view<2>());
  });
  EXPECT_GT(needs, std::size_t{8} * 512 * 64 * 4);
  context.LimitMemory(needs);
  EXPECT_EQ(model.Hidden(context, batch.view()).size(), 8 * 512 * 64);
  Context tight(2);
  tight.LimitMemory(needs - 1);
  EXPECT_THROW(model.Hidden(tight, batch.view()), Error);
}

TEST(SharedModel, GenerationCountsItsCaches) {
  const Model model = Model::Init(ToJson(ReformerPreset("tiny")), 3);
  GenerateOptions options;
  options.tokens = 100;
  Context context(1);
  context.LimitMemory(100'000);
  EXPECT_TRUE(Throws([&] { Generate(context, model, "It was", options); }, ErrorCode::kLimit,
                     "generate: needs"));
  context.LimitMemory(std::size_t{1} << 30);
  EXPECT_EQ(Generate(context, model, "It was", options).prompt_tokens, 6);
}

}  // namespace
}  // namespace longspan
