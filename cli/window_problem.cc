#include "cli/window_problem.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "cli/attention_problem_base.h"
#include "cli/attention_relation.h"

namespace longspan::cli {
namespace {

// ---- rows of global tokens ----------------------------------------------------------------------

// What the rows of the G global tokens need beside the window's tensors. Letters as in
// longspan/attention.h; C = H D.
class GlobalPart {
 public:
  GlobalPart(const AttentionProblemOptions& o, const WindowSpec& spec, const TokenRoles& roles)
      : spec_(spec),
        roles_(roles),
        B_(o.batch),
        H_(o.heads),
        T_(o.tokens),
        D_(o.head_size),
        G_(o.globals),
        C_(H_ * D_),
        bf16_(o.bf16) {
    if (G_ == 0) return;
    reassociated_ = CountGlobalFlops(T_, C_, H_, D_, G_, true).ReassociatedWins();
    qg_ = NormalValues(11, 1.0f, B_ * H_ * G_ * D_);
    dqg_.resize(qg_.size());
    if (bf16_) bf16_qg_ = RoundValues(&qg_);
    if (!reassociated_) {
      kg_ = NormalValues(12, 1.0f, B_ * H_ * T_ * D_);
      vg_ = NormalValues(13, 1.0f, B_ * H_ * T_ * D_);
      dkg_.resize(kg_.size());
      dvg_.resize(vg_.size());
      if (bf16_) {
        bf16_kg_ = RoundValues(&kg_);
        bf16_vg_ = RoundValues(&vg_);
      }
      return;
    }
    const float deviation = 1.0f / std::sqrt(static_cast<float>(C_));
    x_ = NormalValues(12, 1.0f, B_ * T_ * C_);
    wk_ = NormalValues(13, deviation, C_ * C_);
    wv_ = NormalValues(14, deviation, C_ * C_);
    bk_ = NormalValues(15, 1.0f, C_);
    bv_ = NormalValues(16, 1.0f, C_);
    if (bf16_) bf16_x_ = RoundValues(&x_);
    dx_.resize(x_.size());
    dwk_.resize(wk_.size());
    dwv_.resize(wv_.size());
    dbv_.resize(bv_.size());
  }

  // Of float or bfloat16 tensors.
  template <class T>
  void Forward(Context& context, const AttentionSavedOf<T>& saved) const {
    if (G_ == 0) return;
    if (reassociated_) return GlobalReassociatedForward(context, spec_, Input<T>(), roles_, saved);
    GlobalForward(context, spec_, Projected<T>(), roles_, saved);
  }
  template <class T>
  void Backward(Context& context, const AttentionSavedOf<T>& saved, const View<const T, 4>& dout) {
    if (G_ == 0) return;
    if (reassociated_) {
      return GlobalReassociatedBackward(context, spec_, Input<T>(), roles_, saved, dout,
                                        {{dx_.data(), {B_, T_, C_}},
                                         {dqg_.data(), {B_, H_, G_, D_}},
                                         {dwk_.data(), {C_, C_}},
                                         {dwv_.data(), {C_, C_}},
                                         {dbv_.data(), {C_}}});
    }
    GlobalBackward(context, spec_, Projected<T>(), roles_, saved, dout,
                   {{dqg_.data(), {B_, H_, G_, D_}},
                    {dkg_.data(), {B_, H_, T_, D_}},
                    {dvg_.data(), {B_, H_, T_, D_}}});
  }
  void ZeroGradients() {
    for (Values* gradient : {&dqg_, &dkg_, &dvg_, &dx_, &dwk_, &dwv_, &dbv_}) {
      std::fill(gradient->begin(), gradient->end(), 0.0f);
    }
  }

  bool reassociated() const { return reassociated_; }
  bool empty() const { return G_ == 0; }
  idx_t count() const { return G_; }
  idx_t channels() const { return C_; }

  // The head's queries at their tokens' places, (T, D), and its keys or values.
  Values Queries(idx_t head) const {
    Values q(static_cast<std::size_t>(T_ * D_));
    std::copy_n(qg_.begin() + head * G_ * D_, G_ * D_, q.begin());
    return q;
  }
  Values Keys(idx_t head) const { return Projection(head, kg_, wk_, bk_); }
  Values OfValues(idx_t head) const { return Projection(head, vg_, wv_, bv_); }

  const float* QueryGradient(idx_t head, idx_t g) const {
    return dqg_.data() + (head * G_ + g) * D_;
  }
  const float* KeyGradient(idx_t head, idx_t t) const { return dkg_.data() + (head * T_ + t) * D_; }
  const float* ValueGradient(idx_t head, idx_t t) const {
    return dvg_.data() + (head * T_ + t) * D_;
  }
  const float* InputGradient(idx_t b, idx_t t) const { return dx_.data() + (b * T_ + t) * C_; }
  // What dk and dv (D) of a token in one head give to dx (C).
  void AddInputGradient(idx_t head, const HeadOracle::Row& row, std::vector<double>* dx) const {
    for (idx_t d = 0; d < D_; ++d) {
      const auto at = static_cast<std::size_t>(d);
      const float* wk = wk_.data() + (head % H_ * D_ + d) * C_;
      const float* wv = wv_.data() + (head % H_ * D_ + d) * C_;
      for (idx_t c = 0; c < C_; ++c) {
        (*dx)[static_cast<std::size_t>(c)] +=
            row.dk[at] * static_cast<double>(wk[c]) + row.dv[at] * static_cast<double>(wv[c]);
      }
    }
  }

 private:
  // The fp32 tensor, or its bf16 copy.
  template <class T>
  static const T* Of(const Values& values, const Bf16Values& rounded) {
    if constexpr (sizeof(T) == 2) return rounded.data();
    if constexpr (sizeof(T) == 4) return values.data();
  }
  template <class T>
  GlobalProjectionOf<T> Input() const {
    return {{Of<T>(x_, bf16_x_), {B_, T_, C_}},
            {Of<T>(qg_, bf16_qg_), {B_, H_, G_, D_}},
            {wk_.data(), {C_, C_}},
            {wv_.data(), {C_, C_}},
            {bk_.data(), {C_}},
            {bv_.data(), {C_}}};
  }
  template <class T>
  GlobalQkvOf<T> Projected() const {
    return {{Of<T>(qg_, bf16_qg_), {B_, H_, G_, D_}},
            {Of<T>(kg_, bf16_kg_), {B_, H_, T_, D_}},
            {Of<T>(vg_, bf16_vg_), {B_, H_, T_, D_}}};
  }
  // (T, D): the head's part of `given`, or of x w^T + bias.
  Values Projection(idx_t head, const Values& given, const Values& w, const Values& bias) const {
    Values out(static_cast<std::size_t>(T_ * D_));
    if (!reassociated_) {
      std::copy_n(given.begin() + head * T_ * D_, T_ * D_, out.begin());
      return out;
    }
    const idx_t b = head / H_, first = head % H_ * D_;
    for (idx_t t = 0; t < T_; ++t) {
      const float* x = x_.data() + (b * T_ + t) * C_;
      for (idx_t d = 0; d < D_; ++d) {
        const float* row = w.data() + (first + d) * C_;
        double sum = static_cast<double>(bias[static_cast<std::size_t>(first + d)]);
        for (idx_t c = 0; c < C_; ++c) {
          sum += static_cast<double>(x[c]) * static_cast<double>(row[c]);
        }
        out[static_cast<std::size_t>(t * D_ + d)] = static_cast<float>(sum);
      }
    }
    return out;
  }

  WindowSpec spec_;
  TokenRoles roles_;
  idx_t B_, H_, T_, D_, G_, C_;
  bool bf16_, reassociated_ = false;
  Bf16Values bf16_qg_, bf16_kg_, bf16_vg_, bf16_x_;
  Values qg_, dqg_, kg_, vg_, dkg_, dvg_;
  Values x_, wk_, wv_, bk_, bv_, dx_, dwk_, dwv_, dbv_;
};

// ---- the problem --------------------------------------------------------------------------------

class WindowProblem final : public SeparateProblem {
 public:
  explicit WindowProblem(const AttentionProblemOptions& o)
      : SeparateProblem(o),
        spec_(Spec(o)),
        role_values_(Roles(o)),
        globals_(o, spec_, RolesView()) {}

  void Forward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto&) {
      WindowForward(context, spec_, inputs, RolesView(), saved);
      globals_.Forward(context, saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto& dout) {
      WindowBackward(context, spec_, inputs, RolesView(), saved, dout, Gradients());
      globals_.Backward(context, saved, dout);
    });
  }
  void ZeroGradients() override {
    SeparateProblem::ZeroGradients();
    globals_.ZeroGradients();
  }
  double Pairs() const override;
  double CheckRows(Context& context, bool backward) override {
    const double worst = SeparateProblem::CheckRows(context, backward);
    return globals_.empty() ? worst : std::max(worst, CheckGlobalRows(context, backward));
  }

 protected:
  std::unique_ptr<AttentionRelation> Relation(idx_t head) const override {
    return WindowAttentionRelation(spec_, options_.tokens, head % options_.heads, GlobalTokens());
  }
  idx_t FirstQuery() const override { return options_.globals; }

 private:
  static WindowSpec Spec(const AttentionProblemOptions& o) {
    WindowSpec spec;
    spec.left = spec.right = o.window;
    spec.causal = o.causal;
    spec.dilation.assign(static_cast<std::size_t>(o.heads), o.dilation);
    return spec;
  }
  static std::vector<std::uint8_t> Roles(const AttentionProblemOptions& o) {
    std::vector<std::uint8_t> roles;
    if (o.globals == 0) return roles;
    roles.assign(static_cast<std::size_t>(o.batch * o.tokens), kLocalToken);
    for (idx_t b = 0; b < o.batch; ++b) {
      std::fill_n(roles.begin() + b * o.tokens, o.globals, kGlobalToken);
    }
    return roles;
  }
  TokenRoles RolesView() const {
    if (role_values_.empty()) return {};
    return {role_values_.data(), {options_.batch, options_.tokens}};
  }
  std::vector<idx_t> GlobalTokens() const {
    std::vector<idx_t> tokens(static_cast<std::size_t>(options_.globals));
    std::iota(tokens.begin(), tokens.end(), idx_t{0});
    return tokens;
  }
  double CheckGlobalRows(Context& context, bool backward);
  // Rows of one head: its outputs, dqg, and what `tokens` give to dx or to dkg and dvg.
  double CheckGlobalHead(Context& context, bool backward, idx_t head,
                         const std::vector<idx_t>& tokens, std::vector<std::vector<double>>* dx);

  WindowSpec spec_;
  std::vector<std::uint8_t> role_values_;
  GlobalPart globals_;
};

double WindowProblem::Pairs() const {
  const idx_t T = options_.tokens, G = options_.globals, step = options_.dilation;
  const idx_t left = options_.window, right = options_.causal ? 0 : options_.window;
  double pairs = 0.0;
  for (idx_t i = G; i < T; ++i) {
    // All global keys, and the window's local ones: steps down to the first token that is local.
    const idx_t before = std::min(left, (i - G) / step),
                after = std::min(right, (T - 1 - i) / step);
    pairs += static_cast<double>(G + before + 1 + after);
  }
  for (idx_t g = 0; g < G; ++g) pairs += static_cast<double>(options_.causal ? g + 1 : T);
  return pairs * static_cast<double>(heads());
}

double WindowProblem::CheckGlobalHead(Context& context, bool backward, idx_t head,
                                      const std::vector<idx_t>& tokens,
                                      std::vector<std::vector<double>>* dx) {
  const Values q = globals_.Queries(head), k = globals_.Keys(head), v = globals_.OfValues(head);
  HeadTensors tensors = Head(head);
  tensors.q = q.data();
  tensors.k = k.data();
  tensors.v = v.data();
  const auto relation = GlobalRowsRelation(spec_, options_.tokens, GlobalTokens());
  const HeadOracle oracle(tensors, *relation);
  std::vector<idx_t> rows = GlobalTokens();
  if (rows.size() > static_cast<std::size_t>(kRowsChecked)) rows.resize(kRowsChecked);
  const auto as_query = oracle.QueryRows(context, rows);
  double worst = 0.0;
  const auto compare = [&](const char* what, idx_t token, const float* row,
                           const std::vector<double>& expected) {
    worst = std::max(worst, RowError(what, head, token, row, expected));
  };
  for (const idx_t g : rows) {
    const HeadOracle::Row& expected = as_query[static_cast<std::size_t>(g)];
    compare("global out", g, RowOf(out_, head, g), expected.out);
    if (backward) compare("global dq", g, globals_.QueryGradient(head, g), expected.dq);
  }
  if (!backward) return worst;
  const auto as_key = oracle.KeyRows(context, tokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (globals_.reassociated()) {
      globals_.AddInputGradient(head, as_key[i], &(*dx)[i]);
      continue;
    }
    compare("global dk", tokens[i], globals_.KeyGradient(head, tokens[i]), as_key[i].dk);
    compare("global dv", tokens[i], globals_.ValueGradient(head, tokens[i]), as_key[i].dv);
  }
  return worst;
}

// After CheckRows of the window, which has run both.
double WindowProblem::CheckGlobalRows(Context& context, bool backward) {
  Rng rng(17);
  double worst = 0.0;
  for (idx_t b = 0; b < options_.batch; ++b) {
    std::vector<idx_t> tokens;
    for (idx_t i = 0; i < kRowsChecked; ++i) tokens.push_back(rng.Below(options_.tokens));
    std::vector<std::vector<double>> dx(
        tokens.size(), std::vector<double>(static_cast<std::size_t>(globals_.channels())));
    for (idx_t h = 0; h < options_.heads; ++h) {
      worst =
          std::max(worst, CheckGlobalHead(context, backward, b * options_.heads + h, tokens, &dx));
    }
    if (!backward || !globals_.reassociated()) continue;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      worst = std::max(worst,
                       RowError("dx", b, tokens[i], globals_.InputGradient(b, tokens[i]), dx[i]));
    }
  }
  return worst;
}

}  // namespace

std::unique_ptr<AttentionProblem> MakeWindowProblem(const AttentionProblemOptions& options) {
  Check(options.window >= 0, ErrorCode::kUsage, "bench: --window {}, need at least 0",
        options.window);
  Check(options.dilation >= 1, ErrorCode::kUsage, "bench: --dilation {}, need at least 1",
        options.dilation);
  Check(options.globals >= 0 && options.globals <= options.tokens, ErrorCode::kUsage,
        "bench: --globals {}, need 0 to {} (--tokens)", options.globals, options.tokens);
  return std::make_unique<WindowProblem>(options);
}

}  // namespace longspan::cli
