// Options by name, trainings, evaluations and folders, for C.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "c_api/handles.h"
#include "longspan/files.h"
#include "longspan/folders.h"

struct longspan_report {
  std::vector<longspan::TrainMetric> numbers;
  std::vector<std::string> notes;
};

namespace longspan {
namespace {

// The values of a handle for one call, which has its name in messages.
TextOptions OptionsFor(const longspan_options* options, const char* what) {
  return options == nullptr ? TextOptions(what) : options->values.For(what);
}

// Hands a report over, if the caller wants one.
void Give(std::unique_ptr<longspan_report> made, longspan_report** report) {
  if (report != nullptr) *report = made.release();
}

double Number(bool yes) { return yes ? 1.0 : 0.0; }
double Number(idx_t count) { return static_cast<double>(count); }

std::unique_ptr<longspan_report> ReportOf(const TrainResult& result) {
  auto made = std::make_unique<longspan_report>();
  made->numbers = {{"step", Number(result.step)},
                   {"skipped", Number(result.skipped)},
                   {"stopped", Number(result.stopped)},
                   {"model_step", Number(result.model_step)},
                   {"ended_early", Number(result.ended_early)},
                   {"out_of_time", Number(result.out_of_time)},
                   {"resumed", Number(result.resumed)},
                   {"loss", result.eval_loss},
                   {"bits_per_byte", result.eval_bits_per_byte},
                   {"seconds", result.seconds},
                   {"total_seconds", result.total_seconds}};
  made->numbers.insert(made->numbers.end(), result.metrics.begin(), result.metrics.end());
  return made;
}

std::unique_ptr<longspan_report> ReportOf(NamedEvaluation named) {
  auto made = std::make_unique<longspan_report>();
  made->numbers = std::move(named.metrics);
  made->numbers.push_back({"counted", Number(named.counted)});
  if (named.cut) made->numbers.push_back({"cut", Number(*named.cut)});
  made->notes = std::move(named.notes);
  return made;
}

// Hands a training's events to the caller's function, and its wishes to the training.
class EventsForC {
 public:
  EventsForC(longspan_on_train on_event, void* user) : on_event_(on_event), user_(user) {}

  TrainHooks Hooks() {
    TrainHooks hooks;
    if (on_event_ == nullptr) return hooks;
    hooks.on_event = [this](const TrainEvent& event) { Tell(event); };
    hooks.should_stop = [this] { return stop_; };
    hooks.should_save = [this] { return std::exchange(save_, false); };
    return hooks;
  }

 private:
  void Tell(const TrainEvent& event) {
    std::vector<longspan_metric> metrics;
    for (const TrainMetric& metric : event.metrics) {
      metrics.push_back({metric.name.c_str(), metric.value});
    }
    longspan_train_event told{};
    told.size = sizeof(told);
    told.kind = static_cast<longspan_event_kind>(event.kind);
    told.skipped = event.skipped ? 1 : 0;
    told.step = event.step;
    told.steps = event.steps;
    told.loss = event.loss;
    told.bits_per_byte = event.bits_per_byte;
    told.learning_rate = event.learning_rate;
    told.gradient_norm = event.gradient_norm;
    told.tokens_per_s = event.tokens_per_s;
    told.seconds = event.seconds;
    told.seconds_left = event.seconds_left;
    told.metrics = metrics.data();
    told.metric_count = metrics.size();
    told.text = event.text.c_str();
    const longspan_train_wish wish = on_event_(user_, &told);
    stop_ = stop_ || wish == LONGSPAN_TRAIN_STOP;
    save_ = save_ || wish == LONGSPAN_TRAIN_SAVE;
  }

  const longspan_on_train on_event_;
  void* const user_;
  bool stop_ = false, save_ = false;
};

static_assert(static_cast<int>(TrainEvent::Kind::kNote) == LONGSPAN_EVENT_NOTE &&
              static_cast<int>(TrainEvent::Kind::kEval) == LONGSPAN_EVENT_EVAL);

}  // namespace
}  // namespace longspan

// ---- options ------------------------------------------------------------------------------------

longspan_status longspan_options_new(longspan_options** options) {
  return longspan::Guard([&] {
    longspan::CheckGiven(options, "options");
    *options = new longspan_options;
  });
}

longspan_status longspan_options_set(longspan_options* options, const char* name,
                                     const char* value) {
  return longspan::Guard([&] {
    longspan::CheckGiven(options, "options");
    longspan::CheckGiven(name, "name");
    longspan::CheckGiven(value, "value");
    options->values.Set(name, value);
  });
}

longspan_status longspan_options_add(longspan_options* options, const char* name,
                                     const char* value) {
  return longspan::Guard([&] {
    longspan::CheckGiven(options, "options");
    longspan::CheckGiven(name, "name");
    longspan::CheckGiven(value, "value");
    options->values.Add(name, value);
  });
}

void longspan_options_free(longspan_options* options) { delete options; }

// ---- reports ------------------------------------------------------------------------------------

size_t longspan_report_count(const longspan_report* report) {
  return report == nullptr ? 0 : report->numbers.size();
}

const char* longspan_report_name(const longspan_report* report, size_t number) {
  return number < longspan_report_count(report) ? report->numbers[number].name.c_str() : nullptr;
}

longspan_status longspan_report_value(const longspan_report* report, const char* name,
                                      double* value) {
  return longspan::Guard([&] {
    longspan::CheckGiven(report, "report");
    longspan::CheckGiven(name, "name");
    longspan::CheckGiven(value, "value");
    std::string names;
    for (const longspan::TrainMetric& one : report->numbers) {
      if (one.name == name) {
        *value = one.value;
        return;
      }
      names.append(names.empty() ? "" : ", ").append(one.name);
    }
    longspan::Fail(longspan::ErrorCode::kUsage, "report: it has no '{}', only {}",
                   longspan::io::Escape(name), names);
  });
}

size_t longspan_report_note_count(const longspan_report* report) {
  return report == nullptr ? 0 : report->notes.size();
}

const char* longspan_report_note(const longspan_report* report, size_t number) {
  return number < longspan_report_note_count(report) ? report->notes[number].c_str() : nullptr;
}

void longspan_report_free(longspan_report* report) { delete report; }

// ---- training and evaluation --------------------------------------------------------------------

longspan_status longspan_train(longspan_context* context, const char* task,
                               const longspan_options* options, longspan_on_train on_event,
                               void* user, longspan_report** report) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(task, "task");
    longspan::CheckGiven(options, "options");
    longspan::TextOptions values = longspan::OptionsFor(options, "train");
    for (const char* name : {"model", "output", "train"}) {
      longspan::Check(values.Has(name), longspan::ErrorCode::kUsage,
                      "train: {} is missing, set the option", name);
    }
    const longspan::NamedTraining run = longspan::ReadTraining(task, values);
    values.CheckAllRead();
    longspan::EventsForC events(on_event, user);
    longspan::Give(longspan::ReportOf(run(context->context, events.Hooks())), report);
  });
}

longspan_status longspan_evaluate(longspan_context* context, const char* task,
                                  const longspan_options* options, longspan_report** report) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(task, "task");
    longspan::CheckGiven(options, "options");
    longspan::CheckGiven(report, "report");
    longspan::TextOptions values = longspan::OptionsFor(options, "evaluate");
    for (const char* name : {"model", "data"}) {
      longspan::Check(values.Has(name), longspan::ErrorCode::kUsage,
                      "evaluate: {} is missing, set the option", name);
    }
    const longspan::NamedEvaluationRun run = longspan::ReadEvaluation(task, values);
    values.CheckAllRead();
    longspan::Give(longspan::ReportOf(run(context->context)), report);
  });
}

// ---- folders ------------------------------------------------------------------------------------

longspan_status longspan_model_init(longspan_context* context, const char* output,
                                    const longspan_options* options, longspan_report** report) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(output, "output");
    longspan::TextOptions values = longspan::OptionsFor(options, "init");
    longspan::InitOptions init;
    longspan::ReadInit(values, init);
    values.CheckAllRead();
    longspan::InitResult result = longspan::InitModel(context->context, output, init);
    auto made = std::make_unique<longspan_report>();
    made->numbers = {{"parameters", longspan::Number(result.parameters)}};
    made->notes = std::move(result.warnings);
    longspan::Give(std::move(made), report);
  });
}

longspan_status longspan_model_convert(longspan_context* context, const char* source,
                                       const char* output, const longspan_options* options,
                                       longspan_report** report) {
  return longspan::Guard([&] {
    longspan::CheckGiven(context, "context");
    longspan::CheckGiven(source, "source");
    longspan::CheckGiven(output, "output");
    longspan::TextOptions values = longspan::OptionsFor(options, "convert");
    longspan::ConvertOptions convert;
    longspan::ReadConversion(values, convert);
    values.CheckAllRead();
    longspan::ConvertReport done =
        longspan::ConvertModel(context->context, source, output, convert);
    auto made = std::make_unique<longspan_report>();
    made->numbers = {{"tensors", static_cast<double>(done.tensors)},
                     {"shards", static_cast<double>(done.shards)},
                     {"bytes", static_cast<double>(done.bytes)},
                     {"old_tokens", longspan::Number(done.old_tokens)}};
    made->notes = std::move(done.warnings);
    longspan::Give(std::move(made), report);
  });
}

longspan_status longspan_describe(const char* path, int tensors, char** json) {
  return longspan::Guard([&] {
    longspan::CheckGiven(path, "path");
    longspan::CheckGiven(json, "json");
    const std::string text = longspan::DescribeFolder(path, tensors != 0).json;
    auto copy = std::make_unique<char[]>(text.size() + 1);
    std::memcpy(copy.get(), text.c_str(), text.size() + 1);
    *json = copy.release();
  });
}

void longspan_text_free(char* text) { delete[] text; }
