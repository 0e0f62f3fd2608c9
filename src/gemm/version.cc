#include "gemm/version.h"

#include <dnnl.h>
#include <fmt/format.h>

namespace longspan::gemm {

std::string OneDnnVersion() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace longspan::gemm
