#include "io/pytorch_file.h"

#include <cstring>

#include "io/pytorch_test.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

using namespace pieces;  // NOLINT: the pieces of a file
using longspan::test::GetFile;
using longspan::test::PutFile;
using longspan::test::TempDir;
using longspan::test::Throws;

PytorchFile Parse(const std::string& bytes) {
  return PytorchFile::Parse(std::make_unique<MemorySource>(bytes, "x.bin"));
}
testing::AssertionResult RejectsFile(const std::string& bytes, std::string_view fragment) {
  return Throws([&] { Parse(bytes); }, ErrorCode::kFormat, fragment);
}
std::string Archive(const std::string& table, const std::string& data) {
  return Zip({{"m/data.pkl", table}, {"m/byteorder", "little"}, {"m/data/0", data}});
}
// One tensor "a" over six floats 0 to 5.
std::string OneTensor(std::int64_t offset, const std::vector<std::int64_t>& shape,
                      const std::vector<std::int64_t>& stride, std::int64_t elements = 6) {
  return Archive(
      PTable({{"a", PTensor(PStorage("FloatStorage", "0", elements), offset, shape, stride)}}),
      Floats({0, 1, 2, 3, 4, 5}));
}
std::vector<float> Values(const TensorSource& source, std::string_view name) {
  const Tensor tensor = source.ReadFloat(name);
  return {tensor.data<float>(), tensor.data<float>() + tensor.size()};
}

// The same model in three forms: the same bits.
TEST(PytorchFileTest, FormsAgreeBitForBit) {
  const auto shards = OpenModel(test::kGolden / "format-safetensors-sharded");
  ASSERT_EQ(shards->tensors().size(), 54u);
  for (const char* form : {"format-bin-zip", "format-bin-legacy"}) {
    const auto bin = OpenModel(test::kGolden / form);
    // The two tied names of the head are in the .bin files only.
    EXPECT_EQ(bin->tensors().size(), 56u);
    EXPECT_TRUE(bin->warnings().empty());
    for (const auto& [name, info] : shards->tensors()) {
      ASSERT_TRUE(bin->Has(name)) << name;
      const Tensor a = shards->Read(name), b = bin->Read(name);
      ASSERT_EQ(a.shape(), b.shape()) << name;
      ASSERT_EQ(a.dtype(), b.dtype()) << name;
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
    }
    EXPECT_EQ(bin->Info("lm_head.decoder.weight").begin,
              bin->Info("longformer.embeddings.word_embeddings.weight").begin);
  }
}

TEST(PytorchFileTest, ReadsViewsInOrder) {
  EXPECT_EQ(Values(Parse(OneTensor(0, {2, 3}, {3, 1})), "a"),
            (std::vector<float>{0, 1, 2, 3, 4, 5}));
  const std::string transposed = OneTensor(0, {3, 2}, {1, 3});
  EXPECT_EQ(Values(Parse(transposed), "a"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(Values(Parse(OneTensor(1, {2, 2}, {3, 1})), "a"), (std::vector<float>{1, 2, 4, 5}));
  EXPECT_EQ(Values(Parse(OneTensor(1, {2, 2, 1}, {1, 2, 77})), "a"),
            (std::vector<float>{1, 3, 2, 4}));
  EXPECT_EQ(Values(Parse(OneTensor(2, {2, 2}, {0, 1})), "a"), (std::vector<float>{2, 3, 2, 3}));
  EXPECT_EQ(Values(Parse(OneTensor(4, {}, {})), "a"), (std::vector<float>{4}));
  EXPECT_EQ(Values(Parse(OneTensor(6, {0, 5}, {5, 1})), "a"), (std::vector<float>{}));
  // Two views in turn, piece by piece.
  const std::string storage = PStorage("FloatStorage", "0", 6);
  const std::string two = Archive(PTable({{"a", PTensor(storage, 0, {3, 2}, {1, 3})},
                                          {"b", PTensor(storage, 2, {2, 2}, {1, 2})}}),
                                  Floats({0, 1, 2, 3, 4, 5}));
  const PytorchFile file = Parse(two);
  EXPECT_EQ(Values(file, "a"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(Values(file, "b"), (std::vector<float>{2, 4, 3, 5}));
  EXPECT_EQ(Values(file, "a"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
}

TEST(PytorchFileTest, ReadsEveryType) {
  const std::tuple<const char*, DType, std::string> types[] = {
      {"DoubleStorage", DType::kF64, std::string("\0\0\0\0\0\0\x04\x40", 8)},
      {"HalfStorage", DType::kF16, std::string("\x00\x41", 2)},
      {"BFloat16Storage", DType::kBF16, std::string("\x20\x40", 2)},
      {"LongStorage", DType::kI64, Little(2, 8)},
      {"IntStorage", DType::kI32, Little(2, 4)},
      {"ShortStorage", DType::kI16, Little(2, 2)},
      {"CharStorage", DType::kI8, Little(2, 1)},
      {"ByteStorage", DType::kU8, Little(2, 1)},
      {"BoolStorage", DType::kBool, Little(1, 1)}};
  for (const auto& [storage, dtype, data] : types) {
    const std::string table = PTable({{"a", PTensor(PStorage(storage, "0", 1), 0, {1}, {1})}});
    const PytorchFile file = Parse(Archive(table, data));
    EXPECT_EQ(file.Info("a").dtype, dtype);
    EXPECT_EQ(Values(file, "a")[0], dtype == DType::kBool ? 1.0f
                                    : data.size() == 2 || dtype == DType::kF64
                                        ? (dtype == DType::kI16 ? 2.0f : 2.5f)
                                        : 2.0f)
        << storage;
  }
}

// A parameter instead of a tensor, and the attributes that a state_dict carries.
TEST(PytorchFileTest, ReadsParametersAndMetadata) {
  const std::string tensor = PTensor(PStorage("FloatStorage", "0", 6), 0, {6}, {1});
  const std::string parameter =
      PGlobal("torch._utils", "_rebuild_parameter") + "(" + tensor + "\x88" + PDict() + "tR";
  const std::string table =
      Program(PDict() + "(" + PText("a") + parameter + "u}(" + PText("_metadata") + PDict() + "ub");
  EXPECT_EQ(Values(Parse(Archive(table, Floats({0, 1, 2, 3, 4, 5}))), "a")[5], 5.0f);
}

// A tensor that was saved from a GPU, or from what no machine has.
TEST(PytorchFileTest, DevicesAreNotLookedAt) {
  const std::string table = PTable({{"a", PTensor(PStorage("FloatStorage", "0", 6), 0, {6}, {1})}});
  const std::string here = PText("cpu");
  for (const char* device : {"cuda:0", "meta", "", "../x"}) {
    std::string other = table;
    other.replace(other.find(here), here.size(), PText(device));
    EXPECT_EQ(Values(Parse(Archive(other, Floats({0, 1, 2, 3, 4, 5}))), "a")[5], 5.0f) << device;
  }
}

// Offset, shape and strides are compared with the storage, without overflow.
TEST(PytorchFileTest, TensorsLieInTheirStorage) {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_NO_THROW(Parse(OneTensor(0, {6}, {1})));
  EXPECT_TRUE(RejectsFile(OneTensor(1, {6}, {1}), "not inside its storage of 6 elements"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {2, 3}, {4, 1}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(-1, {2}, {1}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(most, {2}, {1}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {2}, {most}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {most, most}, {0, 0}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {1000}, {0}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(7, {0}, {1}), "not inside"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {-1}, {1}), "no integer from 0"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {2}, {-1}), "no integer from 0"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {2, 3}, {1}), "2 extents and 1 strides"));
  const std::vector<std::int64_t> ones(17, 1);
  EXPECT_TRUE(RejectsFile(OneTensor(0, ones, ones), "more than 16 axes"));
}

// A storage has one type and one length, that of its record.
TEST(PytorchFileTest, StoragesAreWhatTheRecordsHold) {
  EXPECT_TRUE(RejectsFile(OneTensor(0, {5}, {1}, 5), "has 24 bytes, 5 elements of F32 need 20"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {5}, {1}, -1), "its storage has -1 elements"));
  EXPECT_TRUE(RejectsFile(OneTensor(0, {5}, {1}, std::int64_t{1} << 62), "elements"));
  const auto two = [](const std::string& first, const std::string& second) {
    return Archive(
        PTable({{"a", PTensor(first, 0, {1}, {1})}, {"b", PTensor(second, 0, {1}, {1})}}),
        Floats({1}));
  };
  const std::string floats = PStorage("FloatStorage", "0", 1);
  EXPECT_NO_THROW(Parse(two(floats, floats)));
  EXPECT_TRUE(RejectsFile(two(floats, PStorage("IntStorage", "0", 1)), "two types or lengths"));
  EXPECT_TRUE(RejectsFile(two(floats, PStorage("FloatStorage", "0", 2)), "two types or lengths"));
  EXPECT_TRUE(RejectsFile(two(floats, PStorage("FloatStorage", "7", 1)), "no record data/7"));
  EXPECT_TRUE(RejectsFile(two(floats, PStorage("FloatStorage", "../data.pkl", 1)), "no record"));
}

TEST(PytorchFileTest, OnlyTablesOfTensors) {
  EXPECT_TRUE(RejectsFile(Archive(Program("]"), ""), "holds a list, not a table of tensors"));
  EXPECT_TRUE(RejectsFile(Archive(PTable({{"epoch", PInt(3)}}), ""), "\"epoch\" is an integer"));
  EXPECT_TRUE(RejectsFile(Archive(PTable({{"model", PDict()}}), ""), "\"model\" is a dict"));
  const std::string tensor = PTensor(PStorage("FloatStorage", "0", 1), 0, {1}, {1});
  EXPECT_TRUE(
      RejectsFile(Archive(PTable({{"a", tensor}, {"a", tensor}}), Floats({1})), "occurs twice"));
  EXPECT_TRUE(RejectsFile(Archive(PTable({}) + "x", ""), "bytes behind the pickle"));
  EXPECT_TRUE(
      RejectsFile(Archive(PTable({{std::string(5000, 'n'), tensor}}), Floats({1})), "4096"));
}

// A view far wider than itself is read element by element, and means the same.
TEST(PytorchFileTest, SparseViews) {
  constexpr std::int64_t kCount = 40000;
  std::vector<float> values;
  for (std::int64_t i = 0; i < kCount; ++i) values.push_back(static_cast<float>(i));
  const std::string storage = PStorage("FloatStorage", "0", kCount);
  const auto read = [&](std::int64_t offset, const std::vector<std::int64_t>& shape,
                        const std::vector<std::int64_t>& stride) {
    return Values(
        Parse(Archive(PTable({{"a", PTensor(storage, offset, shape, stride)}}), Floats(values))),
        "a");
  };
  EXPECT_EQ(read(1, {2}, {kCount - 2}), (std::vector<float>{1, kCount - 1}));
  EXPECT_EQ(read(0, {2, 3}, {2, 15000}), (std::vector<float>{0, 15000, 30000, 2, 15002, 30002}));
  EXPECT_EQ(read(7, {3}, {100}), (std::vector<float>{7, 107, 207}));  // neighbours on a page
  EXPECT_EQ(read(7, {3}, {2}), (std::vector<float>{7, 9, 11}));       // dense
}

// Views cannot ask for more time or memory than a small multiple of what the file has.
TEST(PytorchFileTest, SharedStoragesAreBounded) {
  const std::string storage = PStorage("FloatStorage", "0", 8);
  const auto table = [&](int count, const std::string& tensor) {
    std::vector<std::pair<std::string, std::string>> entries;
    for (int i = 0; i < count; ++i) entries.emplace_back("t" + std::to_string(i), tensor);
    return Archive(PTable(entries), Floats({0, 1, 2, 3, 4, 5, 6, 7}));
  };
  const std::string whole = PTensor(storage, 0, {8}, {1});
  const std::string turned = PTensor(storage, 0, {2, 4}, {1, 2});
  EXPECT_NO_THROW(Parse(table(64, whole)));
  EXPECT_TRUE(
      RejectsFile(table(66, whole), "its tensors have 2112 bytes and stand on storages of 32"));
  EXPECT_NO_THROW(Parse(table(4, turned)));
  EXPECT_TRUE(
      RejectsFile(table(6, turned), "its views (transposed or strided tensors) have 192 bytes"));
}

// Files of other kinds are told by what they are.
TEST(PytorchFileTest, ArchivesOfOneKind) {
  const std::string table = PTable({});
  EXPECT_NO_THROW(Parse(Zip({{"m/data.pkl", table}})));
  EXPECT_TRUE(RejectsFile(Zip({{"m/data.pkl", table}, {"n/data.pkl", table}}), "one folder"));
  EXPECT_TRUE(RejectsFile(Zip({{"data.pkl", table}}), "one folder"));
  EXPECT_TRUE(RejectsFile(Zip({{"m/version", "3\n"}}), "no data.pkl"));
  EXPECT_TRUE(
      RejectsFile(Zip({{"m/data.pkl", table}, {"m/byteorder", "big"}}), "byteorder is \"big\""));
  EXPECT_TRUE(RejectsFile(Zip({{"m/data.pkl", table}, {"m/code/x.py", ""}}), "TorchScript"));
  EXPECT_TRUE(RejectsFile(Zip({{"m/data.pkl", table}, {"m/constants.pkl", ""}}), "TorchScript"));
  EXPECT_TRUE(RejectsFile("version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"));
  EXPECT_TRUE(RejectsFile("<!DOCTYPE html>", "web page"));
  EXPECT_TRUE(RejectsFile(std::string(257, 'x') + "ustar" + std::string(300, '\0'), "tar archive"));
  EXPECT_TRUE(RejectsFile("7z\xbc\xaf\x27\x1c", "7z"));
  EXPECT_TRUE(RejectsFile("\x80\x04N.", "pickle of another kind"));
  EXPECT_TRUE(RejectsFile("", "neither"));
}

TEST(PytorchFileTest, FindsDamageWhenItReads) {
  std::string bytes = OneTensor(0, {6}, {1});
  bytes[bytes.find(Floats({5}))] ^= 1;
  const PytorchFile file = Parse(bytes);
  EXPECT_TRUE(Throws([&] { file.ReadFloat("a"); }, ErrorCode::kFormat, "\"m/data/0\" is damaged"));
  EXPECT_TRUE(Throws([&] { file.ReadFloat("a"); }, ErrorCode::kFormat, "damaged"));
  EXPECT_TRUE(RejectsFile(Zip({{"m/data.pkl", PTable({}), 0, 0, "", 1}}), "damaged"));
}

TEST(PytorchFileTest, ReadsTheLegacyStream) {
  // Two views of one storage, as PyTorch below 1.6 names them.
  const auto view = [](std::int64_t offset, std::int64_t length) {
    return PStorage("FloatStorage", "7", 6, "(" + PText("v") + PInt(offset) + PInt(length) + "t");
  };
  const std::string whole = PStorage("FloatStorage", "7", 6, "N");
  const auto stream = [&](const std::string& storage) {
    return Legacy(PTable({{"a", PTensor(storage, 1, {2}, {1})}}),
                  {{"7", Floats({0, 1, 2, 3, 4, 5})}});
  };
  EXPECT_EQ(Values(Parse(stream(whole)), "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(Values(Parse(stream(view(2, 3))), "a"), (std::vector<float>{3, 4}));
  EXPECT_TRUE(RejectsFile(stream(view(2, 2)), "not inside its storage of 2 elements"));
  EXPECT_TRUE(RejectsFile(stream(view(2, 5)), "view of 5 from 2 is not inside 6"));
  EXPECT_TRUE(RejectsFile(stream(view(-1, 3)), "is not inside 6"));
  EXPECT_TRUE(RejectsFile(stream(PStorage("FloatStorage", "7", 6, ")")), "no offset and length"));
}

TEST(PytorchFileTest, ChecksTheLegacyStream) {
  const std::string table =
      PTable({{"a", PTensor(PStorage("FloatStorage", "7", 1, "N"), 0, {1}, {1})}});
  const std::string good = Legacy(table, {{"7", Floats({3})}});
  EXPECT_EQ(Values(Parse(good), "a"), (std::vector<float>{3}));
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_TRUE(RejectsFile(good.substr(0, n), "")) << n;
  EXPECT_TRUE(RejectsFile(good + "x", "1 bytes behind the last storage"));
  EXPECT_TRUE(
      RejectsFile(Legacy(table, {{"7", Floats({3, 4})}}), "has 2 elements, 1 are announced"));
  EXPECT_TRUE(RejectsFile(Legacy(table, {}), "1 storages are announced, 0 are there"));
  EXPECT_TRUE(RejectsFile(Legacy(table, {{"7", Floats({3})}, {"7", Floats({3})}}), "occurs twice"));
  EXPECT_TRUE(RejectsFile(Legacy(table, {{"7", Floats({3})}, {"8", ""}}), "belongs to no tensor"));
  EXPECT_TRUE(RejectsFile(Legacy(table, {{"7", Floats({3})}}, 4, "\x89"), "big-endian"));
  std::string other = good;
  other.replace(good.find(Little(1001, 8)), 8, Little(1002, 8));
  EXPECT_TRUE(RejectsFile(other, "another protocol"));
}

// The folder's forms in their order; a damaged one is an error, the next one is not tried.
TEST(PytorchFileTest, ModelsOpenByTheirForm) {
  TempDir dir;
  const std::string bin = OneTensor(0, {6}, {1});
  PutFile(dir / "shard.bin", bin);
  PutFile(dir / "pytorch_model.bin.index.json", "{\"weight_map\":{\"a\":\"shard.bin\"}}");
  EXPECT_EQ(Values(*OpenModel(dir.path()), "a")[5], 5.0f);
  EXPECT_EQ(Values(*OpenModel(dir / "shard.bin"), "a")[5], 5.0f);
  PutFile(dir / "pytorch_model.bin", bin.substr(0, 100));
  EXPECT_TRUE(Throws([&] { OpenModel(dir.path()); }, ErrorCode::kFormat, "pytorch_model.bin"));
  PutFile(dir / "pytorch_model.bin", bin);
  EXPECT_TRUE(OpenModel(dir.path())->Has("a"));
  PutFile(dir / "model.safetensors", "damaged");
  EXPECT_TRUE(Throws([&] { OpenModel(dir.path()); }, ErrorCode::kFormat, "model.safetensors"));
}

}  // namespace
}  // namespace longspan::io
