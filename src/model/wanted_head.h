// A head to train, on whatever encoder a folder holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/head_kind.h"
#include "model/label_fields.h"

namespace longspan {

struct WantedHead {
  HeadKind head = HeadKind::kMaskedLm;
  std::vector<std::string> labels;  // of sequences and tokens; other heads: empty
  ProblemType problem = ProblemType::kInferred;
  std::uint64_t seed = 1;  // of the parameters that the files do not have
};

}  // namespace longspan
