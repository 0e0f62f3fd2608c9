// The options of longspan/model_info.h as families read them.
#pragma once

#include "longspan/model_info.h"
#include "model/family_options.h"
#include "model/text_model_info.h"

namespace longspan {

// Only what differs from a model's config.
FamilyOptions OptionsOf(const ReformerOptions& options);

// What of a model the public functions tell.
ModelInfo PublicInfo(const TextModelInfo& info, std::string_view family);

}  // namespace longspan
