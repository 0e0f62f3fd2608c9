#include "lab/rank_figures.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/errors.h"
#include "train/metrics_log.h"

namespace longspan {

double RankFigures::waited_s() const {
  double seconds = 0.0;
  for (const ExchangeCount& count : exchanged) seconds += count.waited_s;
  return seconds;
}

double RankFigures::sent_bytes() const {
  double bytes = 0.0;
  for (const ExchangeCount& count : exchanged) bytes += static_cast<double>(count.bytes);
  return bytes;
}

nlohmann::ordered_json RankFigures::Json(double seconds) const {
  return {{"waiting", waited_s() / seconds},
          {"sent_bytes", std::llround(sent_bytes())},
          {"exchanged", ExchangedJson(exchanged)}};
}

void ExchangeMeter::Begin() {
  if (world_ == nullptr) return;
  world_->Barrier();
  before_ = world_->exchanged();
}

void ExchangeMeter::End() {
  if (world_ == nullptr) return;
  const ExchangeCounts step = CountsSince(world_->exchanged(), before_);
  for (std::size_t i = 0; i < kExchangeKinds; ++i) {
    sum_[i].waited_s += step[i].waited_s;
    sum_[i].bytes += step[i].bytes;
  }
  ++steps_;
}

std::vector<RankFigures> ExchangeMeter::OfAll(idx_t peak_rss_bytes) const {
  RankFigures own{peak_rss_bytes, sum_};
  const idx_t steps = std::max<idx_t>(1, steps_);
  for (ExchangeCount& count : own.exchanged) {
    count.waited_s /= static_cast<double>(steps);
    count.bytes /= static_cast<std::uint64_t>(steps);
  }
  if (world_ == nullptr) return {own};
  std::string text(sizeof(own), '\0');
  std::memcpy(text.data(), &own, sizeof(own));
  std::vector<RankFigures> all;
  for (const std::string& one : world_->Gather(text)) {
    Check(one.size() == sizeof(own), ErrorCode::kFormat,
          "bench: a rank sends {} bytes of figures, another one {}; all need the same program",
          one.size(), sizeof(own));
    std::memcpy(&all.emplace_back(), one.data(), sizeof(own));
  }
  return all;
}

}  // namespace longspan
