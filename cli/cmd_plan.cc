// longspan plan: what a training step needs, before it is run, and how long a text a memory allows.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/dtype_option.h"
#include "cli/memory_size.h"
#include "cli/option_checks.h"
#include "cli/training.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "cli/waiting.h"
#include "longspan/files.h"
#include "longspan/folders.h"
#include "longspan/plan.h"

namespace longspan::cli {
namespace {

struct PlanCommand {
  std::string model, config, memory, link, dtype = "f32", gradient_streams = "f32", task,
                                           optimizer = "adamw";
  PlanOptions options;
  bool json = false;
};

// Bytes a second of "200Mbit", "10 Gbit/s" or "31.3 MB/s", as networks and `bench world` say them.
double ParseLink(const std::string& text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"kbit", 1e3 / 8}, {"mbit", 1e6 / 8},
                                                            {"gbit", 1e9 / 8}, {"kb", 1e3},
                                                            {"mb", 1e6},       {"gb", 1e9}};
  std::string word = LowerAscii(text);
  std::erase(word, ' ');
  if (word.ends_with("/s")) word.resize(word.size() - 2);
  double number = 0.0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error == std::errc() && number > 0.0 && std::isfinite(number)) {
    for (const auto& [unit, bytes] : kUnits) {
      if (end == word.data() + word.size() - unit.size() && word.ends_with(unit)) {
        return number * bytes;
      }
    }
  }
  Fail(ErrorCode::kUsage, "plan: --link '{}': need a rate such as 200Mbit, 10Gbit or 31.3MB/s",
       io::Escape(text));
}

nlohmann::ordered_json ToJson(const PlanOptions& o, const PlannedUpdate& u) {
  nlohmann::ordered_json j = {{"ranks", o.ranks},
                              {"micro_batches", o.accumulate},
                              {"ranks_here", o.ranks_here},
                              {"largest_share", u.share},
                              {"computing_seconds", u.computing_s}};
  if (o.ranks > 1) j["sent_bytes"] = std::llround(u.sent_bytes);
  if (o.link_bytes_per_s > 0.0) {
    j["link_bytes_per_s"] = o.link_bytes_per_s;
    j["exchange_seconds"] = u.exchange_s;
    j["hidden_seconds"] = u.hidden_s;
  }
  j["seconds"] = u.seconds();
  j["one_process_seconds"] = u.one_process_s;
  j["efficiency"] = u.efficiency(o.ranks);
  return j;
}

// What there is before a step.
std::size_t ProcessBytes(const Plan& plan) { return plan.program + plan.mpi + plan.texts; }

nlohmann::ordered_json ToJson(const PlanOptions& o, const Plan& plan, const PlannedStep& row) {
  const StepMemory& m = row.needs.memory;
  nlohmann::ordered_json j = {{"attention", row.name}, {"tokens", row.needs.tokens}};
  j["positions_suffice"] = row.needs.tokens <= plan.positions;
  j["bytes"] = {{"program", plan.program},
                {"mpi", plan.mpi},
                {"texts", plan.texts},
                {"weights", m.weights},
                {"gradients", m.gradients},
                {"moments", m.moments},
                {"text", m.text},
                {"streams", m.streams},
                {"buckets", m.buckets},
                {"copies", m.copies},
                {"activations", m.activations},
                {"scratch", m.scratch},
                {"sums", m.sums},
                {"total", ProcessBytes(plan) + m.total()}};
  if (row.needs.row_bytes > 0) {
    j["sent_bytes"] = row.needs.row_bytes;
    j["sent_beside_bytes"] = row.needs.row_bytes_beside;
  }
  j["gflop"] = row.needs.gflop;
  j["estimated_seconds"] = row.seconds;
  j["seconds_from"] = row.timed ? "trial" : "peak";
  j["update"] = ToJson(o, row.update);
  if (plan.memory != 0) {
    j["limited_by"] = row.all_positions     ? "positions"
                      : row.refused.empty() ? "memory"
                                            : row.refused;
  }
  return j;
}

void PrintJson(const PlanCommand& c, const PlanOptions& o, const Plan& plan,
               const Context& context) {
  nlohmann::ordered_json j = {{"batch", c.options.batch}, {"positions", plan.positions}};
  j["parameters"] = plan.parameters;
  if (plan.memory != 0) {
    j["memory_bytes"] = plan.memory;
    j["memory_source"] = c.memory.empty() ? "available" : "given";
  }
  if (!plan.head_class.empty()) j["head"] = plan.head_class;
  j["peak_gflops"] = plan.peak_gflops;
  j["assumed_fraction"] = kAssumedFraction;
  j["machine"] = context.Describe();
  j["cores"] = plan.cores;
  j["cores_busy_with_others"] = plan.busy_cores;
  for (const PlannedStep& row : plan.steps) j["steps"].push_back(ToJson(o, plan, row));
  PrintResult(DumpJson(j));
}

std::string TimeText(double seconds) {
  constexpr double kDay = 86400.0;
  if (seconds < 60.0) return fmt::format("{:.1f} s", seconds);
  return seconds < 2 * kDay ? DurationText(seconds) : fmt::format("{:.1f} days", seconds / kDay);
}

double Megabytes(std::size_t bytes) { return static_cast<double>(bytes) * 1e-6; }

std::string TableHead(const PlanCommand& c, const Plan& plan) {
  const std::string what =
      plan.memory == 0
          ? fmt::format("A training step of {} x {} tokens, with each attention:\n",
                        c.options.batch, c.options.tokens)
          : fmt::format("The longest text that trains in {}, {} at a time, with each attention:\n",
                        c.memory.empty()
                            ? fmt::format("{:.0f} MB (available now)", Megabytes(plan.memory))
                            : fmt::format("{} = {:.0f} MB", c.memory, Megabytes(plan.memory)),
                        c.options.batch);
  return what + fmt::format("{:<9} {:>10} {:>8} = {:>8} + {:>8} + {:>8} + {:>8} {:>10} {:>10}\n",
                            "attention", "tokens", "MB", "weights", "streams", "scratch", "program",
                            "GFLOP", "time");
}

// A line below the row, where an update is more than the step.
std::string UpdateText(const PlanOptions& o, const PlannedUpdate& u) {
  if (o.accumulate == 1 && o.ranks == 1) return {};
  if (o.ranks == 1) {
    return fmt::format("          {} micro-batches: {} an update\n", o.accumulate,
                       TimeText(u.seconds()));
  }
  std::string text = fmt::format("          {} ranks, {} of {} micro-batches: {} of computing",
                                 o.ranks, u.share, o.accumulate, TimeText(u.computing_s));
  if (o.link_bytes_per_s > 0.0) {
    text +=
        fmt::format(" and {} of exchange, {} hidden", TimeText(u.exchange_s), TimeText(u.hidden_s));
  }
  return text + fmt::format(": {} an update{}, {:.0f}% of {} processes; each sends {:.1f} MB\n",
                            TimeText(u.seconds()),
                            o.link_bytes_per_s > 0.0 ? "" : " without exchange (--link)",
                            100.0 * u.efficiency(o.ranks), o.ranks, u.sent_bytes * 1e-6);
}

std::string TableRow(const PlanOptions& o, const Plan& plan, const PlannedStep& row) {
  const StepMemory& m = row.needs.memory;
  std::string line = fmt::format(
      "{:<9} {:>10} {:>8.0f} = {:>8.0f} + {:>8.0f} + {:>8.0f} + {:>8.0f} {:>10.0f} {:>10}\n",
      row.name, row.needs.tokens, Megabytes(ProcessBytes(plan) + m.total()),
      Megabytes(m.weights + m.gradients + m.moments + m.copies + m.sums),
      Megabytes(m.streams + m.buckets + m.text), Megabytes(m.scratch),
      Megabytes(ProcessBytes(plan)), row.needs.gflop, TimeText(row.seconds));
  line += UpdateText(o, row.update);
  return row.refused.empty() ? line : line + fmt::format("          beyond: {}\n", row.refused);
}

// What others took of the cores while this process measured. Less than this is what any machine
// does beside its work.
constexpr double kBusyShare = 0.15;

// What the ranks of a row send each other: a network has its own time for it.
std::string RowRanksNote(const PlanCommand& c, const Plan& plan) {
  if (c.options.row_ranks == 1) return {};
  StepNeeds most;
  for (const PlannedStep& row : plan.steps) {
    if (row.needs.row_bytes > most.row_bytes) most = row.needs;
  }
  return fmt::format(
      "Each of {} ranks has a slab of every row: memory and time are one rank's. It sends the "
      "others\n"
      "up to {:.1f} MB a micro-batch, {:.1f} MB of it beside attention. The last column leaves "
      "that out,\n"
      "and --link adds to an update what attention does not hide.\n",
      c.options.row_ranks, static_cast<double>(most.row_bytes) * 1e-6,
      static_cast<double>(most.row_bytes_beside) * 1e-6);
}

std::string TableNotes(const PlanCommand& c, const Plan& plan) {
  bool beyond = false, timed = true, all_positions = false;
  for (const PlannedStep& row : plan.steps) {
    timed = timed && row.timed;
    beyond = beyond || row.needs.tokens > plan.positions;
    all_positions = all_positions || row.all_positions;
  }
  std::string text = fmt::format(
      "weights: with gradients, their sums and the state of {}. streams: with their gradients,\n"
      "tokens and buckets. scratch: the most that operations use at once{}{}. time: "
      "{}.\n",
      c.optimizer, plan.mpi > 0 ? ". program: with MPI" : "",
      plan.texts > 0 ? fmt::format("{} {:.0f} MB of texts",
                                   plan.mpi > 0 ? " and" : ". program: with", Megabytes(plan.texts))
                     : std::string(),
      timed ? "from short steps of one and two layers of each kind"
            : fmt::format("an estimate, {} of this machine's peak of {:.0f} GFLOP/s",
                          kAssumedFraction, plan.peak_gflops));
  text += RowRanksNote(c, plan);
  if (plan.busy_cores > kBusyShare * plan.cores) {
    text += fmt::format(
        "The machine was busy: other processes took {:.1f} of its {} cores meanwhile. On an idle "
        "one "
        "the\ntimes are shorter.\n",
        plan.busy_cores, plan.cores);
  }
  if (!plan.head_class.empty()) {
    text += plan.headless
                ? fmt::format("The model has no head: a {} is counted, as `train` makes of it.\n",
                              plan.head_class)
                : fmt::format("A {} is counted, as `train {}` makes of the model.\n",
                              plan.head_class, c.task);
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
  Context context(threads);
  PlanOptions options = c.options;
  options.model = c.model;
  options.config = c.config;
  options.dtype = DTypeOf(c.dtype);
  options.gradient_streams = DTypeOf(c.gradient_streams);
  options.optimizer = ParseOptimizer(c.optimizer);
  if (c.task == "embed") {
    options.task = PlannedTask::kEmbed;
  } else if (c.task == "rerank") {
    options.task = PlannedTask::kRerank;
  } else if (!c.task.empty()) {
    options.head = ParseHead(c.task);
  }
  Check(c.link.empty() || options.ranks > 1, ErrorCode::kUsage,
        "plan: --link is how fast ranks exchange gradients; say with --ranks how many there are");
  if (!c.link.empty()) options.link_bytes_per_s = ParseLink(c.link);
  if (!c.memory.empty()) options.memory = ParseMemory("plan: --memory", c.memory);
  // A rehearsal of a long step takes seconds, and so does a trial: a terminal is told which is
  // under way, in a line that is erased.
  std::optional<Waiting> waiting(std::in_place, "planning");
  PlanHooks hooks;
  hooks.on_stage = [&](const std::string& line) {
    if (!waiting) waiting.emplace(line);
    waiting->Change(line);
  };
  hooks.on_step = [&](const Plan& plan) {
    if (c.json) return;
    waiting.reset();
    // As soon as it is known; the head with the first, so that a failure before it prints nothing.
    PrintResult((plan.steps.size() == 1 ? TableHead(c, plan) : "") +
                TableRow(options, plan, plan.steps.back()));
  };
  const Plan plan = MakePlan(context, options, hooks);
  waiting.reset();
  if (c.json) {
    PrintJson(c, options, plan, context);
  } else {
    PrintResult(TableNotes(c, plan));
  }
  return 0;
}

}  // namespace

void RegisterPlan(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<PlanCommand>();
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of the model");
  command->add_option("--config", c->config, "Configuration instead of a model, a config.json");
  command->add_option("--preset", c->options.preset,
                      "Preset of init instead of a model: tiny, small or base");
  command->add_option("--arch", c->options.family,
                      fmt::format("Architecture of the preset: {}", FamilyChoices()));
  command->add_option(
      "--task", c->task,
      "Training whose step is planned: lm (Reformers), mlm, classify, token-classify, "
      "qa, multiple-choice, embed or rerank (default: by the model's head)");
  command
      ->add_option("--train-only", c->options.trained.only,
                   "Names of parameters that are trained (default: all)")
      ->delimiter(',')
      ->type_name("NAMES");
  command
      ->add_option("--freeze", c->options.trained.freeze,
                   "Names of parameters that are not trained")
      ->delimiter(',')
      ->type_name("NAMES");
  command->add_option("--train", c->options.train,
                      "File or folder of the training texts: what a run holds of them counts");
  BeginGroup(command, heading::kRows);
  command->add_option(
      "--memory", c->memory,
      "Memory for which the longest text is sought, for example 4G (default: what is available)");
  command
      ->add_option("--tokens", c->options.tokens,
                   "Length of a text in tokens whose needs are told, instead")
      ->check(CLI::Range(idx_t{1}, idx_t{1} << 31));
  command->add_flag("--any-length", c->options.any_length,
                    "Seek lengths that the model of --model has no positions for, too");
  command->add_option("--batch", c->options.batch, "Number of texts at a time")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--accumulate", c->options.accumulate,
                   "Micro-batches of one update, whose gradients are added")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--ranks", c->options.ranks, "Processes of mpirun that share an update")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      ->add_option("--ranks-here", c->options.ranks_here,
                   "Those of them that share one machine: steps are timed beside as many others")
      ->check(CLI::Range(1, 1 << 10))
      ->capture_default_str();
  command
      ->add_option("--link", c->link,
                   "Rate at which a rank sends, for example 200Mbit, or 31.3MB/s of bench world")
      ->type_name("RATE");
  command
      ->add_option("--row-ranks", c->options.row_ranks,
                   "Neighbours among them that share each row: what one of them needs")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  BeginGroup(command, heading::kComputing);
  command->add_option("--dtype", c->dtype, "Precision of the step: f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  AddGradientStreamsOption(command, &c->gradient_streams);
  command
      ->add_option("--optimizer", c->optimizer,
                   "Optimizer whose state counts: " + OptimizerChoices())
      ->capture_default_str();
  command
      ->add_option("--trial", c->options.trial_seconds,
                   "Time of each short step that is run, about; 0 runs none and assumes half the "
                   "machine's peak")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Reformers: full, local and LSH attention with the same weights; Longformers: their "
      "windows,\n"
      "without and with --recompute; ModernBERTs: these, and all layers full. Memory is what\n"
      "the operations book, found by a rehearsal without computing; time comes from short\n"
      "steps that are run. The texts that a run holds in memory count with --train FILE.\n"
      "Examples:\n  longspan plan -m start --memory 100M --trial 0.1\n"
      "  longspan plan -m start --tokens 256 --batch 2\n"
      "  longspan plan -m start --task classify --tokens 256\n"
      "  longspan plan -m start --tokens 256 --train my.txt --trial 0\n"
      "  longspan plan -m start --task embed --tokens 256 --trial 0\n"
      "  longspan plan --arch longformer --preset tiny --tokens 512\n"
      "  longspan plan -m start --tokens 256 --ranks 4 --accumulate 8 --link 1Gbit\n"
      "  longspan plan --arch longformer --preset tiny --tokens 512 --ranks 4 --row-ranks 2");
  command->callback([c, command, &globals, &action] {
    constexpr const char* kOfPresets[] = {"--arch"};
    constexpr const char* kOfModels[] = {"--any-length"};
    if (!c->model.empty() || !c->config.empty()) {
      RefuseIdle(*command, kOfPresets, "without a preset: a config names its architecture");
    }
    if (c->options.tokens > 0)
      RefuseIdle(*command, kOfModels, "with --tokens, which is one length");
    if (c->model.empty()) RefuseIdle(*command, kOfModels, "without --model, whose positions count");
    // As a training does: one micro-batch a rank, or a group that shares rows. --row-ranks alone
    // plans for one such group.
    if (command->count("--ranks") == 0) c->options.ranks = c->options.row_ranks;
    if (command->count("--accumulate") == 0) {
      c->options.accumulate = std::max(1, c->options.ranks / c->options.row_ranks);
    }
    action = [c, &globals] { return RunPlan(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
