// Mean attention's row for a table of mechanisms.
#pragma once

#include "catalogue/mechanism.h"

namespace longspan::toys {

const catalogue::Mechanism& MeanMechanism();

}  // namespace longspan::toys
