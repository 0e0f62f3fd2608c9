// Full attention.
#include <limits>

#include "core.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

constexpr const char* kFull = "full_attention";
constexpr double kEveryKey = std::numeric_limits<double>::infinity();

FullSpec FullSpecOf(bool causal, double scale, double dropout, std::uint64_t key) {
  return {causal, ScaleOf(kFull, scale), DropoutOf(kFull, dropout, key)};
}

void FullForwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle sinks,
                   nb::handle out, nb::handle lse, bool causal, double scale, double dropout,
                   std::uint64_t key, int threads) {
  const SeparateArrays a(kFull, "key_mask", q, k, v, mask, sinks, out, lse);
  const FullSpec spec = FullSpecOf(causal, scale, dropout, key);
  const Groups groups = Groups::Of(kFull, a.q, a.k);
  ForElement(kFull, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.Tokens();
    const auto sink = a.Sinks();
    Run(threads, Operations(a.q, kEveryKey), [&](Context& context) {
      CheckHidden(kFull, "q", qkv.q, seen);
      CheckHidden(kFull, "k", qkv.k, seen);
      CheckHidden(kFull, "v", qkv.v, seen);
      for (idx_t g = 0; g < groups.count; ++g) {
        FullSpec part = spec;
        part.dropout = groups.Of(spec.dropout, g);
        FullForward(context, part, {groups.Of(qkv.q, g), qkv.k, qkv.v}, seen,
                    {groups.Of(saved.out, g), groups.Of(saved.lse, g)});
      }
      if (!sink.empty()) SinkForward(context, sink, saved);
    });
  });
}

void FullBackwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle sinks,
                    nb::handle out, nb::handle lse, nb::handle dout, nb::handle dq, nb::handle dk,
                    nb::handle dv, nb::handle dsinks, bool causal, double scale, double dropout,
                    std::uint64_t key, int threads) {
  const SeparateArrays a(kFull, "key_mask", q, k, v, mask, sinks, out, lse);
  const GradientArrays gradients(kFull, dout, dq, dk, dv);
  const Array to_sinks(kFull, "dsinks", dsinks);
  const FullSpec spec = FullSpecOf(causal, scale, dropout, key);
  const Groups groups = Groups::Of(kFull, a.q, a.k);
  ForElement(kFull, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.Tokens();
    const auto sink = a.Sinks();
    const auto from = gradients.dout.As<const T, 4>();
    const DQkv to = gradients.To();
    const auto dsink = to_sinks.As<float, 1>();
    Run(threads, 2.5 * Operations(a.q, kEveryKey), [&](Context& context) {
      for (idx_t g = 0; g < groups.count; ++g) {
        FullSpec part = spec;
        part.dropout = groups.Of(spec.dropout, g);
        FullBackward(context, part, {groups.Of(qkv.q, g), qkv.k, qkv.v}, seen,
                     {groups.Of(saved.out, g), groups.Of(saved.lse, g)}, groups.Of(from, g),
                     {groups.Of(to.dq, g), to.dk, to.dv});
      }
      if (!sink.empty()) SinkBackward(context, sink, saved, from, dsink);
    });
  });
}

}  // namespace

void BindFull(nb::module_& module) {
  module.def("full_forward", &FullForwardOf, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("key_mask").none(), nb::arg("sinks").none(), nb::arg("out"), nb::arg("lse"),
             nb::arg("causal"), nb::arg("scale"), nb::arg("dropout"), nb::arg("dropout_key"),
             nb::arg("threads"), "Writes out (B, H, T, D) and lse (B, H, T).");
  module.def("full_backward", &FullBackwardOf, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("key_mask").none(), nb::arg("sinks").none(), nb::arg("out"), nb::arg("lse"),
             nb::arg("dout"), nb::arg("dq"), nb::arg("dk"), nb::arg("dv"), nb::arg("dsinks").none(),
             nb::arg("causal"), nb::arg("scale"), nb::arg("dropout"), nb::arg("dropout_key"),
             nb::arg("threads"), "Adds to dq, dk, dv and dsinks, which are float32.");
}

}  // namespace longspan::python
