#include "core.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <limits>

#include "longspan/process.h"
#include "longspan/version.h"

namespace nb = nanobind;

namespace longspan::python {

Groups Groups::Of(const char* function, const Array& q, const Array& k) {
  if (q.axes() != 4 || k.axes() != 4) return {};  // the views say what is wrong
  const idx_t heads = q.extent(1), key_heads = k.extent(1);
  if (key_heads < 1 || heads % key_heads != 0) {
    FailValue(fmt::format("{}: the {} heads of q {} are no multiple of the {} heads of k {}",
                          function, heads, q.Shape(), key_heads, k.Shape()));
  }
  return {heads == 0 ? 1 : heads / key_heads};
}

ProbabilityDropout DropoutOf(const char* function, double p, std::uint64_t key) {
  if (!(p >= 0.0 && p < 1.0)) {
    FailValue(fmt::format("{}: dropout {} is not from 0 to below 1", function, p));
  }
  return {static_cast<float>(p), key};
}

float ScaleOf(const char* function, double scale) {
  if (!std::isfinite(scale) ||
      std::abs(scale) > static_cast<double>(std::numeric_limits<float>::max())) {
    FailValue(fmt::format("{}: scale {} is not a finite float32", function, scale));
  }
  return static_cast<float>(scale);
}

namespace {

bool IsFinite(float x) { return std::isfinite(x); }
bool IsFinite(bfloat16 x) { return (x.bits & 0x7f80u) != 0x7f80u; }

}  // namespace

template <class T>
void CheckHidden(const char* function, const char* name, const View<const T, 4>& x,
                 const View<const std::uint8_t, 2>& mask) {
  if (mask.empty() || mask.extent[0] != x.extent[0] || mask.extent[1] != x.extent[2]) return;
  for (idx_t b = 0; b < x.extent[0]; ++b) {
    for (idx_t t = 0; t < x.extent[2]; ++t) {
      if (mask(b, t) != 0) continue;
      for (idx_t h = 0; h < x.extent[1]; ++h) {
        for (idx_t d = 0; d < x.extent[3]; ++d) {
          if (IsFinite(x(b, h, t, d))) [[likely]]
            continue;
          throw Error(
              ErrorCode::kUsage,
              fmt::format("{}: {} is not finite at batch {}, token {}, which key_mask hides; "
                          "fill hidden tokens with numbers, for example 0",
                          function, name, b, t));
        }
      }
    }
  }
}

template void CheckHidden(const char*, const char*, const View<const float, 4>&,
                          const View<const std::uint8_t, 2>&);
template void CheckHidden(const char*, const char*, const View<const bfloat16, 4>&,
                          const View<const std::uint8_t, 2>&);

double Operations(const Array& q, double keys) {
  if (q.axes() != 4) return 0.0;
  double all = std::min(keys, static_cast<double>(q.extent(2)));
  for (int a = 0; a < 4; ++a) all *= static_cast<double>(q.extent(a));
  return 2.0 * all;
}

}  // namespace longspan::python

// NOLINTNEXTLINE(performance-unnecessary-value-param): nanobind's macro declares it so
NB_MODULE(_core, module) {
  using namespace longspan;          // NOLINT(google-build-using-namespace)
  using namespace longspan::python;  // NOLINT(google-build-using-namespace)
  module.doc() = "The kernels of longspan. Private: use longspan and longspan.torch.";
  TranslateErrors(module);
  BindAxial(module);
  BindChunked(module);
  BindFull(module);
  BindLsh(module);
  BindWindow(module);
  module.attr("VERSION") = std::string(kVersion);
  module.def("set_threads", &SetThreads, nb::arg("threads"),
             "Sets the threads of calls that name none; 0: the default.");
  module.def("threads", &Threads, "What set_threads was given; 0: the default.");
  module.def(
      "used_threads", [](int threads) { return OwnContext(threads).threads(); }, nb::arg("threads"),
      "The threads that a call with this number uses at most.");
  module.def("after_fork", &AfterFork, "Tells the module that it is in a forked child.");
  module.def(
      "kernel_isa", [] { return std::string(KernelIsa()); },
      "The instruction set that kernels use.");
  module.def(
      "kernel_bf16", [] { return std::string(KernelBf16()); }, "How kernels multiply bf16.");
  module.def("runnable_isas", &RunnableIsas, "What this machine can run, lowest first.");
}
