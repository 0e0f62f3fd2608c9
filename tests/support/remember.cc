#include "tests/support/remember.h"

#include <sys/mman.h>

#include <cstring>
#include <unordered_map>

namespace longspan::test {
namespace {

// Memory that this process and its children share: words written since the start, then entries, one
// after another: key, number of values, values.
struct Store {
  std::uint64_t* words = nullptr;
  std::size_t capacity = 0;  // words
  std::size_t seen = 0;      // words of entries that `entries` has
  std::unordered_map<std::uint64_t, std::span<const double>> entries;
};

Store& TheStore() {
  static Store store;
  return store;
}

constexpr std::size_t kHead = 2;  // words of an entry before its values

// Adds to `entries` what was written since the last call.
void Look(Store* store) {
  const std::uint64_t* first = store->words + 1;
  while (store->seen < store->words[0]) {
    const std::uint64_t* entry = first + store->seen;
    store->entries[entry[0]] = {reinterpret_cast<const double*>(entry + kHead), entry[1]};
    store->seen += kHead + entry[1];
  }
}

}  // namespace

void Key::AddBytes(const void* bytes, std::size_t size) {
  // Multiply and rotate a word at a time; the length counts, so ("ab", "c") is not ("a", "bc").
  const auto mix = [this](std::uint64_t word) {
    value_ = (value_ ^ word) * 0x9e3779b97f4a7c15U;
    value_ ^= value_ >> 29;
  };
  mix(size);
  const auto* from = static_cast<const unsigned char*>(bytes);
  for (; size > 0;) {
    std::uint64_t word = 0;
    const std::size_t part = size < sizeof(word) ? size : sizeof(word);
    std::memcpy(&word, from, part);
    mix(word);
    from += part;
    size -= part;
  }
}

void ShareMemories(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;  // then each process computes
  Store& store = TheStore();
  store.words = static_cast<std::uint64_t*>(memory);
  store.capacity = bytes / sizeof(std::uint64_t);
}

std::vector<double> Remember(const Key& key, const std::function<std::vector<double>()>& compute) {
  Store& store = TheStore();
  if (store.words == nullptr) return compute();
  Look(&store);
  const auto found = store.entries.find(key.value());
  if (found != store.entries.end()) return {found->second.begin(), found->second.end()};
  std::vector<double> values = compute();
  const std::size_t used = 1 + store.words[0], size = kHead + values.size();
  if (used + size > store.capacity) return values;
  std::uint64_t* entry = store.words + used;
  entry[0] = key.value();
  entry[1] = values.size();
  std::memcpy(entry + kHead, values.data(), values.size() * sizeof(double));
  store.words[0] += size;  // last: a process that dies here leaves no half of an entry
  return values;
}

std::vector<std::vector<double>> RememberLists(
    const Key& key, const std::function<std::vector<std::vector<double>>()>& compute) {
  // The size of each list, then its values.
  const std::vector<double> flat = Remember(key, [&] {
    std::vector<double> values;
    for (const std::vector<double>& list : compute()) {
      values.push_back(static_cast<double>(list.size()));
      values.insert(values.end(), list.begin(), list.end());
    }
    return values;
  });
  std::vector<std::vector<double>> lists;
  for (auto from = flat.begin(); from != flat.end();) {
    const auto size = static_cast<std::ptrdiff_t>(*from++);
    lists.emplace_back(from, from + size);
    from += size;
  }
  return lists;
}

std::vector<Tolerance> RememberTolerances(const Key& key,
                                          const std::function<std::vector<Tolerance>()>& compute) {
  const std::vector<double> flat = Remember(key, [&] {
    std::vector<double> values;
    for (const Tolerance& tolerance : compute()) {
      values.insert(values.end(), {tolerance.max_abs, tolerance.rel_l2});
    }
    return values;
  });
  std::vector<Tolerance> tolerances;
  for (std::size_t i = 0; i < flat.size(); i += 2) tolerances.push_back({flat[i], flat[i + 1]});
  return tolerances;
}

}  // namespace longspan::test
