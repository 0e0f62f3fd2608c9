// longspan._models.train and run_log.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "longspan/error.h"
#include "longspan/head_training.h"
#include "longspan/run_log.h"
#include "longspan/train.h"
#include "models.h"
#include "models_data.h"
#include "models_ranks.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

// ---- options: fields of TrainOptions by the names of the program's options ----------------------

void ReadSteps(Options& o, TrainOptions& train) {
  o.Read("model", train.model);
  o.Read("output", train.output);
  o.Read("train", train.data.train);
  o.Read("eval", train.data.eval);
  o.Read("held_out", train.data.held_out);
  o.Read("steps", train.steps);
  o.Read("batch", train.batch);
  o.Read("tokens", train.tokens);
  o.ReadName("lengths", train.lengths, [](const std::string& text) { return ParseLengths(text); });
  o.Read("accumulate", train.accumulate);
  o.Read("row_ranks", train.row_ranks);
  o.Read("seed", train.seed);
  o.ReadName("optimizer", train.optimizer.kind,
             [](const std::string& name) { return ParseOptimizer(name); });
  o.Read("beta2_decay", train.optimizer.beta2_decay);
  o.Read("update_clip", train.optimizer.update_clip);
  o.Read("momentum", train.optimizer.momentum);
  o.Read("nesterov", train.optimizer.nesterov);
  o.Read("learning_rate", train.optimizer.learning_rate);
  o.Read("beta1", train.optimizer.beta1);
  o.Read("beta2", train.optimizer.beta2);
  o.Read("epsilon", train.optimizer.epsilon);
  o.Read("weight_decay", train.optimizer.weight_decay);
  o.Read("clip", train.optimizer.clip);
  o.ReadName("schedule", train.schedule.kind,
             [](const std::string& name) { return ParseSchedule(name); });
  for (const char* name :
       {"beta1", "beta2", "epsilon", "beta2_decay", "update_clip", "momentum", "nesterov"}) {
    std::string option = name;
    std::replace(option.begin(), option.end(), '_', '-');
    if (o.Has(name)) CheckOptimizerHas(train.optimizer.kind, option);
  }
  o.Read("train_only", train.trained.only);
  o.Read("freeze", train.trained.freeze);
  o.Read("head_learning_rate", train.trained.head_learning_rate);
  o.Read("warmup", train.schedule.warmup);
  o.Read("final_rate", train.schedule.final_rate);
}

void ReadComputing(Options& o, TrainOptions& train) {
  o.ReadName("dtype", train.compute.dtype, ParseDType);
  o.Read("memory", train.compute.memory);
  o.ReadName("gradient_streams", train.compute.gradient_streams, ParseDType);
  o.Read("recompute", train.compute.recompute);
  o.Read("dropout", train.compute.dropout);
  o.Read("allow_nonfinite", train.compute.allow_nonfinite);
  ReadReformer(o, train.compute.reformer);
  o.Read("log_every", train.checkpoints.log_every);
  o.Read("eval_every", train.checkpoints.eval_every);
  o.Read("save_every", train.checkpoints.save_every);
  o.Read("keep", train.checkpoints.keep);
  o.Read("tensorboard", train.checkpoints.tensorboard);
  o.Read("resume", train.checkpoints.resume);
  o.Read("extend", train.checkpoints.extend);
  o.Read("overwrite", train.checkpoints.overwrite);
  o.Read("survive_save_error", train.checkpoints.survive_save_error);
  o.Read("first_save_seconds", train.checkpoints.first_save_s);
  o.Read("max_seconds", train.checkpoints.max_time_s);
  o.Read("metric", train.selection.metric);
  o.Read("patience", train.selection.patience);
  bool last = train.selection.kept == KeptModel::kLast;
  o.Read("keep_last", last);
  train.selection.kept = last ? KeptModel::kLast : KeptModel::kBest;
}

TrainOptions ReadTraining(Options& o, TrainOptions train) {
  ReadSteps(o, train);
  ReadComputing(o, train);
  ReadData(o, train.data.read);
  train.accumulate_for_ranks = SharedWorld() != nullptr && !o.Has("accumulate");
  return train;
}

// ---- what a run tells ---------------------------------------------------------------------------

nb::dict MetricObjects(const std::vector<TrainMetric>& metrics) {
  nb::dict made;
  for (const TrainMetric& metric : metrics) made[TextObject(metric.name)] = metric.value;
  return made;
}

nb::dict EventObject(const TrainEvent& event) {
  static constexpr const char* kKinds[] = {"start", "step", "evaluating", "eval", "save", "note"};
  nb::dict made;
  made["kind"] = kKinds[static_cast<int>(event.kind)];
  made["step"] = event.step;
  made["steps"] = event.steps;
  made["skipped"] = event.skipped;
  made["loss"] = event.loss;
  made["bits_per_byte"] = NumberOrNone(event.bits_per_byte);
  made["metrics"] = MetricObjects(event.metrics);
  made["learning_rate"] = event.learning_rate;
  made["gradient_norm"] = event.gradient_norm;
  made["tokens_per_second"] = event.tokens_per_s;
  made["tokens"] = event.tokens;
  made["seconds"] = event.seconds;
  made["seconds_left"] = event.seconds_left;
  made["rss_bytes"] = event.rss_bytes;
  made["text"] = TextObject(event.text);
  return made;
}

nb::dict ResultObject(const TrainResult& result) {
  nb::dict made;
  made["step"] = result.step;
  made["skipped"] = result.skipped;
  made["stopped"] = result.stopped;
  made["model_step"] = result.model_step;
  made["ended_early"] = result.ended_early;
  made["out_of_time"] = result.out_of_time;
  made["loss"] = result.eval_loss;
  made["bits_per_byte"] = NumberOrNone(result.eval_bits_per_byte);
  made["metrics"] = MetricObjects(result.metrics);
  made["held_out_texts"] = result.held_out_texts;
  made["share_of_texts"] = result.share_of_texts;
  made["resumed"] = result.resumed;
  made["seconds"] = result.seconds;
  made["total_seconds"] = result.total_seconds;
  nb::dict times;
  times["computing"] = result.times.computing;
  times["data"] = result.times.data;
  times["log"] = result.times.log;
  times["saves"] = result.times.saves;
  times["evaluations"] = result.times.evaluations;
  made["times"] = times;
  return made;
}

// What on_event asks for: "stop", "save", or nothing (None).
struct Wishes {
  std::atomic<bool> stop = false, save = false;

  void Take(nb::handle answer) {
    if (answer.is_none()) return;
    const std::string wish = TextOf(answer, "on_event's answer");
    if (wish == "stop") stop = true;
    if (wish == "save") save = true;
  }
};

TrainHooks HooksOf(const Caller& caller, const nb::object& on_event, Wishes& wishes) {
  TrainHooks hooks;
  hooks.on_event = [&](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStart) caller.CanSave();
    if (on_event.is_none()) return;
    caller.Ask([&] { wishes.Take(on_event(EventObject(event))); });
  };
  hooks.should_stop = [&] { return wishes.stop || caller.stopping(); };
  hooks.should_save = [&] { return wishes.save.exchange(false); };
  return hooks;
}

using RunTask = std::function<TrainResult(Context&, const TrainHooks&)>;

RunTask LanguageModelTask(Options& o) {
  LanguageModelOptions task;
  o.Read("tokenizer", task.tokenizer);
  o.ReadName("documents", task.documents,
             [](const std::string& name) { return ParseDocuments(name, true); });
  o.Read("packed", task.packed);
  return [task, train = ReadTraining(o, {})](Context& context, const TrainHooks& hooks) {
    return TrainLanguageModel(context, train, task, hooks);
  };
}

// A training of the library by the options of fine-tuning.
template <class Task>
RunTask TaskOver(Options& o, const Task& task, const TrainOptions& defaults,
                 TrainResult (*train)(Context&, const TrainOptions&, const Task&,
                                      const TrainHooks&)) {
  return [task, train, options = ReadTraining(o, defaults)](Context& context,
                                                            const TrainHooks& hooks) {
    return train(context, options, task, hooks);
  };
}

RunTask MaskedLmTask(Options& o) {
  MaskedLmOptions task;
  ReadTask(o, task);
  return TaskOver(o, task, FineTuneOptions(), TrainMaskedLm);
}

// The task's options of a training over rows, with epochs.
template <class Task>
Task RowTaskOf(Options& o) {
  Task task;
  ReadTask(o, task);
  // Steps in place of epochs, unless both are named.
  if (o.Has("steps")) task.epochs = 0.0;
  o.Read("epochs", task.epochs);
  return task;
}

void ReadWeights(Options& o, ClassWeights& weights) {
  o.ReadName("class_weights", weights,
             [](const std::string& text) { return ClassWeights::Parse(text); });
}

RunTask ClassifierTask(Options& o) {
  auto task = RowTaskOf<ClassifyOptions>(o);
  ReadWeights(o, task.weights);
  o.Read("label_smoothing", task.label_smoothing);
  return TaskOver(o, task, FineTuneOptions(), TrainClassifier);
}

RunTask TokenClassTask(Options& o) {
  auto task = RowTaskOf<TokenClassOptions>(o);
  ReadWeights(o, task.weights);
  return TaskOver(o, task, FineTuneOptions(), TrainTokenClassifier);
}

RunTask AnswerTask(Options& o) {
  return TaskOver(o, RowTaskOf<AnswerTaskOptions>(o), FineTuneOptions(), TrainQuestionAnswering);
}

RunTask ChoiceTask(Options& o) {
  return TaskOver(o, RowTaskOf<ChoiceTaskOptions>(o), FineTuneOptions(), TrainMultipleChoice);
}

// One batch of negatives an update, as the program has it.
RunTask VectorTask(Options& o) {
  TrainOptions defaults = FineTuneOptions();
  defaults.accumulate = 1;
  return TaskOver(o, RowTaskOf<EmbedTrainingOptions>(o), defaults, TrainEmbedder);
}

RunTask RelevanceTask(Options& o) {
  return TaskOver(o, RowTaskOf<RerankTrainingOptions>(o), FineTuneOptions(), TrainReranker);
}

struct TrainingRow {
  const char* task;
  RunTask (*make)(Options& o);
};

constexpr TrainingRow kTrainings[] = {
    {"lm", LanguageModelTask},    {"mlm", MaskedLmTask},
    {"classify", ClassifierTask}, {"token-classify", TokenClassTask},
    {"qa", AnswerTask},           {"multiple-choice", ChoiceTask},
    {"embed", VectorTask},        {"rerank", RelevanceTask},
};

// training.py has checked the task.
RunTask TaskOf(const std::string& name, Options& o) {
  for (const TrainingRow& row : kTrainings) {
    if (name == row.task) return row.make(o);
  }
  FailValue("train: task is '" + name + "'");
}

nb::dict Train(nb::handle task, nb::dict given, nb::object on_event, nb::dict call) {
  Options options("train", std::move(given));
  const RunTask run = TaskOf(TextOf(task, "train: task"), options);
  Wishes wishes;
  TrainResult result;
  World* const world = SharedWorld();
  RunJob(ReadCall({"train", std::move(call)}), Interrupts::kCancel,
         [&](Context& context, const Caller& caller) {
           const Joined joined(context, world);
           result = run(context, HooksOf(caller, on_event, wishes));
           // What rank 0 has written is there for all.
           if (world != nullptr) world->Barrier();
         });
  return ResultObject(result);
}

// Rank, number of ranks, and this rank's share of its host's threads: (0, 1, 0) alone. Waits for
// the other ranks when it is called first.
nb::tuple JoinRanks() {
  World* world = nullptr;
  {
    const nb::gil_scoped_release release;
    world = SharedWorld();
  }
  if (world == nullptr) return nb::make_tuple(0, 1, 0);
  return nb::make_tuple(world->rank(), world->size(), world->threads());
}

// {kind: {"step": [...], field: [...]}} of a run's metrics.jsonl.
nb::dict ReadLog(nb::handle path) {
  const RunLog log = ReadRunLog(PathOf(path, "run"));
  nb::dict made;
  for (const auto& [kind, table] : log.kinds) {
    nb::dict columns;
    columns["step"] = NumberObjects(table.step);
    for (const auto& [name, values] : table.columns) {
      columns[TextObject(name)] = NumberObjects(values);
    }
    made[TextObject(kind)] = columns;
  }
  return made;
}

}  // namespace

void BindTraining(nb::module_& module) {
  module.def("train", &Train, nb::arg("task"), nb::arg("options"), nb::arg("on_event").none(),
             nb::arg("call"));
  module.def("run_log", &ReadLog, nb::arg("path"));
  module.def("join_ranks", &JoinRanks);
  module.def("leave_ranks", &LeaveRanks, nb::arg("failed"),
             nb::call_guard<nb::gil_scoped_release>());
  BindEvaluation(module);
}

}  // namespace longspan::python
