#include "world/mpi_transport.h"

#include <dlfcn.h>

#include <utility>
#include <vector>

#include "base/errors.h"
#include "world/mpi_module.h"
#include "world/watch.h"

namespace longspan {
namespace {

class MpiMessage final : public Message {
 public:
  MpiMessage(const LongspanMpi& mpi, void* message) : mpi_(mpi), message_(message) {
    Check(message != nullptr, ErrorCode::kIo, "mpi: {} refuses a message", mpi.version());
  }
  bool Done() override {
    if (message_ == nullptr) return true;
    const int result = mpi_.test(message_);
    Check(result >= 0, ErrorCode::kPeer, "mpi: {} reports that a message was lost", mpi_.version());
    if (result == 1) message_ = nullptr;
    return result == 1;
  }

 private:
  const LongspanMpi& mpi_;
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
    return std::make_unique<MpiMessage>(mpi_, mpi_.send(data, bytes, to, tag));
  }
  std::unique_ptr<Message> Receive(int from, int tag, void* data, std::size_t bytes) override {
    return std::make_unique<MpiMessage>(mpi_, mpi_.receive(data, bytes, from, tag));
  }
  void Tell(idx_t step) override { watch_->Tell(step); }
  void Abandon(const std::string& why) noexcept override { watch_->Abandon(why); }
  void OnFailure(std::function<void(const std::string& line)> tell) override {
    watch_->OnFailure(std::move(tell));
  }
  std::string Failure() const override { return watch_ ? watch_->Failure() : std::string(); }
  bool failed() const override { return watch_ && watch_->failed(); }
  // Where a rank is gone, MPI's own end would wait for it.
  void Finish() override {
    watch_->Finish();
    mpi_.finish();
  }

 private:
  const LongspanMpi& mpi_;
  const int rank_, size_;
  std::unique_ptr<Watch> watch_;
};

}  // namespace

std::unique_ptr<Transport> StartMpi(const std::string& path, int launched,
                                    const std::string& host) {
  // Open MPI's own modules look for its names among those that everybody sees. The module stays:
  // threads of MPI run in it.
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (module == nullptr) Fail(ErrorCode::kUsage, "mpi: {}", dlerror());
  const auto entry = reinterpret_cast<LongspanMpiEntry>(dlsym(module, LONGSPAN_MPI_ENTRY));
  const LongspanMpi* mpi = entry == nullptr ? nullptr : entry();
  Check(mpi != nullptr && mpi->table == kLongspanMpiTable, ErrorCode::kUsage,
        "mpi: {} is of another build; build longspan anew", path);
  const char* error = mpi->start();
  Check(error == nullptr, ErrorCode::kUsage, "mpi: {}", error == nullptr ? "" : error);
  Check(launched == 0 || launched == mpi->size(), ErrorCode::kUsage,
        "mpi: the launcher has started {} processes, and {} sees {}: start them with the mpirun of "
        "the MPI that longspan was built with",
        launched, mpi->version(), mpi->size());
  if (mpi->size() == 1) {
    mpi->finish();
    return nullptr;
  }
  auto transport = std::make_unique<MpiTransport>(*mpi);
  transport->StartWatch(host);
  return transport;
}

}  // namespace longspan
