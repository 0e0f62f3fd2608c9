#include <dnnl.h>
#include <fmt/format.h>

#include "longspan/machine.h"

namespace longspan {

std::string OneDnnVersion() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace longspan
