// Longformers (Beltagy, Peters, Cohan 2020) as a row of the table of families.
#pragma once

#include <memory>

#include "families/family.h"
#include "families/longformer/longformer.h"

namespace longspan {

const ModelFamily& LongformerFamily();

// Compares a recorded case with what the folder's model computes (longspan/folders.h).
ParityReport VerifyLongformer(Context& context, const ModelFolder& folder,
                              const io::TensorSource& recorded, const FamilyOptions& options);

TextModelInfo InfoOf(const LongformerConfig& config);
std::unique_ptr<ModelConfig> MakeModelConfig(LongformerConfig config);
std::unique_ptr<TextModel> MakeTextModel(Longformer model);

}  // namespace longspan
