// LSH attention.
#include <nanobind/stl/vector.h>

#include "core.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

constexpr const char* kLsh = "lsh_attention";

// The arguments that forward and backward share.
struct LshSettings {
  idx_t chunk, before, after, rounds;
  std::vector<idx_t> factors;
  bool causal;
  double dropout;
  std::uint64_t key;

  LshSpec Spec() const {
    LshSpec spec;
    spec.chunk = chunk;
    spec.before = before;
    spec.after = after;
    spec.rounds = rounds;
    spec.buckets = factors;
    spec.causal = causal;
    spec.dropout = DropoutOf(kLsh, dropout, key);
    return spec;
  }
  double Work(const Array& qk) const {
    return Operations(qk, ChunkKeys(chunk, before, after)) * static_cast<double>(rounds);
  }
};

// The arrays of a forward pass.
struct LshArrays {
  Array qk, v, mask, buckets, out, max, sum;
  LshArrays(nb::handle qk_, nb::handle v_, nb::handle mask_, nb::handle buckets_, nb::handle out_,
            nb::handle max_, nb::handle sum_)
      : qk(kLsh, "qk", qk_),
        v(kLsh, "v", v_),
        mask(kLsh, "key_mask", mask_),
        buckets(kLsh, "buckets", buckets_),
        out(kLsh, "out", out_),
        max(kLsh, "max", max_),
        sum(kLsh, "sum", sum_) {}

  template <class T>
  SharedQkvOf<T> Qkv() const {
    return {qk.As<const T, 4>(), v.As<const T, 4>()};
  }
  template <class T>
  SharedSavedOf<T> Saved() const {
    return {out.As<T, 4>(), max.As<float, 3>(), sum.As<float, 3>()};
  }
};

void LshHashOf(nb::handle qk_, nb::handle mask_, nb::handle rotations_, nb::handle buckets_,
               idx_t chunk, idx_t before, idx_t after, idx_t rounds, std::vector<idx_t> factors,
               int threads) {
  const Array qk(kLsh, "qk", qk_), mask(kLsh, "key_mask", mask_),
      rotations(kLsh, "rotations", rotations_), buckets(kLsh, "buckets", buckets_);
  const LshSpec spec =
      LshSettings{chunk, before, after, rounds, std::move(factors), false, 0.0, 0}.Spec();
  ForElement(kLsh, "qk", qk, [&]<class T>() {
    const auto from = qk.As<const T, 4>();
    const auto seen = mask.As<const std::uint8_t, 2>();
    const auto random = rotations.As<const float, 4>();
    const auto to = buckets.As<std::uint16_t, 4>();
    Run(threads,
        Operations(qk, static_cast<double>(spec.RotationColumns())) * static_cast<double>(rounds),
        [&](Context& context) { LshHash(context, spec, from, seen, random, to); });
  });
}

void LshForwardOf(nb::handle qk, nb::handle v, nb::handle mask, nb::handle buckets, nb::handle out,
                  nb::handle max, nb::handle sum, idx_t chunk, idx_t before, idx_t after,
                  idx_t rounds, std::vector<idx_t> factors, bool causal, double dropout,
                  std::uint64_t key, int threads) {
  const LshArrays a(qk, v, mask, buckets, out, max, sum);
  const LshSettings settings{chunk,  before,  after, rounds, std::move(factors),
                             causal, dropout, key};
  const LshSpec spec = settings.Spec();
  ForElement(kLsh, "qk", a.qk, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.mask.As<const std::uint8_t, 2>();
    const auto hashed = a.buckets.As<const std::uint16_t, 4>();
    Run(threads, settings.Work(a.qk), [&](Context& context) {
      CheckHidden(kLsh, "qk", qkv.qk, seen);
      CheckHidden(kLsh, "v", qkv.v, seen);
      LshForward(context, spec, qkv, seen, hashed, saved);
    });
  });
}

void LshBackwardOf(nb::handle qk, nb::handle v, nb::handle mask, nb::handle buckets, nb::handle out,
                   nb::handle max, nb::handle sum, nb::handle dout, nb::handle dqk, nb::handle dv,
                   idx_t chunk, idx_t before, idx_t after, idx_t rounds, std::vector<idx_t> factors,
                   bool causal, double dropout, std::uint64_t key, int threads) {
  const LshArrays a(qk, v, mask, buckets, out, max, sum);
  const Array gradient(kLsh, "dout", dout), to_qk(kLsh, "dqk", dqk), to_v(kLsh, "dv", dv);
  const LshSettings settings{chunk,  before,  after, rounds, std::move(factors),
                             causal, dropout, key};
  const LshSpec spec = settings.Spec();
  ForElement(kLsh, "qk", a.qk, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto seen = a.mask.As<const std::uint8_t, 2>();
    const auto hashed = a.buckets.As<const std::uint16_t, 4>();
    const auto from = gradient.As<const T, 4>();
    const DSharedQkv to{to_qk.As<float, 4>(), to_v.As<float, 4>()};
    Run(threads, 2.5 * settings.Work(a.qk),
        [&](Context& context) { LshBackward(context, spec, qkv, seen, hashed, saved, from, to); });
  });
}

}  // namespace

void BindLsh(nb::module_& module) {
  module.def("lsh_bucket_factors", &LshBucketFactors, nb::arg("tokens"), nb::arg("chunk"),
             nb::arg("max_positions"), "Hugging Face's rule for num_buckets.");
  module.def(
      "lsh_rotation_columns",
      [](std::vector<idx_t> factors) {
        return LshSettings{1, 0, 0, 1, std::move(factors), false, 0.0, 0}.Spec().RotationColumns();
      },
      nb::arg("factors"), "Columns of the rotations of one round.");
  module.def(
      "torch_normal",
      [](std::int64_t seed, nb::handle out) {
        FillTorchNormal(seed, Array(kLsh, "rotations", out).As<float, 4>());
      },
      nb::arg("seed"), nb::arg("out"), "What torch.manual_seed(seed); torch.randn(shape) gives.");
  module.def("lsh_hash", &LshHashOf, nb::arg("qk"), nb::arg("key_mask").none(),
             nb::arg("rotations"), nb::arg("buckets"), nb::arg("chunk"), nb::arg("before"),
             nb::arg("after"), nb::arg("rounds"), nb::arg("factors"), nb::arg("threads"),
             "Writes buckets (B, H, R, T), uint16.");
  module.def("lsh_forward", &LshForwardOf, nb::arg("qk"), nb::arg("v"), nb::arg("key_mask").none(),
             nb::arg("buckets").none(), nb::arg("out"), nb::arg("max"), nb::arg("sum"),
             nb::arg("chunk"), nb::arg("before"), nb::arg("after"), nb::arg("rounds"),
             nb::arg("factors"), nb::arg("causal"), nb::arg("dropout"), nb::arg("dropout_key"),
             nb::arg("threads"), "Writes out (B, H, T, D), max and sum (B, H, T).");
  module.def("lsh_backward", &LshBackwardOf, nb::arg("qk"), nb::arg("v"),
             nb::arg("key_mask").none(), nb::arg("buckets").none(), nb::arg("out"), nb::arg("max"),
             nb::arg("sum"), nb::arg("dout"), nb::arg("dqk"), nb::arg("dv"), nb::arg("chunk"),
             nb::arg("before"), nb::arg("after"), nb::arg("rounds"), nb::arg("factors"),
             nb::arg("causal"), nb::arg("dropout"), nb::arg("dropout_key"), nb::arg("threads"),
             "Adds to dqk and dv, which are float32.");
}

}  // namespace longspan::python
