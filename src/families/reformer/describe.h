// What `longspan info` shows of a Reformer.
#pragma once

#include "families/reformer/reformer_config.h"
#include "model/model_config.h"

namespace longspan {

ModelDescription DescribeReformer(const ReformerConfig& config);

}  // namespace longspan
