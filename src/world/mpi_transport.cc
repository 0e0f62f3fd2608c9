#include "world/mpi_transport.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "world/mpi_module.h"
#include "world/patience.h"
#include "world/watch.h"

namespace longspan {
namespace {

// Calls of MPI one at a time, and the thread that moves messages on while no other calls it. It
// starts when it is first wanted.
class MpiTurns {
 public:
  explicit MpiTurns(const LongspanMpi& mpi) : mpi_(mpi) {}
  ~MpiTurns() { End(); }

  // Holds MPI for the caller.
  std::unique_lock<std::mutex> Take() { return std::unique_lock(mutex_); }

  // `moved` is called after messages were moved on by the thread, without MPI held.
  void OnMoved(std::function<void()> moved) {
    const auto turn = Take();
    moved_ = std::move(moved);
  }

  void Drive(bool on) {
    const auto turn = Take();
    if (mpi_.any_thread() == 0) return;
    drives_ = on;
    if (!on) return;
    between_ = kOften;  // what begins may be small, and somebody may wait for it soon
    if (!thread_.joinable()) {
      try {
        thread_ = std::thread([this] { Run(); });
      } catch (const std::system_error&) {
        drives_ = false;  // messages then move when they are asked for
        return;
      }
    }
    changed_.notify_all();
  }
  void End() {
    {
      const auto turn = Take();
      over_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    // A call that moves much takes longer than kMuch, one that finds nothing less than kLittle.
    constexpr microseconds kMuch{100}, kLittle{40};
    auto turn = Take();
    while (!over_) {
      if (!drives_) {
        changed_.wait(turn);
        continue;
      }
      const auto begin = std::chrono::steady_clock::now();
      mpi_.progress();
      if (moved_) {
        turn.unlock();  // who is called holds its own lock when it wants MPI
        moved_();
        turn.lock();
      }
      const auto took = std::chrono::steady_clock::now() - begin;
      if (took > kMuch) between_ = std::max(kOften, between_ / 2);
      if (took < kLittle) between_ = std::min(kSeldom, between_ * 2);
      if (drives_ && !over_) changed_.wait_for(turn, between_);
    }
  }

  using microseconds = std::chrono::microseconds;
  // Each time costs the core that computes some ten microseconds, so messages are moved on no more
  // often than they need: a network of 200 Mbit/s carries 50 KB in kSeldom, one of 10 Gbit/s 250 KB
  // in kOften, and a socket takes some megabytes at a time.
  static constexpr microseconds kOften{200}, kSeldom{2000};

  const LongspanMpi& mpi_;
  std::mutex mutex_;  // MPI, and:
  std::condition_variable changed_;
  bool drives_ = false, over_ = false;
  microseconds between_ = kOften;
  std::function<void()> moved_;
  std::thread thread_;
};

class MpiMessage final : public Message {
 public:
  // `watch`, which lives longer, learns that `peer` is waited for; null: there is none yet.
  MpiMessage(const LongspanMpi& mpi, MpiTurns& turns, Watch* watch, int peer, void* message)
      : mpi_(mpi), turns_(turns), watch_(watch), peer_(peer), message_(message) {
    Check(message != nullptr, ErrorCode::kIo, "mpi: {} refuses a message", mpi.version());
    if (watch_ != nullptr) watch_->Expect(peer_, true);
  }
  ~MpiMessage() override { End(); }
  bool Done() override {
    if (message_ == nullptr) return true;
    const auto turn = turns_.Take();
    const int result = mpi_.test(message_);
    Check(result >= 0, ErrorCode::kPeer, "mpi: {} reports that a message was lost", mpi_.version());
    if (result == 1) End();
    return result == 1;
  }

 private:
  void End() {
    if (std::exchange(message_, nullptr) != nullptr && watch_ != nullptr) {
      watch_->Expect(peer_, false);
    }
  }

  const LongspanMpi& mpi_;
  MpiTurns& turns_;
  Watch* watch_;
  const int peer_;
  void* message_;  // null: done
};

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(const LongspanMpi& mpi) : mpi_(mpi), rank_(mpi.rank()), size_(mpi.size()) {}

  // Until there is a watch a rank that dies is the launcher's to find.
  void StartWatch(const std::string& host) {
    WatchPlan plan;
    plan.rank = rank_;
    plan.hosts = GatherTexts(*this, host);
    if (rank_ == 0) {
      const Watch::Door door;
      GatherTexts(*this, door.address());
      watch_ = std::make_unique<Watch>(plan, door);
    } else {
      const std::string address = GatherTexts(*this, {}).front();
      watch_ = std::make_unique<Watch>(plan, address);
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string Describe() const override { return mpi_.version(); }
  std::unique_ptr<Message> Send(int to, int tag, const void* data, std::size_t bytes) override {
    const auto turn = turns_.Take();
    return std::make_unique<MpiMessage>(mpi_, turns_, watch_.get(), to,
                                        mpi_.send(data, bytes, to, tag));
  }
  std::unique_ptr<Message> SendTaken(int to, int tag, const void* data,
                                     std::size_t bytes) override {
    const auto turn = turns_.Take();
    return std::make_unique<MpiMessage>(mpi_, turns_, watch_.get(), to,
                                        mpi_.send_taken(data, bytes, to, tag));
  }
  std::unique_ptr<Message> Receive(int from, int tag, void* data, std::size_t bytes) override {
    const auto turn = turns_.Take();
    return std::make_unique<MpiMessage>(mpi_, turns_, watch_.get(), from,
                                        mpi_.receive(data, bytes, from, tag));
  }
  void Tell(idx_t step) override { watch_->Tell(step); }
  void Abandon(const std::string& why, ErrorCode code) noexcept override {
    watch_->Abandon(why, code);
  }
  void ComeToEnd() override { watch_->ComeToEnd(); }
  bool all_at_end() const override { return watch_->all_at_end(); }
  void OnFailure(std::function<void(const std::string& line)> tell) override {
    tell_ = tell;
    watch_->OnFailure(tell);
  }
  std::string Failure() const override { return watch_ ? watch_->Failure() : std::string(); }
  ErrorCode FailureCode() const override {
    return watch_ ? watch_->FailureCode() : ErrorCode::kPeer;
  }
  bool failed() const override { return watch_ && watch_->failed(); }
  void Drive(bool on) override { turns_.Drive(on); }
  void OnMoved(std::function<void()> moved) override { turns_.OnMoved(std::move(moved)); }
  // Where a rank is gone, MPI's own end would wait for it. It also waits, for ever, where a cable
  // is pulled after the watch has ended.
  void Finish() override {
    watch_->Finish();
    turns_.End();
    const auto limit = WatchPlan().silence;
    const Patience patience(limit, [this, limit] {
      if (!tell_) return;
      tell_(fmt::format(
          "the run is over and its results are written, but {} has not ended within {} s, as when "
          "a network fails",
          mpi_.version(), std::chrono::duration_cast<std::chrono::seconds>(limit).count()));
    });
    mpi_.finish();
  }

 private:
  const LongspanMpi& mpi_;
  const int rank_, size_;
  MpiTurns turns_{mpi_};
  std::function<void(const std::string& line)> tell_;  // of OnFailure
  std::unique_ptr<Watch> watch_;
};

}  // namespace

std::unique_ptr<Transport> StartMpi(const std::string& path, const Launcher& launcher,
                                    const std::string& host) {
  // Open MPI's own modules look for its names among those that everybody sees. The module stays:
  // threads of MPI run in it.
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (module == nullptr) {
    Fail(ErrorCode::kUsage,
         "mpi: {}; install the MPI that the module was built with (Debian: openmpi-bin), or set "
         "LONGSPAN_MPI=0 for processes that do not know each other",
         dlerror());
  }
  const auto entry = reinterpret_cast<LongspanMpiEntry>(dlsym(module, LONGSPAN_MPI_ENTRY));
  const LongspanMpi* mpi = entry == nullptr ? nullptr : entry();
  Check(mpi != nullptr && mpi->table == kLongspanMpiTable, ErrorCode::kUsage,
        "mpi: {} is of another build; build longspan anew", path);
  const char* error = mpi->start();
  Check(error == nullptr, ErrorCode::kUsage, "mpi: {}", error == nullptr ? "" : error);
  if (launcher.ranks != 0 && launcher.ranks != mpi->size()) {
    RefuseApart(launcher, mpi->version(), mpi->size());
  }
  if (mpi->size() == 1) {
    mpi->finish();
    return nullptr;
  }
  auto transport = std::make_unique<MpiTransport>(*mpi);
  transport->StartWatch(host);
  return transport;
}

}  // namespace longspan
