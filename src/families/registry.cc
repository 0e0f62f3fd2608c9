// The table of families. A line adds one; the first is that of a config.json that names none.

#include <array>

#include "families/bert/family.h"
#include "families/families.h"
#include "families/longformer/family.h"
#include "families/modernbert/family.h"
#include "families/reformer/family.h"

namespace longspan {

std::span<const ModelFamily* const> Families() {
  static const std::array<const ModelFamily*, 7> families = {
      &ReformerFamily(), &LongformerFamily(), &ModernBertFamily(), &BertFamily(),
      &RobertaFamily(),  &XlmRobertaFamily(), &CamembertFamily()};
  return families;
}

}  // namespace longspan
