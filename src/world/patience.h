// A limit of time for a call that may never return.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

namespace longspan {

// While it lives, `late` is called once, on a thread of its own, when `limit` is over. The
// destructor waits for a `late` that runs. Where the system gives no thread there is no limit.
class Patience {
 public:
  Patience(std::chrono::milliseconds limit, std::function<void()> late) {
    try {
      thread_ = std::jthread([limit, late = std::move(late)](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any over;
        std::unique_lock lock(mutex);
        over.wait_for(lock, stop, limit, [] { return false; });
        if (!stop.stop_requested()) late();
      });
    } catch (const std::system_error&) {
    }
  }

 private:
  std::jthread thread_;
};

}  // namespace longspan
