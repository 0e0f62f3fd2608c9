// Files of vectors that nobody vouches for (longspan/vectors.h). Internal.
#pragma once

#include <cstddef>
#include <cstdint>

#include "io/file.h"
#include "longspan/vectors.h"

namespace longspan {

// What a file may ask for at most. Everything above is refused before memory is spent on it.
inline constexpr std::uint64_t kMostNpyHeader = std::uint64_t{1} << 16;  // bytes
inline constexpr std::size_t kMostVectorLine = std::size_t{1} << 26;     // bytes of a line of JSON
inline constexpr std::uint64_t kMostVectorDocument = std::uint64_t{1} << 28;  // bytes of .json
inline constexpr std::size_t kMostVectorDocumentValues = std::size_t{1} << 25;

enum class VectorForm { kNpy, kJsonLines, kJson };

// Reads vectors of a form. kFormat, naming the source and the row, for what does not fit; numbers
// are finite, and memory is bounded by the source's size.
VectorFile ReadVectors(const io::ByteSource& bytes, VectorForm form);
// Takes the names of a matrix's rows from the list beside it: a line of JSON for each. kFormat
// unless it lists these rows.
void NameRows(const io::ByteSource& list, VectorFile& file);

}  // namespace longspan
