// A Reformer's attention over documents that stand side by side in its rows.
#pragma once

#include <memory>

#include "model/attention_layer.h"

namespace longspan {

// Runs `inner` on whole rows or, if a call has documents, on each document as if it were a row of
// its own. Exact for every mechanism. Costs one call a document, so documents shorter than a few
// chunks keep few threads busy.
std::unique_ptr<AttentionMechanism> ByDocument(std::unique_ptr<AttentionMechanism> inner);

}  // namespace longspan
