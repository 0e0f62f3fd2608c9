// Reads TensorBoard's files of events by the formats' descriptions, and checks every checksum. It
// shares no code with the writer.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace longspan::test {

// CRC-32C a bit at a time, masked.
inline std::uint32_t PlainMaskedCrc(std::string_view bytes) {
  std::uint32_t sum = 0xffffffff;
  for (const char byte : bytes) {
    sum ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) sum = sum & 1 ? sum >> 1 ^ 0x82f63b78U : sum >> 1;
  }
  sum = ~sum;
  return (sum >> 15 | sum << 17) + 0xa282ead8U;
}

template <class T>
T Take(std::string_view* text) {
  T value;
  EXPECT_GE(text->size(), sizeof(T));
  std::memcpy(&value, text->data(), sizeof(T));  // this machine is little-endian
  text->remove_prefix(sizeof(T));
  return value;
}

inline std::uint64_t TakeVarint(std::string_view* text) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(Take<char>(text));
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
}

// The scalars of a file, each as "STEP TAG VALUE". Every checksum must hold.
inline std::vector<std::string> Scalars(const std::string& file) {
  std::vector<std::string> found;
  std::string_view rest = file;
  for (bool first = true; !rest.empty(); first = false) {
    const std::string_view head = rest.substr(0, 8);
    const auto length = Take<std::uint64_t>(&rest);
    EXPECT_EQ(Take<std::uint32_t>(&rest), PlainMaskedCrc(head));
    std::string_view event = rest.substr(0, length);
    rest.remove_prefix(length);
    EXPECT_EQ(Take<std::uint32_t>(&rest), PlainMaskedCrc(event));
    EXPECT_EQ(TakeVarint(&event), 1u << 3 | 1);
    EXPECT_GT(Take<double>(&event), 1.6e9);  // seconds since 1970
    if (first) {
      EXPECT_EQ(event,
                "\x1a\x0d"
                "brain.Event:2");
      continue;
    }
    EXPECT_EQ(TakeVarint(&event), 2u << 3);
    const std::uint64_t step = TakeVarint(&event);
    EXPECT_EQ(TakeVarint(&event), 5u << 3 | 2);
    const std::uint64_t rest_of_event = TakeVarint(&event);
    EXPECT_EQ(rest_of_event, event.size());
    while (!event.empty()) {
      EXPECT_EQ(TakeVarint(&event), 1u << 3 | 2);
      const std::uint64_t size = TakeVarint(&event);
      std::string_view value = event.substr(0, size);
      event.remove_prefix(size);
      EXPECT_EQ(TakeVarint(&value), 1u << 3 | 2);
      const std::uint64_t letters = TakeVarint(&value);
      const std::string tag(value.substr(0, letters));
      value.remove_prefix(letters);
      EXPECT_EQ(TakeVarint(&value), 2u << 3 | 5);
      found.push_back(fmt::format("{} {} {}", step, tag, Take<float>(&value)));
      EXPECT_TRUE(value.empty());
    }
  }
  return found;
}

}  // namespace longspan::test
