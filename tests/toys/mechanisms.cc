// The table of a program that has one mechanism more than the project: src/catalogue/mechanism.h
// says how it takes the place of the project's own.
#include "tests/toys/mean_attention/row.h"

namespace longspan::catalogue {

std::span<const Mechanism* const> Mechanisms() {
  static const Mechanism* const kRows[] = {&FullMechanism(), &WindowMechanism(),
                                           &ChunkedMechanism(), &LshMechanism(),
                                           &toys::MeanMechanism()};
  return kRows;
}

}  // namespace longspan::catalogue
