// What a test computes without the code under test is the same for every instruction set. A test
// program that runs once for each of them (LONGSPAN_TEST_ISA=each) computes it once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tests/support/compare.h"

namespace longspan::test {

// Everything that a result depends on, as 64 bits: the name of the function and all its arguments.
class Key {
 public:
  explicit Key(std::string_view function) { Add(std::span(function)); }
  // T is a number or an enum: nothing with padding inside.
  template <class T>
  Key& Add(std::span<const T> values) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    AddBytes(values.data(), values.size_bytes());
    return *this;
  }
  template <class T>
  Key& Add(const std::vector<T>& values) {
    return Add(std::span<const T>(values));
  }
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T> Key& Add(T value) {
    return Add(std::span<const T>(&value, 1));
  }
  std::uint64_t value() const { return value_; }

 private:
  void AddBytes(const void* bytes, std::size_t size);
  std::uint64_t value_ = 0;
};

// compute(), or what a process before this one computed under the same key. Everything that
// compute() reads must be part of the key, and nothing of it may be the code under test.
std::vector<double> Remember(const Key& key, const std::function<std::vector<double>()>& compute);
// The same for lists of any number.
std::vector<std::vector<double>> RememberLists(
    const Key& key, const std::function<std::vector<std::vector<double>>()>& compute);
// The same for an object whose Lists() are pointers to vectors. `y` has them in the right sizes.
template <class Outputs, class Compute>
Outputs RememberOutputs(const Key& key, Outputs y, const Compute& compute) {
  const std::vector<double> flat = Remember(key, [&] {
    std::vector<double> all;
    Outputs computed = compute();
    for (const auto* list : computed.Lists()) all.insert(all.end(), list->begin(), list->end());
    return all;
  });
  auto from = flat.begin();
  for (auto* list : y.Lists()) {
    std::copy_n(from, list->size(), list->begin());
    from += static_cast<std::ptrdiff_t>(list->size());
  }
  return y;
}
// The same for tolerances.
std::vector<Tolerance> RememberTolerances(const Key& key,
                                          const std::function<std::vector<Tolerance>()>& compute);

// From here on this process and its children, which must run one after another, remember up to
// `bytes`. Without this call each Remember computes.
void ShareMemories(std::size_t bytes);

}  // namespace longspan::test
