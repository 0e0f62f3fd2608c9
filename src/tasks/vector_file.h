// Files of vectors that nobody vouches for (longspan/vectors.h). Internal.
#pragma once

#include "io/file.h"
#include "longspan/vectors.h"

namespace longspan {

enum class VectorForm { kNpy, kJsonLines, kJson };

// Reads vectors of a form. kFormat, naming the source and the row, for what does not fit; numbers
// are finite, and memory is bounded by the source's size.
VectorFile ReadVectors(const io::ByteSource& bytes, VectorForm form);
// Takes the names of a matrix's rows from the list beside it: a line of JSON for each. kFormat
// unless it lists these rows.
void NameRows(const io::ByteSource& list, VectorFile& file);

}  // namespace longspan
