#include "train/run_state.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/isa.h"
#include "gemm/gemm.h"
#include "io/checkpoint.h"
#include "io/escape.h"
#include "io/json.h"
#include "model/model_files.h"
#include "train/schedule.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr idx_t kStateVersion = 1;
constexpr const char* kStateFile = "trainer_state.json";
constexpr const char* kOptimiserFile = "optimizer.safetensors";

// The options that decide which bits come out.
json DecidingOptions(const TrainOptions& o) {
  json j;
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

void CheckSameOptions(const json& saved, const TrainOptions& options) {
  const json now = DecidingOptions(options);
  for (const auto& [name, value] : now.items()) {
    const json before = saved.contains(name) ? saved[name] : json();
    Check(before == value, ErrorCode::kUsage,
          "resume: the run was started with {} {}, now it is {}; give the same or start another "
          "output",
          name, before.dump(), value.dump());
  }
}

std::vector<io::TensorEntry> MomentEntries(RunState& state) {
  std::vector<io::TensorEntry> entries;
  for (const ParameterInfo& info : state.model.parameters().list()) {
    entries.push_back({"first_moment." + info.name, DType::kF32, info.shape,
                       state.first_moment.data<float>() + info.offset});
    entries.push_back({"second_moment." + info.name, DType::kF32, info.shape,
                       state.second_moment.data<float>() + info.offset});
  }
  return entries;
}

void ReadMoments(const std::filesystem::path& file, RunState* state) {
  const auto source = io::SafetensorsFile::Open(file);
  for (const ParameterInfo& info : state->model.parameters().list()) {
    const auto size = static_cast<std::size_t>(info.size);
    source.ReadFloatInto("first_moment." + info.name,
                         {state->first_moment.data<float>() + info.offset, size});
    source.ReadFloatInto("second_moment." + info.name,
                         {state->second_moment.data<float>() + info.offset, size});
  }
}

RunState WithMoments(Reformer model) {
  const idx_t extent = model.parameters().values().size();
  return {std::move(model),
          Tensor({extent}),
          Tensor({extent}),
          0,
          0,
          std::nullopt,
          0.0,
          std::nullopt,
          0.0};
}

LoadOptions LoadOf(const TrainOptions& options) {
  LoadOptions load;
  load.allow_nonfinite = options.allow_nonfinite;
  load.dropout = options.dropout;
  load.attention = options.attention;
  return load;
}

std::string IsaText() {
  return fmt::format("{}{}, bf16 attention: {}", IsaName(ActiveIsa()),
                     gemm::Bf16Hardware() ? " bf16" : "", Bf16PathName(ActiveBf16Path()));
}

}  // namespace

RunState StartRun(const TrainOptions& options, std::vector<std::string>* notes) {
  return WithMoments(LoadReformer(options.model, LoadOf(options), notes));
}

void SaveRun(RunState& state, const TrainOptions& options, const std::string& data_fingerprint) {
  json j;
  j["version"] = kStateVersion;
  j["step"] = state.step;
  j["tokens"] = state.tokens;
  j["options"] = DecidingOptions(options);
  j["data"] = data_fingerprint;
  j["isa"] = IsaText();
  if (state.best_step) {
    j["best_step"] = *state.best_step;
    j["best_loss"] = state.best_loss;
  }
  if (state.evaluated_step) {
    j["evaluated_step"] = *state.evaluated_step;
    j["evaluated_loss"] = state.evaluated_loss;
  }
  const std::string config = ToJson(state.model.config());
  io::CheckpointWriter writer(options.output, state.step);
  writer.AddFile("config.json", config);
  writer.AddTensors("model.safetensors", WeightEntries(state.model), {{"format", "pt"}});
  writer.AddTensors(kOptimiserFile, MomentEntries(state));
  writer.AddFile(kStateFile, j.dump(2) + "\n");
  writer.Commit();
  if (state.best_step)
    io::WriteBest(options.output, {*state.best_step, "eval_loss", state.best_loss});
  io::RotateCheckpoints(options.output, options.keep, state.best_step);
}

std::optional<RunState> ResumeRun(const TrainOptions& options, const std::string& data_fingerprint,
                                  std::vector<std::string>* notes) {
  const auto checkpoint = io::LatestValidCheckpoint(options.output, notes);
  if (!checkpoint) return std::nullopt;
  const auto state_path = checkpoint->path / kStateFile;
  const std::string source = io::Escape(state_path.string());
  const json j = io::ReadJsonFile(state_path);
  const idx_t version = io::GetInt(j, "version", 1, kStateVersion, io::kRequired, source);
  Check(version == kStateVersion && j.contains("options") && j["options"].is_object(),
        ErrorCode::kFormat, "{}: options are missing", source);
  CheckSameOptions(j["options"], options);
  const std::string data = io::GetString(j, "data", io::kRequired, source);
  Check(data == data_fingerprint, ErrorCode::kFormat,
        "resume: the texts are not those of the run in {}; give the same files", source);
  if (const std::string isa = io::GetString(j, "isa", io::kRequired, source);
      isa != IsaText() && notes != nullptr) {
    notes->push_back(
        fmt::format("resume: the run used {}, this process uses {}: the bits will "
                    "differ from an uninterrupted run",
                    isa, IsaText()));
  }
  RunState state = WithMoments(LoadReformer(checkpoint->path, LoadOf(options), notes));
  ReadMoments(checkpoint->path / kOptimiserFile, &state);
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
  }
  return state;
}

}  // namespace longspan
