#include "catalogue/mechanism.h"

#include <algorithm>

namespace longspan::catalogue {

bool Mechanism::Understands(std::string_view option) const {
  return option == "--causal" || std::find(options.begin(), options.end(), option) != options.end();
}

}  // namespace longspan::catalogue
