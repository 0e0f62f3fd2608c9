// Files of vectors: a byte that says the form, then the file. What is accepted is a matrix of the
// size that its bytes can hold, with a name for each row.
#include "tasks/vector_file.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  if (bytes == 0) return 0;
  const VectorForm form = data[0] == 'n'   ? VectorForm::kNpy
                          : data[0] == 'l' ? VectorForm::kJsonLines
                                           : VectorForm::kJson;
  const io::MemorySource source(std::string(fuzz::AsText(data + 1, bytes - 1)), "fuzz");
  fuzz::Accepts([&] {
    VectorFile file = ReadVectors(source, form);
    fuzz::Require(file.vectors.shape().size() == 2 && file.vectors.shape()[1] > 0);
    fuzz::Require(file.names.size() == static_cast<std::size_t>(file.vectors.shape()[0]));
    fuzz::Require(file.vectors.bytes() <= 4 * bytes);
    PrecisionOf(file.vectors);
    fuzz::Accepts([&] { NameRows(source, file); });
  });
  return 0;
}
