#include "lab/model_bench.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "base/rng.h"
#include "families/families.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_files.h"
#include "generate/text_decoder.h"
#include "longspan/machine.h"
#include "model/model_options.h"
#include "train/rank_policy.h"
#include "world/row_group.h"

namespace longspan {
namespace {

void CheckOneSource(const BenchModel& model) {
  Check(model.config.empty() != model.preset.empty(), ErrorCode::kUsage,
        "bench: give either --config or --preset");
}

// The model as it is, but with positions for the longest context.
ReformerConfig BenchConfig(const BenchModel& model, const std::vector<idx_t>& contexts,
                           idx_t tokens) {
  CheckOneSource(model);
  ReformerConfig config = model.preset.empty() ? LoadReformerConfig(OpenConfigFile(model.config))
                                               : ReformerPreset(model.preset);
  ApplyOptions(OptionsOf(model.reformer), &config);
  Check(!contexts.empty(), ErrorCode::kUsage, "bench: --contexts is empty");
  for (const idx_t context : contexts) {
    Check(context > tokens && context <= (idx_t{1} << 24), ErrorCode::kUsage,
          "bench: a context of {} tokens is not above the {} that are timed and at most 2^24",
          context, tokens);
  }
  const idx_t longest = *std::max_element(contexts.begin(), contexts.end());
  config.max_positions = std::max(config.max_positions, longest);
  if (config.axial) {
    config.axial_shape[0] =
        std::max(config.axial_shape[0], CeilDiv(longest, config.axial_shape[1]));
  }
  return config;
}

std::vector<std::int32_t> RandomWords(idx_t count, idx_t limit, std::uint64_t key) {
  Rng rng(key);
  std::vector<std::int32_t> ids;
  for (idx_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.Below(limit)));
  return ids;
}

}  // namespace

std::unique_ptr<StepBench> MakeStepBench(Context& context, const BenchModel& model,
                                         const BenchedStep& step) {
  CheckOneSource(model);
  const auto config = model.preset.empty()
                          ? ReadModelConfig(OpenConfigFile(model.config))
                          : FamilyOfOption("bench", model.family).preset(model.preset);
  config->SetOptions(OptionsOf(model.reformer));
  const bool trains = step.kind == StepKind::kTrain;
  StepPolicy policy;
  policy.compute = step.dtype;
  policy.gradient_streams = step.gradient_streams;
  policy.row_ranks = step.row_ranks;
  if (trains && context.world() != nullptr) policy.ranks = context.world()->size();
  CheckGroups(policy.ranks, policy.row_ranks);
  const idx_t groups = policy.ranks / policy.row_ranks;
  const idx_t micros = step.micros == 0 ? groups : step.micros;
  if (trains) {
    AddRankNeeds(micros, step.rows, *config->Make(ParameterMemory::kBorrowed), &policy);
  }
  // What the step saves: as the memory has room for.
  if (step.memory > 0 && trains) {
    policy = config->Fit(step.rows, step.tokens, step.memory, policy, context.threads());
  }
  return std::make_unique<StepBench>(context, *config, step.rows, step.tokens, step.kind, policy,
                                     micros);
}

struct GenerateBench::Impl {
  Reformer model;
  idx_t tokens, texts;
};

GenerateBench::GenerateBench(const BenchModel& model, std::vector<idx_t> contexts, idx_t tokens,
                             idx_t texts)
    : impl_(std::make_unique<Impl>(
          Impl{Reformer(BenchConfig(model, contexts, tokens)), tokens, texts})) {
  impl_->model.Initialise(1);
}
GenerateBench::~GenerateBench() = default;

idx_t GenerateBench::parameters() const { return impl_->model.parameters().count(); }

GenerateTimes GenerateBench::Time(Context& context, idx_t length) {
  const Reformer& model = impl_->model;
  const idx_t words = model.config().vocab_size;
  GenerateTimes times;
  times.context = length;
  const auto ids = RandomWords(length, words, 2);
  const auto prompt = std::span(ids).first(static_cast<std::size_t>(length - impl_->tokens));
  {
    const auto plain = model.MakeDecoder(false);
    plain->Add(context, prompt.first(1), length);  // creates products and books memory
    times.forward_s = SecondsOf([&] { plain->Add(context, prompt, length); });
  }
  const auto decoder = model.MakeDecoder(true);
  times.prefill_s = SecondsOf([&] { decoder->Add(context, prompt, length); });
  std::vector<idx_t> texts = {0};
  for (idx_t i = 1; i < impl_->texts; ++i) texts.push_back(0);
  decoder->Select(texts);
  for (idx_t i = 0; i < impl_->texts; ++i) texts[static_cast<std::size_t>(i)] = i;
  std::vector<double> seconds;
  for (idx_t i = 0; i < impl_->tokens; ++i) {
    const auto next = RandomWords(impl_->texts, words, 3 + static_cast<std::uint64_t>(i));
    seconds.push_back(SecondsOf([&] { decoder->Step(context, texts, next); }));
  }
  std::sort(seconds.begin(), seconds.end());
  times.step_s = seconds[seconds.size() / 2];
  times.step_min_s = seconds.front();
  times.cache_bytes = decoder->CacheBytes();
  return times;
}

}  // namespace longspan
