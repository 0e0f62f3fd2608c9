// longspan._models: folders of models described, made, converted and verified.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <utility>

#include "longspan/folders.h"
#include "longspan/named_options.h"
#include "models.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

// (info, parameters, warnings).
nb::tuple MakeModel(nb::handle output, nb::dict given) {
  Options options("init_model", std::move(given));
  InitOptions init;
  ReadInit(options, init);
  const InitResult made =
      Compute({}, [&, folder = PathOf(output, "init_model: output")](Context& context) {
        return InitModel(context, folder, init);
      });
  return nb::make_tuple(InfoObject(made.info), made.parameters, TextObjects(made.warnings));
}

// (is a model, JSON, [(name, value)]).
nb::tuple DescribePath(nb::handle path, bool tensors) {
  const FolderInfo info = ComputeAlone([folder = PathOf(path, "describe: path"), tensors] {
    return DescribeFolder(folder, tensors);
  });
  nb::list lines;
  for (const auto& [name, value] : info.lines) {
    lines.append(nb::make_tuple(TextObject(name), TextObject(value)));
  }
  return nb::make_tuple(info.is_model, TextObject(info.json), lines);
}

nb::dict ConvertPath(nb::handle source, nb::handle output, nb::dict given, nb::dict call) {
  Options options("convert", std::move(given));
  ConvertOptions convert;
  ReadConversion(options, convert);
  const std::filesystem::path in = PathOf(source, "convert: source"),
                              out = PathOf(output, "convert: output");
  const ConvertReport report =
      Compute(ReadCall({"convert", std::move(call)}),
              [&](Context& context) { return ConvertModel(context, in, out, convert); });
  nb::dict made;
  made["source_class"] = report.from;
  made["target_class"] = report.to;
  made["old_tokens"] = report.old_tokens;
  made["bytes"] = report.bytes;
  made["tensors"] = report.tensors;
  made["shards"] = report.shards;
  made["copied"] = TextObjects(report.copied);
  made["warnings"] = TextObjects(report.warnings);
  return made;
}

// (all hold, [(name, largest difference, relative L2 error, holds)]).
nb::tuple VerifyPath(nb::handle folder, nb::handle recorded, nb::dict given, nb::dict call) {
  Options options("verify", std::move(given));
  ReformerOptions reformer;
  ReadReformerOptions(options, reformer);
  const std::filesystem::path model = PathOf(folder, "verify: model"),
                              file = PathOf(recorded, "verify: case");
  const ParityReport report = Compute(ReadCall({"verify", std::move(call)}), [&](Context& context) {
    return VerifyModel(context, model, file, reformer);
  });
  nb::list tensors;
  for (const TensorParity& tensor : report.tensors) {
    tensors.append(nb::make_tuple(tensor.name, tensor.max_abs, tensor.rel_l2, tensor.ok));
  }
  return nb::make_tuple(report.ok, tensors);
}

}  // namespace

void BindFolders(nb::module_& module) {
  module.def("init_model", &MakeModel, nb::arg("output"), nb::arg("options"));
  module.def(
      "model_info",
      [](nb::handle path) { return InfoObject(ReadModelInfo(PathOf(path, "model"))); },
      nb::arg("path"));
  module.def("describe", &DescribePath, nb::arg("path"), nb::arg("tensors"));
  module.def("convert", &ConvertPath, nb::arg("source"), nb::arg("output"), nb::arg("options"),
             nb::arg("call"));
  module.def("verify", &VerifyPath, nb::arg("model"), nb::arg("case"), nb::arg("options"),
             nb::arg("call"));
}

}  // namespace longspan::python
