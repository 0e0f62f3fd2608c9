// Loads, new models, conversions and tokenizers that the caller ends: Cancelled, and the disk is as
// it was.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "base/cancel.h"
#include "families/families.h"
#include "io/tensor_source.h"
#include "longspan/folders.h"
#include "longspan/tasks.h"
#include "longspan/tokenizer_training.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

class CancelledLoads : public testing::Test {
 protected:
  CancelledLoads() {
    InitOptions small;
    small.preset = "tiny";
    InitModel(folder_ / "model", small);
    context_.CancelWhen(&flag_);
  }
  template <class Call>
  void ExpectCancelled(const Call& call) {
    EXPECT_TRUE(Throws(call, ErrorCode::kCancelled, "cancelled by the caller"));
  }

  TempDir folder_;
  std::atomic<bool> flag_{false};
  Context context_{1};
};

TEST_F(CancelledLoads, EveryKindOfLoadEnds) {
  const auto model = folder_ / "model";
  flag_ = true;
  ExpectCancelled([&] { Model::Load(context_, model); });
  ExpectCancelled([&] { TaskModel::Load(context_, model); });
  ExpectCancelled([&] { Embedder::Load(context_, model); });
  ExpectCancelled([&] { Reranker::Load(context_, model); });
  const std::string config = GetFile(model / "config.json");
  ExpectCancelled([&] { Model::Init(context_, config, 1); });
  flag_ = false;
  const Model loaded = Model::Load(context_, model);
  EXPECT_EQ(loaded.parameters(), Model::Load(model).parameters());
  EXPECT_EQ(Embedder::Load(context_, model).width(), Embedder::Load(model).width());
  EXPECT_EQ(Model::Init(context_, config, 1).parameters(), loaded.parameters());
}

// Weights are read and drawn a piece at a time, and the wish is seen between two pieces.
TEST_F(CancelledLoads, ReadingAndDrawingWeightsAskOnTheWay) {
  flag_ = true;
  const auto source = io::OpenModel(folder_ / "model");
  const std::string name = source->tensors().begin()->first;
  const auto empty = LoadTextModel(folder_ / "model", {});
  const CancelScope scope(&flag_);
  ExpectCancelled([&] { source->Read(name); });
  ExpectCancelled([&] { source->ReadFloat(name); });
  ExpectCancelled([&] { LoadTextModel(folder_ / "model", {}); });
  ExpectCancelled([&] { empty->Initialise(1); });
}

TEST_F(CancelledLoads, WeightsBeyondTheLimitAreRefusedBeforeTheyAreThere) {
  context_.LimitMemory(1000);
  for (const auto& load :
       {+[](Context&c, const std::filesystem::path&p) { Model::Load(c, p); },
        +[](Context&c, const std::filesystem::path&p) { TaskModel::Load(c, p); }}) {
    EXPECT_TRUE(
        Throws([&] { load(context_, folder_ / "model"); }, ErrorCode::kLimit, "weights: need "));
  }
  InitOptions small;
  small.preset = "tiny";
  EXPECT_TRUE(Throws([&] { InitModel(context_, folder_ / "new", small); }, ErrorCode::kLimit,
                     "the limit is 1 kB (1000 bytes)"));
  EXPECT_EQ(Listing(folder_.path()), "model");
}

// A table of words that takes half a second to draw ends soon after the wish, which comes
// meanwhile.
TEST_F(CancelledLoads, ANewModelEndsInTheMiddleOfALargeTable) {
  auto config = GetFile(folder_ / "model" / "config.json");
  const std::string field = "\"vocab_size\": ";
  const std::size_t at = config.find(field);
  ASSERT_NE(at, config.npos);
  config.insert(at + field.size(), "40");  // in front of the number
  PutFile(folder_ / "large.json", config);
  InitOptions large;
  large.config = folder_ / "large.json";
  std::thread soon([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    flag_ = true;
  });
  ExpectCancelled([&] { InitModel(context_, folder_ / "large", large); });
  soon.join();
  EXPECT_EQ(Listing(folder_.path()), "large.json model");
}

TEST_F(CancelledLoads, AModelThatIsReplacedStaysAsItWas) {
  const std::string before = GetFile(folder_ / "model" / "model.safetensors");
  InitOptions other;
  other.preset = "tiny";
  other.seed = 2;
  other.overwrite = true;
  flag_ = true;
  ExpectCancelled([&] { InitModel(context_, folder_ / "model", other); });
  EXPECT_EQ(GetFile(folder_ / "model" / "model.safetensors"), before);
  flag_ = false;
  InitModel(context_, folder_ / "model", other);
  EXPECT_NE(GetFile(folder_ / "model" / "model.safetensors"), before);
}

TEST_F(CancelledLoads, AConversionLeavesNothing) {
  ConvertOptions options;
  int tensors = 0;
  options.on_tensor = [&] { flag_ = ++tensors == 3; };
  ExpectCancelled([&] { ConvertModel(context_, folder_ / "model", folder_ / "out", options); });
  EXPECT_EQ(tensors, 3);
  EXPECT_EQ(Listing(folder_.path()), "model");
  // Not even when what was converted is being opened, whose errors have other words.
  flag_ = false;
  const idx_t all = static_cast<idx_t>(io::OpenModel(folder_ / "model")->tensors().size());
  options.on_tensor = [&, done = idx_t{0}]() mutable { flag_ = ++done == all; };
  ExpectCancelled([&] { ConvertModel(context_, folder_ / "model", folder_ / "out", options); });
  EXPECT_EQ(Listing(folder_.path()), "model");
}

TEST_F(CancelledLoads, ATokenizerIsLearntOrIsNot) {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += "the sea of day " + std::to_string(i * i) + " is quiet and grey\n";
  }
  PutFile(folder_ / "text.txt", text);
  text::TokenizerTraining options;
  options.vocabulary = 300;
  const auto out = folder_ / "tokenizer";
  // While the library learns.
  const auto when_read = [&](const text::TokenizerTrainingEvent& event) {
    flag_ = event.bytes == event.all_bytes;
  };
  ExpectCancelled([&] {
    text::TrainTokenizer(context_, {folder_ / "text.txt"}, out, options, {}, false, when_read);
  });
  // While it reads.
  ExpectCancelled([&] { text::TrainTokenizer(context_, {folder_ / "text.txt"}, out, options); });
  EXPECT_EQ(Listing(folder_.path()), "model text.txt");
  // A caller who throws has its own exception.
  flag_ = false;
  EXPECT_TRUE(Throws(
      [&] {
        text::TrainTokenizer(
            context_, {folder_ / "text.txt"}, out, options, {}, false,
            [](const text::TokenizerTrainingEvent&) { throw Error(ErrorCode::kUsage, "enough"); });
      },
      ErrorCode::kUsage, "enough"));
  // Nobody ends it: the bits are those of the call without a context, and all bytes are told.
  text::TokenizerTrainingEvent last;
  text::TrainTokenizer(context_, {folder_ / "text.txt"}, out, options, {}, false,
                       [&](const text::TokenizerTrainingEvent& event) { last = event; });
  EXPECT_EQ(last.bytes, static_cast<idx_t>(text.size()));
  text::TrainTokenizer({folder_ / "text.txt"}, folder_ / "alone", options);
  EXPECT_EQ(GetFile(out / "spiece.model"), GetFile(folder_ / "alone" / "spiece.model"));
  // Errors of the library come through.
  options.vocabulary = 8000;
  EXPECT_TRUE(Throws(
      [&] { text::TrainTokenizer(context_, {folder_ / "text.txt"}, out, options, {}, true); },
      ErrorCode::kUsage, "the text is too small for 8000 pieces"));
}

}  // namespace
}  // namespace longspan
