// The table of attention mechanisms, and nothing else: see Mechanisms() in mechanism.h.
#include "catalogue/mechanism.h"

namespace longspan::catalogue {

std::span<const Mechanism* const> Mechanisms() {
  static const Mechanism* const kRows[] = {&FullMechanism(), &WindowMechanism(),
                                           &ChunkedMechanism(), &LshMechanism()};
  return kRows;
}

}  // namespace longspan::catalogue
