#include "world/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <random>
#include <sstream>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "base/errors.h"
#include "world/sockets.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A stranger's words are not read for ever.
constexpr std::size_t kLongestLine = 64 << 10;
constexpr milliseconds kForHello{2000}, kForConnect{2000}, kForWrite{200};
// How long a rank that ends waits until the others have read why: a connection that is closed
// before what came in was read is reset, and takes back what was sent.
constexpr milliseconds kToBeRead{300}, kForGoodbye{5000};

std::string OneLine(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text.substr(0, kLongestLine / 2);
}

// The words of a rank that gives up: the number of the kind of its error, and the reason.
std::string WithCode(ErrorCode code, const std::string& text) {
  return fmt::format("{} {}", static_cast<int>(code), text);
}

// Parts such words; kPeer where the number is none of a kind.
std::pair<ErrorCode, std::string> Parted(std::string_view words) {
  int number = 0;
  const auto [end, error] = std::from_chars(words.data(), words.data() + words.size(), number);
  if (error != std::errc() || end == words.data() + words.size() || *end != ' ') {
    return {ErrorCode::kPeer, std::string(words)};
  }
  const bool known = number >= static_cast<int>(ErrorCode::kUsage) &&
                     number <= static_cast<int>(ErrorCode::kCancelled);
  return {known ? static_cast<ErrorCode>(number) : ErrorCode::kPeer, std::string(end + 1)};
}

// Takes the first line out of `text`. False: none is whole yet.
bool TakeLine(std::string* text, std::string* line) {
  const std::size_t end = text->find('\n');
  if (end == std::string::npos) return false;
  *line = text->substr(0, end);
  text->erase(0, end + 1);
  return true;
}

// Waits for a whole line. False: the other side is gone, or says nothing in time.
bool ReadLine(Socket& socket, milliseconds patience, std::string* input, std::string* line) {
  const auto end = Clock::now() + patience;
  while (!TakeLine(input, line)) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    if (left.count() <= 0 || !socket.WaitForInput(left)) return false;
    if (!socket.ReadInto(input) || input->size() > kLongestLine) return false;
  }
  return true;
}

std::string Secret() {
  std::random_device device;
  std::string text;
  for (int i = 0; i < 4; ++i) text += fmt::format("{:08x}", device());
  return text;
}

}  // namespace

struct Watch::State {
  // The other end of a connection.
  struct Peer {
    int rank = 0;
    Socket socket;
    std::string input;
    Clock::time_point heard = Clock::now();
    idx_t step = 0;
    bool left = false;  // it has said that the run is over
  };

  // What is known of each rank, this one among them.
  struct Rank {
    bool at_end = false;           // it makes no more calls together
    int expected = 0;              // messages to and from it that are on their way
    Clock::time_point since = {};  // when the later of the two began
  };

  WatchPlan plan;
  std::vector<Peer> peers;
  // Messages come and go often, and writing may take long: the ranks have a lock of their own.
  std::mutex ranks_mutex;
  std::vector<Rank> ranks;
  mutable std::mutex mutex;  // of what follows, and of writing
  std::string failure;
  ErrorCode failure_code = ErrorCode::kPeer;
  std::function<void(const std::string&)> tell;
  std::atomic<bool> ending = false;  // this rank has said why, or that the run is over
  std::atomic<bool> over = false;    // the thread ends
  std::atomic<int> connected = 0;    // peers whose connection is open
  std::atomic<int> not_left = 0;     // of them, those that have not said that the run is over
  Socket wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::thread thread;

  std::string Name(int rank) const {
    return fmt::format("rank {} on {}", rank, plan.hosts[static_cast<std::size_t>(rank)]);
  }
  void WriteToAll(const std::string& line, int except) {
    for (Peer& peer : peers) {
      if (peer.rank != except && peer.socket.open()) peer.socket.Write(line, kForWrite);
    }
  }
  // Waits for what the thread finds.
  void WaitFor(const std::atomic<int>& none, milliseconds patience) const {
    const auto end = Clock::now() + patience;
    while (none > 0 && Clock::now() < end) std::this_thread::sleep_for(milliseconds(2));
  }
};

// ---- meeting ------------------------------------------------------------------------------------

Watch::Door::Door() : secret_(Secret()) {
  int port = 0;
  Socket listening = ListenAnywhere(&port);
  address_ = fmt::format("{} {} {}", port, secret_, OwnAddresses());
  socket_ = fcntl(listening.fd(), F_DUPFD_CLOEXEC, 0);
  Check(socket_ >= 0, ErrorCode::kIo, "mpi: rank 0 has no descriptor left to listen at");
}

Watch::Door::~Door() { Socket{socket_}; }

Watch::Watch(const WatchPlan& plan, const Door& door) : state_(std::make_unique<State>()) {
  state_->plan = plan;
  const auto end = Clock::now() + plan.connect;
  const Socket listening(fcntl(door.socket_, F_DUPFD_CLOEXEC, 0));
  const auto size = static_cast<int>(plan.hosts.size());
  std::vector<bool> here(plan.hosts.size(), false);
  here[0] = true;
  while (static_cast<int>(state_->peers.size()) + 1 < size) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    State::Peer peer;
    if (left.count() > 0) peer.socket = AcceptWithin(listening, left);
    const auto missing = std::find(here.begin(), here.end(), false) - here.begin();
    Check(Clock::now() < end, ErrorCode::kIo,
          "mpi: {} has not connected to rank 0 by TCP within {} s; see that a firewall lets "
          "processes of the hosts reach each other",
          state_->Name(static_cast<int>(missing)), plan.connect.count() / 1000);
    if (!peer.socket.open()) continue;
    std::string line, word, secret;
    if (!ReadLine(peer.socket, kForHello, &peer.input, &line)) continue;
    std::istringstream words(line);
    words >> word >> secret >> peer.rank;
    const bool known = word == "hello" && secret == door.secret_ && peer.rank > 0 &&
                       peer.rank < size && !here[static_cast<std::size_t>(peer.rank)];
    if (!known || !peer.socket.Write("welcome\n", kForWrite)) continue;
    here[static_cast<std::size_t>(peer.rank)] = true;
    peer.heard = Clock::now();
    state_->peers.push_back(std::move(peer));
  }
  Begin();
}

Watch::Watch(const WatchPlan& plan, const std::string& address)
    : state_(std::make_unique<State>()) {
  state_->plan = plan;
  std::istringstream words(address);
  int port = 0;
  std::string secret, tried;
  words >> port >> secret;
  std::vector<std::string> addresses;
  for (std::string one; words >> one; tried += one + " ") addresses.push_back(one);
  State::Peer peer;
  for (const std::string& one : addresses) {
    peer.socket = ConnectTo(one, port, kForConnect);
    const std::string hello = fmt::format("hello {} {}\n", secret, plan.rank);
    std::string line;
    if (peer.socket.open() && peer.socket.Write(hello, kForWrite) &&
        ReadLine(peer.socket, plan.connect, &peer.input, &line) && line == "welcome") {
      peer.heard = Clock::now();
      state_->peers.push_back(std::move(peer));
      Begin();
      return;
    }
    peer = State::Peer();
  }
  Fail(
      ErrorCode::kIo,
      "mpi: {} reaches rank 0 on {} by none of its addresses ({}port {}); see that a firewall lets "
      "processes of the hosts reach each other",
      state_->Name(plan.rank), plan.hosts[0], tried, port);
}

void Watch::Begin() {
  state_->ranks.resize(state_->plan.hosts.size());
  state_->connected = state_->not_left = static_cast<int>(state_->peers.size());
  try {
    state_->thread = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    Fail(ErrorCode::kLimit, "mpi: no thread for the signs of life: {}", error.what());
  }
}

Watch::~Watch() {
  if (!state_->thread.joinable()) return;
  state_->over = true;
  const std::uint64_t one = 1;
  if (write(state_->wake.fd(), &one, sizeof(one)) < 0) {
    // The thread then sees it at its next sign of life.
  }
  state_->thread.join();
}

// ---- the thread ---------------------------------------------------------------------------------

void Watch::Run() {
  State& s = *state_;
  auto next_beat = Clock::now();
  std::vector<pollfd> entries;
  std::string line;
  while (!s.over && !failed_) {
    if (Clock::now() >= next_beat && !s.ending) {
      const std::lock_guard lock(s.mutex);
      s.WriteToAll(fmt::format("beat {}\n", step_.load()), -1);
      next_beat = Clock::now() + s.plan.beat;
    }
    entries.assign(1, {s.wake.fd(), POLLIN, 0});
    for (const State::Peer& peer : s.peers) entries.push_back({peer.socket.fd(), POLLIN, 0});
    poll(entries.data(), entries.size(), static_cast<int>(s.plan.beat.count() / 2));
    for (State::Peer& peer : s.peers) {
      if (!peer.socket.open()) continue;
      const bool open = peer.socket.ReadInto(&peer.input) && peer.input.size() <= kLongestLine;
      while (!failed_ && TakeLine(&peer.input, &line)) {
        peer.heard = Clock::now();
        const std::string_view words(line);
        if (words.starts_with("beat ")) {
          std::from_chars(line.data() + 5, line.data() + line.size(), peer.step);
        } else if (words.starts_with("end ")) {
          int rank = -1;
          std::from_chars(line.data() + 4, line.data() + line.size(), rank);
          // Rank 0 speaks for all others, which speak for themselves.
          if (peer.rank == 0 || rank == peer.rank) MarkAtEnd(rank);
        } else if (words == "bye") {
          if (!peer.left) --s.not_left;
          peer.left = true;
        } else if (words.starts_with("why ")) {
          const auto [code, why] = Parted(words.substr(4));
          Lose(peer.rank, code, "failed: " + why, peer.rank);
        } else if (words.starts_with("gone ")) {
          const auto [code, text] = Parted(words.substr(5));
          LoseAs(code, text, peer.rank);
        }
      }
      if (!open) {
        {
          const std::lock_guard lock(s.mutex);
          peer.socket.Close();
        }
        --s.connected;
        if (!peer.left) {
          --s.not_left;
          Lose(peer.rank, ErrorCode::kPeer, "has ended without a word", peer.rank);
        }
      } else if (!peer.left && Clock::now() - peer.heard > s.plan.silence) {
        Lose(peer.rank, ErrorCode::kPeer,
             fmt::format("is silent for {} s", s.plan.silence.count() / 1000), -1);
      }
    }
    if (!failed_) FindMissed();
  }
}

void Watch::MarkAtEnd(int rank) {
  State& s = *state_;
  bool all = true;
  {
    const std::lock_guard lock(s.ranks_mutex);
    if (rank < 0 || rank >= static_cast<int>(s.ranks.size())) return;
    State::Rank& one = s.ranks[static_cast<std::size_t>(rank)];
    if (std::exchange(one.at_end, true)) return;
    one.since = Clock::now();
    for (const State::Rank& each : s.ranks) all = all && each.at_end;
  }
  if (s.plan.rank == 0 || rank == s.plan.rank) {
    const std::lock_guard lock(s.mutex);
    s.WriteToAll(fmt::format("end {}\n", rank), rank);
  }
  if (all) all_at_end_ = true;  // the others have been told before this rank says bye
}

// What a rank has sent before its end arrives much sooner than after `missed`.
void Watch::FindMissed() {
  State& s = *state_;
  int missed = -1;
  {
    const std::lock_guard lock(s.ranks_mutex);
    for (std::size_t rank = 0; rank < s.ranks.size(); ++rank) {
      const State::Rank& one = s.ranks[rank];
      const bool waits = one.at_end && one.expected > 0;
      if (waits && Clock::now() - one.since > s.plan.missed) missed = static_cast<int>(rank);
    }
  }
  if (missed < 0) return;
  if (s.plan.rank != 0 && !s.ending) {
    const std::string why = fmt::format("waits for {}, which has come to its end", s.Name(missed));
    const std::lock_guard lock(s.mutex);
    s.WriteToAll("why " + WithCode(ErrorCode::kPeer, why) + "\n", -1);
  }
  Lose(missed, ErrorCode::kPeer,
       fmt::format("has come to its end, while {} waits for it", s.Name(s.plan.rank)), -1);
}

void Watch::Lose(int rank, ErrorCode code, const std::string& how, int except) {
  // The ranks do their updates together, and signs of life are seldom.
  idx_t step = step_;
  for (const State::Peer& peer : state_->peers) {
    if (peer.rank == rank) step = std::max(step, peer.step);
  }
  LoseAs(code, fmt::format("{}, after update {}, {}", state_->Name(rank), step, how), except);
}

void Watch::LoseAs(ErrorCode code, const std::string& line, int except) {
  State& s = *state_;
  if (failed_) return;
  std::function<void(const std::string&)> tell;
  {
    const std::lock_guard lock(s.mutex);
    if (s.failure.empty()) {
      s.failure = line;
      s.failure_code = code;
    }
    if (s.ending) return;  // this rank knows its own reason
    tell = s.tell;
    if (s.plan.rank == 0) s.WriteToAll("gone " + WithCode(code, OneLine(line)) + "\n", except);
  }
  if (tell) tell(line);
  // The thread that trains may end the process when it knows.
  if (s.plan.rank == 0) Drain();
  const std::lock_guard lock(s.mutex);
  failed_ = true;
}

// Reads until all others have closed their ends.
void Watch::Drain() {
  State& s = *state_;
  const auto end = Clock::now() + kToBeRead;
  std::string ignored;
  while (Clock::now() < end) {
    int open = 0;
    for (State::Peer& peer : s.peers) {
      if (peer.socket.open() && peer.socket.ReadInto(&ignored)) ++open;
    }
    if (open == 0) return;
    std::this_thread::sleep_for(milliseconds(2));
  }
}

// ---- what this rank says ------------------------------------------------------------------------

void Watch::Abandon(const std::string& why, ErrorCode code) noexcept {
  try {
    State& s = *state_;
    if (failed_ || s.ending.exchange(true)) return;
    {
      const std::lock_guard lock(s.mutex);
      const std::string text = OneLine(why);
      const std::string line =
          fmt::format("{}, after update {}, failed: {}", s.Name(0), step_.load(), text);
      s.WriteToAll(
          (s.plan.rank == 0 ? "gone " + WithCode(code, line) : "why " + WithCode(code, text)) +
              "\n",
          -1);
    }
    s.WaitFor(s.connected, kToBeRead);
  } catch (...) {  // no memory: the closed connection says enough
  }
}

void Watch::ComeToEnd() { MarkAtEnd(state_->plan.rank); }

void Watch::Expect(int rank, bool on) {
  const std::lock_guard lock(state_->ranks_mutex);
  State::Rank& one = state_->ranks[static_cast<std::size_t>(rank)];
  if (on && one.expected == 0) one.since = Clock::now();
  one.expected += on ? 1 : -1;
}

void Watch::OnFailure(const std::function<void(const std::string& line)>& tell) {
  std::string line;
  {
    const std::lock_guard lock(state_->mutex);
    state_->tell = tell;
    line = state_->failure;
  }
  if (tell && !line.empty()) tell(line);
}

std::string Watch::Failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure;
}

ErrorCode Watch::FailureCode() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure_code;
}

void Watch::Finish() {
  State& s = *state_;
  if (s.ending.exchange(true)) return;
  {
    const std::lock_guard lock(s.mutex);
    s.WriteToAll("bye\n", -1);
  }
  s.WaitFor(s.not_left, kForGoodbye);
}

}  // namespace longspan
