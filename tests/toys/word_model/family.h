// The smallest family of models that there can be: an embedding and a linear head. Each token's id
// alone predicts the token that was masked, so it learns how often words come.
#pragma once

#include "families/family.h"

namespace longspan {

const ModelFamily& WordModelFamily();

}  // namespace longspan
