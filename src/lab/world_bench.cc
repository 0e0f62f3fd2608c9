#include "lab/world_bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>

#include "base/errors.h"
#include "world/transport.h"

namespace longspan {
namespace {

using BenchClock = std::chrono::steady_clock;

constexpr int kBenchTag = 1;
constexpr idx_t kSmallMessage = 8;

void WaitForMessage(World& world, const std::unique_ptr<Message>& message) {
  WorldAccess::WaitUntil(world, ExchangeKind::kTogether, [&] { return message->Done(); });
}

std::unique_ptr<Message> SendTo(World& world, int to, const std::vector<char>& bytes) {
  return WorldAccess::Send(world, ExchangeKind::kTogether, to, kBenchTag, bytes.data(),
                           bytes.size());
}

// A number that differs from message to message and from byte to byte.
char PatternAt(idx_t repeat, std::size_t i) {
  return static_cast<char>((static_cast<std::size_t>(repeat) * 31 + i * 7 + i / 251) % 256);
}

// Median seconds one way, as the lower rank measures it; the higher one returns 0.
double OneWay(World& world, int low, int high, idx_t bytes, idx_t repeats) {
  const auto size = static_cast<std::size_t>(bytes);
  const bool begins = world.rank() == low;
  const int other = begins ? high : low;
  std::vector<char> sent(size), received(size);
  std::vector<double> seconds;
  for (idx_t repeat = 0; repeat <= repeats; ++repeat) {
    std::fill(received.begin(), received.end(), '\0');
    const auto arrival = WorldAccess::Receive(world, ExchangeKind::kTogether, other, kBenchTag,
                                              received.data(), size);
    if (begins) {
      for (std::size_t i = 0; i < size; ++i) sent[i] = PatternAt(repeat, i);
      const auto begin = BenchClock::now();
      WaitForMessage(world, SendTo(world, other, sent));
      WaitForMessage(world, arrival);
      const double round = std::chrono::duration<double>(BenchClock::now() - begin).count();
      Check(received == sent, ErrorCode::kIo,
            "bench world: {} bytes between ranks {} and {} are not what was sent", bytes, low,
            high);
      if (repeat > 0) seconds.push_back(round / 2.0);  // the first one makes connections
    } else {
      WaitForMessage(world, arrival);
      WaitForMessage(world, SendTo(world, other, received));
    }
  }
  if (!begins) return 0.0;
  std::nth_element(seconds.begin(), seconds.begin() + std::ssize(seconds) / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

std::vector<PairTimes> TimeWorld(World& world, idx_t bytes, idx_t repeats) {
  Check(bytes >= kSmallMessage && bytes <= static_cast<idx_t>(kMostMessageBytes), ErrorCode::kUsage,
        "bench world: bytes {}, need {} to {}", bytes, kSmallMessage, kMostMessageBytes);
  Check(repeats >= 1, ErrorCode::kUsage, "bench world: steps {}, need at least 1", repeats);
  std::vector<PairTimes> pairs;
  for (int low = 0; low < world.size(); ++low) {
    for (int high = low + 1; high < world.size(); ++high) {
      world.Barrier();
      std::array<double, 2> one_way = {0.0, 0.0};  // 0 but at the lower rank: the sum is its time
      if (world.rank() == low || world.rank() == high) {
        one_way[0] = OneWay(world, low, high, kSmallMessage, repeats);
        one_way[1] = OneWay(world, low, high, bytes, repeats);
      }
      world.Sum(one_way);
      pairs.push_back({low, high, one_way[0], static_cast<double>(bytes) / one_way[1]});
    }
  }
  return pairs;
}

}  // namespace longspan
