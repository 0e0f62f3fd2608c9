// Sliding windows and global tokens.
#include <nanobind/stl/vector.h>

#include <limits>

#include "core.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

constexpr const char* kWindow = "window_attention";

// The settings that all functions of this file share.
struct WindowSettings {
  idx_t left, right;
  bool causal;
  std::vector<idx_t> dilation;  // of each head; empty: 1
  double scale, dropout;
  std::uint64_t key;

  WindowSpec Spec() const {
    WindowSpec spec;
    spec.left = left;
    spec.right = right;
    spec.causal = causal;
    spec.dilation = dilation;
    spec.scale = ScaleOf(kWindow, scale);
    spec.dropout = DropoutOf(kWindow, dropout, key);
    return spec;
  }
  // That of the g-th group of heads.
  WindowSpec Spec(const Groups& groups, idx_t g) const {
    WindowSpec spec = Spec();
    spec.dropout = groups.Of(spec.dropout, g);
    if (groups.count > 1 && !dilation.empty()) {
      spec.dilation.clear();
      for (auto h = static_cast<std::size_t>(g); h < dilation.size();
           h += static_cast<std::size_t>(groups.count)) {
        spec.dilation.push_back(dilation[h]);
      }
    }
    return spec;
  }
};

// ---- rows of local tokens -----------------------------------------------------------------------

double WindowWork(const Array& q, const WindowSettings& s) {
  return Operations(q, 1.0 + static_cast<double>(s.left) + static_cast<double>(s.right));
}

void WindowForwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle roles, nb::handle sinks,
                     nb::handle out, nb::handle lse, idx_t left, idx_t right, bool causal,
                     std::vector<idx_t> dilation, double scale, double dropout, std::uint64_t key,
                     int threads) {
  const SeparateArrays a(kWindow, "roles", q, k, v, roles, sinks, out, lse);
  const WindowSettings s{left, right, causal, std::move(dilation), scale, dropout, key};
  const Groups groups = Groups::Of(kWindow, a.q, a.k);
  s.Spec();  // says what is wrong with it before anything runs
  ForElement(kWindow, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto tokens = a.Tokens();
    const auto sink = a.Sinks();
    Run(threads, WindowWork(a.q, s), [&](Context& context) {
      for (idx_t g = 0; g < groups.count; ++g) {
        WindowForward(context, s.Spec(groups, g), {groups.Of(qkv.q, g), qkv.k, qkv.v}, tokens,
                      {groups.Of(saved.out, g), groups.Of(saved.lse, g)});
      }
      if (!sink.empty()) SinkForward(context, sink, saved);
    });
  });
}

void WindowBackwardOf(nb::handle q, nb::handle k, nb::handle v, nb::handle roles, nb::handle sinks,
                      nb::handle out, nb::handle lse, nb::handle dout, nb::handle dq, nb::handle dk,
                      nb::handle dv, nb::handle dsinks, idx_t left, idx_t right, bool causal,
                      std::vector<idx_t> dilation, double scale, double dropout, std::uint64_t key,
                      int threads) {
  const SeparateArrays a(kWindow, "roles", q, k, v, roles, sinks, out, lse);
  const GradientArrays gradients(kWindow, dout, dq, dk, dv);
  const Array to_sinks(kWindow, "dsinks", dsinks);
  const WindowSettings s{left, right, causal, std::move(dilation), scale, dropout, key};
  const Groups groups = Groups::Of(kWindow, a.q, a.k);
  s.Spec();
  ForElement(kWindow, "q", a.q, [&]<class T>() {
    const auto qkv = a.Qkv<T>();
    const auto saved = a.Saved<T>();
    const auto tokens = a.Tokens();
    const auto sink = a.Sinks();
    const auto from = gradients.dout.As<const T, 4>();
    const DQkv to = gradients.To();
    const auto dsink = to_sinks.As<float, 1>();
    Run(threads, 2.5 * WindowWork(a.q, s), [&](Context& context) {
      for (idx_t g = 0; g < groups.count; ++g) {
        WindowBackward(context, s.Spec(groups, g), {groups.Of(qkv.q, g), qkv.k, qkv.v}, tokens,
                       {groups.Of(saved.out, g), groups.Of(saved.lse, g)}, groups.Of(from, g),
                       {groups.Of(to.dq, g), to.dk, to.dv});
      }
      if (!sink.empty()) SinkBackward(context, sink, saved, from, dsink);
    });
  });
}

// ---- rows of global tokens ----------------------------------------------------------------------

double GlobalWork(const Array& q, const Array& k) {
  return k.axes() == 4 ? Operations(q, std::numeric_limits<double>::infinity()) *
                             static_cast<double>(k.extent(2)) /
                             static_cast<double>(std::max(q.extent(2), idx_t{1}))
                       : 0.0;
}

void GlobalForwardOf(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle roles_,
                     nb::handle out_, nb::handle lse_, idx_t left, idx_t right, bool causal,
                     double scale, double dropout, std::uint64_t key, int threads) {
  const Array q(kWindow, "global_q", q_), k(kWindow, "global_k", k_), v(kWindow, "global_v", v_),
      roles(kWindow, "roles", roles_), out(kWindow, "out", out_), lse(kWindow, "lse", lse_);
  const WindowSpec spec = WindowSettings{left, right, causal, {}, scale, dropout, key}.Spec();
  ForElement(kWindow, "global_q", q, [&]<class T>() {
    const GlobalQkvOf<T> qkv{q.As<const T, 4>(), k.As<const T, 4>(), v.As<const T, 4>()};
    const auto tokens = roles.As<const std::uint8_t, 2>();
    const AttentionSavedOf<T> saved{out.As<T, 4>(), lse.As<float, 3>()};
    Run(threads, GlobalWork(q, k),
        [&](Context& context) { GlobalForward(context, spec, qkv, tokens, saved); });
  });
}

void GlobalBackwardOf(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle roles_,
                      nb::handle out_, nb::handle lse_, nb::handle dout, nb::handle dq,
                      nb::handle dk, nb::handle dv, idx_t left, idx_t right, bool causal,
                      double scale, double dropout, std::uint64_t key, int threads) {
  const Array q(kWindow, "global_q", q_), k(kWindow, "global_k", k_), v(kWindow, "global_v", v_),
      roles(kWindow, "roles", roles_), out(kWindow, "out", out_), lse(kWindow, "lse", lse_),
      gradient(kWindow, "dout", dout), to_q(kWindow, "dglobal_q", dq),
      to_k(kWindow, "dglobal_k", dk), to_v(kWindow, "dglobal_v", dv);
  const WindowSpec spec = WindowSettings{left, right, causal, {}, scale, dropout, key}.Spec();
  ForElement(kWindow, "global_q", q, [&]<class T>() {
    const GlobalQkvOf<T> qkv{q.As<const T, 4>(), k.As<const T, 4>(), v.As<const T, 4>()};
    const auto tokens = roles.As<const std::uint8_t, 2>();
    const AttentionSavedOf<T> saved{out.As<T, 4>(), lse.As<float, 3>()};
    const auto from = gradient.As<const T, 4>();
    const DGlobalQkv to{to_q.As<float, 4>(), to_k.As<float, 4>(), to_v.As<float, 4>()};
    Run(threads, 2.5 * GlobalWork(q, k),
        [&](Context& context) { GlobalBackward(context, spec, qkv, tokens, saved, from, to); });
  });
}

// ---- the same without projections of all tokens
// --------------------------------------------------

struct ProjectionArguments {
  Array x, q, wk, wv, bk, bv, roles, out, lse;
  ProjectionArguments(nb::handle x_, nb::handle q_, nb::handle wk_, nb::handle wv_, nb::handle bk_,
                      nb::handle bv_, nb::handle roles_, nb::handle out_, nb::handle lse_)
      : x(kWindow, "x", x_),
        q(kWindow, "global_q", q_),
        wk(kWindow, "key_weight", wk_),
        wv(kWindow, "value_weight", wv_),
        bk(kWindow, "key_bias", bk_),
        bv(kWindow, "value_bias", bv_),
        roles(kWindow, "roles", roles_),
        out(kWindow, "out", out_),
        lse(kWindow, "lse", lse_) {}

  template <class T>
  GlobalProjectionOf<T> Input() const {
    return {x.As<const T, 3>(),      q.As<const T, 4>(),      wk.As<const float, 2>(),
            wv.As<const float, 2>(), bk.As<const float, 1>(), bv.As<const float, 1>()};
  }
  double Work() const {  // two products of G H rows with all of x
    if (x.axes() != 3 || q.axes() != 4) return 0.0;
    return 2.0 * static_cast<double>(q.extent(1) * q.extent(2)) *
           static_cast<double>(x.extent(0) * x.extent(1)) * static_cast<double>(x.extent(2));
  }
};

void ReassociatedForwardOf(nb::handle x, nb::handle q, nb::handle wk, nb::handle wv, nb::handle bk,
                           nb::handle bv, nb::handle roles, nb::handle out, nb::handle lse,
                           idx_t left, idx_t right, bool causal, double scale, double dropout,
                           std::uint64_t key, int threads) {
  const ProjectionArguments a(x, q, wk, wv, bk, bv, roles, out, lse);
  const WindowSpec spec = WindowSettings{left, right, causal, {}, scale, dropout, key}.Spec();
  ForElement(kWindow, "x", a.x, [&]<class T>() {
    const auto input = a.Input<T>();
    const auto tokens = a.roles.As<const std::uint8_t, 2>();
    const AttentionSavedOf<T> saved{a.out.As<T, 4>(), a.lse.As<float, 3>()};
    Run(threads, a.Work(),
        [&](Context& context) { GlobalReassociatedForward(context, spec, input, tokens, saved); });
  });
}

void ReassociatedBackwardOf(nb::handle x, nb::handle q, nb::handle wk, nb::handle wv, nb::handle bk,
                            nb::handle bv, nb::handle roles, nb::handle out, nb::handle lse,
                            nb::handle dout, nb::handle dx, nb::handle dq, nb::handle dwk,
                            nb::handle dwv, nb::handle dbv, idx_t left, idx_t right, bool causal,
                            double scale, double dropout, std::uint64_t key, int threads) {
  const ProjectionArguments a(x, q, wk, wv, bk, bv, roles, out, lse);
  const Array gradient(kWindow, "dout", dout), to_x(kWindow, "dx", dx),
      to_q(kWindow, "dglobal_q", dq), to_wk(kWindow, "dkey_weight", dwk),
      to_wv(kWindow, "dvalue_weight", dwv), to_bv(kWindow, "dvalue_bias", dbv);
  const WindowSpec spec = WindowSettings{left, right, causal, {}, scale, dropout, key}.Spec();
  ForElement(kWindow, "x", a.x, [&]<class T>() {
    const auto input = a.Input<T>();
    const auto tokens = a.roles.As<const std::uint8_t, 2>();
    const AttentionSavedOf<T> saved{a.out.As<T, 4>(), a.lse.As<float, 3>()};
    const auto from = gradient.As<const T, 4>();
    const DGlobalProjection to{to_x.As<float, 3>(), to_q.As<float, 4>(), to_wk.As<float, 2>(),
                               to_wv.As<float, 2>(), to_bv.As<float, 1>()};
    Run(threads, 2.0 * a.Work(), [&](Context& context) {
      GlobalReassociatedBackward(context, spec, input, tokens, saved, from, to);
    });
  });
}

}  // namespace

void BindWindow(nb::module_& module) {
  module.attr("HIDDEN") = nb::int_(static_cast<int>(kHiddenToken));
  module.attr("LOCAL") = nb::int_(static_cast<int>(kLocalToken));
  module.attr("GLOBAL") = nb::int_(static_cast<int>(kGlobalToken));
  module.def("window_forward", &WindowForwardOf, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("roles").none(), nb::arg("sinks").none(), nb::arg("out"), nb::arg("lse"),
             nb::arg("left"), nb::arg("right"), nb::arg("causal"), nb::arg("dilation"),
             nb::arg("scale"), nb::arg("dropout"), nb::arg("dropout_key"), nb::arg("threads"),
             "Writes the rows of local tokens of out (B, H, T, D) and lse (B, H, T).");
  module.def("window_backward", &WindowBackwardOf, nb::arg("q"), nb::arg("k"), nb::arg("v"),
             nb::arg("roles").none(), nb::arg("sinks").none(), nb::arg("out"), nb::arg("lse"),
             nb::arg("dout"), nb::arg("dq"), nb::arg("dk"), nb::arg("dv"), nb::arg("dsinks").none(),
             nb::arg("left"), nb::arg("right"), nb::arg("causal"), nb::arg("dilation"),
             nb::arg("scale"), nb::arg("dropout"), nb::arg("dropout_key"), nb::arg("threads"),
             "Adds to dq, dk, dv and dsinks, which are float32.");
  module.def("global_forward", &GlobalForwardOf, nb::arg("global_q"), nb::arg("global_k"),
             nb::arg("global_v"), nb::arg("roles"), nb::arg("out"), nb::arg("lse"), nb::arg("left"),
             nb::arg("right"), nb::arg("causal"), nb::arg("scale"), nb::arg("dropout"),
             nb::arg("dropout_key"), nb::arg("threads"),
             "Writes the rows of global tokens: global_q is (B, H, G, D).");
  module.def("global_backward", &GlobalBackwardOf, nb::arg("global_q"), nb::arg("global_k"),
             nb::arg("global_v"), nb::arg("roles"), nb::arg("out"), nb::arg("lse"), nb::arg("dout"),
             nb::arg("dglobal_q"), nb::arg("dglobal_k"), nb::arg("dglobal_v"), nb::arg("left"),
             nb::arg("right"), nb::arg("causal"), nb::arg("scale"), nb::arg("dropout"),
             nb::arg("dropout_key"), nb::arg("threads"), "Adds to the gradients, float32.");
  module.def("reassociated_forward", &ReassociatedForwardOf, nb::arg("x"), nb::arg("global_q"),
             nb::arg("key_weight"), nb::arg("value_weight"), nb::arg("key_bias").none(),
             nb::arg("value_bias").none(), nb::arg("roles"), nb::arg("out"), nb::arg("lse"),
             nb::arg("left"), nb::arg("right"), nb::arg("causal"), nb::arg("scale"),
             nb::arg("dropout"), nb::arg("dropout_key"), nb::arg("threads"),
             "global_forward with keys and values that are projections of x (B, T, C).");
  module.def("reassociated_backward", &ReassociatedBackwardOf, nb::arg("x"), nb::arg("global_q"),
             nb::arg("key_weight"), nb::arg("value_weight"), nb::arg("key_bias").none(),
             nb::arg("value_bias").none(), nb::arg("roles"), nb::arg("out"), nb::arg("lse"),
             nb::arg("dout"), nb::arg("dx"), nb::arg("dglobal_q"), nb::arg("dkey_weight"),
             nb::arg("dvalue_weight"), nb::arg("dvalue_bias").none(), nb::arg("left"),
             nb::arg("right"), nb::arg("causal"), nb::arg("scale"), nb::arg("dropout"),
             nb::arg("dropout_key"), nb::arg("threads"), "Adds to the gradients, float32.");
  module.def(
      "reassociated_wins",
      [](idx_t tokens, idx_t channels, idx_t heads, idx_t head_size, idx_t globals, bool backward) {
        return CountGlobalFlops(tokens, channels, heads, head_size, globals, backward)
            .ReassociatedWins();
      },
      nb::arg("tokens"), nb::arg("channels"), nb::arg("heads"), nb::arg("head_size"),
      nb::arg("globals"), nb::arg("backward"),
      "Whether reassociated_forward is less work than projections and global_forward.");
}

}  // namespace longspan::python
