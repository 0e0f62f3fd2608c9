// How far the cores are from each other.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "longspan/machine.h"
#include "parallel/parallel_for.h"
#include "probe/clock.h"

namespace longspan {
namespace {

using probe::Seconds;

constexpr std::uint32_t kTrips = 1000;     // of one attempt: 0.1 to 0.5 ms
constexpr int kAttempts = 3;               // the least counts
constexpr int kMostPartners = 15;          // of the first core
constexpr double kPatienceSeconds = 0.01;  // both tasks may be given to one thread

// Waits until the line holds a value; false when that takes too long.
bool WaitFor(const std::atomic<std::uint32_t>& line, std::uint32_t value) {
  double give_up = 0.0;
  for (std::uint32_t look = 1; line.load(std::memory_order_acquire) != value; ++look) {
    if (look % 1024 != 0) continue;
    const double now = Seconds();
    if (give_up == 0.0) give_up = now + kPatienceSeconds;
    if (now > give_up) return false;
  }
  return true;
}

// Seconds of a round trip between the first thread and another one; 0: they never ran at once.
double RoundTripSeconds(const Context& context, idx_t partner) {
  alignas(64) std::atomic<std::uint32_t> line{0};
  double seconds = 0.0;
  ParallelFor(context, context.threads(), [&](idx_t task, int) {
    if (task == partner) {
      for (std::uint32_t trip = 0; trip <= kTrips && WaitFor(line, 2 * trip + 1); ++trip) {
        line.store(2 * trip + 2, std::memory_order_release);
      }
    }
    if (task != 0) return;
    double begin = 0.0;
    for (std::uint32_t trip = 0; trip <= kTrips; ++trip) {
      line.store(2 * trip + 1, std::memory_order_release);
      if (!WaitFor(line, 2 * trip + 2)) return;
      if (trip == 0) begin = Seconds();  // both are there
    }
    seconds = (Seconds() - begin) / kTrips;
  });
  return seconds;
}

}  // namespace

double ProbeRoundTripNs(Context& context) {
  const idx_t others = context.threads() - 1, partners = std::min<idx_t>(others, kMostPartners);
  double most = 0.0;
  for (idx_t i = 1; i <= partners; ++i) {
    double least = 0.0;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const double seconds = RoundTripSeconds(context, others * i / partners);
      if (seconds > 0.0 && (least == 0.0 || seconds < least)) least = seconds;
    }
    most = std::max(most, least);
  }
  return 1e9 * most;
}

}  // namespace longspan
