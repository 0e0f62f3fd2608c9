// A whole pytorch_model.bin, zip or legacy: what is accepted can be read, and no tensor is larger
// than the file.
#include <memory>
#include <string>

#include "io/pytorch_file.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const std::string text(fuzz::AsText(data, bytes));
  fuzz::Accepts([&] {
    const auto file = io::PytorchFile::Parse(std::make_unique<io::MemorySource>(text, "fuzz"));
    for (const auto& [name, info] : file.tensors()) {
      fuzz::Require(info.size >= 0 && info.bytes() <= bytes);
      fuzz::Require(file.Read(name).size() == info.size);
    }
  });
  return 0;
}
