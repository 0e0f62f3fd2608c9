// What the terminal at the other end of a stream can show.
#pragma once

#include <string_view>

#include "longspan/types.h"

namespace longspan::cli {

// Ends what an escape sequence for a colour began.
inline constexpr std::string_view kPlainColor = "\x1b[0m";

struct Terminal {
  bool interactive = false;  // a terminal whose line can be redrawn
  bool color = false;
  bool utf8 = false;
  idx_t width = 80;  // columns
};

// Asks the file descriptor and the environment.
//   interactive: a TTY, TERM is not "dumb", CI is not set.
//   color: a TTY, TERM is not "dumb", NO_COLOR is unset or empty; FORCE_COLOR wins over the TTY.
//   utf8: the first that is set of LC_ALL, LC_CTYPE, LANG names UTF-8.
//   width: COLUMNS, else the window, else 80; at least 20.
Terminal DetectTerminal(int file_descriptor);

}  // namespace longspan::cli
