#include <cstring>

#include "io/safetensors.h"
#include "io/shard_index.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

constexpr float kValues[8] = {0, 1, 2, 3, 4, 5, 6, 7};

TensorEntry ShardEntry(const std::string& name, idx_t elements) {
  return {name, DType::kF32, {elements}, kValues};
}

TEST(ShardsTest, OneFileWhenItFits) {
  TempDir dir;
  const ShardedWrite written = WriteModel(dir.path(), {ShardEntry("b", 2), ShardEntry("a", 4)}, 24);
  EXPECT_EQ(written.shards, 1u);
  EXPECT_EQ(written.bytes, 24u);
  EXPECT_EQ(Listing(dir.path()), "model.safetensors");
  EXPECT_EQ(OpenModel(dir.path())->metadata().at("format"), "pt");
}

TEST(ShardsTest, FillsShardsByName) {
  TempDir dir;
  // 8 + 16, then 32 alone though it is above the limit, then 4 + 20.
  const std::vector<TensorEntry> entries = {ShardEntry("e", 5), ShardEntry("a", 2),
                                            ShardEntry("c", 8), ShardEntry("b", 4),
                                            ShardEntry("d", 1)};
  EXPECT_EQ(WriteModel(dir.path(), entries, 24).shards, 3u);
  EXPECT_EQ(Listing(dir.path()),
            "model-00001-of-00003.safetensors model-00002-of-00003.safetensors "
            "model-00003-of-00003.safetensors model.safetensors.index.json");
  const auto source = OpenModel(dir.path());
  EXPECT_TRUE(source->warnings().empty());
  ASSERT_EQ(source->tensors().size(), 5u);
  for (const TensorEntry& entry : entries) {
    const Tensor read = source->Read(entry.name);
    EXPECT_EQ(read.shape(), entry.shape);
    EXPECT_EQ(std::memcmp(read.raw(), kValues, read.bytes()), 0);
  }
  const ShardIndex index = ParseShardIndex(GetFile(dir / "model.safetensors.index.json"), "index");
  EXPECT_EQ(index.total_bytes, 80.0);
  EXPECT_EQ(index.shard_of.at("c"), "model-00002-of-00003.safetensors");
  EXPECT_EQ(index.shard_of.at("d"), "model-00003-of-00003.safetensors");
  // The same bytes again, whatever the order.
  TempDir again;
  WriteModel(again.path(), {entries.rbegin(), entries.rend()}, 24);
  for (const auto& file : fs::directory_iterator(dir.path())) {
    EXPECT_EQ(GetFile(file.path()), GetFile(again.path() / file.path().filename()));
  }
}

TEST(ShardsTest, LoadsShardByShard) {
  TempDir dir;
  std::vector<TensorEntry> entries = {ShardEntry("a", 2), ShardEntry("b", 2), ShardEntry("c", 2)};
  for (TensorEntry& entry : entries) entry.data = nullptr;
  std::string calls;
  WriteModel(dir.path(), entries, 16, [&](std::span<TensorEntry> shard) {
    for (TensorEntry& entry : shard) {
      calls += entry.name;
      entry.data = kValues + 1;
    }
    calls += ";";
  });
  EXPECT_EQ(calls, "ab;c;");
  EXPECT_EQ(OpenModel(dir.path())->ReadFloat("c").data<float>()[1], 2.0f);
}

TEST(ShardsTest, RefusesWhatCannotBeReadBack) {
  TempDir dir;
  const auto write = [&](std::vector<TensorEntry> entries, std::uint64_t most) {
    return [=, &dir] { WriteModel(dir.path(), entries, most); };
  };
  EXPECT_TRUE(Throws(write({ShardEntry("a", 2)}, 0), ErrorCode::kUsage, "0 bytes"));
  EXPECT_TRUE(
      Throws(write({ShardEntry("a", 2), ShardEntry("a", 2)}, 1), ErrorCode::kUsage, "two tensors"));
  std::vector<TensorEntry> many;
  for (int i = 0; i < 4097; ++i) many.push_back(ShardEntry(std::to_string(i), 1));
  EXPECT_TRUE(Throws(write(many, 4), ErrorCode::kUsage, "4097 shards"));
  EXPECT_EQ(Listing(dir.path()), "");
  PutFile(dir / "model.safetensors", "x");
  EXPECT_TRUE(
      Throws(write({ShardEntry("a", 2), ShardEntry("b", 2)}, 8), ErrorCode::kUsage, "would hide"));
}

TEST(ShardsTest, AnIndexReadsWhatItWrites) {
  const std::map<std::string, std::string, std::less<>> shard_of = {{"a\"", "x"}, {"b", "y.z"}};
  const ShardIndex index = ParseShardIndex(ShardIndexText(shard_of, 7, 3), "index");
  EXPECT_EQ(index.shard_of, shard_of);
  EXPECT_EQ(index.total_bytes, 7.0);
  EXPECT_FALSE(ParseShardIndex("{\"weight_map\":{\"a\":\"b\"}}", "index").total_bytes);
}

}  // namespace
}  // namespace longspan::io
