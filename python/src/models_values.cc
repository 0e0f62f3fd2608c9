#include "models_values.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <limits>
#include <utility>

#include "errors.h"
#include "longspan/folders.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

const char* TypeName(nb::handle object) { return Py_TYPE(object.ptr())->tp_name; }

nb::object Checked(PyObject* made) {
  if (made == nullptr) throw nb::python_error();
  return nb::steal(made);
}

// The elements of a list or a tuple.
std::vector<nb::object> Elements(nb::handle list, const std::string& name) {
  if (!PyList_Check(list.ptr()) && !PyTuple_Check(list.ptr())) {
    FailType(name + " is " + TypeName(list) + ", need a list");
  }
  std::vector<nb::object> elements;
  for (nb::handle element : list) elements.push_back(nb::borrow(element));
  return elements;
}

std::string At(const std::string& name, std::size_t i) {
  return name + "[" + std::to_string(i) + "]";
}

[[noreturn]] void FailValueType(const std::string& name, nb::handle value, const char* need) {
  FailType(name + " is " + nb::cast<std::string>(nb::repr(value)) + " (" + TypeName(value) +
           "), need " + need);
}

// A bool is none.
long long IntegerOf(nb::handle value, const std::string& name) {
  const nb::object whole =
      nb::steal(PyBool_Check(value.ptr()) ? nullptr : PyNumber_Index(value.ptr()));
  if (!whole.is_valid()) {
    PyErr_Clear();
    FailValueType(name, value, "an integer");
  }
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow);
  if (overflow != 0) FailValueType(name, value, "an integer of 64 bits");
  return number;
}

}  // namespace

// ---- to Python ----------------------------------------------------------------------------------

nb::str TextObject(std::string_view text) {
  return nb::steal<nb::str>(
      Checked(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"))
          .release());
}

nb::object PathObject(const std::filesystem::path& path) {
  return Checked(PyUnicode_DecodeFSDefault(path.c_str()));
}

namespace {

template <class T>
nb::object ArrayOf(Tensor tensor, const std::vector<idx_t>& shape) {
  auto owned = std::make_unique<Tensor>(std::move(tensor));
  T* const data = static_cast<T*>(owned->raw());
  const nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  static_cast<void>(owned.release());
  const std::vector<std::size_t> extents(shape.begin(), shape.end());
  return nb::cast(nb::ndarray<nb::numpy, T>(data, extents.size(), extents.data(), owner));
}

}  // namespace

nb::object ArrayObject(Tensor tensor, const std::vector<idx_t>& shape) {
  if (tensor.dtype() == DType::kI8) return ArrayOf<std::int8_t>(std::move(tensor), shape);
  if (tensor.dtype() == DType::kU8) return ArrayOf<std::uint8_t>(std::move(tensor), shape);
  return ArrayOf<float>(std::move(tensor), shape);
}

nb::list IdList(std::span<const std::int32_t> ids) {
  nb::list list;
  for (const std::int32_t id : ids) list.append(id);
  return list;
}

nb::tuple SpanObject(const text::Span& span) { return nb::make_tuple(span.begin, span.end); }

nb::list TextObjects(std::span<const std::string> texts) {
  nb::list list;
  for (const std::string& text : texts) list.append(TextObject(text));
  return list;
}

nb::list NumberObjects(std::span<const double> numbers) {
  nb::list list;
  for (const double number : numbers) list.append(number);
  return list;
}

nb::dict InfoObject(const ModelInfo& info) {
  static constexpr const char* kProblems[] = {"auto", "regression", "single", "multi"};
  nb::dict made;
  made["family"] = info.family;
  made["title"] = info.title;
  made["class_name"] = info.class_name;
  made["head"] = std::string(NameOf(info.head));
  made["labels"] = TextObjects(info.labels);
  made["problem"] = kProblems[static_cast<int>(info.problem)];
  made["width"] = info.width;
  made["vocabulary"] = info.vocabulary;
  made["pad_token"] = info.pad_token;
  made["longest"] = info.longest;
  made["global_tokens"] = info.global_tokens;
  made["global_rule"] = info.global_rule;
  made["causal"] = info.causal;
  return made;
}

nb::object NumberOrNone(double number) {
  return std::isnan(number) ? nb::none() : nb::object(nb::float_(number));
}

// ---- from Python --------------------------------------------------------------------------------

std::string TextOf(nb::handle object, const std::string& name) {
  if (PyBytes_Check(object.ptr())) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(object.ptr(), &data, &size) != 0) throw nb::python_error();
    return {data, static_cast<std::size_t>(size)};
  }
  if (!PyUnicode_Check(object.ptr())) {
    FailType(name + " is " + TypeName(object) + ", need str");
  }
  Py_ssize_t size = 0;
  const char* const data = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
  if (data == nullptr) {
    PyErr_Clear();
    FailValue(name +
              ": the text has half of a surrogate pair, which is no character; "
              "text.encode('utf-8', 'replace').decode() puts '?' there");
  }
  return {data, static_cast<std::size_t>(size)};
}

std::vector<std::string> TextsOf(nb::handle list, const char* name) {
  std::vector<std::string> texts;
  for (const nb::object& element : Elements(list, name)) {
    texts.push_back(TextOf(element, At(name, texts.size())));
  }
  return texts;
}

std::vector<TaskText> TaskTextsOf(nb::handle list, const char* name) {
  std::vector<TaskText> texts;
  for (const nb::object& element : Elements(list, name)) {
    const std::string place = At(name, texts.size());
    if (!PyList_Check(element.ptr()) && !PyTuple_Check(element.ptr())) {
      texts.push_back({TextOf(element, place), std::nullopt});
      continue;
    }
    const std::vector<nb::object> pair = Elements(element, place);
    if (pair.size() != 2) {
      FailValue(place + " has " + std::to_string(pair.size()) + " elements, a pair of texts has 2");
    }
    texts.push_back({TextOf(pair[0], At(place, 0)), TextOf(pair[1], At(place, 1))});
  }
  return texts;
}

std::filesystem::path PathOf(nb::handle object, const std::string& name) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(object.ptr(), &bytes) == 0) {
    PyErr_Clear();
    FailType(name + " is " + TypeName(object) + ", need a path: str or os.PathLike");
  }
  const nb::object owned = nb::steal(bytes);
  return TextOf(owned, name);
}

std::vector<std::int32_t> IdsOf(nb::handle list, const std::string& name) {
  std::vector<std::int32_t> ids;
  for (const nb::object& element : Elements(list, name)) {
    const nb::object whole = nb::steal(PyNumber_Index(element.ptr()));
    int overflow = 0;
    const long long value =
        whole.is_valid() ? PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow) : 0;
    if (!whole.is_valid()) {
      PyErr_Clear();
      FailType(At(name, ids.size()) + " is " + TypeName(element) + ", need an integer");
    }
    if (overflow != 0 || value < std::numeric_limits<std::int32_t>::min() ||
        value > std::numeric_limits<std::int32_t>::max()) {
      FailValue(At(name, ids.size()) + " is no id: it does not fit into 32 bits");
    }
    ids.push_back(static_cast<std::int32_t>(value));
  }
  return ids;
}

// ---- named values -------------------------------------------------------------------------------

std::string Options::Place(const char* name) const { return std::string(function_) + ": " + name; }

nb::object Options::Get(const char* name) const {
  const nb::str key(name);
  return values_.contains(key) ? nb::object(values_[key]) : nb::none();
}

void Options::Fail(const char* name, const char* need) const {
  FailValueType(Place(name), Get(name), need);
}

long long Options::Integer(const char* name) const { return IntegerOf(Get(name), Place(name)); }

void Options::Read(const char* name, bool& field) {
  if (!Has(name)) return;
  const nb::object value = Get(name);
  const std::string_view type = TypeName(value);
  if (type != "bool" && type != "numpy.bool" && type != "numpy.bool_") Fail(name, "True or False");
  field = PyObject_IsTrue(value.ptr()) == 1;
}

void Options::Read(const char* name, int& field) {
  if (!Has(name)) return;
  const long long number = Integer(name);
  if (number < std::numeric_limits<int>::min() || number > std::numeric_limits<int>::max()) {
    Fail(name, "an integer of 32 bits");
  }
  field = static_cast<int>(number);
}

void Options::Read(const char* name, idx_t& field) {
  if (Has(name)) field = Integer(name);
}

void Options::Read(const char* name, std::uint64_t& field) {
  if (!Has(name)) return;
  const long long number = Integer(name);
  if (number < 0) Fail(name, "an integer that is not negative");
  field = static_cast<std::uint64_t>(number);
}

void Options::Read(const char* name, double& field) {
  if (!Has(name)) return;
  const double number = PyFloat_AsDouble(Get(name).ptr());
  if (number == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    Fail(name, "a number");
  }
  field = number;
}

void Options::Read(const char* name, std::string& field) {
  if (Has(name)) field = TextOf(Get(name), Place(name));
}

void Options::Read(const char* name, char& field) {
  if (!Has(name)) return;
  const std::string text = TextOf(Get(name), Place(name));
  if (text.size() != 1) Fail(name, "one ASCII character");
  field = text[0];
}

void Options::Read(const char* name, std::filesystem::path& field) {
  if (Has(name)) field = PathOf(Get(name), Place(name));
}

void Options::Read(const char* name, std::vector<idx_t>& field) {
  if (!Has(name)) return;
  field.clear();
  for (const nb::object& element : Elements(Get(name), Place(name))) {
    field.push_back(IntegerOf(element, At(Place(name), field.size())));
  }
}

void Options::Read(const char* name, std::vector<std::string>& field) {
  if (!Has(name)) return;
  field.clear();
  for (const nb::object& element : Elements(Get(name), Place(name))) {
    field.push_back(TextOf(element, At(Place(name), field.size())));
  }
}

void Options::Read(const char* name, std::vector<std::filesystem::path>& field) {
  if (!Has(name)) return;
  field.clear();
  for (const nb::object& element : Elements(Get(name), Place(name))) {
    field.push_back(PathOf(element, At(Place(name), field.size())));
  }
}

// ---- options that several functions have
// ---------------------------------------------------------

CallOptions ReadCall(Options options) {
  CallOptions call;
  options.Read("threads", call.threads);
  options.Read("memory_limit", call.memory_limit);
  call.progress = options.Get("progress");
  const nb::object cancel = options.Get("cancel");
  if (!cancel.is_none()) call.cancel = nb::cast<CancelFlag&>(cancel).set;
  return call;
}

ModelOptions ReadModelOptions(Options options) {
  ModelOptions model;
  options.ReadName("dtype", model.compute, ParseDType);
  options.ReadName("head", model.head, [](const std::string& name) { return ParseHead(name); });
  options.Read("allow_nonfinite", model.allow_nonfinite);
  ReadReformerOptions(options, model.reformer);
  return model;
}

}  // namespace longspan::python
