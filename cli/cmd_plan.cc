// longspan plan: what a training step needs, before it is run, and how long a text a memory allows.

#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/dtype_option.h"
#include "cli/memory_size.h"
#include "cli/step_trial.h"
#include "cli/training.h"
#include "cli/visual/output.h"
#include "cli/waiting.h"
#include "families/families.h"
#include "io/escape.h"
#include "io/json.h"
#include "model/step_memory.h"
#include "probe/other_processes.h"
#include "probe/peaks.h"

namespace longspan::cli {
namespace {

// Without a trial the time follows from useful work over the machine's peak: 0.35 for short rows of
// narrow models to 0.75 for Longformers (docs/record/performance.md).
constexpr double kFractionOfPeak = 0.5;

struct PlanCommand {
  std::string model, config, preset, arch, memory, dtype = "f32", gradient_streams = "f32", task;
  idx_t tokens = 0, batch = 1;
  double trial = 0.5;
  bool any_length = false, json = false;

  DType Compute() const { return DTypeOf(dtype); }
};

// One way to run the step: what it is called, and what it needs for so many tokens.
struct PlanKind {
  std::string name;
  std::function<StepNeeds(idx_t tokens)> rehearse;
  TrialModel trial;
  double work = 1.0;  // of what counts as useful, without a trial: recomputing takes time too
};

// What holds for all rows of the table.
struct Plan {
  std::vector<PlanKind> kinds;
  idx_t positions = 0;  // tokens of a row that the config has positions for
  std::uint64_t parameters = 0;
  std::string more_positions;  // what a longer row needs
  std::size_t budget = 0;      // 0: one length is asked for
  idx_t longest = 0;           // tokens of a row that are sought at most; 0: what memory allows
  std::size_t program = 0;     // resident before there is a model: code, libraries, stacks
  double peak = 0.0;           // GFLOP/s
  std::string head;            // the class that is counted; empty: the model's own
  bool headless = false;       // it is counted since the model has none, not since --task says so
};

// What --task calls the heads that a training step can have.
constexpr HeadKind kTrained[] = {HeadKind::kCausalLm, HeadKind::kMaskedLm, HeadKind::kSequence};

HeadKind HeadOfTask(const TextModelInfo& model, const std::string& task) {
  std::string known;
  for (const HeadKind head : kTrained) {
    if (ClassOf(model.heads, head).empty()) continue;
    if (task == NameOf(head)) return head;
    known.append(known.empty() ? "" : ", ").append(NameOf(head));
  }
  Fail(ErrorCode::kUsage, "plan: --task '{}' is not one that trains a {}; use one of {}",
       io::Escape(task), model.title, known);
}

// Gives the config the head that the step has: that of --task, else the model's own, else the one
// that `train` puts on an encoder alone. A config that named no class reads as an encoder.
void PutTrainedHead(const std::string& task, ModelConfig* config, Plan* plan) {
  const TextModelInfo model = config->info();
  HeadKind head = model.head;
  if (!task.empty()) {
    head = HeadOfTask(model, task);
  } else if (head == HeadKind::kNone) {
    const bool causal = model.causal && !ClassOf(model.heads, HeadKind::kCausalLm).empty();
    head = causal ? HeadKind::kCausalLm : HeadKind::kMaskedLm;
  }
  if (head == model.head) return;
  WantedHead wanted;
  wanted.head = head;
  wanted.problem = model.problem;
  config->PutHead(wanted);
  plan->head = ClassOf(model.heads, head);
  plan->headless = task.empty();
}

std::unique_ptr<ModelConfig> ConfigOf(const PlanCommand& c) {
  Check(int{!c.model.empty()} + int{!c.config.empty()} + int{!c.preset.empty()} == 1,
        ErrorCode::kUsage, "plan: give one of --model, --config and --preset");
  if (!c.preset.empty()) return FamilyOfOption("plan", c.arch).preset(c.preset);
  return ReadModelConfig(c.model.empty() ? OpenConfigFile(c.config) : OpenModelFolder(c.model));
}

Plan MakePlan(Context& context, const PlanCommand& c) {
  const auto config = ConfigOf(c);
  Plan plan;
  PutTrainedHead(c.task, config.get(), &plan);
  plan.positions = config->info().longest;
  plan.parameters = config->ParameterCount();
  plan.more_positions = config->PositionFields();
  StepPolicy policy;
  policy.compute = c.Compute();
  policy.gradient_streams = DTypeOf(c.gradient_streams);
  for (StepVariant& variant : config->Variants(policy)) {
    const std::shared_ptr<const ModelConfig> model = std::move(variant.config);
    plan.kinds.push_back(
        {variant.name,
         [=, batch = c.batch, threads = context.threads(), policy = variant.policy](idx_t tokens) {
           const auto longer = model->Clone();
           longer->GrowPositions(tokens);
           return RehearseStep(*longer, batch, tokens, threads, policy);
         },
         TrialOf(context, model, variant.policy), variant.work});
  }
  return plan;
}

struct PlanRow {
  std::string attention;
  StepNeeds needs;
  std::string refused;         // why a longer text does not run, when that is not memory
  bool all_positions = false;  // nor that, but the search ends there
  double seconds = 0.0;
  bool timed = false;  // seconds come from a trial
};

// Seconds of the row's step. What the trial itself may take is what is available now.
void AddSeconds(const PlanCommand& c, const Plan& plan, const PlanKind& kind, PlanRow* row) {
  row->seconds = kind.work * row->needs.gflop / (kFractionOfPeak * plan.peak);
  if (c.trial == 0.0) return;
  const StepTrial trial(kind.trial, c.batch, row->needs.tokens,
                        c.trial * kFractionOfPeak * plan.peak,
                        static_cast<std::size_t>(AvailableMemoryBytes()));
  row->timed = trial.ran();
  if (trial.ran()) row->seconds = trial.Seconds(row->needs);
}

// Puts the longest step that fits the budget into the row, of at most plan.longest tokens.
void SearchLongest(const PlanCommand& c, const Plan& plan,
                   const std::function<StepNeeds(idx_t)>& rehearse, PlanRow* row) {
  const std::size_t bytes = plan.budget - plan.program;
  std::string refused;  // why not even a row of all positions runs
  if (plan.longest > 0) {
    try {
      row->needs = rehearse(plan.longest);
      row->all_positions = row->needs.memory.total() <= bytes;
    } catch (const Error& error) {
      refused = error.what();
    }
    if (row->all_positions) return;
  }
  const std::string beyond = "longer than the model's positions";
  const auto within = [&](idx_t tokens) {
    const bool may = plan.longest == 0 || tokens <= std::max(plan.longest, kPlanTokens);
    Check(may, ErrorCode::kLimit, "{}", beyond);
    return rehearse(tokens);
  };
  const LongestStep longest = FindLongestStep(within, c.batch, bytes);
  row->needs = longest.needs;
  row->refused = longest.refused == beyond ? refused : longest.refused;
}

// A step of c.tokens, or the longest that fits. A rehearsal of a long one takes seconds, and so
// does a trial: a terminal is told which is under way, in a line that is erased.
PlanRow MakeRow(const PlanCommand& c, const Plan& plan, const PlanKind& kind) {
  PlanRow row;
  row.attention = kind.name;
  Waiting waiting(kind.name);
  const auto rehearse = [&](idx_t tokens) {
    waiting.Change(fmt::format("{}: rehearsing a step of {} tokens", kind.name, tokens));
    return kind.rehearse(tokens);
  };
  if (plan.budget == 0) {
    row.needs = rehearse(c.tokens);
  } else {
    SearchLongest(c, plan, rehearse, &row);
  }
  waiting.Change(
      fmt::format("{}: timing short steps for one of {} tokens", kind.name, row.needs.tokens));
  AddSeconds(c, plan, kind, &row);
  return row;
}

nlohmann::ordered_json ToJson(const Plan& plan, const PlanRow& row) {
  const StepMemory& m = row.needs.memory;
  nlohmann::ordered_json j = {{"attention", row.attention}, {"tokens", row.needs.tokens}};
  j["positions_suffice"] = row.needs.tokens <= plan.positions;
  j["bytes"] = {{"program", plan.program},
                {"weights", m.weights},
                {"gradients", m.gradients},
                {"moments", m.moments},
                {"text", m.text},
                {"streams", m.streams},
                {"buckets", m.buckets},
                {"copies", m.copies},
                {"activations", m.activations},
                {"scratch", m.scratch},
                {"total", plan.program + m.total()}};
  j["gflop"] = row.needs.gflop;
  j["estimated_seconds"] = row.seconds;
  j["seconds_from"] = row.timed ? "trial" : "peak";
  if (plan.budget != 0) {
    j["limited_by"] = row.all_positions     ? "positions"
                      : row.refused.empty() ? "memory"
                                            : row.refused;
  }
  return j;
}

void PrintJson(const PlanCommand& c, const Plan& plan, const std::vector<PlanRow>& rows,
               const OtherProcesses& others, const Context& context) {
  nlohmann::ordered_json j = {{"batch", c.batch}, {"positions", plan.positions}};
  j["parameters"] = plan.parameters;
  if (plan.budget != 0) {
    j["memory_bytes"] = plan.budget;
    j["memory_source"] = c.memory.empty() ? "available" : "given";
  }
  if (!plan.head.empty()) j["head"] = plan.head;
  j["peak_gflops"] = plan.peak;
  j["assumed_fraction"] = kFractionOfPeak;
  j["machine"] = context.Describe();
  j["cores"] = others.cores();
  j["cores_busy_with_others"] = others.BusyCores();
  for (const PlanRow& row : rows) j["steps"].push_back(ToJson(plan, row));
  PrintResult(io::DumpJson(j));
}

std::string TimeText(double seconds) {
  constexpr double kDay = 86400.0;
  if (seconds < 60.0) return fmt::format("{:.1f} s", seconds);
  return seconds < 2 * kDay ? DurationText(seconds) : fmt::format("{:.1f} days", seconds / kDay);
}

double Megabytes(std::size_t bytes) { return static_cast<double>(bytes) * 1e-6; }

std::string TableHead(const PlanCommand& c, const Plan& plan) {
  const std::string what =
      plan.budget == 0
          ? fmt::format("A training step of {} x {} tokens, with each attention:\n", c.batch,
                        c.tokens)
          : fmt::format(
                "The longest text that trains in {:.0f} MB ({}), {} at a time, with each "
                "attention:\n",
                Megabytes(plan.budget), c.memory.empty() ? "available now" : "--memory", c.batch);
  return what + fmt::format("{:<9} {:>10} {:>9}  = {:>8} + {:>8} + {:>8} {:>11} {:>10}\n",
                            "attention", "tokens", "MB", "weights", "streams", "scratch", "GFLOP",
                            "time");
}

std::string TableRow(const Plan& plan, const PlanRow& row) {
  const StepMemory& m = row.needs.memory;
  const std::string line =
      fmt::format("{:<9} {:>10} {:>9.0f}  = {:>8.0f} + {:>8.0f} + {:>8.0f} {:>11.0f} {:>10}\n",
                  row.attention, row.needs.tokens, Megabytes(plan.program + m.total()),
                  Megabytes(m.weights + m.gradients + m.moments + m.copies),
                  Megabytes(m.streams + m.buckets + m.text), Megabytes(plan.program + m.scratch),
                  row.needs.gflop, TimeText(row.seconds));
  return row.refused.empty() ? line : line + fmt::format("          beyond: {}\n", row.refused);
}

// What others took of the cores while this process measured. Less than this is what any machine
// does beside its work.
constexpr double kBusyShare = 0.15;

std::string TableNotes(const PlanCommand& c, const Plan& plan, const std::vector<PlanRow>& rows,
                       const OtherProcesses& others) {
  bool beyond = false, timed = true, all_positions = false;
  for (const PlanRow& row : rows) {
    timed = timed && row.timed;
    beyond = beyond || row.needs.tokens > plan.positions;
    all_positions = all_positions || row.all_positions;
  }
  std::string text = fmt::format(
      "weights: with gradients and AdamW's two moments. streams: with their gradients, tokens and "
      "buckets.\nscratch: the most that is in use at once, and the program. time: {}.\n",
      timed ? "from short steps of one and two layers of each kind"
            : fmt::format("an estimate, {} of this machine's peak of {:.0f} GFLOP/s",
                          kFractionOfPeak, plan.peak));
  if (const double busy = others.BusyCores(); busy > kBusyShare * others.cores()) {
    text += fmt::format(
        "The machine was busy: other processes took {:.1f} of its {} cores meanwhile. On an idle "
        "one "
        "the\ntimes are shorter.\n",
        busy, others.cores());
  }
  if (!plan.head.empty()) {
    text += plan.headless
                ? fmt::format("The model has no head: a {} is counted, as `train` makes of it.\n",
                              plan.head)
                : fmt::format("A {} is counted, as `train {}` makes of the model.\n", plan.head,
                              c.task);
  }
  if (all_positions) {
    text += fmt::format(
        "The model has positions for {} tokens, and memory for more: --any-length looks beyond "
        "them.\n",
        plan.positions);
  }
  if (beyond) {
    text += fmt::format("The config has positions for {} tokens: more need {}, as counted here.\n",
                        plan.positions, plan.more_positions);
  }
  return text;
}

int RunPlan(const PlanCommand& c, int threads) {
  Check(c.tokens == 0 || c.memory.empty(), ErrorCode::kUsage,
        "plan: --tokens asks for the memory of one length, --memory for the longest; give one");
  Context context(threads);
  // Before the rehearsals, whose code and tables no training touches.
  const std::size_t program = ProgramBytes(context);
  Plan plan = MakePlan(context, c);
  plan.program = program;
  if (c.tokens == 0) {
    plan.budget = c.memory.empty() ? static_cast<std::size_t>(AvailableMemoryBytes())
                                   : ParseMemory("plan: --memory", c.memory);
    Check(plan.budget > 0, ErrorCode::kUsage,
          "plan: the system does not say how much memory is available; give --memory");
    // A model has the positions that it has; a config may still get others.
    if (!c.model.empty() && !c.any_length) plan.longest = plan.positions;
  }
  const OtherProcesses others;
  plan.peak = ProbeFp32Gflops(context);
  Check(plan.budget == 0 || plan.budget > plan.program, ErrorCode::kLimit,
        "plan: {} bytes of memory, the program alone takes {}", plan.budget, plan.program);
  std::vector<PlanRow> rows;
  for (const PlanKind& kind : plan.kinds) {
    rows.push_back(MakeRow(c, plan, kind));
    if (c.json) continue;
    // As soon as it is known; the head with the first, so that a failure before it prints nothing.
    PrintResult((rows.size() == 1 ? TableHead(c, plan) : "") + TableRow(plan, rows.back()));
  }
  if (c.json) {
    PrintJson(c, plan, rows, others, context);
  } else {
    PrintResult(TableNotes(c, plan, rows, others));
  }
  return 0;
}

}  // namespace

void RegisterPlan(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<PlanCommand>();
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of the model");
  command->add_option("--config", c->config, "Configuration instead of a model, a config.json");
  command->add_option("--preset", c->preset,
                      "Preset of init instead of a model: tiny, small or base");
  command->add_option("--arch", c->arch,
                      fmt::format("Architecture of the preset: {}", FamilyChoices()));
  command->add_option("--task", c->task,
                      "Training whose step is planned: lm (Reformers), mlm or classify (default: "
                      "by the model's head)");
  BeginGroup(command, heading::kRows);
  command->add_option(
      "--memory", c->memory,
      "Memory for which the longest text is sought, for example 4G (default: what is available)");
  command
      ->add_option("--tokens", c->tokens,
                   "Length of a text in tokens whose needs are told, instead")
      ->check(CLI::Range(idx_t{1}, idx_t{1} << 31));
  command->add_flag("--any-length", c->any_length,
                    "Seek lengths that the model of --model has no positions for, too");
  command->add_option("--batch", c->batch, "Number of texts at a time")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  BeginGroup(command, heading::kComputing);
  command->add_option("--dtype", c->dtype, "Precision of the step: f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  AddGradientStreamsOption(command, &c->gradient_streams);
  command
      ->add_option("--trial", c->trial,
                   "Time of each short step that is run, about; 0 runs none and assumes half the "
                   "machine's peak")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Reformers: full, local and LSH attention with the same weights; Longformers: their "
      "windows,\n"
      "without and with --recompute. Memory is what the operations book, found by a rehearsal\n"
      "without computing; time comes from short steps that are run.\n"
      "Examples:\n  longspan plan -m start --memory 100M --trial 0.1\n"
      "  longspan plan -m start --tokens 256 --batch 2\n"
      "  longspan plan -m start --task classify --tokens 256\n"
      "  longspan plan --arch longformer --preset tiny --tokens 512");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunPlan(*c, globals.threads); }; });
}

}  // namespace longspan::cli
