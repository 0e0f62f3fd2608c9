// One pickle as data: what is accepted refers only to values that are there and text that is in it.
#include "io/pickle.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const auto text = fuzz::AsText(data, bytes);
  fuzz::Accepts([&] {
    const io::Pickle pickle = io::ReadPickle(text, "fuzz");
    fuzz::Require(pickle.root < pickle.values.size() && pickle.end <= text.size());
    for (const io::PickleValue& value : pickle.values) {
      for (const io::PickleRef ref : value.items) fuzz::Require(ref < pickle.values.size());
      fuzz::Require(value.kind != io::PickleKind::kDict || value.items.size() % 2 == 0);
    }
  });
  return 0;
}
