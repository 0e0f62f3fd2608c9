#include "train/run_ranks.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/errors.h"
#include "io/checksum.h"
#include "io/paths.h"
#include "longspan/counted.h"
#include "longspan/files.h"
#include "longspan/version.h"
#include "train/run_state.h"

namespace longspan {
namespace {

// Of a value in a message: fingerprints are short, lists of labels may be long.
constexpr std::size_t kShownOfFact = 60;

std::string ShownFact(const RankFacts& facts, const std::string& name) {
  const auto found = facts.find(name);
  return found == facts.end() ? "none" : io::Escape(found->second, kShownOfFact);
}

// The file of the program or of the library.
std::string OwnFile() {
  Dl_info info{};
  static const int here = 0;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return program.string();
  // The loader knows the program by the word that it was started with.
  const std::filesystem::path file = info.dli_fname;
  return file.is_absolute() && io::IsRegularFile(file) ? file.string() : program.string();
}

}  // namespace

RunRanks::RunRanks(const Context& context)
    : world_(context.world() != nullptr && context.world()->size() > 1 ? context.world() : nullptr),
      group_(context.row_group()) {}

std::vector<std::string> RunRanks::Notes(int threads, idx_t accumulate) const {
  std::vector<std::string> notes;
  if (!many()) return notes;
  notes.push_back(
      fmt::format("{} ranks, {} on this host, {} threads each; {} micro-batches an update",
                  world_->size(), world_->ranks_here(), threads, accumulate));
  if (group_ != nullptr) {
    const int groups = world_->size() / group_->size();
    notes.push_back(fmt::format("each row is shared by {} neighbouring ranks: {}", group_->size(),
                                Counted(groups, "group")));
  }
  if (world_->idle_cpus() > 0) {
    notes.push_back(
        fmt::format("the launcher binds ranks to CPUs, and {} CPUs of this host stay idle; mpirun "
                    "--bind-to none "
                    "lets ranks share them",
                    world_->idle_cpus()));
  }
  return notes;
}

void RunRanks::Meet() const {
  if (many()) world_->Barrier();
}

bool RunRanks::Any(bool own) const {
  if (!many()) return own;
  const std::vector<std::string> all = world_->Gather(own ? "1" : "0");
  return std::find(all.begin(), all.end(), "1") != all.end();
}

bool RunRanks::First(bool own) const {
  return many() ? world_->Broadcast(own ? "1" : "0") == "1" : own;
}

RunRanks::Evaluation RunRanks::FromFirst(const std::function<Evaluation()>& evaluate) const {
  Evaluation found = evaluate();
  if (!many()) return found;
  // CBOR holds every double as it is.
  nlohmann::json j = nlohmann::json::array();
  if (found) {
    j = {found->loss, found->bits_per_byte.has_value(), found->bits_per_byte.value_or(0.0)};
    for (const TrainMetric& metric : found->metrics) {
      j.push_back(metric.name);
      j.push_back(metric.value);
    }
  }
  std::string text;
  nlohmann::json::to_cbor(j, text);
  j = nlohmann::json::from_cbor(world_->Broadcast(text));
  if (j.empty()) return std::nullopt;
  TaskEvaluation shared;
  shared.loss = j[0];
  if (j[1].get<bool>()) shared.bits_per_byte = j[2].get<double>();
  for (std::size_t i = 3; i + 1 < j.size(); i += 2) shared.metrics.push_back({j[i], j[i + 1]});
  return shared;
}

void RunRanks::Gather(std::vector<TaskLoss>* losses) const {
  if (!many()) return;
  if (group_ != nullptr && !group_->is_first()) losses->clear();
  std::string own(losses->size() * sizeof(TaskLoss), '\0');
  if (!own.empty()) std::memcpy(own.data(), losses->data(), own.size());
  losses->clear();
  for (const std::string& text : world_->Gather(own)) {
    const std::size_t begin = losses->size();
    losses->resize(begin + text.size() / sizeof(TaskLoss));
    if (!text.empty()) std::memcpy(losses->data() + begin, text.data(), text.size());
  }
}

void RunRanks::CheckSame(const Facts& facts) const {
  if (many()) CheckSameFacts(*world_, facts);
}

void RunRanks::EndTogether() const {
  if (many()) world_->Finish();
}

void UpdateExchanges::BeginUpdate() {
  if (world_ != nullptr) at_begin_ = world_->exchanged();
}

void UpdateExchanges::EndUpdate(double seconds, TrainEvent* event) {
  if (world_ == nullptr) return;
  world_->Tell(event->step);
  event->ranks = world_->size();
  const ExchangeCounts& now = world_->exchanged();
  const ExchangeCounts here = CountsSince(now, at_begin_);
  event->exchanged = CountsSince(now, std::exchange(at_end_, now));
  double waited_s = 0.0;
  std::uint64_t sent = 0;
  for (std::size_t i = 0; i < kExchangeKinds; ++i) {
    event->exchanged[i].waited_s = here[i].waited_s;
    waited_s += here[i].waited_s;
    sent += event->exchanged[i].bytes;
  }
  event->waiting_share = waited_s / seconds;
  event->bytes_sent = static_cast<idx_t>(sent);
}

void CheckSameFacts(World& world, const RankFacts& facts) {
  std::vector<RankFacts> all;
  for (const std::string& text : world.Gather(
           nlohmann::json(facts).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace))) {
    all.push_back(nlohmann::json::parse(text));
  }
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    std::set<std::string> names;
    for (const RankFacts* some : {&all[0], &all[rank]}) {
      for (const auto& [name, value] : *some) names.insert(name);
    }
    for (const std::string& name : names) {
      if (all[0].contains(name) && all[rank].contains(name) &&
          all[0].at(name) == all[rank].at(name)) {
        continue;
      }
      world.Finish();
      Fail(ErrorCode::kFormat,
           "rank {} on {}: {} is {}, on rank 0 it is {}; all ranks need the same program, options, "
           "texts and model (LONGSPAN_MPI=0 starts processes that do not know each other)",
           rank, world.hosts()[rank], name, ShownFact(all[rank], name), ShownFact(all[0], name));
    }
  }
}

std::string WeightsChecksum(const ParameterTable& weights) {
  io::Checksum sum;
  const View<const float, 1> values = weights.values();
  sum.Update(reinterpret_cast<const char*>(values.data),
             static_cast<std::size_t>(values.size()) * sizeof(float));
  return sum.Hex();
}

void CheckMicroBatches(const World* world, idx_t accumulate, int row_ranks) {
  const int ranks = RanksIn(world);
  CheckGroups(ranks, row_ranks);
  const std::string shared =
      row_ranks == 1 ? std::string() : fmt::format(", of which {} share a micro-batch", row_ranks);
  Check(accumulate >= ranks / row_ranks, ErrorCode::kUsage,
        "accumulate: {} micro-batches an update are too few for {} ranks{}; give at least one for "
        "each, or start fewer ranks",
        accumulate, ranks, shared);
}

SharedRows::SharedRows(Context& context, int row_ranks) : context_(context) {
  if (row_ranks == 1) return;
  group_.emplace(*context.world(), row_ranks);
  context.SplitRows(&*group_);
}

RankFacts ProgramFacts() {
  return {{"the version of longspan", LONGSPAN_VERSION},
          {"the program's checksum", io::FileChecksum(OwnFile())},
          {"the instruction set", IsaText()}};
}

}  // namespace longspan
