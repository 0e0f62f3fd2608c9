#include "train/run_state.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/isa.h"
#include "base/memory_limit.h"
#include "gemm/gemm.h"
#include "io/checkpoint.h"
#include "io/escape.h"
#include "io/file.h"
#include "io/json.h"
#include "model/weight_files.h"
#include "train/schedule.h"

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

// The options that decide which bits come out.
json DecidingOptions(const TrainTask& task, const TrainOptions& o) {
  json j = task.DecidingOptions();
  j["steps"] = o.steps;
  j["batch"] = o.batch;
  j["tokens"] = o.tokens;
  j["accumulate"] = o.accumulate;
  j["learning_rate"] = o.learning_rate;
  j["final_rate"] = o.final_rate;
  j["warmup"] = o.warmup;
  j["schedule"] = ScheduleName(o.schedule);
  j["beta1"] = o.beta1;
  j["beta2"] = o.beta2;
  j["adam_eps"] = o.adam_eps;
  j["weight_decay"] = o.weight_decay;
  j["clip"] = o.clip;
  j["dropout"] = o.dropout ? json(*o.dropout) : json(nullptr);
  j["attention"] = o.attention.empty() ? json(nullptr) : json(o.attention);
  j["seed"] = o.seed;
  return j;
}

void CheckSameOptions(const json& saved, const json& now) {
  for (const auto& [name, value] : now.items()) {
    const json before = saved.contains(name) ? saved[name] : json();
    Check(before == value, ErrorCode::kUsage,
          "resume: the run was started with {} {}, now it is {}; give the same or start another "
          "output",
          name, Shown(before), Shown(value));
  }
}

std::vector<io::TensorEntry> MomentEntries(const RunState& state, const ParameterTable& table) {
  std::vector<io::TensorEntry> entries;
  for (const ParameterInfo& info : table.list()) {
    entries.push_back({"first_moment." + info.name, DType::kF32, info.shape,
                       state.first_moment.data<float>() + info.offset});
    entries.push_back({"second_moment." + info.name, DType::kF32, info.shape,
                       state.second_moment.data<float>() + info.offset});
  }
  return entries;
}

void ReadMoments(const std::filesystem::path& file, const ParameterTable& table, RunState* state) {
  const auto source = io::SafetensorsFile::Open(file);
  for (const ParameterInfo& info : table.list()) {
    const auto size = static_cast<std::size_t>(info.size);
    source.ReadFloatInto("first_moment." + info.name,
                         {state->first_moment.data<float>() + info.offset, size});
    source.ReadFloatInto("second_moment." + info.name,
                         {state->second_moment.data<float>() + info.offset, size});
  }
}

RunState WithMoments(const ParameterTable& table) {
  CheckMemory(
      fmt::format("training: {} parameters, their gradients and AdamW's moments", table.count()),
      SaturatingProduct({table.extent(), 16}));
  RunState state;
  state.first_moment = Tensor({table.extent()});
  state.second_moment = Tensor({table.extent()});
  return state;
}

void CopyInto(const std::filesystem::path& from, io::CheckpointWriter& writer) {
  const auto file = io::File::OpenRegular(from);
  writer.AddFile(from.filename().string(), [&](io::ByteSink& sink) {
    io::ForEachPiece(file, [&](const char* data, std::size_t bytes) { sink.Write(data, bytes); });
  });
}

json ToJson(const std::vector<TrainMetric>& metrics) {
  json object = json::object();
  for (const TrainMetric& metric : metrics) object[metric.name] = metric.value;
  return object;
}

// In alphabetical order, as tasks list them.
std::vector<TrainMetric> ReadMetrics(const json& object, const std::string& source) {
  Check(object.is_object(), ErrorCode::kFormat, "{}: evaluated_metrics is no object", source);
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

std::string IsaText() {
  return fmt::format("{}{}, bf16 attention: {}", IsaName(ActiveIsa()),
                     gemm::Bf16Hardware() ? " bf16" : "", Bf16PathName(ActiveBf16Path()));
}

}  // namespace

RunState StartRun(TrainTask& task, const TrainOptions& options, std::vector<std::string>* notes) {
  task.Load(options.model, TrainTask::Origin::kStart, notes);
  return WithMoments(task.parameters());
}

void SaveRun(const RunState& state, TrainTask& task, const TrainOptions& options,
             const std::string& data_fingerprint) {
  json j;
  j["version"] = kStateVersion;
  j["step"] = state.step;
  j["tokens"] = state.tokens;
  j["options"] = DecidingOptions(task, options);
  j["data"] = data_fingerprint;
  j["isa"] = IsaText();
  if (state.best_step) {
    j["best_step"] = *state.best_step;
    j["best_loss"] = state.best_loss;
  }
  if (state.evaluated_step) {
    j["evaluated_step"] = *state.evaluated_step;
    j["evaluated_loss"] = state.evaluated_loss;
    if (state.evaluated_bits_per_byte) {
      j["evaluated_bits_per_byte"] = *state.evaluated_bits_per_byte;
    }
    if (!state.evaluated_metrics.empty()) j["evaluated_metrics"] = ToJson(state.evaluated_metrics);
  }
  io::CheckpointWriter writer(options.output, state.step);
  writer.AddFile("config.json", task.ConfigText());
  writer.AddTensors("model.safetensors", task.Weights(), {{"format", "pt"}});
  writer.AddTensors(kOptimiserFile, MomentEntries(state, task.parameters()));
  for (const auto& file : task.FilesBeside()) CopyInto(file, writer);
  writer.AddFile(kStateFile, io::DumpJson(j));
  writer.Commit();
  if (state.best_step)
    io::WriteBest(options.output, {*state.best_step, "eval_loss", state.best_loss});
  io::RotateCheckpoints(options.output, options.keep, state.best_step);
}

std::optional<RunState> ResumeRun(TrainTask& task, const TrainOptions& options,
                                  const std::string& data_fingerprint,
                                  std::vector<std::string>* notes) {
  const auto checkpoint = io::LatestValidCheckpoint(options.output, notes);
  if (!checkpoint) return std::nullopt;
  const auto state_path = checkpoint->path / kStateFile;
  const std::string source = io::Escape(state_path.string());
  const json j = io::ReadJsonFile(state_path);
  const idx_t version = io::GetInt(j, "version", 1, kStateVersion, io::kRequired, source);
  Check(version == kStateVersion && j.contains("options") && j["options"].is_object(),
        ErrorCode::kFormat, "{}: options are missing", source);
  CheckSameOptions(j["options"], DecidingOptions(task, options));
  const std::string data = io::GetString(j, "data", io::kRequired, source);
  Check(data == data_fingerprint, ErrorCode::kFormat,
        "resume: the data are not those of the run in {}; give the same files", source);
  if (const std::string isa = io::GetString(j, "isa", io::kRequired, source);
      isa != IsaText() && notes != nullptr) {
    notes->push_back(
        fmt::format("resume: the run used {}, this process uses {}: the bits will "
                    "differ from an uninterrupted run",
                    isa, IsaText()));
  }
  task.Load(checkpoint->path, TrainTask::Origin::kCheckpoint, notes);
  RunState state = WithMoments(task.parameters());
  ReadMoments(checkpoint->path / kOptimiserFile, task.parameters(), &state);
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  state.step = io::GetInt(j, "step", 0, kMost, io::kRequired, source);
  state.tokens = io::GetInt(j, "tokens", 0, kMost, io::kRequired, source);
  state.best_step = io::GetOptionalInt(j, "best_step", 0, kMost, source);
  if (state.best_step) {
    state.best_loss = io::GetFloat(j, "best_loss", -1e300, 1e300, io::kRequired, source);
  }
  state.evaluated_step = io::GetOptionalInt(j, "evaluated_step", 0, kMost, source);
  if (state.evaluated_step) {
    state.evaluated_loss = io::GetFloat(j, "evaluated_loss", -1e300, 1e300, io::kRequired, source);
    state.evaluated_bits_per_byte =
        io::GetOptionalFloat(j, "evaluated_bits_per_byte", 0.0, 1e300, source);
    if (j.contains("evaluated_metrics")) {
      state.evaluated_metrics = ReadMetrics(j["evaluated_metrics"], source);
    }
  }
  return state;
}

}  // namespace longspan
