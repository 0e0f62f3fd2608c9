// The settings of trainings and evaluations that only some families of models have.
#pragma once

#include <string>

#include "model/family_options.h"

namespace longspan {

struct FamilySettings {
  std::string attention;    // empty: the config's
  idx_t num_hashes = 0;     // 0: the config's
  bool no_lm_bias = false;  // leaves a language model's bias out
  bool strict = false;      // refuses and pads what transformers refuses and pads
};

// As the family reads them: only what differs from its config.
inline FamilyOptions FamilyOptionsOf(const FamilySettings& settings) {
  FamilyOptions options;
  if (!settings.attention.empty()) options.Set("attention", settings.attention);
  if (settings.num_hashes != 0) options.Set("num-hashes", settings.num_hashes);
  if (settings.no_lm_bias) options.Set("lm-bias", false);
  if (settings.strict) options.Set("strict", true);
  return options;
}

}  // namespace longspan
