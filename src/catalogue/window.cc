// Window attention's row: sliding window, global keys and global rows.

#include "catalogue/window.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "catalogue/global_tensors.h"

namespace longspan::catalogue {
namespace {

// ---- who sees whom ------------------------------------------------------------------------------

// Local rows. The first `globals` tokens are global: every local query sees them, and as queries
// they see nothing here.
class WindowRelation final : public AttentionRelation {
 public:
  WindowRelation(const MechanismSpec& spec, idx_t tokens)
      : tokens_(tokens),
        left_(spec.window),
        right_(spec.causal ? 0 : spec.window),
        step_(spec.dilation),
        globals_(spec.globals),
        causal_(spec.causal) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    if (IsGlobal(query)) return {};
    std::vector<idx_t> keys;
    for (idx_t key = 0; key < globals_; ++key) {
      if (!causal_ || key <= query) keys.push_back(key);
    }
    for (idx_t n = -std::min(left_, query / step_); n <= right_; ++n) {
      const idx_t key = query + n * step_;
      if (key >= tokens_) break;
      if (!IsGlobal(key)) keys.push_back(key);
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> queries;
    if (IsGlobal(key)) {
      for (idx_t query = causal_ ? key : 0; query < tokens_; ++query) {
        if (!IsGlobal(query)) queries.push_back(query);
      }
      return queries;
    }
    for (idx_t n = -std::min(right_, key / step_); n <= left_; ++n) {
      const idx_t query = key + n * step_;
      if (query >= tokens_) break;
      if (!IsGlobal(query)) queries.push_back(query);
    }
    return queries;
  }
  idx_t Times(idx_t, idx_t) const override { return 1; }  // of those that Queries names

 private:
  bool IsGlobal(idx_t token) const { return token < globals_; }
  idx_t tokens_, left_, right_, step_, globals_;
  bool causal_;
};

// The rows of the first `globals` tokens alone.
class GlobalRelation final : public AttentionRelation {
 public:
  GlobalRelation(const MechanismSpec& spec, idx_t tokens)
      : causal_(spec.causal), tokens_(tokens), globals_(spec.globals) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    if (query >= globals_) return {};
    return UpTo(causal_ ? query + 1 : tokens_);
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> queries;
    for (idx_t query = causal_ ? key : 0; query < globals_; ++query) queries.push_back(query);
    return queries;
  }
  idx_t Times(idx_t, idx_t) const override { return 1; }  // of those that Queries names

 private:
  bool causal_;
  idx_t tokens_, globals_;
};

std::unique_ptr<AttentionRelation> MakeWindowRelation(const MechanismSpec& spec, idx_t tokens) {
  return std::make_unique<WindowRelation>(spec, tokens);
}

double WindowPairs(const MechanismSpec& spec, idx_t tokens) {
  const idx_t T = tokens, G = spec.globals, step = spec.dilation;
  const idx_t left = spec.window, right = spec.causal ? 0 : spec.window;
  double pairs = 0.0;
  for (idx_t i = G; i < T; ++i) {
    // All global keys, and the window's local ones: steps down to the first token that is local.
    const idx_t before = std::min(left, (i - G) / step),
                after = std::min(right, (T - 1 - i) / step);
    pairs += static_cast<double>(G + before + 1 + after);
  }
  for (idx_t g = 0; g < G; ++g) pairs += static_cast<double>(spec.causal ? g + 1 : T);
  return pairs;
}

// ---- the separate form --------------------------------------------------------------------------

WindowSpec WindowSpecOf(const MechanismSpec& spec, idx_t heads) {
  WindowSpec window;
  window.left = window.right = spec.window;
  window.causal = spec.causal;
  window.dilation.assign(static_cast<std::size_t>(heads), spec.dilation);
  window.dropout = spec.dropout;
  return window;
}

// The roles that a key mask stands for: nobody is global.
class RolesOfMask {
 public:
  explicit RolesOfMask(const KeyMask& mask) : mask_(mask) {
    for (idx_t b = 0; !mask.empty() && b < mask.extent[0]; ++b) {
      for (idx_t t = 0; t < mask.extent[1]; ++t) {
        roles_.push_back(mask(b, t) != 0 ? kLocalToken : kHiddenToken);
      }
    }
  }
  TokenRoles Roles() const {
    if (roles_.empty()) return {};
    return {roles_.data(), mask_.extent};
  }

 private:
  KeyMask mask_;
  std::vector<std::uint8_t> roles_;
};

void CheckNoGlobals(const MechanismSpec& spec) {
  Check(spec.globals == 0, ErrorCode::kUsage,
        "window attention: {} global tokens, whose rows need projections of their own: expected 0",
        spec.globals);
}

template <class T>
SeparateForm<T> WindowForm() {
  return {
      [](Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
         const AttentionSavedOf<T>& saved) {
        CheckNoGlobals(spec);
        WindowForward(context, WindowSpecOf(spec, qkv.q.extent[1]), qkv, RolesOfMask(mask).Roles(),
                      saved);
      },
      [](Context& context, const MechanismSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout, const DQkv& gradients) {
        CheckNoGlobals(spec);
        WindowBackward(context, WindowSpecOf(spec, qkv.q.extent[1]), qkv, RolesOfMask(mask).Roles(),
                       saved, dout, gradients);
      }};
}

// ---- the problem --------------------------------------------------------------------------------

class WindowProblem final : public SeparateProblem {
 public:
  WindowProblem(const Mechanism& mechanism, const ProblemOptions& o)
      : SeparateProblem(mechanism, o),
        spec_(WindowSpecOf(o.spec, o.heads)),
        role_values_(Roles(o)),
        globals_(o, spec_, RolesView(), [this](std::uint64_t purpose, float deviation, idx_t n) {
          return Normal(purpose, deviation, n);
        }) {}

  void Forward(Context& context) override {
    WithTensors([&](const auto&, const auto& inputs, const auto& saved, const auto&) {
      WindowForward(context, spec_, inputs, RolesView(), saved);
      globals_.Forward(context, saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto&, const auto& inputs, const auto& saved, const auto& dout) {
      WindowBackward(context, spec_, inputs, RolesView(), saved, dout, Gradients());
      globals_.Backward(context, saved, dout);
    });
  }
  void ZeroGradients() override {
    SeparateProblem::ZeroGradients();
    globals_.ZeroGradients();
  }
  std::vector<float> Results() override {
    std::vector<float> results = SeparateProblem::Results();
    globals_.AppendGradients(&results);
    return results;
  }
  void CompareRows(Context& context, const RowsToCompare& which,
                   const std::function<void(const ComparedRow&)>& take) override {
    SeparateProblem::CompareRows(context, which, take);
    if (!globals_.empty()) CompareGlobalRows(context, which, take);
  }

 protected:
  idx_t FirstQuery() const override { return options_.spec.globals; }

 private:
  using Take = std::function<void(const ComparedRow&)>;
  // d loss / d x of the listed tokens, (tokens, C).
  using InputGradients = std::vector<std::vector<double>>;

  static std::vector<std::uint8_t> Roles(const ProblemOptions& o) {
    std::vector<std::uint8_t> roles;
    if (o.spec.globals == 0) return roles;
    roles.assign(static_cast<std::size_t>(o.batch * o.tokens), kLocalToken);
    for (idx_t b = 0; b < o.batch; ++b) {
      std::fill_n(roles.begin() + b * o.tokens, o.spec.globals, kGlobalToken);
    }
    return roles;
  }
  TokenRoles RolesView() const {
    if (role_values_.empty()) return {};
    return {role_values_.data(), {options_.batch, options_.tokens}};
  }
  OracleRows GlobalRows(Context& context, idx_t head, Arithmetic arithmetic,
                        const std::vector<idx_t>& queries, const std::vector<idx_t>& keys) const;
  void CompareGlobalRows(Context& context, const RowsToCompare& which, const Take& take);
  void CompareGlobalHead(Context& context, const RowsToCompare& which, idx_t head,
                         const std::vector<idx_t>& tokens, InputGradients* dx,
                         InputGradients* naive_dx, const Take& take);

  WindowSpec spec_;
  std::vector<std::uint8_t> role_values_;
  GlobalTensors globals_;
};

OracleRows WindowProblem::GlobalRows(Context& context, idx_t head, Arithmetic arithmetic,
                                     const std::vector<idx_t>& queries,
                                     const std::vector<idx_t>& keys) const {
  const Values q = globals_.Queries(head), k = globals_.Keys(head, arithmetic),
               v = globals_.OfValues(head, arithmetic);
  HeadTensors tensors = Head(head);
  tensors.q = q.data();
  tensors.k = k.data();
  tensors.v = v.data();
  const GlobalRelation relation(options_.spec, options_.tokens);
  return ComputeRows(context, tensors, relation, arithmetic, queries, keys);
}

// The head's outputs and dqg, and what `tokens` give to dx, or their dkg and dvg.
void WindowProblem::CompareGlobalHead(Context& context, const RowsToCompare& which, idx_t head,
                                      const std::vector<idx_t>& tokens, InputGradients* dx,
                                      InputGradients* naive_dx, const Take& take) {
  const idx_t count = options_.spec.globals;
  const std::vector<idx_t> queries = UpTo(which.all ? count : std::min(count, kRowsCompared));
  const std::vector<idx_t> keys = which.backward ? tokens : std::vector<idx_t>();
  const OracleRows oracle = GlobalRows(context, head, Arithmetic::kDouble, queries, keys);
  const OracleRows naive =
      which.naive ? GlobalRows(context, head, NaiveArithmetic(), queries, keys) : OracleRows{};
  const auto compare = [&](const char* what, idx_t token, std::span<const float> actual,
                           std::vector<std::vector<double>> OracleRows::*part, std::size_t i) {
    take({what, head, token, actual, (oracle.*part)[i],
          which.naive ? (naive.*part)[i] : std::vector<double>()});
  };
  for (const idx_t g : queries) {
    const auto i = static_cast<std::size_t>(g);
    compare("global out", g, RowOf(out_, head, g), &OracleRows::out, i);
    if (!which.backward) continue;
    compare("global dq", g, globals_.QueryGradient(head, g), &OracleRows::dq, i);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (globals_.reassociated()) {
      globals_.AddInputGradient(head, oracle.dk[i], oracle.dv[i], &(*dx)[i]);
      if (which.naive) {
        globals_.AddInputGradient(head, naive.dk[i], naive.dv[i], &(*naive_dx)[i]);
      }
      continue;
    }
    compare("global dk", keys[i], globals_.KeyGradient(head, keys[i]), &OracleRows::dk, i);
    compare("global dv", keys[i], globals_.ValueGradient(head, keys[i]), &OracleRows::dv, i);
  }
}

// After CompareRows of the window, which has run both.
void WindowProblem::CompareGlobalRows(Context& context, const RowsToCompare& which,
                                      const Take& take) {
  Rng rng(17);
  for (idx_t b = 0; b < options_.batch; ++b) {
    std::vector<idx_t> tokens = which.all ? UpTo(options_.tokens) : std::vector<idx_t>();
    for (idx_t i = 0; i < kRowsCompared && !which.all; ++i) {
      tokens.push_back(rng.Below(options_.tokens));
    }
    InputGradients dx(tokens.size(),
                      std::vector<double>(static_cast<std::size_t>(globals_.channels())));
    InputGradients naive_dx = dx;
    for (idx_t h = 0; h < options_.heads; ++h) {
      CompareGlobalHead(context, which, b * options_.heads + h, tokens, &dx, &naive_dx, take);
    }
    if (!which.backward || !globals_.reassociated()) continue;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      take({"dx", b, tokens[i], globals_.InputGradient(b, tokens[i]), dx[i],
            which.naive ? naive_dx[i] : std::vector<double>()});
    }
  }
}

std::unique_ptr<AttentionProblem> MakeWindowProblem(const Mechanism& mechanism,
                                                    const ProblemOptions& options) {
  return std::make_unique<WindowProblem>(mechanism, options);
}

void CheckWindowPattern(const PatternOptions& options) {
  CheckPatternSize(options);
  Check(options.window >= 0, ErrorCode::kUsage, "pattern: window {} is negative", options.window);
  Check(options.dilation.value_or(1) >= 1, ErrorCode::kUsage, "pattern: dilation {} is below 1",
        options.dilation.value_or(1));
}

}  // namespace

// ---- the picture --------------------------------------------------------------------------------

std::vector<float> WindowWeights(Context& context, const PatternOptions& options) {
  CheckWindowPattern(options);
  PatternProblem problem(options);
  const WindowSpec spec = WindowSpecOf(PatternSpec(options), 1);
  const std::vector<std::uint8_t> numbers = WindowRoles(options);
  const TokenRoles roles(numbers.data(), {1, options.tokens});
  WindowForward(context, spec, {problem.Zeros(), problem.Zeros(), problem.Values()}, roles,
                {problem.Out(), problem.Row(problem.lse)});
  const idx_t globals = LargestGlobalCount(roles);
  if (globals > 0) {
    const View<const float, 4> queries(problem.zeros.data(), {1, 1, globals, options.tokens});
    GlobalForward(context, spec, {queries, problem.Zeros(), problem.Values()}, roles,
                  {problem.Out(), problem.Row(problem.lse)});
  }
  return problem.out;
}

const Mechanism& WindowMechanism() {
  static const Mechanism kRow = [] {
    Mechanism row;
    row.name = "window";
    row.summary = "Longformer's attention: a window around each token, and global tokens";
    row.options = {"--window", "--dilation", "--globals"};
    row.picture_options = {"--global-at"};
    row.pairs = WindowPairs;
    row.relation = MakeWindowRelation;
    row.separate = WindowForm<float>();
    row.separate_bf16 = WindowForm<bfloat16>();
    row.bf16 = true;
    row.problem = MakeWindowProblem;
    row.weights = [](Context& context, const Mechanism&, const PatternOptions& options) {
      return WindowWeights(context, options);
    };
    return row;
  }();
  return kRow;
}

}  // namespace longspan::catalogue

namespace longspan {

std::vector<std::uint8_t> WindowRoles(const PatternOptions& options) {
  CheckPatternSize(options);
  const idx_t exist = options.tokens - options.pad_left - options.pad_right;
  const idx_t globals = options.globals.value_or(0);
  Check(globals >= 0 && globals <= exist, ErrorCode::kUsage,
        "pattern: {} global tokens, can draw from 0 to {}, the tokens that are not padding",
        globals, exist);
  std::vector<std::uint8_t> roles;
  for (idx_t token = 0; token < options.tokens; ++token) {
    const bool global = token >= options.pad_left && token < options.pad_left + globals;
    roles.push_back(global ? kGlobalToken : IsPadding(options, token) ? kHiddenToken : kLocalToken);
  }
  for (const idx_t token : options.global_at) {
    Check(token >= 0 && token < options.tokens, ErrorCode::kUsage,
          "pattern: global token {}, tokens are numbered from 0 to {}", token, options.tokens - 1);
    Check(!IsPadding(options, token), ErrorCode::kUsage, "pattern: global token {} is padding",
          token);
    roles[static_cast<std::size_t>(token)] = kGlobalToken;
  }
  return roles;
}

}  // namespace longspan
