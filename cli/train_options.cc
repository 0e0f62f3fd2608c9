#include "cli/train_options.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/check.h"
#include "cli/config_file.h"
#include "cli/data_options.h"
#include "cli/dtype_option.h"
#include "cli/duration.h"
#include "cli/memory_size.h"
#include "cli/training.h"
#include "cli/visual/command.h"
#include "cli/visual/json_text.h"
#include "cli/visual/text.h"
#include "longspan/counted.h"
#include "longspan/evaluate.h"
#include "longspan/files.h"
#include "longspan/train.h"

namespace longspan::cli {

TrainCommand::TrainCommand(const TrainOptions& defaults)
    : options(defaults),
      schedule(ScheduleName(defaults.schedule.kind)),
      optimizer(OptimizerName(defaults.optimizer.kind)) {}

namespace {

// kUsage for a given option that only another optimizer has.
void CheckOptimizerOptions(const CLI::App& command, OptimizerKind kind) {
  for (const char* name :
       {"beta1", "beta2", "beta2-decay", "update-clip", "momentum", "nesterov"}) {
    const CLI::Option* option = command.get_option_no_throw(fmt::format("--{}", name));
    if (option != nullptr && option->count() > 0) CheckOptimizerHas(kind, name);
  }
}

}  // namespace

TrainOptions TrainCommand::Options(Context& context) const {
  TrainOptions o = options;
  o.model = model;
  o.data.train.assign(train.begin(), train.end());
  o.data.eval = eval;
  o.output = output;
  o.schedule.kind = ParseSchedule(schedule);
  o.accumulate_for_ranks = command->count("--accumulate") == 0;
  if (!lengths.empty()) o.lengths = ParseLengths(lengths);
  o.optimizer.kind = ParseOptimizer(optimizer);
  if (command != nullptr) CheckOptimizerOptions(*command, o.optimizer.kind);
  if (dropout >= 0.0) o.compute.dropout = dropout;
  if (head_rate >= 0.0) o.trained.head_learning_rate = head_rate;
  o.compute.dtype = DTypeOf(dtype);
  o.compute.reformer.attention = ParseAttention(attention);
  o.compute.gradient_streams = DTypeOf(gradient_streams);
  if (!max_time.empty()) o.checkpoints.max_time_s = ParseDuration("--max-time", max_time);
  o.checkpoints.survive_save_error = on_save_error == "continue";
  o.compute.memory = StepBudget("train", context, memory, &o.compute.program);
  o.selection.metric = metric;
  if (other_kept) {
    const bool best = o.selection.kept == KeptModel::kBest;
    o.selection.kept = best ? KeptModel::kLast : KeptModel::kBest;
  }
  return o;
}

void AddDataOptions(CLI::App* command, const char* train_text, TrainCommand* c) {
  BeginGroup(command, heading::kRun);
  command->add_option("--config", c->config, "Options from a TOML file; the command line wins")
      ->type_name(kConfigType)
      ->group(heading::kMore);
  command->add_option("-m,--model", c->model, "Folder of the model to start from")->required();
  command->add_option("--train", c->train, train_text)->required();
  command->add_option("--eval", c->eval, "Held-out file (default: a part of the training data)");
  AddReadOptions(command, &c->options.data.read, false);
  command
      ->add_option("--held-out", c->options.data.held_out,
                   "Share of the training data that is held out")
      ->capture_default_str();
  command->add_option("-o,--output", c->output, "Folder of the run")->required();
  AddRunOptions(command, c);
}

void AddRunOptions(CLI::App* command, TrainCommand* c) {
  c->command = command;
  BeginGroup(command, heading::kRun);
  command->add_flag("--resume", c->options.checkpoints.resume,
                    "Go on with the run in the output folder, bit for bit");
  command->add_flag("--extend", c->options.checkpoints.extend,
                    "Go on to more --steps (or epochs) than the run was made for");
  command->add_option("--max-time", c->max_time, "Time after which the run ends, for example 30m")
      ->group(heading::kMore);
  command->add_flag("--overwrite", c->options.checkpoints.overwrite,
                    "Remove the run that is in the output folder, and nothing else");
  command
      ->add_option("--on-save-error", c->on_save_error,
                   "What a failed save does: stop, or continue until a second one in a row fails")
      ->check(CLI::IsMember({"stop", "continue"}))
      ->type_name("NAME")
      ->capture_default_str();
}

void AddOptimiserOptions(CLI::App* command, TrainCommand* c) {
  TrainOptions& o = c->options;
  const auto option = [&](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  BeginGroup(command, heading::kLearning);
  option("--steps", o.steps, "Number of updates");
  option("--batch", o.batch, "Rows of a micro-batch");
  option("--tokens", o.tokens,
         o.tokens == 0 ? "Longest row in tokens; 0 takes the model's positions"
                       : "Length of a row in tokens");
  option("--accumulate", o.accumulate, "Micro-batches of one update");
  command->add_option("--row-ranks", o.row_ranks, "Ranks of mpirun that share each row")
      ->check(CLI::Range(1, 1 << 16).description(""))
      ->group(heading::kMore);
  option("--optimizer", c->optimizer, ("Optimizer: " + OptimizerChoices()).c_str());
  option("--learning-rate,--lr", o.optimizer.learning_rate, "Highest learning rate");
  option("--final-rate", o.schedule.final_rate, "Share of that rate after the last step");
  option("--warmup", o.schedule.warmup,
         o.schedule.warmup < 0 ? "Updates of linear warm-up; -1 takes 6 % of all"
                               : "Updates of linear warm-up");
  option("--schedule", c->schedule,
         "Course of the learning rate: cosine, linear, constant, inverse-sqrt");
  option("--weight-decay", o.optimizer.weight_decay, "Weight decay of matrices");
  // Which are seldom turned: the help's last lines name them. Their defaults are words: an option
  // with a default of its own would stand in every run.toml, whichever optimizer it has.
  const auto seldom = [&](const char* name, double& value, const char* text) {
    command->add_option(name, value, fmt::format("{} (default: {})", text, value))
        ->group(heading::kMore);
  };
  seldom("--beta1", o.optimizer.beta1, "Decay of AdamW's mean of gradients");
  seldom("--beta2", o.optimizer.beta2, "Decay of AdamW's mean of squared gradients");
  seldom("--beta2-decay", o.optimizer.beta2_decay, "Power of Adafactor's memory");
  seldom("--update-clip", o.optimizer.update_clip, "Largest update of Adafactor");
  seldom("--momentum", o.optimizer.momentum, "Momentum of SGD");
  command->add_flag("--nesterov", o.optimizer.nesterov, "SGD with Nesterov's momentum")
      ->group(heading::kMore);
  command
      ->add_option("--head-lr", c->head_rate,
                   "Highest learning rate of the head (default: that of all)")
      ->check(CLI::Range(0.0, 100.0).description(""))
      ->group(heading::kMore);
  command
      ->add_option("--train-only", o.trained.only,
                   "Names of parameters that are trained, with * for any letters (default: all)")
      ->delimiter(',')
      ->group(heading::kMore);
  command
      ->add_option("--freeze", o.trained.freeze,
                   "Names of parameters that are not trained, with * for any letters")
      ->delimiter(',')
      ->group(heading::kMore);
  option("--clip", o.optimizer.clip, "Largest gradient norm; 0 does not clip");
  option("--seed", o.seed, "Seed of data order, dropout, masks and new weights");
  command->add_option("--dropout", c->dropout, "Dropout probability (default: the config's)")
      ->check(CLI::Range(0.0, 0.99).description(""))
      ->type_name("FLOAT");
}

void AddLengthsOption(CLI::App* command, TrainCommand* c) {
  BeginGroup(command, heading::kLearning);
  command
      ->add_option(
          "--lengths", c->lengths,
          "Rows that get longer, instead of --tokens: 512:1000,4096: is 512 tokens for 1000 "
          "updates, then 4096")
      ->excludes(command->get_option("--tokens"));
}

void AddRhythmOptions(CLI::App* command, TrainCommand* c) {
  TrainOptions& o = c->options;
  const auto option = [&](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  BeginGroup(command, heading::kOutput);
  option("--log-every", o.checkpoints.log_every, "Steps between lines of metrics.jsonl");
  option("--eval-every", o.checkpoints.eval_every,
         "Steps between evaluations; 0 evaluates at the end");
  option("--save-every", o.checkpoints.save_every, "Steps between checkpoints; 0 saves at the end");
  option("--keep", o.checkpoints.keep, "Number of checkpoints that are kept besides the best");
  command
      ->add_flag("--tensorboard", o.checkpoints.tensorboard,
                 "Write events for TensorBoard beside metrics.jsonl")
      ->group(heading::kMore);
  option("--progress", c->progress, "Progress on stderr: auto, bar, plain or none");
  command
      ->add_flag("--allow-nonfinite", o.compute.allow_nonfinite,
                 "Accept weights that hold NaN or infinity")
      ->group(heading::kMore);
  command->add_flag("--json", c->json, "Print one JSON document at the end");
}

void AddSelectionOptions(CLI::App* command, TrainCommand* c) {
  const bool best = c->options.selection.kept == KeptModel::kBest;
  BeginGroup(command, heading::kOutput);
  command->add_option("--metric", c->metric, "Held-out measure that decides which model is best")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--patience", c->options.selection.patience,
                   "Evaluations without a gain that end the run; 0: none")
      ->capture_default_str();
  command->add_flag(best ? "--keep-last" : "--keep-best", c->other_kept,
                    best ? "Leave the last model in the output folder, not the best"
                         : "Leave the best model in the output folder, not the last");
}

void AddGlobalOption(CLI::App* command, const std::string& automatic, std::string* global) {
  command
      ->add_option("--global", *global,
                   "Global tokens: none, first:N, every:N, positions:A,B, token:ID, head, or auto: "
                   "the folder's, else " +
                       automatic)
      ->capture_default_str();
}

void AddLongformerOptions(CLI::App* command, const std::string& automatic, TrainCommand* c) {
  BeginGroup(command, heading::kComputing);
  AddGlobalOption(command, automatic, &c->global);
  command->add_flag("--recompute", c->options.compute.recompute,
                    "Keep only each layer's input: less memory, a third more time");
  AddPolicyOptions(command, "activations are kept", c);
}

void AddPolicyOptions(CLI::App* command, const char* without_memory, TrainCommand* c) {
  BeginGroup(command, heading::kComputing);
  command->add_option("--dtype", c->dtype, "Products in f32, or in bf16: less memory, faster")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  command->add_option("--memory", c->memory,
                      fmt::format("Memory the run may use, as 6G (default: {})", without_memory));
}

void AddOverflowOption(CLI::App* command, std::string* overflow) {
  command->add_option("--overflow", *overflow, "A text longer than --tokens: error or truncate")
      ->capture_default_str();
}

namespace {

void AddWindowedOverflow(CLI::App* command, std::string* overflow) {
  command->add_option("--overflow", *overflow, "Texts above --tokens: window, truncate or error")
      ->capture_default_str();
}

}  // namespace

void AddWindowOptions(CLI::App* command, std::string* overflow, idx_t* stride) {
  AddWindowedOverflow(command, overflow);
  command->add_option("--stride", *stride, "Tokens that neighbouring windows share")
      ->capture_default_str();
}

void AddWindowOptions(CLI::App* command, std::string* overflow, std::optional<idx_t>* stride) {
  AddWindowedOverflow(command, overflow);
  command->add_option("--stride", *stride,
                      "Tokens that neighbouring windows share (default: 128, or half a row)");
}

std::optional<text::Overflow> ParseOverflow(const std::string& name) {
  if (name.empty()) return std::nullopt;
  return text::ParseOverflow(name, text::kRowOverflows);
}

CLI::Option* AddEpochsOption(CLI::App* command, double* epochs) {
  return command->add_option("--epochs", *epochs, "Passes over the texts")->capture_default_str();
}

void AddClassWeightsOption(CLI::App* command, const char* of, std::string* weights) {
  command
      ->add_option("--class-weights", *weights,
                   fmt::format("Weights of {}: balanced, or NAME=WEIGHT,NAME=WEIGHT", of))
      ->type_name("TEXT");
}

CLI::Option* AddStepsInstead(CLI::App* command, CLI::Option* epochs) {
  return command->get_option("--steps")
      ->description("Number of updates, instead of epochs")
      ->default_str("")
      ->excludes(epochs);
}

namespace {

// ", accuracy 0.91". A measure without a value is "-".
std::string MetricText(const TrainMetric& metric) {
  if (std::isnan(metric.value)) return fmt::format(", {} -", metric.name);
  return fmt::format(", {} {:.4g}", metric.name, metric.value);
}

}  // namespace

std::string MeasuresText(double loss, double bits_per_byte,
                         const std::vector<TrainMetric>& metrics) {
  if (std::isfinite(bits_per_byte)) return fmt::format("{:.4f} bits per byte", bits_per_byte);
  std::string text = fmt::format("loss {:.4f}", loss);
  for (const TrainMetric& metric : metrics) text += MetricText(metric);
  return text;
}

namespace {

// Held-out texts whose interval is wider than this cannot tell two models apart: some 90 texts.
constexpr double kWidestInterval = 0.2;

// The 95 % interval of the share of held-out texts that are right; none: no metric is one.
std::optional<ShareInterval> IntervalOf(const TrainResult& result) {
  for (const TrainMetric& metric : result.metrics) {
    if (metric.name != result.share_of_texts || result.held_out_texts == 0) continue;
    const double right = metric.value * static_cast<double>(result.held_out_texts);
    return WilsonInterval(static_cast<idx_t>(std::llround(right)), result.held_out_texts);
  }
  return std::nullopt;
}

bool TooFew(const ShareInterval& interval) {
  return interval.high - interval.low > kWidestInterval;
}

// The measures of the last evaluation, the share of right texts with its interval.
std::string HeldOutText(const TrainResult& result, const std::optional<ShareInterval>& interval) {
  if (!interval) {
    return MeasuresText(result.eval_loss, result.eval_bits_per_byte, result.metrics);
  }
  std::string text = fmt::format("loss {:.4f}", result.eval_loss);
  for (const TrainMetric& metric : result.metrics) {
    text += MetricText(metric);
    if (metric.name != result.share_of_texts) continue;
    text += fmt::format(" (95 % between {:.4f} and {:.4f})", interval->low, interval->high);
  }
  return text;
}

// "0:31", or of a run that went on "1:02 in all, 0:31 since it was resumed".
std::string TimeOf(const TrainResult& result) {
  if (!result.resumed) return DurationText(result.seconds);
  return fmt::format("{} in all, {} since it was resumed", DurationText(result.total_seconds),
                     DurationText(result.seconds));
}

// "updates: 97.6 % computing, 0.3 % data, 0.1 % log, 2.0 % saves; evaluations 0:04"
std::string TimesText(const TrainTimes& times) {
  const double all = times.Updates();
  if (all <= 0.0) return {};
  const auto share = [&](double seconds) { return 100.0 * seconds / all; };
  return fmt::format(
      "updates: {:.1f} % computing, {:.1f} % data, {:.1f} % log, {:.1f} % saves; evaluations {}\n",
      share(times.computing), share(times.data), share(times.log), share(times.saves),
      DurationText(times.evaluations));
}

// "3 steps", or of a run whose last model is not the one that it leaves "8 of 12 steps, the best by
// accuracy".
std::string StepsText(const TrainCommand& c, const TrainResult& result) {
  if (result.model_step == result.step) return Counted(result.step, "step");
  return fmt::format("{} of {} steps, the best by {}", result.model_step, result.step, c.metric);
}

std::string TrainJson(const TrainCommand& c, const TrainResult& result) {
  nlohmann::ordered_json j;
  j["step"] = result.step;
  j["stopped"] = result.stopped;
  if (!result.stopped) {
    j["ended_early"] = result.ended_early;
    j["model_step"] = result.model_step;
    j["metric"] = c.metric;
  }
  if (result.out_of_time) j["out_of_time"] = true;
  j["skipped"] = result.skipped;
  j["output"] = c.output;
  j["seconds"] = result.seconds;
  j["total_seconds"] = result.total_seconds;
  j["times"] = {{"computing", result.times.computing},
                {"data", result.times.data},
                {"log", result.times.log},
                {"saves", result.times.saves},
                {"evaluations", result.times.evaluations}};
  if (result.stopped) return DumpJson(j);
  j["loss"] = result.eval_loss;
  if (std::isfinite(result.eval_bits_per_byte)) j["bits_per_byte"] = result.eval_bits_per_byte;
  for (const TrainMetric& metric : result.metrics) j[metric.name] = metric.value;
  if (result.held_out_texts > 0) j["held_out_texts"] = result.held_out_texts;
  if (const auto interval = IntervalOf(result)) {
    j[result.share_of_texts + "_interval"] = {interval->low, interval->high};
    j["too_few_held_out"] = TooFew(*interval);
  }
  return DumpJson(j);
}

}  // namespace

std::string TrainSummary(const TrainCommand& c, const TrainResult& result,
                         const std::string& next) {
  if (c.json) return TrainJson(c, result);
  if (result.stopped) {
    return fmt::format("stopped and saved at step {}; the same command with --resume goes on\n",
                       result.step);
  }
  const std::string skipped =
      result.skipped == 0 ? std::string()
                          : fmt::format("{} not applied: the loss or gradient was not finite\n",
                                        Counted(result.skipped, "update was", "updates were"));
  const std::optional<ShareInterval> interval = IntervalOf(result);
  const std::string few =
      interval && TooFew(*interval)
          ? fmt::format("{}: too few to judge a model by; --eval FILE and --held-out give more\n",
                        Counted(result.held_out_texts, "held-out text"))
          : std::string();
  return fmt::format(
      "{}{}held out: {} after {}, {}\n{}{}{}: model, checkpoints, metrics.jsonl, run.toml\n"
      "next: longspan plot {}   {}\n",
      skipped, result.out_of_time ? "the time of --max-time is over\n" : "",
      HeldOutText(result, interval), StepsText(c, result), TimeOf(result), few,
      TimesText(result.times), c.output, ShellWord(c.output), next);
}

}  // namespace longspan::cli
