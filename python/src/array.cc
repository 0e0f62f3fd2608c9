#include "array.h"

#include <fmt/format.h>
#include <nanobind/ndarray.h>

#include <cstdlib>
#include <cstring>

#include "errors.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

std::size_t Bytes(Element element) {
  switch (element) {
    case Element::kU8:
      return 1;
    case Element::kBf16:
    case Element::kU16:
      return 2;
    case Element::kF32:
    case Element::kI32:
      return 4;
  }
  return 1;
}

std::string TypeName(nb::handle object) { return Py_TYPE(object.ptr())->tp_name; }

nb::object Get(nb::handle object, const char* attribute) { return nb::getattr(object, attribute); }

std::string Text(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

}  // namespace

const char* ElementName(Element element) {
  switch (element) {
    case Element::kF32:
      return "float32";
    case Element::kBf16:
      return "bfloat16";
    case Element::kU8:
      return "uint8 or bool";
    case Element::kU16:
      return "uint16";
    case Element::kI32:
      return "int32";
  }
  return "";
}

Array::Array(const char* function, const char* name, nb::handle object)
    : function_(function), name_(name) {
  if (object.is_none()) return;
  if (PyObject_CheckBuffer(object.ptr()) != 0) {
    ReadBuffer(object);
  } else if (ReadExchange(object)) {
    CheckMemory(object);
  } else if (nb::hasattr(object, "data_ptr")) {
    ReadTorch(object);
    CheckMemory(object);
  } else {
    FailType(fmt::format("{}: {} is a {}; give an array of NumPy or a tensor of torch", function_,
                         name_, TypeName(object)));
  }
}

void Array::CheckMemory(nb::handle object) const {
  idx_t size = 1;
  for (int a = 0; a < axes_; ++a) size *= extent_[static_cast<std::size_t>(a)];
  if (size > 0 && data_ == nullptr) {
    FailType(fmt::format("{}: {} is a {} without memory of its own; give a plain array or tensor",
                         function_, name_, TypeName(object)));
  }
}

Array::~Array() {
  if (has_buffer_) PyBuffer_Release(&buffer_);
}

void Array::FailElement(const std::string& type) const {
  const char* todo = "; convert it to float32 or bfloat16";
  if (type == "float64") {
    todo = "; convert it, for example with .astype(numpy.float32): nothing is computed in double";
  }
  FailType(fmt::format("{}: {} has elements of type {}{}", function_, name_, type, todo));
}

void Array::ReadBuffer(nb::handle object) {
  const int flags = PyBUF_STRIDED_RO | PyBUF_FORMAT;
  bool bf16 = false;
  if (PyObject_GetBuffer(object.ptr(), &buffer_, flags) != 0) {
    // NumPy exports no types that other packages add to it; those of two bytes do as integers.
    PyErr_Clear();
    const std::string type = nb::hasattr(object, "dtype") ? Text(Get(object, "dtype")) : "unknown";
    if (type != "bfloat16") FailElement(type);
    const nb::object integers = object.attr("view")("uint16");
    if (PyObject_GetBuffer(integers.ptr(), &buffer_, flags) != 0) throw nb::python_error();
    bf16 = true;
  }
  has_buffer_ = true;
  const char* format = buffer_.format == nullptr ? "B" : buffer_.format;
  const char* code = *format == '@' || *format == '=' || *format == '<' ? format + 1 : format;
  if (bf16) {
    element_ = Element::kBf16;
  } else if (std::strcmp(code, "f") == 0) {
    element_ = Element::kF32;
  } else if (std::strcmp(code, "B") == 0 || std::strcmp(code, "?") == 0) {
    element_ = Element::kU8;
  } else if (std::strcmp(code, "H") == 0) {
    element_ = Element::kU16;
  } else if (std::strcmp(code, "i") == 0) {
    element_ = Element::kI32;
  } else {
    FailElement(nb::hasattr(object, "dtype") ? Text(Get(object, "dtype"))
                                             : fmt::format("'{}'", format));
  }
  if (buffer_.ndim > kMostAxes) {
    FailValue(fmt::format("{}: {} has {} axes, at most {} are read", function_, name_, buffer_.ndim,
                          kMostAxes));
  }
  axes_ = buffer_.ndim;
  data_ = buffer_.buf;
  read_only_ = buffer_.readonly != 0;
  const auto bytes = static_cast<idx_t>(Bytes(element_));
  for (int a = 0; a < axes_; ++a) {
    const auto i = static_cast<std::size_t>(a);
    extent_[i] = buffer_.shape[a];
    stride_[i] = buffer_.strides[a] / bytes;
    if (buffer_.strides[a] % bytes != 0) {
      FailValue(
          fmt::format("{}: {} has a step of {} bytes, no multiple of its elements' {}; copy "
                      "it with numpy.ascontiguousarray",
                      function_, name_, buffer_.strides[a], bytes));
    }
  }
  if (reinterpret_cast<std::uintptr_t>(data_) % static_cast<std::uintptr_t>(bytes) != 0) {
    FailValue(
        fmt::format("{}: {} is not aligned to its elements of {} bytes; copy it with "
                    "numpy.array",
                    function_, name_, bytes));
  }
}

// DLPack's table of C functions (its version 1.3), which torch has from 2.10 on: a tensor's memory
// for some ten nanoseconds, without a new reference. It hangs at the type of the tensor.
struct ExchangeTable {
  std::uint32_t major, minor;
  void* previous;
  void* others[3];
  int (*tensor_of)(void* object,
                   nb::dlpack::dltensor* tensor);  // -1 with an exception; may be null
};

// The table of a type, or null. Found once for each type.
const ExchangeTable* TableOf(PyTypeObject* type) {
  static PyTypeObject* known = nullptr;  // both are read and written with the GIL
  static const ExchangeTable* table = nullptr;
  if (type == known) return table;
  const nb::object capsule = nb::getattr(nb::handle(reinterpret_cast<PyObject*>(type)),
                                         "__dlpack_c_exchange_api__", nb::none());
  const ExchangeTable* found = nullptr;
  if (PyCapsule_CheckExact(capsule.ptr()) != 0) {
    found = static_cast<const ExchangeTable*>(
        PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (found == nullptr) PyErr_Clear();
    if (found != nullptr && (found->major != 1 || found->tensor_of == nullptr)) found = nullptr;
  }
  Py_INCREF(type);  // so that no other type gets its address
  known = type;
  table = found;
  return found;
}

// kF32, ... of DLPack's code and bits; false for what is not computed with.
bool ElementOfDlpack(const nb::dlpack::dtype& type, Element* element) {
  const auto is = [&](nb::dlpack::dtype_code code, int bits) {
    return type.code == static_cast<std::uint8_t>(code) && type.bits == bits && type.lanes == 1;
  };
  using Code = nb::dlpack::dtype_code;
  if (is(Code::Float, 32)) {
    *element = Element::kF32;
  } else if (is(Code::Bfloat, 16)) {
    *element = Element::kBf16;
  } else if (is(Code::UInt, 8) || is(Code::Bool, 8)) {
    *element = Element::kU8;
  } else if (is(Code::UInt, 16)) {
    *element = Element::kU16;
  } else if (is(Code::Int, 32)) {
    *element = Element::kI32;
  } else {
    return false;
  }
  return true;
}

bool Array::ReadExchange(nb::handle object) {
  constexpr std::int32_t kCpu = 1;
  const ExchangeTable* table = TableOf(Py_TYPE(object.ptr()));
  if (table == nullptr) return false;
  nb::dlpack::dltensor tensor{};
  if (table->tensor_of(object.ptr(), &tensor) != 0) {
    PyErr_Clear();
    return false;
  }
  if (tensor.device.device_type != kCpu || tensor.ndim > kMostAxes ||
      (tensor.strides == nullptr && tensor.ndim > 0) || !ElementOfDlpack(tensor.dtype, &element_)) {
    return false;  // the slow way says why
  }
  axes_ = tensor.ndim;
  for (int a = 0; a < axes_; ++a) {
    extent_[static_cast<std::size_t>(a)] = tensor.shape[a];
    stride_[static_cast<std::size_t>(a)] = tensor.strides[a];
  }
  data_ = static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
  return true;
}

// What a call asks of tensors of torch, found once: names that need no new strings, and element
// types that are compared by their pointers. A tensor then costs half a microsecond.
struct TorchNames {
  PyObject* data_ptr = PyUnicode_InternFromString("data_ptr");
  PyObject* dtype = PyUnicode_InternFromString("dtype");
  PyObject* is_cpu = PyUnicode_InternFromString("is_cpu");
  PyObject* shape = PyUnicode_InternFromString("shape");
  PyObject* stride = PyUnicode_InternFromString("stride");
  std::vector<std::pair<nb::object, Element>> types;

  TorchNames() {
    const nb::module_ torch = nb::module_::import_("torch");
    for (const auto& [name, element] : {std::pair{"float32", Element::kF32},
                                        {"bfloat16", Element::kBf16},
                                        {"uint8", Element::kU8},
                                        {"bool", Element::kU8},
                                        {"uint16", Element::kU16},
                                        {"int32", Element::kI32}}) {
      if (nb::hasattr(torch, name)) types.emplace_back(torch.attr(name), element);
    }
  }
  const Element* Find(nb::handle type) const {
    for (const auto& [known, element] : types) {
      if (known.is(type)) return &element;
    }
    return nullptr;
  }
  static nb::object Checked(PyObject* object) {
    if (object == nullptr) throw nb::python_error();
    return nb::steal(object);
  }
  static nb::object Get(nb::handle object, PyObject* name) {
    return Checked(PyObject_GetAttr(object.ptr(), name));
  }
  static nb::object Call(nb::handle object, PyObject* name) {
    PyObject* arguments[] = {object.ptr()};
    return Checked(
        PyObject_VectorcallMethod(name, arguments, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  }
};

void Array::ReadTorch(nb::handle object) {
  static const TorchNames& names = *new TorchNames();  // Python may be gone before statics end
  const nb::object type = names.Get(object, names.dtype);
  const Element* element = names.Find(type);
  if (element == nullptr) {
    FailType(fmt::format("{}: {} has elements of type {}; convert it with .float() or .bfloat16()",
                         function_, name_, Text(type)));
  }
  element_ = *element;
  if (!names.Get(object, names.is_cpu).is(nb::handle(Py_True))) {
    FailType(fmt::format("{}: {} is on the device '{}'; move it with .cpu()", function_, name_,
                         Text(Get(object, "device"))));
  }
  const nb::object shape = names.Get(object, names.shape);
  const nb::object strides = names.Call(object, names.stride);
  axes_ = static_cast<int>(PyTuple_GET_SIZE(shape.ptr()));
  if (axes_ > kMostAxes) {
    FailValue(
        fmt::format("{}: {} has {} axes, at most {} are read", function_, name_, axes_, kMostAxes));
  }
  for (int a = 0; a < axes_; ++a) {
    const auto i = static_cast<std::size_t>(a);
    extent_[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), a));
    stride_[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(strides.ptr(), a));
  }
  data_ = PyLong_AsVoidPtr(names.Call(object, names.data_ptr).ptr());
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
}

std::string Array::Shape() const {
  return none() ? "None" : ShapeText(std::vector<idx_t>(extent_.begin(), extent_.begin() + axes_));
}

void Array::CheckView(Element wanted, int axes, bool written) const {
  if (element_ != wanted) {
    FailType(fmt::format("{}: {} has elements of type {}, here they must be {}", function_, name_,
                         ElementName(element_), ElementName(wanted)));
  }
  if (axes_ != axes) {
    FailValue(fmt::format("{}: {} has shape {}, it must have {} axes{}", function_, name_, Shape(),
                          axes,
                          axes == 4 ? ": (batch, heads, tokens, head size)"
                          : axes == 2 && wanted == Element::kU8 ? ": (batch, tokens)"
                                                                : ""));
  }
  const auto last = static_cast<std::size_t>(axes - 1);
  if (extent_[last] > 1 && stride_[last] != 1) {
    FailValue(fmt::format("{}: the last axis of {} has a step of {} elements, it must be 1",
                          function_, name_, stride_[last]));
  }
  if (!written) return;
  if (read_only_) {
    FailValue(fmt::format("{}: {} is read-only, and is to be written", function_, name_));
  }
  // In the order of their steps, each axis must step over what the smaller ones cover.
  std::array<std::size_t, kMostAxes> order{};
  for (std::size_t a = 0; a < static_cast<std::size_t>(axes); ++a) {
    std::size_t place = a;
    for (; place > 0 && std::abs(stride_[order[place - 1]]) > std::abs(stride_[a]); --place) {
      order[place] = order[place - 1];
    }
    order[place] = a;
  }
  idx_t covered = 1;
  for (std::size_t a = 0; a < static_cast<std::size_t>(axes); ++a) {
    const std::size_t axis = order[a];
    if (extent_[axis] <= 1) continue;
    if (std::abs(stride_[axis]) < covered) {
      FailValue(fmt::format("{}: elements of {} overlap in memory, and it is to be written",
                            function_, name_));
    }
    covered += (extent_[axis] - 1) * std::abs(stride_[axis]);
  }
}

}  // namespace longspan::python
