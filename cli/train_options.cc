#include "cli/train_options.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/data_options.h"
#include "cli/dtype_option.h"
#include "cli/memory_size.h"
#include "cli/training.h"
#include "io/json.h"
#include "train/schedule.h"

namespace longspan::cli {

TrainCommand::TrainCommand(const TrainOptions& defaults)
    : options(defaults), schedule(ScheduleName(defaults.schedule)) {}

TrainOptions TrainCommand::Options(Context& context) const {
  TrainOptions o = options;
  o.model = model;
  o.train.assign(train.begin(), train.end());
  o.eval = eval;
  o.output = output;
  o.schedule = ParseSchedule(schedule);
  if (dropout >= 0.0) o.dropout = dropout;
  o.dtype = DTypeOf(dtype);
  o.gradient_streams = DTypeOf(gradient_streams);
  o.survive_save_error = on_save_error == "continue";
  o.memory = StepBudget("train", context, memory);
  return o;
}

void AddDataOptions(CLI::App* command, const char* train_text, TrainCommand* c) {
  command->add_option("-m,--model", c->model, "directory of the model to start from")->required();
  command->add_option("--train", c->train, train_text)->required();
  command->add_option("--eval", c->eval, "held-out file (default: a part of the training data)");
  AddReadOptions(command, &c->options.data, false);
  command->add_option("--held-out", c->options.held_out, "that part's share")
      ->capture_default_str();
  command->add_option("-o,--output", c->output, "directory of the run")->required();
  AddRunOptions(command, c);
}

void AddRunOptions(CLI::App* command, TrainCommand* c) {
  command->add_flag("--resume", c->options.resume, "go on with the run in the output, bit for bit");
  command->add_flag("--extend", c->options.extend,
                    "go on to more --steps (or epochs) than it was made for");
  command->add_flag("--overwrite", c->options.overwrite,
                    "clear the run in the output first, and nothing else");
  command
      ->add_option("--on-save-error", c->on_save_error,
                   "stop, or continue until a second save in a row fails")
      ->check(CLI::IsMember({"stop", "continue"}))
      ->type_name("TEXT")
      ->capture_default_str();
}

void AddOptimiserOptions(CLI::App* command, TrainCommand* c) {
  TrainOptions& o = c->options;
  const auto option = [&](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  option("--steps", o.steps, "updates");
  option("--batch", o.batch, "rows of a micro-batch");
  option("--tokens", o.tokens,
         o.tokens == 0 ? "of a row at most, 0: the model's positions" : "tokens of a row");
  option("--accumulate", o.accumulate, "micro-batches an update");
  option("--learning-rate,--lr", o.learning_rate, "highest learning rate");
  option("--final-rate", o.final_rate, "share of it at the last step");
  option("--warmup", o.warmup,
         o.warmup < 0 ? "updates of linear warm-up, -1: 6 % of them" : "updates of linear warm-up");
  option("--schedule", c->schedule, "cosine, linear or constant");
  option("--weight-decay", o.weight_decay, "of matrices");
  // Which are seldom turned: the help's last lines name them.
  command->add_option("--beta1", o.beta1, "of AdamW")->group("");
  command->add_option("--beta2", o.beta2, "of AdamW")->group("");
  option("--clip", o.clip, "largest gradient norm, 0: none");
  option("--seed", o.seed, "of data order, dropout, masks and what is new");
  command->add_option("--dropout", c->dropout, "instead of the config's")
      ->check(CLI::Range(0.0, 0.99).description(""))
      ->type_name("FLOAT");
}

void AddRhythmOptions(CLI::App* command, TrainCommand* c) {
  TrainOptions& o = c->options;
  const auto option = [&](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  option("--log-every", o.log_every, "steps between lines of metrics.jsonl");
  option("--eval-every", o.eval_every, "0: at the end");
  option("--save-every", o.save_every, "0: at the end");
  option("--keep", o.keep, "checkpoints, besides the best");
  option("--progress", c->progress, "auto, bar, plain or none");
  command
      ->add_flag("--allow-nonfinite", o.allow_nonfinite, "load weights that hold NaN or infinities")
      ->group("");
  command->add_flag("--json", c->json, "one JSON document at the end");
}

void AddGlobalOption(CLI::App* command, const std::string& automatic, std::string* global) {
  command
      ->add_option("--global", *global,
                   "tokens: none, first:N, every:N, ids:A,B, token:ID; auto: " + automatic)
      ->capture_default_str();
}

void AddLongformerOptions(CLI::App* command, const std::string& automatic, std::string* global,
                          bool* recompute, TrainCommand* c) {
  AddGlobalOption(command, automatic, global);
  command->add_flag("--recompute", *recompute,
                    "keep only each layer's input: less memory, a third more time, the same bits");
  AddPolicyOptions(command, "activations are kept", c);
}

void AddPolicyOptions(CLI::App* command, const char* without_memory, TrainCommand* c) {
  command->add_option("--dtype", c->dtype, "products in f32, or bf16: less memory, faster")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  command->add_option("--memory", c->memory,
                      fmt::format("that the run may take: 512M, 4G (default: {})", without_memory));
}

void AddColumnOptions(CLI::App* command, ClassifyOptions* task) {
  command
      ->add_option("--overflow", task->overflow,
                   "what a text longer than --tokens is: error or truncate")
      ->capture_default_str();
}

std::string MeasuresText(double loss, double bits_per_byte,
                         const std::vector<TrainMetric>& metrics) {
  if (std::isfinite(bits_per_byte)) return fmt::format("{:.4f} bits per byte", bits_per_byte);
  std::string text = fmt::format("loss {:.4f}", loss);
  for (const TrainMetric& metric : metrics) {
    text += fmt::format(", {} {:.4g}", metric.name, metric.value);
  }
  return text;
}

std::string TrainSummary(const TrainCommand& c, const TrainResult& result,
                         const std::string& next) {
  if (c.json) {
    nlohmann::ordered_json j;
    j["step"] = result.step;
    j["stopped"] = result.stopped;
    j["skipped"] = result.skipped;
    j["output"] = c.output;
    j["seconds"] = result.seconds;
    if (!result.stopped) {
      j["loss"] = result.eval_loss;
      if (std::isfinite(result.eval_bits_per_byte)) j["bits_per_byte"] = result.eval_bits_per_byte;
      for (const TrainMetric& metric : result.metrics) j[metric.name] = metric.value;
    }
    return io::DumpJson(j);
  }
  if (result.stopped) {
    return fmt::format("stopped and saved at step {}; the same command with --resume goes on\n",
                       result.step);
  }
  const std::string skipped =
      result.skipped == 0
          ? std::string()
          : fmt::format("{} updates were not applied: their loss or gradient was not finite\n",
                        result.skipped);
  return fmt::format(
      "{}held out: {} after {} steps, {}\n{}: model, checkpoints, metrics.jsonl\n"
      "next: longspan plot {}   {}\n",
      skipped, MeasuresText(result.eval_loss, result.eval_bits_per_byte, result.metrics),
      result.step, DurationText(result.seconds), c.output, c.output, next);
}

}  // namespace longspan::cli
