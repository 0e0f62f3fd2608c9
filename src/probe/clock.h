#pragma once

#include <chrono>

namespace longspan::probe {

// Of a clock that only goes forward, since some moment.
inline double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace longspan::probe
