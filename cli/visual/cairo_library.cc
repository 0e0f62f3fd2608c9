#include "cli/visual/cairo_library.h"

#include <dlfcn.h>

#include "cli/check.h"

namespace longspan::cli {

void* FunctionOf(const char* library, const char* name) {
  // Never closed: what the library has allocated may outlive the last picture.
  void* const opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  Check(opened != nullptr, ErrorCode::kIo,
        "pictures are drawn with cairo, which cannot be loaded ({}); install it (Debian and Ubuntu "
        "call it libcairo2)",
        opened == nullptr ? dlerror() : "");
  void* const function = dlsym(opened, name);
  Check(function != nullptr, ErrorCode::kIo, "{} has no {}; install cairo 1.16 or later", library,
        name);
  return function;
}

}  // namespace longspan::cli
