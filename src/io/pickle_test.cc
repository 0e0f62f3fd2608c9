#include "io/pickle.h"

#include "io/pytorch_test.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

using namespace pieces;  // NOLINT: the pieces of a pickle
using longspan::test::Throws;

testing::AssertionResult RejectsPickle(const std::string& bytes, std::string_view fragment,
                                       const PickleLimits& limits = {}) {
  return Throws([&] { ReadPickle(bytes, "x.bin", 100, limits); }, ErrorCode::kFormat, fragment);
}

TEST(PickleTest, ReadsATableOfTensors) {
  const std::string bytes =
      PTable({{"a", PTensor(PStorage("FloatStorage", "0", 6), 1, {2, 2}, {2, 1})}}) + "rest";
  const Pickle pickle = ReadPickle(bytes, "x.bin");
  EXPECT_EQ(pickle.end, bytes.size() - 4);
  const PickleValue& root = pickle.at(pickle.root);
  ASSERT_EQ(root.kind, PickleKind::kDict);
  ASSERT_EQ(root.items.size(), 2u);
  EXPECT_EQ(pickle.at(root.items[0]).text, "a");
  const PickleValue& tensor = pickle.at(root.items[1]);
  ASSERT_EQ(tensor.kind, PickleKind::kTensor);
  const PickleValue& storage = pickle.at(tensor.items[0]);
  EXPECT_EQ(StorageType(pickle.at(storage.items[0]), "x.bin"), DType::kF32);
  EXPECT_EQ(pickle.at(storage.items[1]).text, "0");
  EXPECT_EQ(pickle.at(storage.items[3]).number, 6);
  EXPECT_EQ(pickle.at(tensor.items[1]).number, 1);
  EXPECT_EQ(pickle.at(pickle.at(tensor.items[3]).items[0]).number, 2);
}

TEST(PickleTest, ReadsEveryConstant) {
  const std::string body =
      std::string("(N\x88\x89J\xfe\xff\xff\xffK\x80M\x00\x80\x8a\x01\xff\x8a\x00G", 20) +
      std::string(8, '\0') +
      "U\x02"
      "ab"
      "t";
  const std::string bytes = Program(body);
  const Pickle pickle = ReadPickle(bytes, "x.bin");
  std::vector<std::int64_t> numbers;
  for (const PickleRef ref : pickle.at(pickle.root).items) numbers.push_back(pickle.at(ref).number);
  EXPECT_EQ(numbers, (std::vector<std::int64_t>{0, 1, 0, -2, 128, 0x8000, -1, 0, 0, 0}));
  EXPECT_EQ(pickle.at(pickle.at(pickle.root).items.back()).text, "ab");
}

// Whatever is not on the list is refused by name, however it is asked for; nothing can be run.
TEST(PickleTest, RefusesEveryOtherGlobal) {
  const std::pair<const char*, const char*> names[] = {
      {"os", "system"},
      {"posix", "system"},
      {"nt", "system"},
      {"builtins", "eval"},
      {"builtins", "exec"},
      {"builtins", "getattr"},
      {"__builtin__", "eval"},
      {"subprocess", "Popen"},
      {"runpy", "_run_code"},
      {"importlib", "import_module"},
      {"pickle", "loads"},
      {"torch", "load"},
      {"torch.serialization", "load"},
      {"torch.hub", "load"},
      {"torch.jit", "load"},
      {"torch._utils", "_rebuild_tensor_v2.x"},
      {"torch._utils", "_import_dotted_name"},
      {"torch._utils._rebuild_tensor_v2", "__call__"},
      {"collections", "OrderedDict.fromkeys"},
      {"collections", "defaultdict"},
      {"numpy", "load"},
      {"numpy.core.multiarray", "_reconstruct"},
      {"operator", "attrgetter"},
      {"code", "interact"},
      {"pip", "main"},
      {"pdb", "run"},
      {"timeit", "timeit"},
      {"ctypes", "CDLL"},
      {"webbrowser", "open"},
      {"torch", "FloatStorag"},
      {"torch", "FloatStorage "},
      {"", ""}};
  for (const auto& [module, name] : names) {
    EXPECT_TRUE(RejectsPickle(Program(PGlobal(module, name) + PText("true") + "\x85R"),
                              std::string("global ") + module + "." + name + " not allowed"));
  }
  EXPECT_TRUE(RejectsPickle(Program(PGlobal("os\x1b[31m", "system")), "global os\\x1b[31m.system"));
  EXPECT_TRUE(RejectsPickle(Program(PGlobal("torch", "QInt8Storage")), "tensors of this kind"));
  EXPECT_TRUE(
      RejectsPickle(Program(PGlobal("torch._utils", "_rebuild_sparse_tensor")), "of this kind"));
}

TEST(PickleTest, RefusesOtherOperations) {
  for (int code = 0; code < 256; ++code) {
    constexpr std::string_view known = "NJKMGXU()]}taesuqrhjcRbQ.\x85\x86\x87\x88\x89\x8a";
    if (known.find(static_cast<char>(code)) != known.npos) continue;
    EXPECT_TRUE(
        RejectsPickle("\x80\x02" + std::string(1, static_cast<char>(code)) + std::string(300, 'x'),
                      "operation 0x"))
        << code;
  }
  for (const char protocol : {'\0', '\1', '\3', '\4', '\5'}) {
    EXPECT_TRUE(RejectsPickle(std::string("\x80") + protocol + "N.", "protocol 2"));
  }
  EXPECT_TRUE(RejectsPickle("N.", "protocol 2"));
}

// Operations on values of the wrong kind.
TEST(PickleTest, ChecksTypes) {
  EXPECT_TRUE(RejectsPickle(Program("](" + PText("a") + "Nu"), "no dict"));
  EXPECT_TRUE(RejectsPickle(Program("](" + PText("a") + "Nus"), "byte 1"));
  EXPECT_TRUE(RejectsPickle(Program("]" + PText("a") + "Ns"), "no dict"));
  EXPECT_TRUE(RejectsPickle(Program("}Na"), "no list"));
  EXPECT_TRUE(RejectsPickle(Program("}(" + PText("a") + "u"), "a key without a value"));
  EXPECT_TRUE(RejectsPickle(Program("}(NNu"), "no text"));
  EXPECT_TRUE(RejectsPickle(Program("}}b"), "no OrderedDict"));
  EXPECT_TRUE(RejectsPickle(Program(PDict() + "Nb"), "no OrderedDict"));
  EXPECT_TRUE(RejectsPickle(Program(PDict() + ")R"), "not on the list"));
  EXPECT_TRUE(RejectsPickle(Program(PGlobal("torch", "FloatStorage") + ")R"), "no function"));
  EXPECT_TRUE(RejectsPickle(Program("NQ"), "no storage"));
  EXPECT_TRUE(RejectsPickle(Program("(" + PText("module") + "NNNNtQ"), "no storage"));
  EXPECT_TRUE(RejectsPickle(Program("(" + PText("storage") + "NNNNtQ"), "without type"));
  EXPECT_TRUE(RejectsPickle(Program(PGlobal("torch._utils", "_rebuild_tensor_v2") + ")R"),
                            "other arguments"));
  EXPECT_TRUE(RejectsPickle(Program(PGlobal("torch._utils", "_rebuild_parameter") + "N\x85R"),
                            "other arguments"));
  EXPECT_TRUE(
      RejectsPickle(Program(PGlobal("collections", "OrderedDict") + "N\x85R"), "than pairs"));
}

// Empty stacks, unknown places of the memo, operands that are cut off, texts that are no UTF-8.
TEST(PickleTest, ChecksTheMachine) {
  EXPECT_TRUE(RejectsPickle(Program("h\x05"), "not remembered"));
  EXPECT_NO_THROW(ReadPickle(Program("Nr\xff\xff\xff\xff"), "x.bin"));
  EXPECT_TRUE(RejectsPickle(Program("\x85"), "not there"));
  EXPECT_TRUE(RejectsPickle(Program("t"), "a mark that is not there"));
  EXPECT_TRUE(RejectsPickle(Program("N(\x85"), "not there"));
  EXPECT_TRUE(RejectsPickle(Program("(N"), "one value"));
  EXPECT_TRUE(RejectsPickle(Program("NN"), "one value"));
  EXPECT_TRUE(RejectsPickle(Program(""), "one value"));
  EXPECT_TRUE(RejectsPickle("\x80\x02N", "cut off"));
  EXPECT_TRUE(RejectsPickle(Program("X\xff\xff\xff\xff"), "cut off"));
  EXPECT_TRUE(RejectsPickle(Program("\x8a\xff" + std::string(255, 'x')), "more than 8 bytes"));
  EXPECT_TRUE(RejectsPickle(Program("ctorch"), "cut off"));
  for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    EXPECT_TRUE(RejectsPickle(Program(PText(bad)), "not UTF-8"));
  }
  const std::string whole =
      PTable({{"\xc3\xa9", PTensor(PStorage("FloatStorage", "0", 6), 1, {2, 2}, {2, 1})}});
  EXPECT_NO_THROW(ReadPickle(whole, "x.bin"));
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_TRUE(RejectsPickle(whole.substr(0, n), ""));
}

// Shared and cyclic values, deep nesting, many operations: bounded in number, freed without
// recursion.
TEST(PickleTest, IsBounded) {
  // Ten lists of ten references each, ten deep: shared, never unfolded.
  std::string laughs = "]q\x01";
  for (int depth = 0; depth < 10; ++depth) {
    laughs += "](";
    for (int i = 0; i < 10; ++i) laughs += "h\x01";
    laughs += "eq\x01";
  }
  EXPECT_TRUE(RejectsPickle(Program(laughs), "one value"));
  // A million nested tuples, and a list that contains itself: gone without recursion.
  EXPECT_NO_THROW(ReadPickle(Program(")" + std::string(900'000, '\x85')), "x.bin"));
  EXPECT_NO_THROW(ReadPickle(Program("]q\x01h\x01"
                                     "a"),
                             "x.bin"));
  EXPECT_TRUE(RejectsPickle(Program(")" + std::string(1'000'000, '\x85')), "too many operations"));
  EXPECT_TRUE(RejectsPickle(Program(std::string(20'000, 'N')), "too deep"));
  EXPECT_TRUE(RejectsPickle(Program(std::string(20'000, '(')), "too deep"));
  PickleLimits few;
  few.memo = 1;
  EXPECT_TRUE(RejectsPickle(Program("Nq\x01q\x02"), "too many values", few));
  EXPECT_NO_THROW(ReadPickle(Program("Nq\x01q\x01"), "x.bin", 0, few));
  // One list of pairs, handed to OrderedDict again and again.
  std::string pairs = "](";
  for (int i = 0; i < 3000; ++i) pairs += PText("a") + "N\x86";
  pairs += "e\x85q\x01" + PGlobal("collections", "OrderedDict") + "q\x02";
  std::string calls = "](";
  for (int i = 0; i < 5000; ++i) calls += "h\x02h\x01R";
  EXPECT_TRUE(RejectsPickle(Program(pairs + calls + "e"), "too many operations"));
}

}  // namespace
}  // namespace longspan::io
