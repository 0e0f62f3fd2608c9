#include "train/run_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/dense_path.h"
#include "base/errors.h"
#include "base/isa.h"
#include "io/checkpoint.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/transformer_folder.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "longspan/machine.h"
#include "model/model_options.h"
#include "model/weight_files.h"
#include "train/row_lengths.h"
#include "train/run_ranks.h"
#include "train/same_options.h"
#include "train/schedule.h"
#include "train/trained_parameters.h"

namespace longspan {
namespace {

// A value of the options in one line; names may be in any encoding.
std::string Shown(const nlohmann::json& value) {
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

using nlohmann::json;

constexpr idx_t kStateVersion = 1;
constexpr const char* kStateFile = "trainer_state.json";
constexpr const char* kOptimiserFile = "optimizer.safetensors";

// Left out for AdamW: runs from before there was a choice go on.
void AddOptimizer(const OptimizerOptions& o, json* j) {
  if (o.kind == OptimizerKind::kAdamW) return;
  (*j)["optimizer"] = {{"name", OptimizerName(o.kind)},
                       {"beta2_decay", o.beta2_decay},
                       {"update_clip", o.update_clip},
                       {"momentum", o.momentum},
                       {"nesterov", o.nesterov}};
}

// The options that decide which bits come out.
json DecidingOptions(const TrainTask& task, const TrainOptions& o) {
  json j = task.DecidingOptions();
  j["steps"] = o.steps;
  j["batch"] = o.batch;
  j["tokens"] = o.tokens;
  j["accumulate"] = o.accumulate;
  j["learning_rate"] = o.optimizer.learning_rate;
  j["final_rate"] = o.schedule.final_rate;
  j["warmup"] = o.schedule.warmup;
  j["schedule"] = ScheduleName(o.schedule.kind);
  j["beta1"] = o.optimizer.beta1;
  j["beta2"] = o.optimizer.beta2;
  j["adam_eps"] = o.optimizer.epsilon;
  j["weight_decay"] = o.optimizer.weight_decay;
  j["clip"] = o.optimizer.clip;
  j["dropout"] = o.compute.dropout ? json(*o.compute.dropout) : json(nullptr);
  const std::map<std::string, std::string> reformer = OptionsOf(o.compute.reformer).values();
  const auto attention = reformer.find("attention");
  j["attention"] = attention == reformer.end() ? json(nullptr) : json(attention->second);
  j["seed"] = o.seed;
  // Left out where they are the defaults: runs from before there was a choice go on.
  if (o.selection.metric != "loss") j["metric"] = o.selection.metric;
  if (o.selection.patience > 0) j["patience"] = o.selection.patience;
  AddOptimizer(o.optimizer, &j);
  if (!o.lengths.empty()) j["lengths"] = LengthsText(o.lengths);
  if (!o.trained.only.empty()) j["train_only"] = o.trained.only;
  if (!o.trained.freeze.empty()) j["freeze"] = o.trained.freeze;
  if (o.row_ranks > 1) j["row_ranks"] = o.row_ranks;
  if (o.trained.head_learning_rate) j["head_learning_rate"] = *o.trained.head_learning_rate;
  return j;
}

void TellRowRanks(const json& saved, const TrainOptions& now, const std::string& source,
                  std::vector<std::string>* notes) {
  const idx_t before = io::GetInt(saved, "row_ranks", 1, 1 << 16, 1, source);
  if (before == now.row_ranks || notes == nullptr) return;
  notes->push_back(
      fmt::format("each row had {} so far and has {} from now on: sums are rounded differently",
                  Counted(before, "rank"), now.row_ranks));
}

// Whether updates 1 to `done` had the learning rates that the options of now give them.
bool SameRatesSoFar(const json& saved, const TrainOptions& now, idx_t done,
                    const std::string& source) {
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  TrainOptions then = now;
  then.steps = io::GetInt(saved, "steps", 1, kMost, io::kRequired, source);
  then.schedule.warmup = io::GetInt(saved, "warmup", 0, kMost, io::kRequired, source);
  for (idx_t step = 1; step <= done; ++step) {
    if (LearningRate(then, step) != LearningRate(now, step)) return false;
  }
  return true;
}

// A run that is to do more updates than it was made for.
void Extend(const json& saved, const json& now, const TrainOptions& options,
            const std::string& source, RunState* state, std::vector<std::string>* notes) {
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  const idx_t before = io::GetInt(saved, "steps", 1, kMost, io::kRequired, source);
  Check(options.steps >= before, ErrorCode::kUsage,
        "extend: the run was started {}, this command goes on {}; give more",
        OptionAsTyped(saved, "steps"), OptionAsTyped(now, "steps"));
  if (options.steps == before) return;  // extended already, and stopped since
  state->mixed_schedule =
      state->mixed_schedule || !SameRatesSoFar(saved, options, state->step, source);
  if (notes == nullptr) return;
  notes->push_back(fmt::format(
      "extended from {} to {} updates{}", before, options.steps,
      state->mixed_schedule
          ? fmt::format(": updates 1 to {} had the learning rates of a shorter run, so the bits "
                        "are not those of one run of {} (--schedule constant would give them)",
                        state->step, options.steps)
          : std::string(": the bits are those of one long run")));
}

// A run that had ended for lack of patience gets it again, unless nothing else is wanted than
// before.
void ExtendPatience(const json& saved, const TrainOptions& options, const std::string& source,
                    RunState* state, std::vector<std::string>* notes) {
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  const idx_t patience = io::GetOptionalInt(saved, "patience", 1, kMost, source).value_or(0);
  const idx_t steps = io::GetInt(saved, "steps", 1, kMost, io::kRequired, source);
  const bool wants_more = options.steps > steps || options.selection.patience != patience;
  if (!IsOutOfPatience(*state, patience) || !wants_more) return;
  state->without_gain = 0;
  if (notes != nullptr) {
    notes->push_back(
        fmt::format("the run had ended early at step {}; it goes on, and counts "
                    "evaluations anew",
                    state->step));
  }
}

// What the weights and the config of a model to start from are: a resumed run must have begun with
// the same. A pass over the files, at the disk's speed.
std::string FingerprintOf(const std::filesystem::path& model) {
  const std::filesystem::path folder = io::TransformerFolder(model);
  const auto counts = [](std::string_view name) {
    return name == "config.json" || name.ends_with(".safetensors") ||
           name.ends_with(".index.json") ||
           (name.starts_with("pytorch_model") && name.ends_with(".bin"));
  };
  io::Checksum sum;
  for (const std::string& name : io::ListFolder(folder)) {
    if (!counts(name) || name.starts_with('.') || !io::IsRegularFile(folder / name)) continue;
    const auto file = io::File::OpenRegular(folder / name);
    const std::string head = fmt::format("{} {}\n", name, file.size());
    sum.Update(head.data(), head.size());
    io::ForEachPiece(file, [&](const char* data, std::size_t bytes) { sum.Update(data, bytes); });
  }
  return sum.Hex();
}

// The first number of a parameter that is not finite; null: none.
const float* NotFinite(const ParameterTable& table, const ParameterInfo& info) {
  const float* begin = table.values().data + info.offset;
  const float* found =
      std::find_if(begin, begin + info.size, [](float value) { return !std::isfinite(value); });
  return found == begin + info.size ? nullptr : found;
}

std::set<std::string> StrangeWeights(const ParameterTable& table) {
  std::set<std::string> names;
  for (const ParameterInfo& info : table.list()) {
    if (NotFinite(table, info) != nullptr) names.insert(info.name);
  }
  return names;
}

// kNumeric naming the first weight that has become what it was not.
void CheckFinite(const ParameterTable& table, const RunState& state) {
  for (const ParameterInfo& info : table.list()) {
    const float* bad = NotFinite(table, info);
    Check(bad == nullptr || state.strange_weights.contains(info.name), ErrorCode::kNumeric,
          "step {}: {} holds {}: weights that are not finite are not saved, the checkpoints before "
          "stay; lower --learning-rate",
          state.step, info.name, bad == nullptr ? 0.0f : *bad);
  }
}

std::vector<io::TensorEntry> OptimizerEntries(SharedState& shared) {
  std::vector<io::TensorEntry> entries;
  for (const OptimizerState::Slot& slot : shared.state().slots()) {
    entries.push_back(
        {slot.name, DType::kF32, slot.shape, nullptr,
         [&shared, number = entries.size()](io::ByteSink& sink) { shared.Write(number, sink); }});
  }
  return entries;
}

// Reads this rank's part.
void ReadOptimizer(const std::filesystem::path& file, const RunState& state) {
  const auto source = io::SafetensorsFile::Open(file);
  for (const OptimizerState::Slot& slot : state.optimizer.slots()) {
    for (const OptimizerState::SlotPart& part : slot.parts) {
      if (part.values == nullptr) continue;
      source.ReadFloatPart(slot.name, slot.parts.back().end, part.begin,
                           {part.values, static_cast<std::size_t>(part.size())});
    }
  }
}

RunState WithOptimizer(TrainTask& task, const TrainOptions& options, const World* world) {
  const ParameterTable& table = task.parameters();
  FreezeParameters(options.trained, task);
  RunState state;
  state.optimizer = OptimizerState(options.optimizer, table, RankIn(world), RanksIn(world));
  if (options.trained.head_learning_rate) state.head = HeadParameters(table);
  return state;
}

json ToJson(const std::vector<TrainMetric>& metrics) {
  json object = json::object();
  for (const TrainMetric& metric : metrics) object[metric.name] = metric.value;
  return object;
}

// In alphabetical order, as tasks list them.
std::vector<TrainMetric> ReadMetrics(const json& object, const std::string& source) {
  Check(object.is_object(), ErrorCode::kFormat, "{}: metrics are no object", source);
  std::vector<TrainMetric> metrics;
  for (const auto& [name, value] : object.items()) {
    // JSON writes NaN as null.
    const bool none = value.is_null();
    metrics.push_back(
        {name, none ? std::numeric_limits<double>::quiet_NaN()
                    : io::GetFloat(object, name, -1e300, 1e300, io::kRequired, source)});
  }
  return metrics;
}

// Adds an evaluation's figures to `object`, their names behind `prefix`. JSON has no word for a
// loss that is not finite: it is left out.
void PutEvaluated(const Evaluated& e, const std::string& prefix, json* object) {
  json& j = *object;
  j[prefix + "step"] = e.step;
  if (std::isfinite(e.loss)) j[prefix + "loss"] = e.loss;
  if (e.bits_per_byte) j[prefix + "bits_per_byte"] = *e.bits_per_byte;
  if (!e.metrics.empty()) j[prefix + "metrics"] = ToJson(e.metrics);
}

// What PutEvaluated has written; none where there is no step.
std::optional<Evaluated> ReadEvaluated(const json& j, const std::string& prefix,
                                       const std::string& source) {
  const auto name = [&](const char* field) { return prefix + field; };
  const auto step =
      io::GetOptionalInt(j, name("step"), 0, std::numeric_limits<idx_t>::max(), source);
  if (!step) return std::nullopt;
  Evaluated e;
  e.step = *step;
  e.loss = io::GetOptionalFloat(j, name("loss"), -1e300, 1e300, source)
               .value_or(std::numeric_limits<double>::quiet_NaN());
  e.bits_per_byte = io::GetOptionalFloat(j, name("bits_per_byte"), 0.0, 1e300, source);
  if (j.contains(name("metrics"))) e.metrics = ReadMetrics(j[name("metrics")], source);
  return e;
}

// The best evaluation. A run from before there was a choice of metrics says only its loss.
void ReadBestEvaluation(const json& j, const TrainOptions& options, const std::string& source,
                        RunState* state, std::vector<std::string>* notes) {
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  state->without_gain = io::GetOptionalInt(j, "without_gain", 0, kMost, source).value_or(0);
  state->top_value = io::GetOptionalFloat(j, "top_value", -1e300, 1e300, source);
  state->best = ReadEvaluated(j, "best_", source);
  if (!state->best) return;
  state->best_value =
      io::GetOptionalFloat(j, "best_value", -1e300, 1e300, source).value_or(state->best->loss);
  if (!state->top_value) state->top_value = state->best_value;
  const std::string name = fmt::format("checkpoint-{}", state->best->step);
  if (io::IsCheckpoint(options.output / name)) return;
  state->best.reset();
  state->best_value.reset();
  if (notes != nullptr) {
    notes->push_back(
        fmt::format("resume: {}, the best one by {}, is not there any more: the best "
                    "one is looked for anew",
                    name, options.selection.metric));
  }
}

json ToJson(const UpdateSums& sums) {
  return {{"updates", sums.updates},
          {"loss", sums.loss},
          {"grad_norm", sums.gradient_norm},
          {"metrics", ToJson(sums.metrics)}};
}

UpdateSums ReadSums(const json& object, const std::string& source) {
  UpdateSums sums;
  sums.updates =
      io::GetInt(object, "updates", 0, std::numeric_limits<idx_t>::max(), io::kRequired, source);
  sums.loss = io::GetFloat(object, "loss", -1e300, 1e300, io::kRequired, source);
  sums.gradient_norm = io::GetFloat(object, "grad_norm", 0.0, 1e300, io::kRequired, source);
  if (object.contains("metrics")) sums.metrics = ReadMetrics(object["metrics"], source);
  return sums;
}

}  // namespace

std::string IsaText() {
  const DensePath dense = ActiveDensePath();
  return fmt::format("{}{}{}, bf16 attention: {}", IsaName(ActiveIsa()),
                     dense == DensePath::kWiden ? "" : " bf16",
                     dense >= DensePath::kTiles ? fmt::format(" {}", DensePathName(dense)) : "",
                     Bf16PathName(ActiveBf16Path()));
}

std::map<std::string, std::string> FactsOf(const RunState& state, TrainTask& task,
                                           const TrainOptions& options,
                                           const std::string& data_fingerprint) {
  std::map<std::string, std::string> facts;
  const json deciding = DecidingOptions(task, options);
  for (const auto& [name, value] : deciding.items()) facts["option " + name] = Shown(value);
  const CheckpointOptions& c = options.checkpoints;
  const std::pair<const char*, json> rhythm[] = {
      {"log_every", c.log_every},
      {"eval_every", c.eval_every},
      {"save_every", c.save_every},
      {"resume", c.resume},
      {"extend", c.extend},
      {"max_time", c.max_time_s},
      {"keep_best", options.selection.kept == KeptModel::kBest}};
  for (const auto& [name, value] : rhythm) facts[fmt::format("option {}", name)] = Shown(value);
  facts["the texts' fingerprint"] = data_fingerprint;
  facts["the update to go on from"] = fmt::format("{}", state.step);
  facts["the model's checksum"] = WeightsChecksum(task.parameters());
  // Each rank reads its own part of it.
  if (!state.from.empty()) {
    facts["the checksum of the optimizer's state"] = io::FileChecksum(state.from / kOptimiserFile);
  }
  return facts;
}

std::optional<idx_t> AccumulateOfRun(const std::filesystem::path& output) {
  if (!io::IsDirectory(output)) return std::nullopt;
  // All checkpoints of a run have one number. One that is damaged does not tell it, and is passed
  // over later too.
  const std::vector<io::CheckpointInfo> all = io::ListCheckpoints(output);
  for (auto checkpoint = all.rbegin(); checkpoint != all.rend(); ++checkpoint) {
    const auto file = checkpoint->path / kStateFile;
    try {
      const json j = io::ReadJsonFile(file);
      if (!j.contains("options") || !j["options"].is_object()) continue;
      return io::GetOptionalInt(j["options"], "accumulate", 1, 1 << 20, io::Escape(file.string()));
    } catch (const Error&) {
      continue;
    }
  }
  return std::nullopt;
}

void UpdateSums::Add(const TrainEvent& event) {
  ++updates;
  loss += event.loss;
  gradient_norm += event.gradient_norm;
  if (metrics.empty()) {
    for (const TrainMetric& metric : event.metrics) metrics.push_back({metric.name, 0.0});
  }
  for (std::size_t i = 0; i < event.metrics.size(); ++i) metrics[i].value += event.metrics[i].value;
}

TrainEvent UpdateSums::Means(TrainEvent event) const {
  if (updates == 0) return event;
  const auto count = static_cast<double>(updates);
  event.loss = loss / count;
  event.gradient_norm = gradient_norm / count;
  event.metrics = metrics;
  for (TrainMetric& metric : event.metrics) metric.value /= count;
  return event;
}

TrainEvent UpdateBefore(const RunState& state, const TrainOptions& options) {
  TrainEvent event;
  event.kind = TrainEvent::Kind::kStep;
  event.step = state.step;
  event.steps = options.steps;
  event.skipped = state.skipped_in_a_row > 0;
  event.learning_rate = LearningRate(options, state.step);
  event.tokens = state.tokens;
  event.tokens_per_s = std::numeric_limits<double>::quiet_NaN();
  event.seconds = state.seconds;
  event.rss_bytes = PeakRssBytes();
  return event;
}

RunState StartRun(TrainTask& task, const TrainOptions& options, const World* world,
                  std::vector<std::string>* notes) {
  task.Load(options.model, TrainTask::Origin::kStart, notes);
  RunState state = WithOptimizer(task, options, world);
  state.start_model = FingerprintOf(options.model);
  if (options.compute.allow_nonfinite) state.strange_weights = StrangeWeights(task.parameters());
  return state;
}

void SaveRun(const RunState& state, TrainTask& task, const TrainOptions& options,
             const std::string& data_fingerprint, SharedState& shared) {
  CheckFinite(task.parameters(), state);
  json j = json::object();
  j["version"] = kStateVersion;
  j["step"] = state.step;
  j["tokens"] = state.tokens;
  j["seconds"] = state.seconds;
  j["options"] = DecidingOptions(task, options);
  j["data"] = data_fingerprint;
  j["isa"] = IsaText();
  if (!state.start_model.empty()) j["model"] = state.start_model;
  if (state.skipped > 0) {
    j["skipped"] = state.skipped;
    j["skipped_in_a_row"] = state.skipped_in_a_row;
  }
  if (state.unlogged.updates > 0) j["unlogged"] = ToJson(state.unlogged);
  if (state.mixed_schedule) j["mixed_schedule"] = true;
  if (state.best) {
    PutEvaluated(*state.best, "best_", &j);
    j["best_value"] = *state.best_value;
  }
  if (state.top_value) j["top_value"] = *state.top_value;
  if (state.without_gain > 0) j["without_gain"] = state.without_gain;
  if (state.evaluated) PutEvaluated(*state.evaluated, "evaluated_", &j);
  io::CheckpointWriter writer(options.output, state.step);
  writer.AddFile("config.json", task.ConfigText());
  writer.AddTensors("model.safetensors", task.Weights(), {{"format", "pt"}});
  writer.AddTensors(kOptimiserFile, OptimizerEntries(shared));
  writer.AddWritten([&](const auto& folder) { task.SaveBeside(folder); });
  writer.AddFile(kStateFile, io::DumpJson(j));
  writer.Commit();
  std::optional<idx_t> best;
  if (state.best) {
    best = state.best->step;
    io::WriteBest(options.output, {*best, "eval_" + options.selection.metric, *state.best_value});
  }
  io::RotateCheckpoints(options.output, options.checkpoints.keep, best);
}

bool IsOutOfPatience(const RunState& state, idx_t patience) {
  return patience > 0 && state.without_gain >= patience;
}

std::optional<RunState> ResumeRun(TrainTask& task, const TrainOptions& options,
                                  const std::string& data_fingerprint, const World* world,
                                  std::vector<std::string>* notes) {
  const auto checkpoint = io::LatestValidCheckpoint(options.output, notes);
  if (!checkpoint) return std::nullopt;
  const auto state_path = checkpoint->path / kStateFile;
  const std::string source = io::Escape(state_path.string());
  const json j = io::ReadJsonFile(state_path);
  const idx_t version = io::GetInt(j, "version", 1, kStateVersion, io::kRequired, source);
  Check(version == kStateVersion && j.contains("options") && j["options"].is_object(),
        ErrorCode::kFormat, "{}: options are missing", source);
  // Machines come and go: a run may go on with other ranks for each row.
  std::set<std::string> may_differ = {"row_ranks"};
  if (options.checkpoints.extend) may_differ.insert({"steps", "warmup", "patience"});
  const json now = DecidingOptions(task, options);
  CheckSameOptions(j["options"], now, may_differ);
  TellRowRanks(j["options"], options, source, notes);
  const std::string data = io::GetString(j, "data", io::kRequired, source);
  Check(data == data_fingerprint, ErrorCode::kFormat,
        "resume: the data are not those of the run in {}; give the same files", source);
  const std::string model = io::GetString(j, "model", std::string(), source);
  Check(model.empty() || model == FingerprintOf(options.model), ErrorCode::kFormat,
        "resume: {} is not the model that the run in {} began with; give that one, or start "
        "another output",
        io::Escape(options.model.string()), source);
  if (const std::string isa = io::GetString(j, "isa", io::kRequired, source);
      isa != IsaText() && notes != nullptr) {
    notes->push_back(
        fmt::format("resume: the run used {}, this process uses {}: the bits will "
                    "differ from an uninterrupted run",
                    isa, IsaText()));
  }
  task.Load(checkpoint->path, TrainTask::Origin::kCheckpoint, notes);
  RunState state = WithOptimizer(task, options, world);
  ReadOptimizer(checkpoint->path / kOptimiserFile, state);
  state.from = checkpoint->path;
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  state.start_model = model;
  if (options.compute.allow_nonfinite) state.strange_weights = StrangeWeights(task.parameters());
  state.step = io::GetInt(j, "step", 0, kMost, io::kRequired, source);
  state.skipped = io::GetOptionalInt(j, "skipped", 0, kMost, source).value_or(0);
  state.skipped_in_a_row = io::GetOptionalInt(j, "skipped_in_a_row", 0, kMost, source).value_or(0);
  state.mixed_schedule = j.contains("mixed_schedule");
  if (j.contains("unlogged")) state.unlogged = ReadSums(j["unlogged"], source);
  state.tokens = io::GetInt(j, "tokens", 0, kMost, io::kRequired, source);
  state.seconds = io::GetOptionalFloat(j, "seconds", 0.0, 1e300, source).value_or(0.0);
  ReadBestEvaluation(j, options, source, &state, notes);
  state.evaluated = ReadEvaluated(j, "evaluated_", source);
  if (options.checkpoints.extend) {
    Extend(j["options"], now, options, source, &state, notes);
    ExtendPatience(j["options"], options, source, &state, notes);
  }
  return state;
}

}  // namespace longspan
