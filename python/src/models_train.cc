// longspan._models.train and run_log.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "longspan/error.h"
#include "longspan/named_options.h"
#include "longspan/run_log.h"
#include "longspan/train.h"
#include "models.h"
#include "models_data.h"
#include "models_ranks.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

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

nb::dict Train(nb::handle task, nb::dict given, nb::object on_event, nb::dict call) {
  Options options("train", std::move(given));
  World* const world = SharedWorld();
  const NamedTraining run = ReadTraining(TextOf(task, "train: task"), options, world != nullptr);
  Wishes wishes;
  TrainResult result;
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
