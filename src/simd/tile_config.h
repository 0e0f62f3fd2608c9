// What `ldtilecfg` reads (Intel SDM volume 1, chapter 18): all eight tiles in full size.
#pragma once

#include <cstdint>

namespace longspan {

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace longspan
