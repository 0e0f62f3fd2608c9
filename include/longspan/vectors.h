// Vectors of texts: fewer bits for each number, files of them, and which of them are near which.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- fewer bits ---------------------------------------------------------------------------------

// What the numbers of vectors are; names and rules of sentence-transformers' quantize_embeddings.
//   kFloat32  fp32 (N, width)
//   kInt8     int8 (N, width): which of 256 equal steps between the least and the largest number
//             of that place, less 128
//   kUBinary  uint8 (N, ceil(width / 8)): a bit for each number, 1 above 0; the first of eight is
//             the highest bit of a byte
enum class Precision { kFloat32, kInt8, kUBinary };
std::string_view PrecisionName(Precision precision);  // "float32", "int8", "ubinary"
Precision ParsePrecision(std::string_view name);      // kUsage lists the names
// What vectors of this type are; kUsage for types that vectors do not have.
Precision PrecisionOf(const Tensor& vectors);

// The least and the largest number of each place of fp32 vectors (N, width): (2, width). kUsage for
// fewer than two vectors.
Tensor RangesOf(const Tensor& vectors);
// Vectors (N, width), fp32, in a precision. `ranges` (2, width): of kInt8; what lies outside of
// them takes the first or the last step. kUsage for other shapes and types; kNumeric for a number
// of kInt8 that is NaN, or whose range is not finite.
Tensor Quantize(const Tensor& vectors, Precision precision, const Tensor& ranges = {});
// The lower ends of the steps of int8 vectors, fp32.
Tensor Dequantize(const Tensor& vectors, const Tensor& ranges);

// ---- files --------------------------------------------------------------------------------------

// Vectors of a file, and what its rows are called.
struct VectorFile {
  Tensor vectors;                  // of one of the types of Precision
  std::vector<std::string> names;  // (N) the rows' "id", else their "input", else "row 7"
};

// Reads what `embed` writes, and others write as it does: .npy (float32, float64, int8, uint8; one
// vector or a matrix in C order; names from NAME.ids.jsonl beside it, if that is there), .jsonl or
// .ndjson (a line each with "embedding", "id", "input", "precision") and .json (a list of such
// objects, alone or as "results"). kUsage for another ending; kFormat, with file and row, for what
// does not fit; kIo.
VectorFile ReadVectorFile(const std::filesystem::path& file);

// ---- which are near -----------------------------------------------------------------------------

// How near two vectors are.
//   kCosine   of the angle between them, -1 to 1; with a zero vector 0. The largest is nearest.
//   kDot      the sum of products. The largest is nearest.
//   kHamming  how many bits differ, of kUBinary. The smallest is nearest.
enum class Similarity { kCosine, kDot, kHamming };
std::string_view SimilarityName(Similarity similarity);  // "cosine", "dot", "hamming"
Similarity ParseSimilarity(std::string_view name);       // kUsage lists the names

// A row of vectors, and how near it is to another vector.
struct SimilarRow {
  idx_t row = 0;       // of the vectors, from 0
  double score = 0.0;  // in units of the Similarity
};

// Scores of each pair of rows: fp64 (queries, vectors). Both have one precision and width; kHamming
// is for kUBinary, and nothing else is. kUsage otherwise. Sums are fp64; the bits do not depend on
// the number of threads.
Tensor Similarities(const Context& context, const Tensor& queries, const Tensor& vectors,
                    Similarity similarity);
// Of each query the `most` nearest rows, the nearest first; of equal ones the first. kUsage for
// most < 1.
std::vector<std::vector<SimilarRow>> MostSimilar(const Context& context, const Tensor& queries,
                                                 const Tensor& vectors, Similarity similarity,
                                                 idx_t most);

}  // namespace longspan
#pragma GCC visibility pop
