// cairo, loaded when the first picture is drawn. Linked, it would bring some twenty libraries, X11
// among them, into every start of the program, also where nobody draws.
#pragma once

#include <cairo-svg.h>
#include <cairo.h>

namespace longspan::cli {

// A function of a shared library that is loaded by its file name and stays loaded. Throws kIo,
// which says what to install, where the library or the function is missing.
void* FunctionOf(const char* library, const char* name);

// CAIRO(arc)(cr, ...) calls cairo_arc(cr, ...). Each place in the code looks it up once.
#define CAIRO(name)                                                           \
  ([] {                                                                       \
    static const auto function = reinterpret_cast<decltype(&::cairo_##name)>( \
        ::longspan::cli::FunctionOf("libcairo.so.2", "cairo_" #name));        \
    return function;                                                          \
  }())

}  // namespace longspan::cli
