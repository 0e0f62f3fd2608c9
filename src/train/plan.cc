#include "longspan/plan.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "base/errors.h"
#include "base/math.h"
#include "data/inputs.h"
#include "data/scratch_file.h"
#include "families/families.h"
#include "gemm/gemm.h"
#include "longspan/files.h"
#include "longspan/machine.h"
#include "longspan/model.h"
#include "longspan/tensor.h"
#include "model/optimizers.h"
#include "model/parameters.h"
#include "model/step_memory.h"
#include "text/bytes_tokenizer.h"
#include "train/gradient_sum.h"
#include "train/rank_policy.h"
#include "train/rerank_task.h"
#include "train/step_trial.h"
#include "train/trained_parameters.h"
#include "world/mpi_transport.h"
#include "world/row_group.h"

namespace longspan {
namespace {

// A step of a training of vectors runs the forward twice: four passes of about the same work.
constexpr double kVectorsWork = 4.0 / 3.0;
// Of a micro-batch's time: two of three products. Recomputation makes it more.
constexpr double kBackwardShare = 2.0 / 3.0;

// One way to run the step: what it is called, and what it needs for so many tokens.
struct PlanKind {
  std::string name;
  std::function<StepNeeds(idx_t tokens)> rehearse;
  TrialModel trial;
  double work = 1.0;  // of what counts as useful, without a trial: recomputing takes time too
};

class Planner {
 public:
  Planner(Context& context, const PlanOptions& options, const PlanHooks& hooks)
      : context_(context), o_(options), hooks_(hooks) {}

  Plan Run() {
    Check(o_.tokens == 0 || o_.memory == 0, ErrorCode::kUsage,
          "plan: --tokens asks for the memory of one length, --memory for the longest; give one");
    CheckGroups(o_.ranks, o_.row_ranks);
    Check(o_.ranks >= 1 && o_.accumulate >= o_.ranks / o_.row_ranks, ErrorCode::kUsage,
          "plan: {} micro-batches an update are too few for {} ranks; raise --accumulate",
          o_.accumulate, o_.ranks);
    Check(o_.ranks_here >= 1 && o_.ranks_here <= o_.ranks, ErrorCode::kUsage,
          "plan: --ranks-here {} of --ranks {} on one machine; need 1 to {}", o_.ranks_here,
          o_.ranks, o_.ranks);
    // Before the rehearsals, whose code and tables no training touches.
    plan_.program = ProgramBytes(context_);
    plan_.mpi = o_.ranks > 1 ? kMpiBytes : 0;
    plan_.texts = HeldTextBytes();
    Check(o_.link_bytes_per_s >= 0.0 && std::isfinite(o_.link_bytes_per_s), ErrorCode::kUsage,
          "plan: a link of {} bytes a second; need a rate above 0, or 0 for an unknown one",
          o_.link_bytes_per_s);
    FindKinds();
    FindBudget();
    const OtherProcesses others;
    plan_.peak_gflops = ProbeFp32Gflops(context_);
    plan_.cores = others.cores();
    for (const PlanKind& kind : kinds_) {
      context_.CheckCancelled();
      plan_.steps.push_back(Step(kind));
      plan_.busy_cores = others.BusyCores();
      if (hooks_.on_step) hooks_.on_step(plan_);
    }
    return std::move(plan_);
  }

 private:
  void FindKinds();
  void FindBudget();
  std::size_t HeldTextBytes() const;
  // What there is before a step.
  std::size_t Process() const { return plan_.program + plan_.mpi + plan_.texts; }
  std::unique_ptr<ModelConfig> Config() const;
  WantedHead HeadOfStep(const TextModelInfo& model) const;
  void PutTrainedHead(ModelConfig* config);
  PlannedStep Step(const PlanKind& kind) const;
  void SearchLongest(const std::function<StepNeeds(idx_t)>& rehearse, PlannedStep* step) const;
  void AddSeconds(const PlanKind& kind, PlannedStep* step) const;
  // What a rank takes for a micro-batch, or its part of one that it shares, and the optimizer for
  // all parameters.
  struct StepSeconds {
    double micro_s = 0.0, update_s = 0.0;
  };
  void PredictUpdate(const StepSeconds& alone, const StepSeconds& beside, PlannedStep* step) const;
  void Tell(const std::string& line) const {
    if (hooks_.on_stage) hooks_.on_stage(line);
  }

  Context& context_;
  const PlanOptions& o_;
  const PlanHooks& hooks_;
  Plan plan_;
  std::vector<PlanKind> kinds_;
  // Bytes of the gradients that are sent while the backward pass runs, and of these those of its
  // last layer.
  double early_bytes_ = 0.0, last_early_bytes_ = 0.0;
  double gradient_bytes_ = 0.0, weight_bytes_ = 0.0;  // of all that are trained
  double first_weight_bytes_ = 0.0;                   // of these, what a forward pass begins with
  idx_t longest_ = 0;  // tokens of a row that are sought at most; 0: what memory allows
};

std::unique_ptr<ModelConfig> Planner::Config() const {
  Check(int{!o_.model.empty()} + int{!o_.config.empty()} + int{!o_.preset.empty()} == 1,
        ErrorCode::kUsage, "plan: give one of --model, --config and --preset");
  if (!o_.preset.empty()) return FamilyOfOption("plan", o_.family).preset(o_.preset);
  return ReadModelConfig(o_.model.empty() ? OpenConfigFile(o_.config) : OpenModelFolder(o_.model));
}

// kUsage unless such a head trains on this model.
void CheckTrains(const TextModelInfo& model, HeadKind head, std::string_view task) {
  const bool trains = head != HeadKind::kNone && !ClassOf(model.heads, head).empty();
  Check(trains, ErrorCode::kUsage,
        "plan: --task '{}' is not one that trains a {}; use one of {}, {}", task, model.title,
        HeadNames(model.heads),
        ClassOf(model.heads, HeadKind::kSequence).empty() ? "embed" : "embed, rerank");
}

// The head of the step: the one asked for, else the model's own, else the one that `train` puts on
// an encoder alone. A config that named no class reads as an encoder.
WantedHead Planner::HeadOfStep(const TextModelInfo& model) const {
  WantedHead wanted{model.head, {}, model.problem};
  if (o_.task == PlannedTask::kEmbed) {
    wanted.head = HeadKind::kNone;
  } else if (o_.task == PlannedTask::kRerank) {
    CheckTrains(model, HeadKind::kSequence, "rerank");
    const ClassifyTarget target = RelevanceTarget(model);
    wanted = {HeadKind::kSequence, target.labels, target.problem};
  } else if (o_.head) {
    CheckTrains(model, *o_.head, NameOf(*o_.head));
    wanted.head = *o_.head;
  } else if (model.head == HeadKind::kNone) {
    const bool causal = model.causal && !ClassOf(model.heads, HeadKind::kCausalLm).empty();
    wanted.head = causal ? HeadKind::kCausalLm : HeadKind::kMaskedLm;
  }
  return wanted;
}

void Planner::PutTrainedHead(ModelConfig* config) {
  const TextModelInfo model = config->info();
  const WantedHead wanted = HeadOfStep(model);
  if (wanted.head == model.head && wanted.labels.empty()) return;
  config->PutHead(wanted);
  plan_.head_class = ClassOf(model.heads, wanted.head);
  plan_.headless = !o_.head && o_.task == PlannedTask::kOfHead;
}

// A trial runs here, in one process.
StepPolicy Alone(StepPolicy policy) {
  policy.row_ranks = policy.ranks = 1;
  policy.releases_gradients = false;
  return policy;
}

void Planner::FindKinds() {
  const auto config = Config();
  PutTrainedHead(config.get());
  plan_.positions = config->info().longest;
  plan_.parameters = config->ParameterCount();
  plan_.more_positions = config->PositionFields();
  StepPolicy policy;
  policy.compute = o_.dtype;
  policy.gradient_streams = o_.gradient_streams;
  policy.optimizer.kind = o_.optimizer;
  policy.row_ranks = o_.row_ranks;
  policy.ranks = o_.ranks;
  const auto made = config->Make(ParameterMemory::kBorrowed);
  ParameterTable& table = made->parameters();
  if (!o_.trained.only.empty() || !o_.trained.freeze.empty()) {
    table.Freeze(FrozenParameters(o_.trained, table));
    policy.frozen = FrozenBy(o_.trained);
  }
  const ParameterShares shares = SharesOf(policy.optimizer, table, o_.ranks);
  AddRankNeeds(o_.accumulate, o_.batch, *made, &policy);
  const std::size_t lowest = std::max<std::size_t>(1, table.first_stage());
  const auto bytes = [](idx_t values) { return static_cast<double>(values) * sizeof(float); };
  // Of the sums that are exchanged: those of trained parameters.
  const auto sums_in = [&](idx_t begin, idx_t end) { return bytes(shares.SumsIn(begin, end)); };
  gradient_bytes_ = sums_in(0, table.gradient_extent());
  early_bytes_ = sums_in(table.StageBegin(lowest), table.gradient_extent());
  last_early_bytes_ = sums_in(table.StageBegin(lowest), table.StageBegin(lowest + 1));
  for (const OwnedRange& range : shares.Updated()) {
    weight_bytes_ += bytes(range.size());
    if (range.begin < table.StageBegin(1)) first_weight_bytes_ += bytes(range.size());
  }
  const double passes = config->info().head == HeadKind::kNone ? kVectorsWork : 1.0;
  for (StepVariant& variant : config->Variants(policy)) {
    const std::shared_ptr<const ModelConfig> model = std::move(variant.config);
    kinds_.push_back(
        {variant.name,
         [=, batch = o_.batch, threads = context_.threads(), way = variant.policy](idx_t tokens) {
           const auto longer = model->Clone();
           longer->GrowPositions(tokens);
           return RehearseStep(*longer, batch, tokens, threads, way);
         },
         TrialOf(context_.threads(), model, Alone(variant.policy)), variant.work * passes});
  }
}

// Texts that are read byte by byte lie in memory file by file, other ones as ids, all together:
// as ReadCorpus and TokenStream hold them (data/scratch_file.h).
std::size_t Planner::HeldTextBytes() const {
  if (o_.train.empty()) return 0;
  constexpr std::uint64_t kBytesPerToken = 4, kMost = data::ScratchFile::kInMemory;
  std::vector<std::string> paths;
  for (const std::filesystem::path& path : o_.train) {
    Check(path != "-", ErrorCode::kUsage,
          "plan: --train -: standard input has no size; name a file");
    paths.push_back(path.string());
  }
  const TextModelInfo model = Config()->info();
  const bool bytes = o_.model.empty() ? model.vocab_size == text::BytesTokenizer::kVocabulary
                                      : OpenModelTokenizer(o_.model)->kind() == "bytes";
  const bool as_they_are = bytes && HeadOfStep(model).head == HeadKind::kCausalLm;
  std::uint64_t held = 0, all = 0;
  for (const data::InputFile& file : data::ListFiles(paths)) {
    std::error_code error;
    const std::uint64_t size =
        file.unfit.empty() ? std::filesystem::file_size(file.path, error) : std::uint64_t{0};
    Check(!error, ErrorCode::kIo, "plan: --train {}: {}", io::EscapeName(file.path),
          error.message());
    held += size <= kMost ? size : 0;
    all += size;
  }
  if (as_they_are) return held;
  constexpr idx_t kNarrow = idx_t{1} << 16;  // ids below it take two bytes
  const std::uint64_t tokens = bytes ? all : all / kBytesPerToken;
  const std::uint64_t ids = tokens * (model.vocab_size <= kNarrow ? 2 : 4);
  return ids <= kMost ? ids : 0;
}

void Planner::FindBudget() {
  if (o_.tokens > 0) return;
  plan_.memory = o_.memory > 0 ? o_.memory : static_cast<std::size_t>(AvailableMemoryBytes());
  Check(plan_.memory > 0, ErrorCode::kUsage,
        "plan: the system does not say how much memory is available; give --memory");
  Check(plan_.memory > Process(), ErrorCode::kLimit,
        "plan: {} bytes of memory, the program{} alone take{} {}", plan_.memory,
        plan_.texts > 0 ? " and the texts" : "", plan_.texts > 0 ? "" : "s", Process());
  // A model has the positions that it has; a config may still get others.
  if (!o_.model.empty() && !o_.any_length) longest_ = plan_.positions;
}

// Seconds of the step, alone on the machine. What the trial itself may take is what is available
// now.
void Planner::AddSeconds(const PlanKind& kind, PlannedStep* step) const {
  // Slabs and heads are dealt almost evenly; messages travel besides.
  const double share = 1.0 / o_.row_ranks;
  step->seconds = share * kind.work * step->needs.gflop / (kAssumedFraction * plan_.peak_gflops);
  const StepSeconds assumed{step->seconds, 0.0};
  PredictUpdate(assumed, assumed, step);
  if (o_.trial_seconds == 0.0) return;
  const auto trial_beside = [&](int others) {
    return StepTrial(context_, kind.trial, o_.batch, step->needs.tokens,
                     o_.trial_seconds * kAssumedFraction * plan_.peak_gflops,
                     static_cast<std::size_t>(AvailableMemoryBytes()), others);
  };
  StepTrial trial = trial_beside(o_.ranks_here - 1);
  // Without room for the others this process is timed alone.
  if (!trial.ran() && o_.ranks_here > 1) trial = trial_beside(0);
  step->timed = trial.ran();
  if (!trial.ran()) return;
  step->seconds = trial.Seconds(step->needs, share);
  const double update_s = trial.UpdateSeconds(step->needs);
  const StepSeconds alone{step->seconds - update_s, update_s};
  PredictUpdate(alone, {trial.slower() * alone.micro_s, trial.updates_slower() * update_s}, step);
}

// A rank computes its share, as quickly as it does beside the others of its machine; what the last
// micro-batch's backward pass does not hide of the layers' gradients comes on top, at least those
// of the layer that it ends with, and all of the embeddings'. Then the ranks send each other the
// weights that they have updated, which the next forward pass hides but for the embeddings'.
void Planner::PredictUpdate(const StepSeconds& alone, const StepSeconds& beside,
                            PlannedStep* step) const {
  PlannedUpdate& u = step->update;
  const double micro_s = beside.micro_s;
  u.share = CeilDiv(o_.accumulate, static_cast<idx_t>(o_.ranks / o_.row_ranks));
  u.computing_s = static_cast<double>(u.share) * micro_s + beside.update_s / o_.ranks;
  u.one_process_s =
      static_cast<double>(o_.accumulate * static_cast<idx_t>(o_.row_ranks)) * alone.micro_s +
      alone.update_s;
  if (o_.ranks == 1) return;
  const double nodes = ExchangedGradients(o_.accumulate, o_.ranks, o_.row_ranks);
  const double others = static_cast<double>(o_.ranks - 1) / o_.ranks;
  const double rows = static_cast<double>(u.share) * static_cast<double>(step->needs.row_bytes);
  u.sent_bytes = nodes * gradient_bytes_ + others * weight_bytes_ + rows;
  if (o_.link_bytes_per_s == 0.0) return;
  const double times = nodes / o_.link_bytes_per_s;
  const auto rows_s = [&](std::uint64_t bytes) {
    return static_cast<double>(bytes) / o_.link_bytes_per_s;
  };
  // What ranks that share rows send each other beside attention is hidden up to its time. That is
  // its share of a rank's work: products are quicker than attention, so it takes no less.
  const double work = step->needs.gflop / o_.row_ranks;
  const double beside_s = work > 0.0 ? micro_s * step->needs.row_gflop_beside / work : 0.0;
  const double rows_hidden_s = std::min({rows_s(step->needs.row_bytes_beside), beside_s, micro_s});
  // Gradients are hidden by what rows leave of the last backward pass, weights by what they leave
  // of the first forward pass.
  const double early_s = times * early_bytes_;
  const double backward_s = kBackwardShare * (micro_s - rows_hidden_s);
  const double shown_s = std::max(times * last_early_bytes_, early_s - backward_s);
  const double weights_s = others * weight_bytes_ / o_.link_bytes_per_s;
  const double forward_s = (1.0 - kBackwardShare) * (micro_s - rows_hidden_s);
  const double shown_weights_s =
      std::max(others * first_weight_bytes_ / o_.link_bytes_per_s, weights_s - forward_s);
  u.exchange_s = u.sent_bytes / o_.link_bytes_per_s;
  u.hidden_s = early_s - shown_s + weights_s - shown_weights_s +
               static_cast<double>(u.share) * rows_hidden_s;
}

// Puts the longest step that fits the memory into the row, of at most longest_ tokens.
void Planner::SearchLongest(const std::function<StepNeeds(idx_t)>& rehearse,
                            PlannedStep* step) const {
  const std::size_t bytes = plan_.memory - Process();
  std::string refused;  // why not even a row of all positions runs
  if (longest_ > 0) {
    try {
      step->needs = rehearse(longest_);
      step->all_positions = step->needs.memory.total() <= bytes;
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {
      refused = error.what();
    }
    if (step->all_positions) return;
  }
  const std::string beyond = "longer than the model's positions";
  const auto within = [&](idx_t tokens) {
    const bool may = longest_ == 0 || tokens <= std::max(longest_, kPlanTokens);
    Check(may, ErrorCode::kLimit, "{}", beyond);
    return rehearse(tokens);
  };
  const LongestStep longest = FindLongestStep(within, o_.batch, bytes);
  step->needs = longest.needs;
  step->refused = longest.refused == beyond ? refused : longest.refused;
}

// A step of o_.tokens, or the longest that fits.
PlannedStep Planner::Step(const PlanKind& kind) const {
  PlannedStep step;
  step.name = kind.name;
  const auto rehearse = [&](idx_t tokens) {
    context_.CheckCancelled();
    Tell(fmt::format("{}: rehearsing a step of {} tokens", kind.name, tokens));
    return kind.rehearse(tokens);
  };
  if (plan_.memory == 0) {
    step.needs = rehearse(o_.tokens);
  } else {
    SearchLongest(rehearse, &step);
  }
  Tell(fmt::format("{}: timing short steps for one of {} tokens", kind.name, step.needs.tokens));
  AddSeconds(kind, &step);
  return step;
}

// Runs a small dense layer both ways: the library behind it writes machine code for the products
// it meets, some 10 MB on AVX-512, which a step has in memory and a rehearsal does not.
void TouchDenseLayers(Context& context) {
  const Tensor x({256, 64}), w({192, 64});
  Tensor y({256, 192}), dx({256, 64}), dw({192, 64});
  gemm::Forward(context, x.view<2>(), w.view<2>(), nullptr, y.view<2>());
  gemm::BackwardData(context, y.view<2>(), w.view<2>(), dx.view<2>());
  gemm::BackwardWeights(context, y.view<2>(), x.view<2>(), dw.view<2>());
}

}  // namespace

std::size_t ProgramBytes(Context& context) {
  TouchDenseLayers(context);
  return static_cast<std::size_t>(PeakRssBytes());
}

Plan MakePlan(Context& context, const PlanOptions& options, const PlanHooks& hooks) {
  return Planner(context, options, hooks).Run();
}

}  // namespace longspan
