#include "catalogue/pattern.h"

#include "base/errors.h"
#include "catalogue/lsh.h"
#include "catalogue/mechanism.h"

namespace longspan::catalogue {

MechanismSpec PatternSpec(const PatternOptions& options) {
  MechanismSpec spec;
  spec.causal = options.causal;
  spec.window = options.window;
  spec.dilation = options.dilation.value_or(1);
  spec.chunk = options.chunk;
  spec.before = options.before;
  spec.after = options.after;
  spec.rounds = options.rounds;
  spec.buckets = options.buckets;
  return spec;
}

std::vector<float> SeparateWeights(Context& context, const Mechanism& mechanism,
                                   const PatternOptions& options) {
  PatternProblem problem(options);
  mechanism.separate.forward(context, PatternSpec(options),
                             {problem.Zeros(), problem.Zeros(), problem.Values()}, problem.Mask(),
                             {problem.Out(), problem.Row(problem.lse)});
  return problem.out;
}

PatternProblem::PatternProblem(const PatternOptions& options)
    : shape{1, 1, options.tokens, options.tokens},
      padded(options.pad_left + options.pad_right > 0) {
  CheckPatternSize(options);
  const auto tokens = static_cast<std::size_t>(options.tokens);
  for (auto* square : {&zeros, &values, &out}) square->resize(tokens * tokens);
  for (auto* row : {&lse, &max, &sum}) row->resize(tokens);
  for (std::size_t token = 0; token < tokens; ++token) {
    values[token * tokens + token] = 1;
    exists.push_back(IsPadding(options, static_cast<idx_t>(token)) ? 0 : 1);
  }
}

KeyMask PatternProblem::Mask() const {
  return padded ? KeyMask(exists.data(), {1, shape[2]}) : KeyMask();
}

}  // namespace longspan::catalogue

namespace longspan {
namespace {

constexpr idx_t kMostPatternTokens = 2048;  // cells are tokens^2, and so is the identity of values

}  // namespace

void CheckPatternSize(const PatternOptions& options) {
  Check(options.tokens >= 1 && options.tokens <= kMostPatternTokens, ErrorCode::kUsage,
        "pattern: {} tokens, can draw from 1 to {}", options.tokens, kMostPatternTokens);
  Check(options.pad_left >= 0 && options.pad_right >= 0 &&
            options.pad_left + options.pad_right <= options.tokens,
        ErrorCode::kUsage, "pattern: padding of {} and {} does not fit into {} tokens",
        options.pad_left, options.pad_right, options.tokens);
}

bool IsPadding(const PatternOptions& options, idx_t key) {
  return key < options.pad_left || key >= options.tokens - options.pad_right;
}

std::vector<MechanismInfo> ListMechanisms() {
  std::vector<MechanismInfo> list;
  for (const catalogue::Mechanism* mechanism : catalogue::Mechanisms()) {
    MechanismInfo info{std::string(mechanism->name), std::string(mechanism->summary), {}};
    for (const auto* options : {&mechanism->options, &mechanism->picture_options}) {
      info.options.insert(info.options.end(), options->begin(), options->end());
    }
    list.push_back(std::move(info));
  }
  return list;
}

std::vector<float> PatternWeights(Context& context, std::string_view name,
                                  const PatternOptions& options) {
  const catalogue::Mechanism* mechanism = catalogue::FindMechanism(name);
  Check(mechanism != nullptr, ErrorCode::kUsage, "pattern: there is no mechanism '{}'", name);
  return mechanism->weights(context, *mechanism, options);
}

LshPattern LshPatternOf(Context& context, const PatternOptions& options) {
  return catalogue::LshWeights(context, options);
}

}  // namespace longspan
