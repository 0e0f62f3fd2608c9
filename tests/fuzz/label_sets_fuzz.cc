// Fields of labels: a list, no list, or refused; what is read as a list has items of its own bytes.
#include "tests/fuzz/fuzz.h"
#include "train/label_sets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    const auto set = ParseLabelSet(fuzz::AsText(data, bytes));
    if (!set) return;
    std::size_t size = 0;
    for (const std::string& item : set->items) size += item.size();
    fuzz::Require(size <= bytes);
    fuzz::Require(NamesOfOnes(*set).size() <= set->items.size());
    OneHotRule rule;
    rule.Add(*set);
    fuzz::Require(rule.width() == 0 || set->zeros_and_ones);
  });
  return 0;
}
