#include "errors.h"

#include <exception>

namespace nb = nanobind;

namespace longspan::python {
namespace {

// Text of an error may hold any bytes: file names do.
nb::object Decoded(const char* line) {
  return nb::steal(PyUnicode_DecodeUTF8(
      line, static_cast<Py_ssize_t>(std::char_traits<char>::length(line)), "backslashreplace"));
}

void RaiseClass(const nb::object& kind, const char* line) {
  PyErr_SetObject(kind.ptr(), Decoded(line).ptr());
}

nb::object Class(const char* name) { return nb::module_::import_("longspan._errors").attr(name); }

[[noreturn]] void FailClass(const char* name, const std::string& line) {
  RaiseClass(Class(name), line.c_str());
  throw nb::python_error();
}

}  // namespace

void Raise(const Error& error) {
  try {
    const nb::object kinds = Class("BY_CODE");
    RaiseClass(kinds[nb::int_(static_cast<int>(error.code()))], error.what());
  } catch (nb::python_error& other) {
    other.restore();
  }
}

void FailType(const std::string& line) { FailClass("DTypeError", line); }
void FailValue(const std::string& line) { FailClass("UsageError", line); }

void TranslateErrors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      Raise(error);
    }
  });
}

}  // namespace longspan::python
