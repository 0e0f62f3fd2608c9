// Ranks that are threads of one test, and a world between them without MPI.
#pragma once

#include <chrono>
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

#include "base/error_code.h"
#include "base/errors.h"
#include "longspan/world.h"
#include "world/transport.h"

namespace longspan::test {

// What all ranks share: messages that were sent and not received yet, and receives that have no
// message yet. The first Receive gets the first message, in whatever order they are waited for, as
// with MPI.
//
// Messages are late, so that who reads or writes too early is found out. What is received into is
// NaN (or -1) until somebody has asked twice whether the message is done; only then is the memory
// of a sender read whose message is large. Small ones are copied at once and done, as with MPI.
struct ThreadPost {
  static constexpr std::size_t kSmall = 4096;  // bytes

  struct Parcel {
    std::size_t bytes;
    const void* data;                                // null: taken, or the sender has given it up
    std::string copy = {};                           // of a small one
    std::chrono::steady_clock::time_point due = {};  // it arrives no earlier
  };
  struct Slot {
    void* data;
    std::size_t bytes;
    std::shared_ptr<Parcel> parcel = nullptr;  // null: none has come
    bool asked = false, done = false;

    // Call it with the mutex held.
    bool Ask() {
      if (done || parcel == nullptr || std::chrono::steady_clock::now() < parcel->due) return done;
      if (!std::exchange(asked, true)) return false;
      Check(parcel->bytes == bytes, ErrorCode::kUsage, "message of {} bytes, {} wanted",
            parcel->bytes, bytes);
      if (parcel->data == nullptr) return false;
      if (bytes > 0) std::memcpy(data, parcel->data, bytes);
      parcel->data = nullptr;
      return done = true;
    }
  };
  struct Box {
    std::deque<std::shared_ptr<Parcel>> waiting;
    std::deque<std::shared_ptr<Slot>> wanted;

    // Call it with the mutex held.
    void Match() {
      for (; !waiting.empty() && !wanted.empty(); waiting.pop_front(), wanted.pop_front()) {
        wanted.front()->parcel = waiting.front();
      }
    }
  };
  std::mutex mutex;
  std::map<std::tuple<int, int, int>, Box> boxes;  // from, to, tag
  std::string failure;
  ErrorCode failure_code = ErrorCode::kPeer;
  bool failed = false;
  int at_end = 0;  // ranks that have come to their end
  std::function<void(int rank, int tag, std::size_t bytes)>
      on_send;  // on the sender's thread; may be null
  // How long a message of a tag is on its way at least: neither end is done earlier. May be null.
  std::function<std::chrono::milliseconds(int tag)> delay;
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
    return std::make_unique<Sent>(post_, std::make_tuple(rank_, to, tag), data, bytes, false);
  }
  std::unique_ptr<Message> SendTaken(int to, int tag, const void* data,
                                     std::size_t bytes) override {
    if (post_->on_send) post_->on_send(rank_, tag, bytes);
    return std::make_unique<Sent>(post_, std::make_tuple(rank_, to, tag), data, bytes, true);
  }
  std::unique_ptr<Message> Receive(int from, int tag, void* data, std::size_t bytes) override {
    return std::make_unique<Received>(post_, std::make_tuple(from, rank_, tag), data, bytes);
  }
  void Tell(idx_t step) override { step_ = step; }
  void Abandon(const std::string& why, ErrorCode code) noexcept override {
    const std::lock_guard lock(post_->mutex);
    if (post_->failed) return;
    post_->failure_code = code;
    post_->failure = fmt::format("rank {}, after update {}, failed: {}", rank_, step_, why);
    post_->failed = true;
  }
  void OnFailure(std::function<void(const std::string&)>) override {}
  std::string Failure() const override {
    const std::lock_guard lock(post_->mutex);
    return post_->failure;
  }
  ErrorCode FailureCode() const override {
    const std::lock_guard lock(post_->mutex);
    return post_->failure_code;
  }
  bool failed() const override {
    const std::lock_guard lock(post_->mutex);
    return post_->failed;
  }
  void ComeToEnd() override {
    const std::lock_guard lock(post_->mutex);
    ++post_->at_end;
  }
  bool all_at_end() const override {
    const std::lock_guard lock(post_->mutex);
    return post_->at_end == size_;
  }
  void Finish() override {}

 private:
  struct Sent final : Message {
    Sent(std::shared_ptr<ThreadPost> by, std::tuple<int, int, int> where, const void* from,
         std::size_t bytes, bool is_taken)
        : post(std::move(by)),
          parcel(std::make_shared<ThreadPost::Parcel>(ThreadPost::Parcel{bytes, from})),
          taken(is_taken) {
      if (IsSmall()) {
        if (bytes > 0) parcel->copy.assign(static_cast<const char*>(from), bytes);
        parcel->data = parcel->copy.data();
      }
      if (post->delay) {
        parcel->due = std::chrono::steady_clock::now() + post->delay(std::get<2>(where));
      }
      const std::lock_guard lock(post->mutex);
      ThreadPost::Box& box = post->boxes[where];
      box.waiting.push_back(parcel);
      box.Match();
    }
    ~Sent() override {
      const std::lock_guard lock(post->mutex);
      if (!IsSmall()) parcel->data = nullptr;
    }
    bool Done() override {
      const std::lock_guard lock(post->mutex);
      const bool arrives = std::chrono::steady_clock::now() >= parcel->due;
      return arrives && (IsSmall() || parcel->data == nullptr);
    }
    bool IsSmall() const { return !taken && parcel->bytes <= ThreadPost::kSmall; }
    std::shared_ptr<ThreadPost> post;
    std::shared_ptr<ThreadPost::Parcel> parcel;
    const bool taken;  // done only when the receiver has it
  };
  struct Received final : Message {
    Received(std::shared_ptr<ThreadPost> from, std::tuple<int, int, int> where, void* into,
             std::size_t wanted)
        : post(std::move(from)),
          slot(std::make_shared<ThreadPost::Slot>(ThreadPost::Slot{into, wanted})) {
      if (wanted > 0) std::memset(into, 0xff, wanted);
      const std::lock_guard lock(post->mutex);
      ThreadPost::Box& box = post->boxes[where];
      box.wanted.push_back(slot);
      box.Match();
    }
    bool Done() override {
      const std::lock_guard lock(post->mutex);
      return slot->Ask();
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
    std::function<void(int rank, int tag, std::size_t bytes)> on_send = {},
    std::function<std::chrono::milliseconds(int tag)> delay = {}) {
  const auto post = std::make_shared<ThreadPost>();
  post->on_send = std::move(on_send);
  post->delay = std::move(delay);
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        World world(std::make_unique<ThreadTransport>(rank, ranks, post));
        try {
          body(world);
        } catch (const std::exception& error) {
          world.Abandon(error.what(), CodeOf(error));
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
                    std::function<void(int rank, int tag, std::size_t bytes)> on_send = {},
                    std::function<std::chrono::milliseconds(int tag)> delay = {}) {
  for (const std::exception_ptr& error :
       TryOnRanks(ranks, body, std::move(on_send), std::move(delay))) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace longspan::test
