// The parts of the module longspan._models. It is private: python/longspan/models.py and its
// neighbours check what people pass and shape what they get.
#pragma once

#include <nanobind/nanobind.h>

namespace longspan::python {

void BindCalls(nanobind::module_& module);      // CancelFlag, forks, the end of the process
void BindTokenizer(nanobind::module_& module);  // Tokenizer
void BindModel(nanobind::module_& module);      // Model
void BindTasks(nanobind::module_& module);      // TaskModel, Embedder
void BindGenerate(nanobind::module_& module);   // generate, search_beams
void BindTraining(nanobind::module_& module);   // train, evaluate, run_log
void BindFolders(nanobind::module_& module);    // init_model, describe, convert, verify

}  // namespace longspan::python
