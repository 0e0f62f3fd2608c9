// What may be asked of an attention mechanism.
#pragma once

#include "longspan/attention.h"

namespace longspan::catalogue {

// Each mechanism uses some of it. Fields are named like the options of the command line.
struct MechanismSpec {
  bool causal = false;              // a query sees no key after its own position
  idx_t window = 256;               // one-sided
  idx_t dilation = 1, globals = 0;  // of window attention: the first tokens are global
  idx_t chunk = 64, before = 1, after = 0;
  idx_t rounds = 4;
  idx_t buckets = 0;  // of LSH; 0: Hugging Face's rule
  ProbabilityDropout dropout;
};

}  // namespace longspan::catalogue
