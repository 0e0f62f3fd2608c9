#include "io/safetensors.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

#include "base/rng.h"
#include "tests/support/entries.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::PutFile;
using test::TempDir;
using test::Throws;

std::string Length(std::uint64_t value) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> 8 * i);
  return bytes;
}
std::string Compose(const std::string& header, const std::string& data = "") {
  return Length(header.size()) + header + data;
}
std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

class Safetensors : public testing::Test {
 protected:
  fs::path Put(const std::string& bytes) { return PutFile(dir_ / "x.safetensors", bytes); }
  testing::AssertionResult Rejects(const std::string& bytes, std::string_view fragment) {
    const fs::path path = Put(bytes);
    return Throws([&] { SafetensorsFile::Open(path); }, ErrorCode::kFormat, fragment);
  }
  testing::AssertionResult RejectsHeader(const std::string& header, std::string_view fragment,
                                         std::size_t data = 0) {
    return Rejects(Compose(header, std::string(data, 'd')), fragment);
  }
  SafetensorsFile Open(const std::string& bytes) { return SafetensorsFile::Open(Put(bytes)); }

  TempDir dir_;
};

std::string TwoTensors() {
  std::string data;
  for (const float value : {1.0f, -2.5f, 3.0f, 4.0f, 5.0f, 6.0f}) {
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return Compose(
      "{" + Entry("a", "F32", "[2,2]", "[0,16]") + "," + Entry("b", "F32", "[2]", "[16,24]") + "}",
      data);
}

// The parser copies a number and a string several times: both are bounded before it runs.
TEST_F(Safetensors, LongTokensAreRefusedBeforeTheyAreParsed) {
  const auto with_extent = [](const std::string& digits) {
    return "{" + Entry("a", "U8", "[" + digits + "]", "[0,1]") + "}";
  };
  EXPECT_TRUE(RejectsHeader(with_extent(std::string(100'000, '1')),
                            "byte 36: a number of 100000 digits, at most 64 are read", 1));
  EXPECT_TRUE(
      RejectsHeader("{\"__metadata__\":{\"k\":\"" + std::string((16u << 20) + 1, 'x') + "\"}}",
                    "a string of 16777217 bytes, at most 16777216 are read"));
  // Numbers and braces inside of strings are text, whatever stands before the quotation mark.
  EXPECT_TRUE(Open(Compose("{\"__metadata__\":{\"k\":\"\\\"" + std::string(100, '1') +
                               "{{{{\\\\\"}," + Entry("a", "U8", "[1]", "[0,1]") + "}",
                           "d"))
                  .Has("a"));
}

TEST_F(Safetensors, ReadsTwoTensors) {
  const SafetensorsFile file = Open(TwoTensors());
  ASSERT_EQ(file.tensors().size(), 2u);
  const Tensor a = file.Read("a");
  EXPECT_EQ(a.shape(), (std::vector<idx_t>{2, 2}));
  EXPECT_EQ(a.data<float>()[1], -2.5f);
  std::vector<float> b(2);
  file.ReadFloatInto("b", b);
  EXPECT_EQ(b, (std::vector<float>{5.0f, 6.0f}));
  EXPECT_TRUE(file.Has("a"));
  EXPECT_FALSE(file.Has("c"));
  EXPECT_TRUE(Throws([&] { file.Read("c\n"); }, ErrorCode::kFormat, "no tensor \"c\\n\""));
  std::vector<float> three(3);
  EXPECT_TRUE(Throws([&] { file.ReadFloatInto("b", three); }, ErrorCode::kFormat,
                     "tensor \"b\" of shape (2) has 2 values, 3 expected"));
}

// A tensor that is never in one place: it is written, and read, in parts.
TEST_F(Safetensors, PartsAreWrittenAndReadAsTheWhole) {
  const std::vector<float> values = {1.0f, -2.5f, 3.0f, 4.0f, 5.0f, 6.0f};
  const TensorEntry whole = {"x", DType::kF32, {2, 3}, values.data()};
  TensorEntry parts = {"x", DType::kF32, {2, 3}};
  parts.write = [&](ByteSink& sink) {
    sink.Write(values.data(), 2 * sizeof(float));
    sink.Write(values.data() + 2, 4 * sizeof(float));
  };
  const fs::path one = dir_ / "one.safetensors", two = dir_ / "two.safetensors";
  WriteSafetensors(one, {&whole, 1});
  WriteSafetensors(two, {&parts, 1});
  EXPECT_EQ(GetFile(one), GetFile(two));
  const auto file = SafetensorsFile::Open(two);
  std::vector<float> read(3);
  file.ReadFloatPart("x", 6, 2, read);
  EXPECT_EQ(read, (std::vector<float>{3.0f, 4.0f, 5.0f}));
  for (const idx_t begin : {idx_t{-1}, idx_t{4}}) {
    EXPECT_TRUE(Throws([&] { file.ReadFloatPart("x", 6, begin, read); }, ErrorCode::kFormat,
                       "has 6 values"));
  }
  EXPECT_TRUE(Throws([&] { file.ReadFloatPart("x", 7, 0, read); }, ErrorCode::kFormat,
                     "has 6 values, 7 expected"));
}

TEST_F(Safetensors, RejectsEveryPrefix) {
  const std::string whole = TwoTensors();
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_TRUE(Rejects(whole.substr(0, n), "")) << n;
}

// Lengths up to 2^64, beyond the file, and none: refused before anything is allocated.
TEST_F(Safetensors, BoundsTheHeaderLength) {
  for (const std::uint64_t n :
       {~std::uint64_t{0}, std::uint64_t{1} << 63, std::uint64_t{100'000'001}}) {
    EXPECT_TRUE(Rejects(Length(n) + "{}", "at most 100000000 are read")) << n;
  }
  EXPECT_TRUE(Rejects(Length(3) + "{}", "a header of 3 bytes in a file of 10"));
  EXPECT_TRUE(Rejects(Length(100'000'000) + "{}", "in a file of 10"));
  EXPECT_TRUE(Rejects(Length(0) + "{}", "empty header"));
}

// What is no UTF-8, no JSON, no object, has something behind it or is nested 100,000 deep.
TEST_F(Safetensors, RejectsBadHeaders) {
  EXPECT_TRUE(RejectsHeader("{\"\xff\":1}", "byte "));
  EXPECT_TRUE(RejectsHeader("hello", "byte 8"));
  EXPECT_TRUE(RejectsHeader("{} x", "byte 11"));
  EXPECT_TRUE(RejectsHeader("[]", "no object"));
  EXPECT_TRUE(RejectsHeader("1", "no object"));
  EXPECT_TRUE(RejectsHeader("\"x\"", "no object"));
  EXPECT_TRUE(RejectsHeader("null", "no object"));
  EXPECT_TRUE(RejectsHeader("\xef\xbb\xbf{}", "byte-order mark"));
  EXPECT_TRUE(RejectsHeader(std::string("{}\0\0", 4), "NUL"));
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":{\"k\":" + std::string(100'000, '['), "no string"));
  const std::string entry = Entry("a", "U8", "[0]", "[0,0]");
  const std::string deep = entry.substr(0, entry.size() - 1) + ",\"x\":";
  EXPECT_TRUE(RejectsHeader("{" + deep + std::string(100'000, '['), "nested deeper than 16"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"x\":";
  EXPECT_TRUE(RejectsHeader("{" + deep + objects, "nested deeper than 16"));
}

TEST_F(Safetensors, RejectsDuplicates) {
  const std::string a = Entry("a", "U8", "[0]", "[0,0]");
  EXPECT_TRUE(RejectsHeader("{" + a + "," + a + "}", "tensor \"a\": occurs twice"));
  EXPECT_TRUE(
      RejectsHeader("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[0],\"data_offsets\":[0,0]}}",
                    "shape occurs twice"));
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", "occurs twice"));
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":{},\"__metadata__\":{}}", "occurs twice"));
}

// Types that nobody knows and types that are not read have different messages.
TEST_F(Safetensors, ChecksTheFieldsOfATensor) {
  EXPECT_TRUE(RejectsHeader("{\"a\":{\"shape\":[0],\"data_offsets\":[0,0]}}", "dtype is missing"));
  EXPECT_TRUE(
      RejectsHeader("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", "shape is missing"));
  EXPECT_TRUE(RejectsHeader("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", "data_offsets is missing"));
  EXPECT_TRUE(RejectsHeader("{\"a\":7}", "no object"));
  EXPECT_TRUE(RejectsHeader("{\"a\":[]}", "no object"));
  EXPECT_TRUE(
      RejectsHeader("{" + Entry("a", "F33", "[0]", "[0,0]") + "}", "unknown dtype \"F33\""));
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "f32", "[0]", "[0,0]") + "}", "unknown dtype"));
  EXPECT_TRUE(
      RejectsHeader("{" + Entry("a", "F4", "[0]", "[0,0]") + "}", "unsupported dtype \"F4\""));
  EXPECT_TRUE(
      RejectsHeader("{" + Entry("a", "F8_E8M0", "[0]", "[0,0]") + "}", "unsupported dtype"));
  EXPECT_TRUE(RejectsHeader("{\"a\":{\"dtype\":7,\"shape\":[0],\"data_offsets\":[0,0]}}",
                            "dtype is a number"));
  // Unknown fields are nobody's business, whatever they hold.
  EXPECT_NO_THROW(Open(Compose(
      "{\"a\":{\"x\":{\"dtype\":[1,{\"shape\":null}],\"y\":1.5},\"dtype\":\"U8\",\"shape\":[0],"
      "\"z\":-1,\"data_offsets\":[0,0]}}")));
}

// Extents are integers whose product is a size; no axes and empty axes are fine.
TEST_F(Safetensors, ChecksShapes) {
  for (const char* shape : {"[-1]", "[2.0]", "[1e3]", "[\"2\"]", "[null]", "[18446744073709551616]",
                            "[9223372036854775808]", "[true]", "[[2]]", "[{}]", "2", "{}"}) {
    EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", shape, "[0,8]") + "}", "shape", 8)) << shape;
  }
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "U8", "[2,9223372036854775807]", "[0,8]") + "}",
                            "overflows", 8));
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[2,18446744073709551614]", "[0,8]") + "}",
                            "overflows", 8));
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[2,4611686018427387904]", "[0,8]") + "}",
                            "overflows", 8));
  std::string ones = "[1";
  for (int i = 1; i < 1'000'000; ++i) ones += ",1";
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "U8", ones + "]", "[0,1]") + "}", "16 axes", 1));
  const SafetensorsFile file = Open(Compose("{" + Entry("scalar", "U8", "[]", "[0,1]") + "," +
                                                Entry("none", "F32", "[3,0]", "[1,1]") + "}",
                                            "\x07"));
  EXPECT_EQ(file.Read("scalar").data<std::uint8_t>()[0], 7);
  EXPECT_EQ(file.ReadFloat("scalar").data<float>()[0], 7.0f);
  EXPECT_EQ(file.Read("none").size(), 0);
  EXPECT_EQ(file.ReadFloat("none").shape(), (std::vector<idx_t>{3, 0}));
  // A zero extent does not excuse the product of the others: nothing is allocated by it.
  EXPECT_NO_THROW(Open(Compose(
      "{" + Entry("a", "F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") + "}")));
}

// Backwards, of another length, overlapping, with a hole, with bytes behind, beyond the file.
TEST_F(Safetensors, ChecksOffsets) {
  for (const char* offsets :
       {"[8,0]", "[-1,8]", "[8]", "[]", "[0,8,8]", "[0,8.0]", "[0,null]", "8", "[0,[8]]"}) {
    EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[2]", offsets) + "}", "data_offsets", 8))
        << offsets;
  }
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[2]", "[0,4]") + "}", "span 4 bytes", 8));
  EXPECT_TRUE(RejectsHeader(
      "{" + Entry("a", "I32", "[2]", "[0,8]") + "," + Entry("b", "I32", "[2]", "[4,12]") + "}",
      "overlap at data byte 4", 12));
  EXPECT_TRUE(RejectsHeader(
      "{" + Entry("a", "I32", "[1]", "[0,4]") + "," + Entry("b", "I32", "[1]", "[8,12]") + "}",
      "a hole between tensors, data bytes 4 to 8", 12));
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[1]", "[4,8]") + "}", "a hole", 8));
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[2]", "[0,8]") + "}",
                            "1 bytes behind the last tensor", 9));
  EXPECT_TRUE(RejectsHeader("{}", "4 bytes behind", 4));
  EXPECT_TRUE(RejectsHeader("{" + Entry("a", "I32", "[2]", "[0,8]") + "}",
                            "end behind the 7 bytes of data", 7));
  EXPECT_NO_THROW(Open(Compose("{}")));
}

// A million tensors over the same 16 bytes.
TEST_F(Safetensors, SurvivesAbuseInTime) {
  const auto start = std::chrono::steady_clock::now();
  std::string header = "{";
  for (int i = 0; i < 1'000'001; ++i) {
    header +=
        "\"" + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]},";
  }
  header.back() = '}';
  EXPECT_TRUE(Throws([&] { ParseSafetensorsHeader(header, 16, "x"); }, ErrorCode::kFormat,
                     "1000000 tensors"));
  header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += Entry(std::to_string(i), "U8", "[16]", "[0,16]") + ",";
  }
  header.back() = '}';
  EXPECT_TRUE(
      Throws([&] { ParseSafetensorsHeader(header, 16, "x"); }, ErrorCode::kFormat, "overlap"));
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  RecordProperty("seconds", std::to_string(passed.count()));
}

// A tensor's name is a key and never a path.
TEST_F(Safetensors, ChecksMetadataAndNames) {
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":{\"k\":1}}", "metadata \"k\" is no string"));
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":{\"k\":{\"x\":\"y\"}}}", "no string"));
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":{\"k\":null}}", "no string"));
  EXPECT_TRUE(RejectsHeader("{\"__metadata__\":\"k\"}", "no object"));
  EXPECT_EQ(Open(Compose("{\"__metadata__\":{\"format\":\"pt\"}}")).metadata().at("format"), "pt");

  const auto named = [](const std::string& name) {
    return Compose("{" + Entry(name, "U8", "[1]", "[0,1]") + "}", "x");
  };
  EXPECT_TRUE(Open(named("../x")).Has("../x"));
  EXPECT_TRUE(Open(named("")).Has(""));
  EXPECT_TRUE(Open(named("a\\u0000b")).Has(std::string_view("a\0b", 3)));
  EXPECT_TRUE(Open(named(std::string(4096, 'n'))).Has(std::string(4096, 'n')));
  EXPECT_TRUE(Rejects(named(std::string(4097, 'n')), "longer than 4096"));
  EXPECT_TRUE(Rejects(named(std::string(1 << 20, 'n')), "longer than 4096"));
  EXPECT_TRUE(Rejects(named("\\ud800"), "surrogate"));
  EXPECT_TRUE(Rejects(Compose("{" + Entry("\\u001b[31m\\n", "F33", "[]", "[0,1]") + "}", "x"),
                      "\"\\x1b[31m\\n\""));
}

TEST_F(Safetensors, ReadsUnalignedData) {
  std::string data;
  for (const float value : {1.5f, -2.0f}) {
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  const std::string header = " \t\n{" + Entry("u", "U8", "[1]", "[0,1]") + "," +
                             Entry("d", "F64", "[1]", "[9,17]") + "," +
                             Entry("f", "F32", "[2]", "[1,9]") + "}";
  const double third = 1.0 / 3.0;
  data.append(reinterpret_cast<const char*>(&third), sizeof(third));
  for (std::size_t pad = 0; pad < 8; ++pad) {
    const SafetensorsFile file = Open(Compose(header + std::string(pad, ' '), "u" + data));
    EXPECT_EQ(file.ReadFloat("f").data<float>()[1], -2.0f);
    EXPECT_EQ(file.Read("d").data<double>()[0], third);
    EXPECT_EQ(file.ReadFloat("d").data<float>()[0], static_cast<float>(third));
  }
}

TEST_F(Safetensors, NoticesAFileThatShrinks) {
  const fs::path path = Put(TwoTensors());
  const SafetensorsFile file = SafetensorsFile::Open(path);
  fs::resize_file(path, TwoTensors().size() - 4);
  EXPECT_NO_THROW(file.Read("a"));
  EXPECT_TRUE(Throws([&] { file.Read("b"); }, ErrorCode::kIo, "somebody changed it"));
}

TEST_F(Safetensors, OpensRegularFilesOnly) {
  const auto refuses = [&](const fs::path& path, std::string_view fragment) {
    return Throws([&] { SafetensorsFile::Open(path); }, ErrorCode::kIo, fragment);
  };
  EXPECT_TRUE(refuses(dir_.path(), "not a regular file but a directory"));
  ASSERT_EQ(mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(refuses(dir_ / "fifo", "not a regular file but a FIFO"));
  EXPECT_TRUE(refuses("/dev/zero", "not a regular file but a device"));
  const int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (dir_ / "socket").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_TRUE(refuses(dir_ / "socket", "not a regular file but a socket"));
  close(descriptor);
  fs::create_symlink("loop", dir_ / "loop");
  EXPECT_TRUE(refuses(dir_ / "loop", "symbolic links"));
  EXPECT_TRUE(refuses(dir_ / "none\x1b", "none\\x1b: cannot open: No such file"));
}

TEST_F(Safetensors, SaysWhatItIsInstead) {
  EXPECT_TRUE(Rejects("version https://git-lfs.github.com/spec/v1\noid ", "git-LFS pointer"));
  EXPECT_TRUE(Rejects("<!DOCTYPE html><html>", "web page"));
  EXPECT_TRUE(Rejects(std::string("PK\x03\x04\x00\x00\x00\x08rest", 12), "zip archive"));
}

TEST_F(Safetensors, RefusesNonFiniteWeights) {
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {1.0f, NAN, inf, -inf};
  const std::uint16_t half[] = {0x3c00, 0x7c00, 0x7e00, 0x0001};
  const double wide[] = {1e39, -1e300, 3.4028234e38, 0.0};
  const TensorEntry entries[] = {{"f", DType::kF32, {4}, values},
                                 {"h", DType::kF16, {4}, half},
                                 {"w", DType::kF64, {4}, wide}};
  WriteSafetensors(dir_ / "n", entries);
  const SafetensorsFile file = SafetensorsFile::Open(dir_ / "n");
  EXPECT_TRUE(Throws([&] { file.ReadFloat("f"); }, ErrorCode::kFormat,
                     "tensor \"f\": 3 of 4 values are NaN or infinite"));
  EXPECT_TRUE(Throws([&] { file.ReadFloat("h"); }, ErrorCode::kFormat, "2 of 4"));
  EXPECT_TRUE(Throws([&] { file.ReadFloat("w"); }, ErrorCode::kFormat, "2 of 4"));
  const Tensor allowed = file.ReadFloat("f", NonFinite::kAllow);
  EXPECT_TRUE(std::isnan(allowed.data<float>()[1]));
  EXPECT_EQ(allowed.data<float>()[3], -inf);
}

// Every value of binary16 against the arithmetic of its definition.
TEST_F(Safetensors, ConvertsEveryHalf) {
  std::vector<std::uint16_t> half(65536);
  for (std::size_t i = 0; i < half.size(); ++i) half[i] = static_cast<std::uint16_t>(i);
  const TensorEntry entry{"h", DType::kF16, {65536}, half.data()};
  WriteSafetensors(dir_ / "h", {&entry, 1});
  const Tensor read = SafetensorsFile::Open(dir_ / "h").ReadFloat("h", NonFinite::kAllow);
  for (int i = 0; i < 65536; ++i) {
    const int exponent = (i >> 10) & 31, mantissa = i & 1023;
    const float actual = read.data<float>()[i];
    if (exponent == 31) {
      ASSERT_EQ(mantissa == 0 ? std::isinf(actual) : std::isnan(actual), true) << i;
    } else {
      const float magnitude =
          exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                        : std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25);
      ASSERT_EQ(actual, (i & 0x8000) != 0 ? -magnitude : magnitude) << i;
    }
    ASSERT_EQ(std::signbit(actual), (i & 0x8000) != 0) << i;
  }
}

// Random bits of every type come back as they went; those with a float meaning convert.
TEST_F(Safetensors, RoundTripsEveryType) {
  const DType types[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                         DType::kI32, DType::kI16, DType::kI8,  DType::kU8,   DType::kBool};
  std::vector<Tensor> tensors;
  std::vector<TensorEntry> entries;
  Rng rng(7);
  for (const DType type : types) {
    tensors.emplace_back(std::vector<idx_t>{3, 0 + 5, 7}, type);
    auto* bytes = static_cast<std::uint8_t*>(tensors.back().raw());
    for (std::size_t i = 0; i < tensors.back().bytes(); ++i) {
      bytes[i] = static_cast<std::uint8_t>(type == DType::kBool ? rng.Below(2) : rng.Below(256));
    }
  }
  for (const Tensor& tensor : tensors) {
    entries.push_back(test::EntryOf(std::string("t.") + DTypeName(tensor.dtype()), tensor));
  }
  WriteSafetensors(dir_ / "all", entries, {{"k\n", "\xc3\xa9\"\\"}});
  EXPECT_EQ(fs::file_size(dir_ / "all"), SafetensorsBytes(entries, {{"k\n", "\xc3\xa9\"\\"}}));
  const SafetensorsFile file = SafetensorsFile::Open(dir_ / "all");
  EXPECT_EQ(file.metadata().at("k\n"), "\xc3\xa9\"\\");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor read = file.Read(entries[i].name);
    EXPECT_EQ(read.dtype(), tensors[i].dtype());
    EXPECT_EQ(read.shape(), tensors[i].shape());
    EXPECT_EQ(std::memcmp(read.raw(), tensors[i].raw(), read.bytes()), 0) << entries[i].name;
    // Aligned to its element in the file: readers that map it rely on that.
    EXPECT_EQ(file.Info(entries[i].name).begin % ElementBytes(read.dtype()), 0u);
    const Tensor floats = file.ReadFloat(entries[i].name, NonFinite::kAllow);
    for (const idx_t at : {idx_t{0}, floats.size() - 1}) {
      const float value = floats.data<float>()[at];
      const auto* raw = static_cast<const char*>(tensors[i].raw()) +
                        at * static_cast<idx_t>(ElementBytes(read.dtype()));
      const auto expect = [&]<class T>(T typed) {
        std::memcpy(&typed, raw, sizeof(typed));
        EXPECT_EQ(value, static_cast<float>(typed)) << entries[i].name;
      };
      switch (read.dtype()) {
        case DType::kI64:
          expect(std::int64_t{});
          break;
        case DType::kI32:
          expect(std::int32_t{});
          break;
        case DType::kI16:
          expect(std::int16_t{});
          break;
        case DType::kI8:
          expect(std::int8_t{});
          break;
        case DType::kU8:
        case DType::kBool:
          expect(std::uint8_t{});
          break;
        case DType::kBF16: {
          std::uint16_t bits;
          std::memcpy(&bits, raw, 2);
          EXPECT_EQ(std::bit_cast<std::uint32_t>(value), std::uint32_t{bits} << 16);
          break;
        }
        default:
          break;
      }
    }
  }
}

TEST_F(Safetensors, ConvertsLargeTensorsPieceByPiece) {
  const idx_t size = (idx_t{1} << 17) * 2 + 3;
  std::vector<double> values(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) * 0.5;
  const TensorEntry entry{"x", DType::kF64, {size}, values.data()};
  WriteSafetensors(dir_ / "large", {&entry, 1});
  const Tensor read = SafetensorsFile::Open(dir_ / "large").ReadFloat("x");
  for (idx_t i = 0; i < size; ++i) {
    ASSERT_EQ(read.data<float>()[i], static_cast<float>(i) * 0.5f) << i;
  }
}

TEST_F(Safetensors, WritesTheseBytes) {
  const float weight[] = {1.0f, 2.0f};
  const std::uint8_t flag[] = {9};
  const std::int64_t wide[] = {-1};
  const TensorEntry entries[] = {{"b", DType::kF32, {1, 2}, weight},
                                 {"a", DType::kU8, {}, flag},
                                 {"c", DType::kI64, {1}, wide}};
  WriteSafetensors(dir_ / "x", entries, {{"format", "pt"}});
  std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[16,17]}}";
  while (header.size() % 8 != 0) header += ' ';
  const std::string data("\xff\xff\xff\xff\xff\xff\xff\xff\0\0\x80\x3f\0\0\0\x40\x09", 17);
  EXPECT_EQ(GetFile(dir_ / "x"), Compose(header, data));
  EXPECT_EQ(test::Listing(dir_.path()), "x");

  WriteSafetensors(dir_ / "none", {});
  EXPECT_EQ(GetFile(dir_ / "none"), Compose("{}      "));
}

TEST_F(Safetensors, RefusesToWriteWhatItWouldNotRead) {
  const float x[] = {1.0f};
  const auto refuses = [&](std::vector<TensorEntry> entries, std::string_view fragment) {
    return Throws([&] { WriteSafetensors(dir_ / "x", entries); }, ErrorCode::kUsage, fragment);
  };
  EXPECT_TRUE(refuses({{"a", DType::kF32, {1}, x}, {"a", DType::kF32, {1}, x}}, "named \"a\""));
  EXPECT_TRUE(refuses({{"__metadata__", DType::kF32, {1}, x}}, "__metadata__"));
  EXPECT_TRUE(refuses({{"\xff", DType::kF32, {1}, x}}, "not UTF-8"));
  EXPECT_TRUE(refuses({{std::string(4097, 'a'), DType::kF32, {1}, x}}, "4097 bytes"));
  EXPECT_TRUE(refuses({{"a", DType::kF32, {-1}, x}}, "shape (-1)"));
  EXPECT_TRUE(refuses({{"a", DType::kF32, {1}, nullptr}}, "no data"));
  EXPECT_TRUE(refuses({{"a", DType::kF32, std::vector<idx_t>(17, 1), x}}, "17 axes"));
  EXPECT_FALSE(fs::exists(dir_ / "x"));
}

// Anything may come: the parser answers with a table or an Error, never otherwise.
TEST_F(Safetensors, SurvivesMutations) {
  const std::string header = "{\"__metadata__\":{\"format\":\"pt\"}," +
                             Entry("a", "F32", "[2,2]", "[0,16]") + "," +
                             Entry("b.\\u00e9", "BF16", "[]", "[16,18]") + "}";
  ASSERT_NO_THROW(ParseSafetensorsHeader(header, 18, "x"));
  const std::string_view pieces[] = {
      "\"", "{", "}", "[",   "]",    ",",    ":",     "0",     "9",
      "-",  "e", ".", "\\u", "null", "\xff", "dtype", "shape", "18446744073709551615"};
  Rng rng(11);
  int accepted = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string mutant = header;
    for (idx_t edits = 1 + rng.Below(3); edits > 0; --edits) {
      const auto at = static_cast<std::size_t>(rng.Below(static_cast<idx_t>(mutant.size())));
      const auto piece = pieces[rng.Below(std::size(pieces))];
      switch (rng.Below(4)) {
        case 0:
          mutant.erase(at, static_cast<std::size_t>(1 + rng.Below(4)));
          break;
        case 1:
          mutant.insert(at, piece);
          break;
        case 2:
          mutant[at] = static_cast<char>(rng.Below(256));
          break;
        default:
          mutant.insert(at, mutant.substr(at / 2, static_cast<std::size_t>(rng.Below(40))));
      }
      if (mutant.empty()) mutant = "{";
    }
    try {
      const SafetensorsHeader parsed = ParseSafetensorsHeader(mutant, 18, "x");
      std::uint64_t bytes = 0;
      for (const auto& [name, info] : parsed.tensors) bytes += info.bytes();
      EXPECT_EQ(bytes, 18u);
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFormat);
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 15'000);
}

std::size_t OpenDescriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

// The same file a thousand times and by 16 threads: the same values, no descriptor left open.
TEST_F(Safetensors, ManyReaders) {
  const fs::path path = Put(TwoTensors());
  const std::size_t before = OpenDescriptors();
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(SafetensorsFile::Open(path).ReadFloat("b").data<float>()[0], 5.0f);
  }
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Rejects("bad", ""));
  EXPECT_EQ(OpenDescriptors(), before);
  Put(TwoTensors());
  const SafetensorsFile shared = SafetensorsFile::Open(path);
  std::vector<std::thread> readers;
  std::vector<float> seen(16);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    readers.emplace_back([&, i] { seen[i] = shared.ReadFloat("a").data<float>()[3]; });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(seen, std::vector<float>(16, 4.0f));
}

// What a sanitizer keeps of freed memory is not ours.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(Safetensors, LoadingAgainKeepsNothing) {
  const std::vector<float> values(1 << 14, 0.5f);
  const TensorEntry entry{"a", DType::kF32, {1 << 14}, values.data()};
  WriteSafetensors(dir_ / "again", {&entry, 1});
  const auto resident_bytes = [] {
    std::ifstream statm("/proc/self/statm");
    std::size_t all = 0, resident = 0;
    statm >> all >> resident;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  };
  std::size_t before = 0;
  for (int i = 0; i < 1010; ++i) {
    if (i == 10) before = resident_bytes();
    EXPECT_EQ(SafetensorsFile::Open(dir_ / "again").ReadFloat("a").data<float>()[99], 0.5f);
  }
  EXPECT_LT(resident_bytes(), before + (16u << 20));  // all of them are 65 MB
}
#endif

}  // namespace
}  // namespace longspan::io
