// TCP between ranks: what the watch needs of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

namespace longspan {

// A descriptor that is closed with its owner. Calls on it never block, and never raise SIGPIPE.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  ~Socket() { Close(); }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close();

  // Appends what has arrived. False: the other side has closed it, or it is broken.
  bool ReadInto(std::string* text);
  // False if it is broken, or takes not all of it within `patience`.
  bool Write(const std::string& text, std::chrono::milliseconds patience);
  // Waits until something has arrived, or for `patience`.
  bool WaitForInput(std::chrono::milliseconds patience) const;

 private:
  int fd_;
};

// Listens on every address of this host, at a port that the system chooses. kIo.
Socket ListenAnywhere(int* port);
// The next connection within `patience`; closed if there is none.
Socket AcceptWithin(const Socket& listening, std::chrono::milliseconds patience);
// Closed if it cannot be made. `address` is an IP address as the system writes it.
Socket ConnectTo(const std::string& address, int port, std::chrono::milliseconds patience);
// This host's IP addresses, those of other hosts' reach first, each followed by a space.
std::string OwnAddresses();

}  // namespace longspan
