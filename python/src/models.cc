// longspan._models: models, tasks, training and folders, as C++ has them.
#include "models.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "call.h"
#include "errors.h"
#include "longspan/machine.h"
#include "models_worker.h"

namespace nb = nanobind;

namespace longspan::python {

void BindCalls(nb::module_& module) {
  nb::class_<CancelFlag>(module, "CancelFlag",
                         "Ends the calls that it is given to, from any thread.")
      .def(nb::init<>())
      .def("cancel", [](CancelFlag& flag) { flag.set->store(true); })
      .def_prop_ro("cancelled", [](const CancelFlag& flag) { return flag.set->load(); });
  module.def("after_fork", &AfterFork);
  module.def("onednn_version", &OneDnnVersion);
  module.def(
      "wait_for_workers",
      [](double seconds) {
        const nb::gil_scoped_release release;
        WaitForWorkers(seconds);
      },
      nb::arg("seconds"));
}

}  // namespace longspan::python

NB_MODULE(_models, module) {
  using namespace longspan::python;
  module.doc() = "Private: longspan's models, tasks, training and folders.";
  TranslateErrors(module);
  BindCalls(module);
  BindTokenizer(module);
  BindModel(module);
  BindTasks(module);
  BindGenerate(module);
  BindTraining(module);
  BindFolders(module);
}
