// Errors of the library as exceptions of Python.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "longspan/error.h"

namespace longspan::python {

// Raises the class of longspan._errors that stands for the code, with the error's line as its text.
void Raise(const Error& error);

// Throws TypeError "<line>" as longspan.DTypeError: an argument of a wrong type.
[[noreturn]] void FailType(const std::string& line);
// Throws ValueError "<line>" as longspan.UsageError: a wrong value.
[[noreturn]] void FailValue(const std::string& line);

// Lets every function of the module raise them.
void TranslateErrors(nanobind::module_& module);

}  // namespace longspan::python
