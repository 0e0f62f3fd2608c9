// The program's table of families with one more row.

#include "families/families.h"

#include <array>

#include "families/longformer/family.h"
#include "families/reformer/family.h"
#include "tests/toys/word_model/family.h"

namespace longspan {

std::span<const ModelFamily* const> Families() {
  static const std::array<const ModelFamily*, 3> families = {&ReformerFamily(), &LongformerFamily(),
                                                             &WordModelFamily()};
  return families;
}

}  // namespace longspan
