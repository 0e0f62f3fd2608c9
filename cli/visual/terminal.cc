#include "cli/visual/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

namespace longspan::cli {
namespace {

constexpr idx_t kNarrowest = 20, kWidest = 1000;

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = Environment(name);
    if (value.empty()) continue;
    std::string lower;
    for (const char c : value) {
      if (c != '-') lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return lower.find("utf8") != std::string::npos;
  }
  return false;
}

idx_t Width(int file_descriptor) {
  const std::string_view text = Environment("COLUMNS");
  idx_t columns = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), columns);
  const bool number = error == std::errc() && end == text.data() + text.size();
  if (text.empty() || !number || columns <= 0) {
    winsize window{};
    columns =
        ioctl(file_descriptor, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
  }
  return std::clamp(columns, kNarrowest, kWidest);
}

}  // namespace

Terminal DetectTerminal(int file_descriptor) {
  const bool tty = isatty(file_descriptor) == 1 && Environment("TERM") != "dumb";
  const bool forced = !Environment("FORCE_COLOR").empty() && Environment("FORCE_COLOR") != "0";
  Terminal terminal;
  terminal.interactive = tty && Environment("CI").empty();
  terminal.color = (tty || forced) && Environment("NO_COLOR").empty();
  terminal.utf8 = LocaleIsUtf8();
  terminal.width = Width(file_descriptor);
  return terminal;
}

}  // namespace longspan::cli
