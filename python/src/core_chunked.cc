// Chunked local attention.
#include "core.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

constexpr const char* kChunked = "chunked_attention";

ChunkedSpec ChunkedSpecOf(idx_t chunk, idx_t before, idx_t after, bool causal, double scale,
                          double dropout, std::uint64_t key) {
  return {
      chunk, before, after, causal, ScaleOf(kChunked, scale), DropoutOf(kChunked, dropout, key)};
}

void ChunkedForwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle out,
                      nb::handle lse, idx_t chunk, idx_t before, idx_t after, bool causal,
                      double scale, double dropout, std::uint64_t key, int threads) {
  const SeparateArrays a(kChunked, "key_mask", q, k, v, mask, nb::none(), out, lse);
  const ChunkedSpec spec = ChunkedSpecOf(chunk, before, after, causal, scale, dropout, key);
  ForElement(kChunked, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.Tokens();
    Run(threads, Operations(a.q, ChunkKeys(chunk, before, after)), [&](Context& context) {
      CheckHidden(kChunked, "q", qkv.q, seen);
      CheckHidden(kChunked, "k", qkv.k, seen);
      CheckHidden(kChunked, "v", qkv.v, seen);
      ChunkedForward(context, spec, qkv, seen, saved);
    });
  });
}

void ChunkedBackwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle mask, nb::handle out,
                       nb::handle lse, nb::handle dout, nb::handle dq, nb::handle dk, nb::handle dv,
                       idx_t chunk, idx_t before, idx_t after, bool causal, double scale,
                       double dropout, std::uint64_t key, int threads) {
  const SeparateArrays a(kChunked, "key_mask", q, k, v, mask, nb::none(), out, lse);
  const GradientArrays gradients(kChunked, dout, dq, dk, dv);
  const ChunkedSpec spec = ChunkedSpecOf(chunk, before, after, causal, scale, dropout, key);
  ForElement(kChunked, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.Tokens();
    const auto from = gradients.dout.As<const T, 4>();
    const DQkv to = gradients.To();
    Run(threads, 2.5 * Operations(a.q, ChunkKeys(chunk, before, after)),
        [&](Context& context) { ChunkedBackward(context, spec, qkv, seen, saved, from, to); });
  });
}

}  // namespace

void BindChunked(nb::module_& module) {
  module.def("chunked_forward", &ChunkedForwardOf, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("key_mask").none(), nb::arg("out"), nb::arg("lse"), nb::arg("chunk"),
             nb::arg("before"), nb::arg("after"), nb::arg("causal"), nb::arg("scale"),
             nb::arg("dropout"), nb::arg("dropout_key"), nb::arg("threads"),
             "Writes out (B, H, T, D) and lse (B, H, T).");
  module.def("chunked_backward", &ChunkedBackwardOf, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("key_mask").none(), nb::arg("out"), nb::arg("lse"), nb::arg("dout"),
             nb::arg("dq"), nb::arg("dk"), nb::arg("dv"), nb::arg("chunk"), nb::arg("before"),
             nb::arg("after"), nb::arg("causal"), nb::arg("scale"), nb::arg("dropout"),
             nb::arg("dropout_key"), nb::arg("threads"),
             "Adds to dq, dk and dv, which are float32.");
}

}  // namespace longspan::python
