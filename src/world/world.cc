#include "longspan/world.h"

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "world/lanes.h"
#include "world/launcher.h"
#include "world/mpi_transport.h"
#include "world/transport.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kModule = "longspan_mpi.so";

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

// The CPUs of this process, one letter each: "1" if it may use it.
std::string AllowedMask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return "1";
  std::string mask;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) mask += CPU_ISSET(cpu, &set) ? '1' : '0';
  return mask.substr(0, mask.rfind('1') + 1);
}

int OnlineCpus() { return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))); }

// A rank's place as the ranks tell each other. Containers of one machine have names of their own,
// and machines may have the same name: the machine is known by what its kernel drew at its start.
struct Place {
  std::string mask, machine, host;
};

std::string OwnPlace() {
  std::string machine;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> machine;
  const std::string host = HostName();
  return AllowedMask() + " " + (machine.empty() ? host : machine) + " " + host;
}

Place ParsePlace(const std::string& text) {
  Place place;
  std::istringstream(text) >> place.mask >> place.machine >> place.host;
  return place;
}

bool Uses(const Place& place, std::size_t cpu) {
  return cpu < place.mask.size() && place.mask[cpu] == '1';
}

}  // namespace

struct World::State {
  std::unique_ptr<Lanes> transport;
  std::string description;
  std::vector<std::string> hosts;
  int ranks_here = 1, threads = 1, idle_cpus = 0;
  ExchangeCounts exchanged;
  bool finished = false;
  std::array<bool, kExchangeKinds> drives{};  // by kind

  ExchangeCount& Of(ExchangeKind kind) { return exchanged[static_cast<std::size_t>(kind)]; }

  // Adds the time that a call takes to what this rank has waited.
  template <class Call>
  auto Timed(ExchangeKind kind, const Call& call) {
    struct Timer {
      double& sum;
      Clock::time_point begin = Clock::now();
      ~Timer() { sum += std::chrono::duration<double>(Clock::now() - begin).count(); }
    } timer{Of(kind).waited_s};
    return call();
  }

  void TakePlaces(const std::vector<std::string>& texts, std::size_t own) {
    std::vector<Place> places;
    places.reserve(texts.size());
    for (const std::string& text : texts) places.push_back(ParsePlace(text));
    for (const Place& place : places) hosts.push_back(place.host);
    const Place mine = places[own];
    std::erase_if(
        places, [&machine = mine.machine](const Place& place) { return place.machine != machine; });
    ranks_here = static_cast<int>(places.size());
    double share = 0.0;
    idle_cpus = OnlineCpus();
    const std::size_t most = std::max_element(places.begin(), places.end(), [](auto& a, auto& b) {
                               return a.mask.size() < b.mask.size();
                             })->mask.size();
    for (std::size_t cpu = 0; cpu < most; ++cpu) {
      const auto users = std::count_if(places.begin(), places.end(),
                                       [&](const Place& place) { return Uses(place, cpu); });
      if (users > 0) --idle_cpus;
      if (Uses(mine, cpu)) share += 1.0 / static_cast<double>(users);
    }
    constexpr double kRounding = 1e-6;
    threads = std::max(1, static_cast<int>(std::floor(share + kRounding)));
    idle_cpus = std::max(0, idle_cpus);
  }
};

World::World() = default;
World::World(World&&) noexcept = default;
World& World::operator=(World&&) noexcept = default;
World::~World() = default;

World::World(std::unique_ptr<Transport> transport) {
  if (transport == nullptr || transport->size() == 1) return;
  state_ = std::make_unique<State>();
  state_->description = transport->Describe();
  state_->transport = std::make_unique<Lanes>(std::move(transport));
  Lanes& lanes = *state_->transport;
  std::vector<std::string> places(static_cast<std::size_t>(lanes.size()), OwnPlace());
  try {
    places = GatherTexts(lanes, places.front());
  } catch (const Error&) {
    // Another rank has found a mistake already: the first call together says so, and this world
    // knows of what kind it is.
    if (!lanes.failed()) throw;
  }
  state_->TakePlaces(places, static_cast<std::size_t>(lanes.rank()));
}

// ---- starting -----------------------------------------------------------------------------------

int World::LaunchedRanks() { return FindLauncher().ranks; }
int World::LaunchedRank() { return FindLauncher().rank; }
bool World::StartedApart() { return WereRefusedApart(); }

std::string World::ModulePath() {
  namespace fs = std::filesystem;
  if (std::string named = Variable("LONGSPAN_MPI_MODULE"); !named.empty()) return named;
  std::vector<fs::path> folders;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) folders.push_back(program.parent_path());
  Dl_info info{};
  static const int here = 0;
  if (dladdr(&here, &info) != 0 && info.dli_fname != nullptr) {
    const fs::path library = fs::absolute(info.dli_fname, error);
    if (!error) folders.push_back(library.parent_path());
  }
  for (const fs::path& folder : folders) {
    for (const char* below : {".", "longspan", LONGSPAN_PRIVATE_LIBRARIES}) {
      const fs::path path = (folder / below / kModule).lexically_normal();
      if (fs::is_regular_file(path, error)) return path.string();
    }
  }
  return {};
}

World World::Start() {
  const Launcher launcher = FindLauncher();
  if (launcher.ranks == 1) return {};
  if (!launcher.introduces) RefuseApart(launcher, {}, 1);
  const std::string path = ModulePath();
  Check(
      !path.empty(), ErrorCode::kUsage,
      "mpi: {} was started by mpirun or srun, and there is no {} beside it: install libopenmpi-dev "
      "and build longspan anew, or set LONGSPAN_MPI=0 for processes that do not know each other",
      launcher.ranks == 0 ? "this process" : fmt::format("one of {} processes", launcher.ranks),
      kModule);
  return World(StartMpi(path, launcher, HostName()));
}

// ---- what is known ------------------------------------------------------------------------------

namespace {

const std::vector<std::string>& OneHost() {
  static const std::vector<std::string> hosts = {HostName()};
  return hosts;
}

}  // namespace

int World::rank() const { return state_ ? state_->transport->rank() : 0; }
int World::size() const { return state_ ? state_->transport->size() : 1; }
const std::vector<std::string>& World::hosts() const { return state_ ? state_->hosts : OneHost(); }
int World::ranks_here() const { return state_ ? state_->ranks_here : 1; }
int World::threads() const {
  if (state_) return state_->threads;
  const std::string mask = AllowedMask();
  return static_cast<int>(std::max<std::ptrdiff_t>(1, std::count(mask.begin(), mask.end(), '1')));
}
int World::idle_cpus() const { return state_ ? state_->idle_cpus : 0; }
const std::string& World::transport() const {
  static const std::string none;
  return state_ ? state_->description : none;
}
const ExchangeCounts& World::exchanged() const {
  static const ExchangeCounts none{};
  return state_ ? state_->exchanged : none;
}
std::uint64_t World::bytes_sent() const {
  std::uint64_t bytes = 0;
  for (const ExchangeCount& count : exchanged()) bytes += count.bytes;
  return bytes;
}
double World::seconds_waited() const {
  double seconds = 0.0;
  for (const ExchangeCount& count : exchanged()) seconds += count.waited_s;
  return seconds;
}

std::string_view NameOf(ExchangeKind kind) {
  constexpr std::array<std::string_view, kExchangeKinds> kNames = {
      "gradients", "weights", "halos", "heads", "globals", "rows", "together"};
  return kNames[static_cast<std::size_t>(kind)];
}

ExchangeCounts CountsSince(const ExchangeCounts& now, const ExchangeCounts& before) {
  ExchangeCounts counts;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    counts[i] = {now[i].waited_s - before[i].waited_s, now[i].bytes - before[i].bytes};
  }
  return counts;
}

// ---- together -----------------------------------------------------------------------------------

void World::Barrier() { Gather({}); }

std::vector<std::string> World::Gather(const std::string& text) {
  if (!state_) return {text};
  CheckPeers(*state_->transport);
  return state_->Timed(ExchangeKind::kTogether, [&] {
    return GatherTexts(*state_->transport, text, &state_->Of(ExchangeKind::kTogether).bytes);
  });
}

void World::Sum(std::span<double> values) {
  if (!state_) return;
  std::string own(values.size_bytes(), '\0');
  if (!own.empty()) std::memcpy(own.data(), values.data(), own.size());
  std::vector<double> part(values.size());
  bool first = true;
  for (const std::string& text : Gather(own)) {
    Check(text.size() == own.size(), ErrorCode::kUsage, "world: ranks sum {} and {} bytes",
          own.size(), text.size());
    if (!text.empty()) std::memcpy(part.data(), text.data(), text.size());
    for (std::size_t i = 0; i < part.size(); ++i) {
      values[i] = first ? part[i] : values[i] + part[i];
    }
    first = false;
  }
}

void World::Broadcast(void* data, std::size_t bytes, int from) {
  if (!state_) return;
  CheckPeers(*state_->transport);
  state_->Timed(ExchangeKind::kTogether, [&] {
    BroadcastBytes(*state_->transport, data, bytes, from,
                   &state_->Of(ExchangeKind::kTogether).bytes);
  });
}

std::string World::Broadcast(const std::string& text, int from) {
  std::uint64_t bytes = text.size();
  Broadcast(&bytes, sizeof(bytes), from);
  std::string all = text;
  all.resize(bytes);
  Broadcast(all.data(), all.size(), from);
  return all;
}

void World::Finish() {
  if (!state_ || state_->finished) return;
  CheckPeers(*state_->transport);
  // No message: a rank that still waits for this one in another call would take it for that one's.
  state_->transport->ComeToEnd();
  state_->Timed(ExchangeKind::kTogether, [&] {
    WaitUntil(*state_->transport, [&] { return state_->transport->all_at_end(); });
  });
  state_->finished = true;
  state_->transport->Finish();
}

// ---- messages -----------------------------------------------------------------------------------

namespace {

// Whether other ranks compute while it comes. For all other kinds they wait.
bool ComesLater(ExchangeKind kind) {
  return kind == ExchangeKind::kGradients || kind == ExchangeKind::kWeights;
}

}  // namespace

std::unique_ptr<Message> WorldAccess::Send(World& world, ExchangeKind kind, int to, int tag,
                                           const void* data, std::size_t bytes) {
  world.state_->Of(kind).bytes += bytes;
  Lanes& lanes = *world.state_->transport;
  if (ComesLater(kind)) return lanes.SendLater(to, tag, data, bytes);
  return lanes.Send(to, tag, data, bytes);
}

std::unique_ptr<Message> WorldAccess::Receive(World& world, ExchangeKind kind, int from, int tag,
                                              void* data, std::size_t bytes) {
  Lanes& lanes = *world.state_->transport;
  if (ComesLater(kind)) return lanes.ReceiveLater(from, tag, data, bytes);
  return lanes.Receive(from, tag, data, bytes);
}

void WorldAccess::DriveMessages(World& world, ExchangeKind kind, bool on) {
  std::array<bool, kExchangeKinds>& wanted = world.state_->drives;
  const auto any = [&] { return std::find(wanted.begin(), wanted.end(), true) != wanted.end(); };
  const bool before = any();
  wanted[static_cast<std::size_t>(kind)] = on;
  if (any() != before || on) world.state_->transport->Drive(any());
}

void WorldAccess::WaitUntil(World& world, ExchangeKind kind, const std::function<bool()>& done) {
  world.state_->Timed(kind, [&] { longspan::WaitUntil(*world.state_->transport, done); });
}

// ---- failures -----------------------------------------------------------------------------------

void World::Tell(idx_t step) {
  if (state_) state_->transport->Tell(step);
}

void World::Abandon(const std::string& why, ErrorCode code) noexcept {
  if (state_ && !state_->finished) state_->transport->Abandon(why, code);
}

void World::OnFailure(std::function<void(const std::string& line)> tell) {
  if (state_) state_->transport->OnFailure(std::move(tell));
}

std::string World::Failure() const { return state_ ? state_->transport->Failure() : std::string(); }

ErrorCode World::FailureCode() const {
  return state_ ? state_->transport->FailureCode() : ErrorCode::kPeer;
}

bool World::finished() const { return state_ && state_->finished; }

}  // namespace longspan
