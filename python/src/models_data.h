// Options about texts that trainings and evaluations share.
#pragma once

#include "longspan/data.h"
#include "longspan/train.h"
#include "models_values.h"

namespace longspan::python {

// format, encoding, text_field, label_field, pair_field, label_separator, max_line_bytes, skip_bad.
void ReadData(Options& options, DataOptions& data);
// mask_share, documents, packed, global_tokens.
void ReadMaskedLm(Options& options, MaskedLmOptions& task);
// problem, overflow, global_tokens.
void ReadClassify(Options& options, ClassifyOptions& task);

void BindEvaluation(nanobind::module_& module);  // evaluate

}  // namespace longspan::python
