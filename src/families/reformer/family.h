// Reformers (Kitaev, Kaiser, Levskaya 2020) as a row of the table of families.
#pragma once

#include <memory>

#include "families/family.h"
#include "families/reformer/reformer.h"

namespace longspan {

const ModelFamily& ReformerFamily();

// Compares a recorded case with what the folder's model computes (longspan/folders.h).
ParityReport VerifyReformer(Context& context, const ModelFolder& folder,
                            const io::TensorSource& recorded, const FamilyOptions& options);

TextModelInfo InfoOf(const ReformerConfig& config);
std::unique_ptr<ModelConfig> MakeModelConfig(ReformerConfig config);
// Runs rows without their padding, those of one length together. Otherwise chunks would reach over
// padding, and a row's result would depend on the lengths of the other rows. Rows of documents run
// as they are: padding is a document of its own, and hidden.
std::unique_ptr<TextModel> MakeTextModel(Reformer model);

}  // namespace longspan
