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

void ChunkedForwardOf(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle mask_,
                      nb::handle out_, nb::handle lse_, idx_t chunk, idx_t before, idx_t after,
                      bool causal, double scale, double dropout, std::uint64_t key, int threads) {
  const Array q(kChunked, "q", q_), k(kChunked, "k", k_), v(kChunked, "v", v_),
      mask(kChunked, "key_mask", mask_), out(kChunked, "out", out_), lse(kChunked, "lse", lse_);
  const ChunkedSpec spec = ChunkedSpecOf(chunk, before, after, causal, scale, dropout, key);
  ForElement(kChunked, "q", q, [&]<class T>() {
    const QkvOf<T> qkv{q.As<const T, 4>(), k.As<const T, 4>(), v.As<const T, 4>()};
    const AttentionSavedOf<T> saved{out.As<T, 4>(), lse.As<float, 3>()};
    const auto seen = mask.As<const std::uint8_t, 2>();
    Run(threads, Operations(q, chunk * (1 + before + after)), [&](Context& context) {
      CheckHidden(kChunked, "q", qkv.q, seen);
      CheckHidden(kChunked, "k", qkv.k, seen);
      CheckHidden(kChunked, "v", qkv.v, seen);
      ChunkedForward(context, spec, qkv, seen, saved);
    });
  });
}

void ChunkedBackwardOf(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle mask_,
                       nb::handle out_, nb::handle lse_, nb::handle dout, nb::handle dq,
                       nb::handle dk, nb::handle dv, idx_t chunk, idx_t before, idx_t after,
                       bool causal, double scale, double dropout, std::uint64_t key, int threads) {
  const Array q(kChunked, "q", q_), k(kChunked, "k", k_), v(kChunked, "v", v_),
      mask(kChunked, "key_mask", mask_), out(kChunked, "out", out_), lse(kChunked, "lse", lse_),
      gradient(kChunked, "dout", dout), to_q(kChunked, "dq", dq), to_k(kChunked, "dk", dk),
      to_v(kChunked, "dv", dv);
  const ChunkedSpec spec = ChunkedSpecOf(chunk, before, after, causal, scale, dropout, key);
  ForElement(kChunked, "q", q, [&]<class T>() {
    const QkvOf<T> qkv{q.As<const T, 4>(), k.As<const T, 4>(), v.As<const T, 4>()};
    const AttentionSavedOf<T> saved{out.As<T, 4>(), lse.As<float, 3>()};
    const auto seen = mask.As<const std::uint8_t, 2>();
    const auto from = gradient.As<const T, 4>();
    const DQkv to{to_q.As<float, 4>(), to_k.As<float, 4>(), to_v.As<float, 4>()};
    Run(threads, 2.5 * Operations(q, chunk * (1 + before + after)),
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
