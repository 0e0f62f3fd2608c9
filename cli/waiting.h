// The sign of life of work that cannot say how far it is: loading a model, one long step.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace longspan::cli {

// While one lives, and from its second second on, a terminal at stderr shows "loading run: 3 s" in
// a line of its own, which is erased at the end; another stderr shows nothing. Whoever has one
// prints nothing meanwhile. Where the system has no thread to give, nothing is shown.
class Waiting {
 public:
  explicit Waiting(std::string what, bool quiet = false);
  ~Waiting() { End(); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  // What is waited for now.
  void Change(std::string what);

  // Erases the line; before anything else is printed.
  void End();

 private:
  void Show();

  std::string what_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace longspan::cli
