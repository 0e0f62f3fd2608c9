// Vectors in fewer bits, in files, and near each other.

#include "longspan/vectors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/errors.h"
#include "io/file.h"
#include "longspan/tasks.h"
#include "tasks/vector_file.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::PutFile;
using test::Throws;

Tensor Matrix(idx_t width, const std::vector<float>& values) {
  Tensor tensor({static_cast<idx_t>(values.size()) / width, width});
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

template <class T>
std::vector<int> Numbers(const Tensor& tensor) {
  const T* values = static_cast<const T*>(tensor.raw());
  return {values, values + tensor.size()};
}

const std::vector<float> kFour = {0.1f,  -2.5f,  0.0f,   7.25f, 1e-3f, 0.35f, -2.5f,
                                  1.5f,  -0.75f, -3e-3f, -0.7f, -2.5f, 0.25f, 3.0f,
                                  2e-3f, 0.2f,   -2.5f,  -1.0f, 0.5f,  4e-3f};

// Recorded from quantize_embeddings of sentence-transformers 6.2.
TEST(Quantize, AsThePackage) {
  const Tensor all = Matrix(5, kFour);
  const Tensor three = Matrix(5, {kFour.begin(), kFour.begin() + 15});
  EXPECT_EQ(Numbers<std::int8_t>(Quantize(all, Precision::kInt8, RangesOf(three))),
            (std::vector<int>{66,   -128, -128, 126, 76,  127, -128, 127,  -128, -128,
                              -128, -128, -86,  -9,  126, 90,  -128, -128, -89,  127}));
  EXPECT_EQ(Numbers<std::int8_t>(Quantize(all, Precision::kInt8, RangesOf(all))),
            (std::vector<int>{66,   -128, -26, 126, 17, 127, -128, 126,  -128, -128,
                              -128, -128, -1,  -9,  54, 90,  -128, -128, -89,  126}));
  std::vector<float> twice;
  for (int row = 0; row < 4; ++row) {
    for (int i = 0; i < 10; ++i) twice.push_back(kFour[static_cast<std::size_t>(row * 5 + i % 5)]);
  }
  const Tensor bits = Quantize(Matrix(10, twice), Precision::kUBinary);
  EXPECT_EQ(bits.shape(), (std::vector<idx_t>{4, 2}));
  EXPECT_EQ(Numbers<std::uint8_t>(bits), (std::vector<int>{156, 192, 165, 0, 57, 192, 156, 192}));
  // The ranges of ranges are the same ranges.
  const Tensor ranges = RangesOf(all), again = RangesOf(ranges);
  EXPECT_EQ(0, std::memcmp(ranges.raw(), again.raw(), ranges.bytes()));
}

TEST(Quantize, ThereAndBackIsWithinAStep) {
  const Tensor all = Matrix(5, kFour), ranges = RangesOf(all);
  const Tensor back = Dequantize(Quantize(all, Precision::kInt8, ranges), ranges);
  for (idx_t i = 0; i < all.size(); ++i) {
    const float* r = ranges.data<float>();
    const float step = (r[5 + i % 5] - r[i % 5]) / 255.0f;
    const float lost = all.data<float>()[i] - back.data<float>()[i];
    EXPECT_GE(lost, -1e-6f);
    EXPECT_LE(lost, step + 1e-6f);
  }
}

TEST(Quantize, WhatCannotBeIsRefused) {
  const Tensor all = Matrix(5, kFour);
  EXPECT_TRUE(Throws(
      [&] {
        RangesOf(Matrix(5, {1, 2, 3, 4, 5}));
      },
      ErrorCode::kUsage, "the ranges of 1 vectors say nothing"));
  EXPECT_TRUE(Throws([&] { Quantize(all, Precision::kInt8); }, ErrorCode::kUsage, "need (2, 5)"));
  EXPECT_TRUE(Throws(
      [&] {
        Quantize(all, Precision::kInt8, Matrix(4, {1, 2, 3, 4, 5, 6, 7, 8}));
      },
      ErrorCode::kUsage, "need (2, 5)"));
  Tensor odd = Matrix(5, kFour);
  odd.data<float>()[6] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(Throws([&] { Quantize(odd, Precision::kInt8, RangesOf(all)); }, ErrorCode::kNumeric,
                     "int8: number 1 of vector 1 is nan"));
  EXPECT_TRUE(Throws([] { ParsePrecision("int4"); }, ErrorCode::kUsage,
                     "'int4' is none of float32, int8, ubinary"));
}

// ---- files --------------------------------------------------------------------------------------

std::string Npy(const std::string& dict, const std::string& values, char version = 1) {
  std::string text = dict;
  text += '\n';
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  file += static_cast<char>(text.size() & 0xFF);
  file += static_cast<char>(text.size() >> 8);
  if (version > 1) file += std::string(2, '\0');
  return file + text + values;
}

template <class T>
std::string Bytes(std::initializer_list<T> values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.begin(), bytes.size());
  return bytes;
}

VectorFile Parsed(const std::string& bytes, VectorForm form = VectorForm::kNpy) {
  return ReadVectors(io::MemorySource(bytes, "x"), form);
}

bool RefusesFile(const std::string& bytes, std::string_view says,
                 VectorForm form = VectorForm::kNpy) {
  return Throws([&] { Parsed(bytes, form); }, ErrorCode::kFormat, says);
}

TEST(VectorFiles, ArraysOfNumpy) {
  const std::string values = Bytes({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f});
  for (const char version : {1, 2, 3}) {
    const VectorFile file =
        Parsed(Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", values, version));
    EXPECT_EQ(file.vectors.shape(), (std::vector<idx_t>{2, 3}));
    EXPECT_EQ(file.vectors.data<float>()[5], 6.0f);
    EXPECT_EQ(file.names, (std::vector<std::string>{"row 0", "row 1"}));
  }
  // Another order of the fields, one vector, doubles, bytes, no rows.
  EXPECT_EQ(
      Parsed(Npy("{'shape':(6,),'descr':'<f4','fortran_order':True}", values)).vectors.shape(),
      (std::vector<idx_t>{1, 6}));
  const VectorFile doubles =
      Parsed(Npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2)}", Bytes({0.1, -3.0})));
  EXPECT_EQ(doubles.vectors.data<float>()[0], 0.1f);
  EXPECT_EQ(Parsed(Npy("{'descr': '|i1', 'fortran_order': False, 'shape': (1, 2)}", "\x80\x7f"))
                .vectors.dtype(),
            DType::kI8);
  EXPECT_EQ(Parsed(Npy("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 2)}", "")).names,
            std::vector<std::string>{});
}

TEST(VectorFiles, ArraysThatCannotBe) {
  const auto dict = [](const char* type, const char* order, const char* shape) {
    return fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}", type, order, shape);
  };
  const std::string four = Bytes({1.0f, 2.0f, 3.0f, 4.0f});
  EXPECT_TRUE(RefusesFile("", "is no .npy file"));
  EXPECT_TRUE(RefusesFile("PK\x03\x04 an archive", "is no .npy file"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(2, 2)"), four, 9), "version 9"));
  EXPECT_TRUE(RefusesFile(Npy(dict(">f4", "False", "(2, 2)"), four), "type '>f4' are not read"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f2", "False", "(2, 2)"), four), "type '<f2' are not read"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "True", "(2, 2)"), four), "ascontiguousarray"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "()"), four), "an array of 0 dimensions"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(1, 2, 2)"), four), "of 3 dimensions"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(1, 1, 2, 2)"), four), "its header is none"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(2, 0)"), ""), "vectors of 0 numbers"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(-1, 2)"), four), "its header is none"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(3, 2)"), four),
                          "3 rows of 8 bytes are said, 16 bytes are there"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(9223372036854775807, 2)"), four), "are said"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(99999999999999999999, 2)"), four),
                          "its header is none"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(1, 1048577)"), four), "must have 1 to"));
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "Maybe", "(2, 2)"), four), "its header is none"));
  EXPECT_TRUE(RefusesFile(Npy("{'descr': [('a', '<f4')]}", four), "its header is none"));
  EXPECT_TRUE(RefusesFile(Npy("{'descr': '<f4'}", four), "dimensions"));
  const std::string nan = Bytes({1.0f, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_TRUE(RefusesFile(Npy(dict("<f4", "False", "(2, 1)"), nan), "row 1: number 0 is nan"));
  std::string cut = Npy(dict("<f4", "False", "(2, 2)"), "");
  EXPECT_TRUE(RefusesFile(cut.substr(0, 30), "a header of"));
}

TEST(VectorFiles, LinesAndDocumentsOfJson) {
  const VectorFile lines = Parsed(
      "{\"input\":\"a.txt\",\"id\":\"q7\",\"tokens\":3,\"embedding\":[1,2.5]}\n\n"
      "{\"input\":\"b.txt\",\"embedding\":[-1,0]}\r\n{\"id\":12,\"embedding\":[0,0]}",
      VectorForm::kJsonLines);
  EXPECT_EQ(lines.names, (std::vector<std::string>{"q7", "b.txt", "12"}));
  EXPECT_EQ(lines.vectors.shape(), (std::vector<idx_t>{3, 2}));
  EXPECT_EQ(lines.vectors.data<float>()[1], 2.5f);
  const VectorFile document = Parsed(
      R"({"task":"embed","precision":"int8","results":[{"embedding":[-128,127]},
          {"id":null,"input":"x","embedding":[0,1]}]})",
      VectorForm::kJson);
  EXPECT_EQ(Numbers<std::int8_t>(document.vectors), (std::vector<int>{-128, 127, 0, 1}));
  EXPECT_EQ(document.names, (std::vector<std::string>{"row 0", "x"}));
  const VectorFile bits =
      Parsed(R"([{"precision":"ubinary","embedding":[255]}])", VectorForm::kJson);
  EXPECT_EQ(Numbers<std::uint8_t>(bits.vectors), (std::vector<int>{255}));
}

TEST(VectorFiles, JsonThatCannotBe) {
  const auto line = [](const std::string& text, std::string_view says) {
    return RefusesFile(text, says, VectorForm::kJsonLines);
  };
  EXPECT_TRUE(line("", "has no vectors"));
  EXPECT_TRUE(line("[1]", "x:1: a list instead of an object"));
  EXPECT_TRUE(line("{\"embedding\":[1]}\n{}", "x:2: needs \"embedding\""));
  EXPECT_TRUE(line("{\"embedding\":[]}", "vectors of 0 numbers"));
  EXPECT_TRUE(line("{\"embedding\":[1]}\n{\"embedding\":[1,2]}",
                   "x:2: a vector of 2 numbers (float32), those before it have 1"));
  EXPECT_TRUE(line("{\"embedding\":[1]}\n{\"embedding\":[1],\"precision\":\"int8\"}", "(int8)"));
  EXPECT_TRUE(line("{\"embedding\":[\"1\"]}", "which is no number of fp32"));
  EXPECT_TRUE(line("{\"embedding\":[1e300]}", "which is no number of fp32"));
  EXPECT_TRUE(line("{\"embedding\":[128],\"precision\":\"int8\"}", "an integer in [-128, 127]"));
  EXPECT_TRUE(line("{\"embedding\":[1.5],\"precision\":\"ubinary\"}", "an integer in [0, 255]"));
  EXPECT_TRUE(line("{\"embedding\":[1],\"precision\":\"int4\"}", "must be one of float32, int8"));
  EXPECT_TRUE(RefusesFile("{\"a\":1}", "has no \"results\"", VectorForm::kJson));
  EXPECT_TRUE(RefusesFile("[]", "has no vectors", VectorForm::kJson));
}

TEST(VectorFiles, TheListBesideAnArrayNamesItsRows) {
  const test::TempDir dir;
  PutFile(dir / "v.npy",
          Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", Bytes({1.0f, 2.0f})));
  EXPECT_EQ(ReadVectorFile(dir / "v.npy").names[1], "row 1");
  PutFile(dir / "v.ids.jsonl",
          "{\"row\":0,\"input\":\"a.txt\"}\n{\"row\":1,\"input\":\"b.txt\",\"id\":\"B\"}\n");
  EXPECT_EQ(ReadVectorFile(dir / "v.npy").names, (std::vector<std::string>{"a.txt", "B"}));
  PutFile(dir / "v.ids.jsonl", "{\"row\":0,\"input\":\"a.txt\"}\n");
  EXPECT_TRUE(Throws([&] { ReadVectorFile(dir / "v.npy"); }, ErrorCode::kFormat,
                     "lists 1 rows, the array beside it has 2"));
  PutFile(dir / "v.ids.jsonl", "{\"row\":1}\n{\"row\":0}\n");
  EXPECT_TRUE(Throws([&] { ReadVectorFile(dir / "v.npy"); }, ErrorCode::kFormat,
                     "v.ids.jsonl:1: is not row 0 of the 2 rows"));
  EXPECT_TRUE(Throws([&] { ReadVectorFile(dir / "v.csv"); }, ErrorCode::kUsage,
                     "are read from .npy, .jsonl, .ndjson and .json"));
  EXPECT_TRUE(Throws([&] { ReadVectorFile(dir / "none.npy"); }, ErrorCode::kIo, "none.npy"));
}

// ---- which are near -----------------------------------------------------------------------------

TEST(Similar, CosinesAndProductsOfEveryPair) {
  const Tensor queries = Matrix(2, {2, 0, 0, 0}), vectors = Matrix(2, {1, 0, 0, 1, 3, 3, 0, 0});
  Context one(1), three(3);
  const Tensor dots = Similarities(one, queries, vectors, Similarity::kDot);
  EXPECT_EQ(dots.shape(), (std::vector<idx_t>{2, 4}));
  const double expected[] = {2, 0, 6, 0, 0, 0, 0, 0};
  EXPECT_TRUE(std::equal(expected, expected + 8, dots.data<double>()));
  const Tensor cosines = Similarities(three, queries, vectors, Similarity::kCosine);
  EXPECT_DOUBLE_EQ(cosines.data<double>()[0], 1.0);
  EXPECT_NEAR(cosines.data<double>()[2], std::sqrt(0.5), 1e-15);
  EXPECT_EQ(cosines.data<double>()[4], 0.0);  // of a zero vector
  const auto found = MostSimilar(one, queries, vectors, Similarity::kDot, 3);
  ASSERT_EQ(found.size(), 2u);
  ASSERT_EQ(found[0].size(), 3u);
  EXPECT_EQ(found[0][0].row, 2);
  EXPECT_EQ(found[0][1].row, 0);
  EXPECT_EQ(found[0][2].row, 1);  // of equal ones the first
  EXPECT_EQ(MostSimilar(one, queries, vectors, Similarity::kDot, 99)[0].size(), 4u);
}

TEST(Similar, TheBitsDoNotDependOnTheThreads) {
  Tensor vectors({1000, 7}), query({1, 7});
  for (idx_t i = 0; i < vectors.size(); ++i) {
    vectors.data<float>()[i] = static_cast<float>(std::sin(1.3 * static_cast<double>(i)));
  }
  for (idx_t i = 0; i < 7; ++i) query.data<float>()[i] = static_cast<float>(i) - 2.5f;
  Context one(1);
  const Tensor expected = Similarities(one, query, vectors, Similarity::kCosine);
  for (const int threads : {2, 3, 7, 8}) {
    Context many(threads);
    const Tensor got = Similarities(many, query, vectors, Similarity::kCosine);
    EXPECT_EQ(0, std::memcmp(got.raw(), expected.raw(), got.bytes())) << threads;
  }
  // As the function that knows one query says.
  const auto nearest = Nearest(query, vectors, 5);
  const auto found = MostSimilar(one, query, vectors, Similarity::kCosine, 5);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(found[0][i].row, nearest[i].row);
    EXPECT_EQ(found[0][i].score, nearest[i].cosine);
  }
}

TEST(Similar, FewerBitsHaveTheirOwnMeasure) {
  Context context(1);
  const Tensor values = Matrix(9, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, 1, 1, 1, 1, 1, 1, -1});
  const Tensor bits = Quantize(values, Precision::kUBinary);
  const Tensor distances = Similarities(context, bits, bits, Similarity::kHamming);
  const double expected[] = {0, 2, 2, 0};
  EXPECT_TRUE(std::equal(expected, expected + 4, distances.data<double>()));
  const auto found = MostSimilar(context, bits, bits, Similarity::kHamming, 2);
  EXPECT_EQ(found[1][0].row, 1);  // the smallest distance first
  EXPECT_EQ(found[1][1].score, 2.0);
  const Tensor steps = Quantize(values, Precision::kInt8, RangesOf(values));
  EXPECT_EQ(Similarities(context, steps, steps, Similarity::kDot).data<double>()[0],
            7 * 128.0 * 128 + 2 * 126.0 * 126);  // in fp32 the largest is just below its step
  EXPECT_TRUE(Throws([&] { Similarities(context, bits, bits, Similarity::kCosine); },
                     ErrorCode::kUsage, "cosine is not for ubinary vectors; need hamming"));
  EXPECT_TRUE(Throws([&] { Similarities(context, steps, steps, Similarity::kHamming); },
                     ErrorCode::kUsage, "hamming is not for int8 vectors"));
  EXPECT_TRUE(Throws([&] { Similarities(context, values, steps, Similarity::kDot); },
                     ErrorCode::kUsage, "do not fit; need one width and one type"));
  EXPECT_TRUE(Throws([&] { MostSimilar(context, values, values, Similarity::kDot, 0); },
                     ErrorCode::kUsage, "0 rows are wanted"));
  EXPECT_TRUE(Throws([] { ParseSimilarity("l2"); }, ErrorCode::kUsage, "none of cosine, dot"));
}

}  // namespace
}  // namespace longspan
