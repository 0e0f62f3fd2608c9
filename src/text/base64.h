// Base64 with padding, as RFC 4648 has it.
#pragma once

#include <string>
#include <string_view>

namespace longspan::text {

// kFormat naming `source` for what is no base64.
std::string DecodeBase64(std::string_view text, std::string_view source);

std::string EncodeBase64(std::string_view bytes);

}  // namespace longspan::text
