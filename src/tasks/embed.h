// A text as one vector.
#pragma once

#include <vector>

#include "tasks/pooling.h"
#include "tasks/task_model.h"

namespace longspan {

// Vectors (texts, modes * C), float. Of a text in several windows every token counts once (the
// window that sees more around it gives its vector), the windows' special tokens each; kCls is the
// mean of the windows' first tokens, kLastToken is the last window's.
Tensor Embed(Context& context, TaskModel& model, const TaskRows& rows, const Pooling& pooling);

}  // namespace longspan
