// Full attention.
#include "core.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

constexpr const char* kFull = "full_attention";

struct FullArguments {
  Array q, k, v, mask, sinks, out, lse;
  FullArguments(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle mask_, nb::handle sinks_,
                nb::handle out_, nb::handle lse_)
      : q(kFull, "q", q_),
        k(kFull, "k", k_),
        v(kFull, "v", v_),
        mask(kFull, "key_mask", mask_),
        sinks(kFull, "sinks", sinks_),
        out(kFull, "out", out_),
        lse(kFull, "lse", lse_) {}

  template <class T>
  QkvOf<T> Qkv() const {
    return {q.As<const T, 4>(), k.As<const T, 4>(), v.As<const T, 4>()};
  }
  template <class T>
  AttentionSavedOf<T> Saved() const {
    return {out.As<T, 4>(), lse.As<float, 3>()};
  }
};

FullSpec FullSpecOf(bool causal, double scale, double dropout, std::uint64_t key) {
  return {causal, ScaleOf(kFull, scale), DropoutOf(kFull, dropout, key)};
}

void FullForwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle sinks,
                   nb::handle out, nb::handle lse, bool causal, double scale, double dropout,
                   std::uint64_t key, int threads) {
  const FullArguments a(q, k, v, mask, sinks, out, lse);
  const FullSpec spec = FullSpecOf(causal, scale, dropout, key);
  const Groups groups = Groups::Of(kFull, a.q, a.k);
  ForElement(kFull, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.mask.As<const std::uint8_t, 2>();
    const auto sink = a.sinks.As<const float, 1>();
    Run(threads, Operations(a.q, a.q.extent(2)), [&](Context& context) {
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
  const FullArguments a(q, k, v, mask, sinks, out, lse);
  const Array gradient(kFull, "dout", dout), to_q(kFull, "dq", dq), to_k(kFull, "dk", dk),
      to_v(kFull, "dv", dv), to_sinks(kFull, "dsinks", dsinks);
  const FullSpec spec = FullSpecOf(causal, scale, dropout, key);
  const Groups groups = Groups::Of(kFull, a.q, a.k);
  ForElement(kFull, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.mask.As<const std::uint8_t, 2>();
    const auto sink = a.sinks.As<const float, 1>();
    const auto from = gradient.As<const T, 4>();
    const DQkv to{to_q.As<float, 4>(), to_k.As<float, 4>(), to_v.As<float, 4>()};
    const auto dsink = to_sinks.As<float, 1>();
    Run(threads, 2.5 * Operations(a.q, a.q.extent(2)), [&](Context& context) {
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
