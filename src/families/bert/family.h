// BERT, RoBERTa, XLM-RoBERTa and CamemBERT as rows of the table of families.
#pragma once

#include <memory>

#include "families/bert/bert.h"
#include "families/family.h"

namespace longspan {

const ModelFamily& BertFamily();
const ModelFamily& RobertaFamily();
const ModelFamily& XlmRobertaFamily();
const ModelFamily& CamembertFamily();

// Compares a recorded case with what the folder's model computes (longspan/folders.h).
ParityReport VerifyBert(Context& context, const ModelFolder& folder,
                        const io::TensorSource& recorded, const FamilyOptions& options);

TextModelInfo InfoOf(const BertConfig& config);
std::unique_ptr<ModelConfig> MakeModelConfig(BertConfig config);
std::unique_ptr<TextModel> MakeTextModel(Bert model);

}  // namespace longspan
