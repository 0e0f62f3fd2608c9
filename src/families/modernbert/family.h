// ModernBERTs (Warner et al. 2024) as a row of the table of families.
#pragma once

#include "families/family.h"
#include "families/modernbert/modernbert.h"

namespace longspan {

const ModelFamily& ModernBertFamily();

// Compares a recorded case with what the folder's model computes (longspan/folders.h).
ParityReport VerifyModernBert(Context& context, const ModelFolder& folder,
                              const io::TensorSource& recorded, const FamilyOptions& options);

TextModelInfo InfoOf(const ModernBertConfig& config);
std::unique_ptr<ModelConfig> MakeModelConfig(ModernBertConfig config);
std::unique_ptr<TextModel> MakeTextModel(ModernBert model);

}  // namespace longspan
