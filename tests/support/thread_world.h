// Ranks that are threads of one test, and a world between them without MPI.
#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "longspan/world.h"
#include "world/transport.h"

namespace longspan::test {

// What all ranks share: messages that were sent and not received yet, copied, and receives that
// have no message yet. The first Receive gets the first message, in whatever order they are waited
// for, as with MPI.
struct ThreadPost {
  struct Slot {
    void* data;
    std::size_t bytes;
    std::size_t arrived = 0;  // bytes of the message
    bool done = false;
  };
  struct Box {
    std::deque<std::string> waiting;
    std::deque<std::shared_ptr<Slot>> wanted;

    // Call it with the mutex held.
    void Match() {
      for (; !waiting.empty() && !wanted.empty(); waiting.pop_front(), wanted.pop_front()) {
        Slot& slot = *wanted.front();
        slot.arrived = waiting.front().size();
        slot.done = true;
        if (slot.data == nullptr || slot.arrived != slot.bytes) continue;
        std::memcpy(slot.data, waiting.front().data(), slot.bytes);
      }
    }
  };
  std::mutex mutex;
  std::map<std::tuple<int, int, int>, Box> boxes;  // from, to, tag
  std::string failure;
  bool failed = false;
  std::function<void(int rank, int tag, std::size_t bytes)>
      on_send;  // on the sender's thread; may be null
};

class ThreadTransport final : public Transport {
 public:
  ThreadTransport(int rank, int size, std::shared_ptr<ThreadPost> post)
      : rank_(rank), size_(size), post_(std::move(post)) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string Describe() const override { return "threads"; }

  std::unique_ptr<Message> Send(int to, int tag, const void* data, std::size_t bytes) override {
    if (post_->on_send) post_->on_send(rank_, tag, bytes);
    const std::lock_guard lock(post_->mutex);
    ThreadPost::Box& box = post_->boxes[{rank_, to, tag}];
    box.waiting.emplace_back(static_cast<const char*>(data), bytes);
    box.Match();
    return std::make_unique<Sent>();
  }
  std::unique_ptr<Message> Receive(int from, int tag, void* data, std::size_t bytes) override {
    return std::make_unique<Received>(post_, std::make_tuple(from, rank_, tag), data, bytes);
  }
  void Tell(idx_t step) override { step_ = step; }
  void Abandon(const std::string& why) noexcept override {
    const std::lock_guard lock(post_->mutex);
    if (post_->failed) return;
    post_->failure = fmt::format("rank {}, after update {}, failed: {}", rank_, step_, why);
    post_->failed = true;
  }
  void OnFailure(std::function<void(const std::string&)>) override {}
  std::string Failure() const override {
    const std::lock_guard lock(post_->mutex);
    return post_->failure;
  }
  bool failed() const override {
    const std::lock_guard lock(post_->mutex);
    return post_->failed;
  }
  void Finish() override {}

 private:
  struct Sent final : Message {
    bool Done() override { return true; }
  };
  struct Received final : Message {
    Received(std::shared_ptr<ThreadPost> from, std::tuple<int, int, int> where, void* into,
             std::size_t wanted)
        : post(std::move(from)),
          slot(std::make_shared<ThreadPost::Slot>(ThreadPost::Slot{into, wanted})) {
      const std::lock_guard lock(post->mutex);
      ThreadPost::Box& box = post->boxes[where];
      box.wanted.push_back(slot);
      box.Match();
    }
    ~Received() override {
      const std::lock_guard lock(post->mutex);
      slot->data = nullptr;
    }
    bool Done() override {
      const std::lock_guard lock(post->mutex);
      Check(!slot->done || slot->arrived == slot->bytes, ErrorCode::kUsage,
            "message of {} bytes, {} wanted", slot->arrived, slot->bytes);
      return slot->done;
    }
    std::shared_ptr<ThreadPost> post;
    std::shared_ptr<ThreadPost::Slot> slot;
  };

  const int rank_, size_;
  const std::shared_ptr<ThreadPost> post_;
  idx_t step_ = 0;
};

// Runs body(world) in `ranks` threads, each with the world of its rank. Returns what each threw;
// null: nothing. A rank that throws gives up, as the program does.
inline std::vector<std::exception_ptr> TryOnRanks(
    int ranks, const std::function<void(World&)>& body,
    std::function<void(int rank, int tag, std::size_t bytes)> on_send = {}) {
  const auto post = std::make_shared<ThreadPost>();
  post->on_send = std::move(on_send);
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        World world(std::make_unique<ThreadTransport>(rank, ranks, post));
        try {
          body(world);
        } catch (const std::exception& error) {
          world.Abandon(error.what());
          throw;
        }
      } catch (...) {
        thrown[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

// The same; throws what the first of the ranks threw.
inline void OnRanks(int ranks, const std::function<void(World&)>& body,
                    std::function<void(int rank, int tag, std::size_t bytes)> on_send = {}) {
  for (const std::exception_ptr& error : TryOnRanks(ranks, body, std::move(on_send))) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace longspan::test
