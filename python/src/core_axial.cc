// Axial positional encodings.
#include "core.h"
#include "longspan/axial_position.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

constexpr const char* kAxial = "axial_positions";

AxialTables TablesOf(const Array& t0, const Array& t1) {
  return {t0.As<const float, 2>(), t1.As<const float, 2>()};
}

void AxialForwardOf(nb::handle table0, nb::handle table1, nb::handle out, idx_t start,
                    int threads) {
  const Array t0(kAxial, "table0", table0), t1(kAxial, "table1", table1), x(kAxial, "out", out);
  const AxialTables tables = TablesOf(t0, t1);
  const auto to = x.As<float, 2>();
  Run(threads, static_cast<double>(to.size()),
      [&](Context& context) { AxialForward(context, tables, 1, start, to); });
}

void AxialBackwardOf(nb::handle table0, nb::handle table1, nb::handle dout, nb::handle dtable0,
                     nb::handle dtable1, idx_t start, int threads) {
  const Array t0(kAxial, "table0", table0), t1(kAxial, "table1", table1), x(kAxial, "dout", dout),
      to0(kAxial, "dtable0", dtable0), to1(kAxial, "dtable1", dtable1);
  const AxialTables tables = TablesOf(t0, t1);
  const auto from = x.As<const float, 2>();
  const AxialGradients to{to0.As<float, 2>(), to1.As<float, 2>()};
  Run(threads, static_cast<double>(from.size()),
      [&](Context& context) { AxialBackward(context, tables, 1, start, from, to); });
}

}  // namespace

void BindAxial(nb::module_& module) {
  module.def("axial_forward", &AxialForwardOf, nb::arg("table0"), nb::arg("table1"), nb::arg("out"),
             nb::arg("start"), nb::arg("threads"), "Adds to out (T, D0 + D1).");
  module.def("axial_backward", &AxialBackwardOf, nb::arg("table0"), nb::arg("table1"),
             nb::arg("dout"), nb::arg("dtable0"), nb::arg("dtable1"), nb::arg("start"),
             nb::arg("threads"), "Adds to dtable0 and dtable1.");
}

}  // namespace longspan::python
