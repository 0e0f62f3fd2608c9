#include "cli/visual/clipped.h"

#include "cli/visual/text.h"

namespace longspan::cli {

std::string ClipWithDots(const std::string& text, idx_t columns) {
  return Columns(text) <= columns ? text : ClipColumns(text, columns - 3) + "...";
}

}  // namespace longspan::cli
