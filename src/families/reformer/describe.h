// What `longspan info` shows of a Reformer.
#pragma once

#include "model/model_config.h"
#include "model/reformer_config.h"

namespace longspan {

ModelDescription DescribeReformer(const ReformerConfig& config);

}  // namespace longspan
