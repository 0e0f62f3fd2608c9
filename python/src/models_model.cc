// longspan._models.Model: a loaded model, asked about ids.
#include "longspan/model.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "longspan/batch.h"
#include "models.h"
#include "models_tokenizer.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

// Ids or masks (B, T); models.py makes them of whatever it is given.
using IdArray = nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

std::span<const std::int32_t> Flat(const IdArray& array) { return {array.data(), array.size()}; }

// A model and the lines that its files gave cause for.
struct Loaded {
  Model model;
  std::vector<std::string> warnings;
};

// (model, warnings).
nb::tuple LoadModel(nb::handle path, nb::dict given) {
  const ModelOptions options = ReadModelOptions({"load", std::move(given)});
  Loaded loaded = Compute({}, [&, folder = PathOf(path, "load: path")](Context& context) {
    std::vector<std::string> warnings;
    ModelOptions how = options;
    how.on_warning = [&](const std::string& line) { warnings.push_back(line); };
    Model model = Model::Load(context, folder, how);
    return Loaded{std::move(model), std::move(warnings)};
  });
  return nb::make_tuple(std::move(loaded.model), TextObjects(loaded.warnings));
}

// A batch over arrays of NumPy. `types` and both masks are None or have the shape of `ids`.
struct ArrayBatch {
  std::vector<std::uint8_t> roles;
  BatchView view;

  ArrayBatch(const IdArray& ids, const std::optional<IdArray>& mask,
             const std::optional<IdArray>& global, const std::optional<IdArray>& types,
             idx_t choices) {
    view.rows = static_cast<idx_t>(ids.shape(0));
    view.tokens = static_cast<idx_t>(ids.shape(1));
    view.ids = Flat(ids);
    view.choices = choices;
    if (types) view.token_types = Flat(*types);
    if (mask || global) {
      roles = MergeMasks(mask ? Flat(*mask) : std::span<const std::int32_t>(),
                         global ? Flat(*global) : std::span<const std::int32_t>());
      view.roles = TokenRoles(roles.data(), {view.rows, view.tokens});
    }
  }
};

// What the last axis of a result of `rows` rows holds, and how many rows of it there are.
std::vector<idx_t> ShapeOf(const Tensor& tensor, idx_t rows, idx_t tokens, bool each_token) {
  const idx_t width = tensor.shape().back();
  if (each_token) return {rows, tokens, width};
  return {tensor.size() / width, width};
}

bool ReadsEachToken(HeadKind head) {
  return head != HeadKind::kSequence && head != HeadKind::kChoice;
}

nb::object RunIds(const Model& model, const IdArray& ids, const std::optional<IdArray>& mask,
                  const std::optional<IdArray>& global, const std::optional<IdArray>& types,
                  idx_t choices, bool logits, nb::dict call) {
  const ArrayBatch batch(ids, mask, global, types, choices);
  Tensor result =
      Compute(ReadCall({logits ? "logits" : "hidden", std::move(call)}), [&](Context& context) {
        return logits ? model.Logits(context, batch.view) : model.Hidden(context, batch.view);
      });
  const std::vector<idx_t> shape = ShapeOf(result, batch.view.rows, batch.view.tokens,
                                           !logits || ReadsEachToken(model.info().head));
  return ArrayObject(std::move(result), shape);
}

nb::list RunRagged(const Model& model, const nb::list& texts, nb::dict call) {
  std::vector<std::vector<std::int32_t>> rows;
  for (nb::handle text : texts) {
    rows.push_back(IdsOf(text, "ids[" + std::to_string(rows.size()) + "]"));
  }
  std::vector<Tensor> results =
      Compute(ReadCall({"logits", std::move(call)}),
              [&](Context& context) { return model.RaggedLogits(context, rows); });
  nb::list made;
  for (Tensor& result : results) {
    const std::vector<idx_t> shape = result.shape();
    made.append(ArrayObject(std::move(result), shape));
  }
  return made;
}

void SaveModel(const Model& model, nb::handle path) {
  const std::filesystem::path folder = PathOf(path, "save: path");
  const nb::gil_scoped_release release;
  model.Save(folder);
}

}  // namespace

void BindModel(nb::module_& module) {
  nb::class_<Model>(module, "Model")
      .def_static("load", &LoadModel, nb::arg("path"), nb::arg("options"))
      .def("save", &SaveModel, nb::arg("path"))
      .def("info", [](const Model& model) { return InfoObject(model.info()); })
      .def("config", [](const Model& model) { return TextObject(model.ConfigJson()); })
      .def("parameters", &Model::parameters)
      .def("directory", [](const Model& model) { return PathObject(model.directory()); })
      .def("tokenizer",
           [](const Model& model) {
             const auto kept = std::make_shared<const Model>(model);
             return TokenizerHandle{{kept, &kept->tokenizer()}};
           })
      .def("run", &RunIds, nb::arg("ids"), nb::arg("attention_mask").none(),
           nb::arg("global_attention_mask").none(), nb::arg("token_type_ids").none(),
           nb::arg("choices"), nb::arg("logits"), nb::arg("call"))
      .def("ragged_logits", &RunRagged, nb::arg("texts"), nb::arg("call"));
}

}  // namespace longspan::python
