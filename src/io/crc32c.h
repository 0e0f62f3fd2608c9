// CRC-32C (Castagnoli), which TensorBoard's records carry.
#pragma once

#include <cstdint>
#include <string_view>

namespace longspan::io {

// The checksum of RFC 3720: that of "123456789" is 0xe3069283. A table lookup a byte.
std::uint32_t Crc32c(std::string_view bytes);

}  // namespace longspan::io
