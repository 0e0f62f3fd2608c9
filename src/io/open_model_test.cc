#include "io/policy.h"
#include "io/safetensors.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::PutFile;
using test::TempDir;
using test::Throws;

class OpenModelTest : public testing::Test {
 protected:
  void PutShard(const std::string& file, std::vector<std::string> names) {
    std::vector<TensorEntry> entries;
    for (const std::string& name : names) entries.push_back({name, DType::kF32, {2}, kValues});
    WriteSafetensors(dir_ / file, entries);
  }
  void PutIndex(const std::string& weight_map, const std::string& total = "16") {
    PutFile(dir_ / "model.safetensors.index.json",
            "{\"metadata\":{\"total_size\":" + total + "},\"weight_map\":" + weight_map + "}");
  }
  testing::AssertionResult Rejects(std::string_view fragment, ErrorCode code = ErrorCode::kFormat) {
    return Throws([&] { OpenModel(dir_.path()); }, code, fragment);
  }

  static constexpr float kValues[2] = {1.0f, 2.0f};
  TempDir dir_;
};

TEST_F(OpenModelTest, ReadsOneFile) {
  PutShard("model.safetensors", {"a"});
  EXPECT_EQ(OpenModel(dir_.path())->ReadFloat("a").data<float>()[1], 2.0f);
  EXPECT_TRUE(OpenModel(dir_ / "model.safetensors")->Has("a"));
}

TEST_F(OpenModelTest, ReadsShards) {
  PutShard("one.safetensors", {"a"});
  PutShard("two.safetensors", {"b"});
  PutIndex("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
  const auto source = OpenModel(dir_.path());
  EXPECT_EQ(source->tensors().size(), 2u);
  EXPECT_EQ(source->ReadFloat("a").data<float>()[0], 1.0f);
  EXPECT_EQ(source->Read("b").data<float>()[1], 2.0f);
  EXPECT_TRUE(source->warnings().empty());
  // Links are how caches of models are built.
  fs::rename(dir_ / "two.safetensors", dir_ / "blob");
  fs::create_symlink("blob", dir_ / "two.safetensors");
  EXPECT_TRUE(OpenModel(dir_.path())->Has("b"));
}

// Names of shards that lead out of the folder are refused before anything is opened.
TEST_F(OpenModelTest, ShardsAreBasenames) {
  PutShard("one.safetensors", {"a"});
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "a/../b", "a\\\\b", "", ".", "..",
                           "x\\u0000y", "one.safetensors\\n", "\\u00e9"}) {
    PutIndex(std::string("{\"a\":\"") + name + "\"}");
    EXPECT_TRUE(Rejects("must be a file name of letters")) << name;
  }
  PutIndex("{\"a\":\"" + std::string(256, 'x') + "\"}");
  EXPECT_TRUE(Rejects("must be a file name"));
}

TEST_F(OpenModelTest, IndexAndShardsMustAgree) {
  PutShard("one.safetensors", {"a", "extra"});
  PutShard("two.safetensors", {"b"});
  PutIndex("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}", "17");
  const auto source = OpenModel(dir_.path());
  ASSERT_EQ(source->warnings().size(), 2u);
  EXPECT_NE(source->warnings()[0].find("\"extra\""), std::string::npos);
  EXPECT_NE(source->warnings()[1].find("total_size is 17"), std::string::npos);
  EXPECT_FALSE(source->Has("extra"));
  PutShard("two.safetensors", {"a", "b"});
  EXPECT_TRUE(Rejects("tensor \"a\" is assigned to one.safetensors and also in two.safetensors"));
  PutIndex("{\"a\":1}");
  EXPECT_TRUE(Rejects("must be a string"));
  PutIndex("[]");
  EXPECT_TRUE(Rejects("weight_map must be an object"));
  PutIndex("{}");
  EXPECT_TRUE(Rejects("weight_map is empty"));
  PutFile(dir_ / "model.safetensors.index.json", "[]");
  EXPECT_TRUE(Rejects("weight_map must be an object"));
  PutIndex("{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}");
  EXPECT_TRUE(Rejects("duplicate key"));
}

// Whether anybody needs them is for who reads the model to say.
TEST_F(OpenModelTest, TensorsOfTheIndexThatAreNotThere) {
  using Lines = std::vector<std::string>;
  PutShard("one.safetensors", {"a"});
  PutShard("two.safetensors", {"b"});
  PutIndex(R"({"a":"one.safetensors","b":"three.safetensors","c":"three.safetensors"})");
  auto source = OpenModel(dir_.path());
  EXPECT_TRUE(source->Has("a"));
  EXPECT_FALSE(source->Has("b"));
  EXPECT_EQ(source->incomplete(), (Lines{"the shard three.safetensors is missing"}));
  EXPECT_NE(source->warnings().at(0).find("three.safetensors is missing, with \"b\" and 1 more"),
            std::string::npos);
  PutIndex(R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})");
  source = OpenModel(dir_.path());
  EXPECT_EQ(source->ReadFloat("b").data<float>()[1], 2.0f);
  EXPECT_EQ(source->incomplete(), (Lines{"two.safetensors lacks \"c\""}));
  EXPECT_EQ(
      RenameTensors(std::move(source),
                    [](std::string_view name) { return std::optional("x" + std::string(name)); })
          ->incomplete()
          .size(),
      1u);
  PutIndex(R"({"a":"none.safetensors","b":"three.safetensors"})");
  EXPECT_TRUE(Rejects("the shard none.safetensors is missing, and so are the others"));
  PutFile(dir_ / "two.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  PutIndex(R"({"a":"one.safetensors","b":"two.safetensors"})");
  EXPECT_TRUE(Rejects("git-LFS pointer"));
  PutFile(dir_ / "model.safetensors.index.json", "<!DOCTYPE html>");
  EXPECT_TRUE(Rejects("this is a web page"));
}

// What an index asks for is bounded by the index, whatever the shards hold.
TEST_F(OpenModelTest, OneFileIsNotManyShards) {
  PutShard("one.safetensors", {"a", "b"});
  fs::create_symlink("one.safetensors", dir_ / "two.safetensors");
  PutIndex("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}");
  EXPECT_TRUE(Rejects("the shards one.safetensors and two.safetensors are one file"));
  fs::remove(dir_ / "two.safetensors");
  fs::create_hard_link(dir_ / "one.safetensors", dir_ / "two.safetensors");
  EXPECT_TRUE(Rejects("are one file under two names"));
}

TEST_F(OpenModelTest, ManyUnnamedTensorsAreOneWarning) {
  std::vector<std::string> names = {"a"};
  for (int i = 0; i < 12; ++i) names.push_back("x" + std::to_string(i));
  PutShard("one.safetensors", names);
  PutIndex("{\"a\":\"one.safetensors\"}", "8");
  const auto source = OpenModel(dir_.path());
  ASSERT_EQ(source->warnings().size(), 1u);
  EXPECT_NE(source->warnings()[0].find("12 tensors are not in weight_map: \"x0\" of"),
            std::string::npos)
      << source->warnings()[0];
  EXPECT_NE(source->warnings()[0].find(", ...; ignored"), std::string::npos);
  SetPolicy({.strict_weights = true});
  EXPECT_TRUE(Rejects("--strict takes no others"));
  SetPolicy({});
}

TEST_F(OpenModelTest, NeverFallsBack) {
  EXPECT_TRUE(Rejects("no weights", ErrorCode::kIo));
  EXPECT_TRUE(Throws([&] { OpenModel(dir_ / "none"); }, ErrorCode::kIo, "No such file"));
  PutFile(dir_ / "tf_model.h5", "x");
  EXPECT_TRUE(Rejects("its only weights are tf_model.h5"));
  PutFile(dir_ / "pytorch_model.bin", "x");
  EXPECT_TRUE(Rejects("pytorch_model.bin: byte 0: neither"));
  PutShard("one.safetensors", {"a"});
  PutIndex("{\"a\":\"one.safetensors\"}", "8");
  EXPECT_NO_THROW(OpenModel(dir_.path()));
  PutFile(dir_ / "model.safetensors", "x");
  EXPECT_TRUE(Rejects("model.safetensors: 1 bytes"));
  fs::remove(dir_ / "model.safetensors");
  fs::create_symlink("gone", dir_ / "model.safetensors");
  EXPECT_TRUE(Rejects("model.safetensors: cannot open", ErrorCode::kIo));
}

}  // namespace
}  // namespace longspan::io
