// How a model is loaded from its folder, whatever its family.
#pragma once

#include <optional>

#include "longspan/batch.h"
#include "model/family_options.h"
#include "model/wanted_head.h"

namespace longspan {

struct LoadOptions {
  bool allow_nonfinite = false;      // weights may hold NaN or infinity
  std::optional<double> dropout;     // instead of every dropout of the config
  std::optional<WantedHead> head;    // absent: the config's, all of it from the files
  std::optional<GlobalRule> global;  // instead of the files' rule about global tokens
  FamilyOptions family;              // the family's own
};

}  // namespace longspan
