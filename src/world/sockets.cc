#include "world/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/errors.h"

namespace longspan {
namespace {

using std::chrono::milliseconds;

// Whether `fd` has one of `events` within `patience`.
bool PollFor(int fd, short events, milliseconds patience) {
  pollfd entry{fd, events, 0};
  int found = 0;
  do {
    found = poll(&entry, 1, static_cast<int>(patience.count()));
  } while (found < 0 && errno == EINTR);
  return found > 0;
}

void SendAtOnce(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

}  // namespace

void Socket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

bool Socket::ReadInto(std::string* text) {
  std::array<char, 4096> part{};
  while (open()) {
    const ssize_t got = recv(fd_, part.data(), part.size(), MSG_DONTWAIT);
    if (got > 0) {
      text->append(part.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)) {
      return false;
    } else if (errno != EINTR) {
      return true;
    }
  }
  return false;
}

bool Socket::Write(const std::string& text, milliseconds patience) {
  std::size_t written = 0;
  while (open() && written < text.size()) {
    const ssize_t took =
        send(fd_, text.data() + written, text.size() - written, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (took >= 0) {
      written += static_cast<std::size_t>(took);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!PollFor(fd_, POLLOUT, patience)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return open();
}

bool Socket::WaitForInput(milliseconds patience) const { return PollFor(fd_, POLLIN, patience); }

Socket ListenAnywhere(int* port) {
  // One socket for both kinds of addresses; a host without IPv6 has the older kind alone.
  for (const int family : {AF_INET6, AF_INET}) {
    Socket listening(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listening.open()) continue;
    sockaddr_storage address{};
    address.ss_family = static_cast<sa_family_t>(family);  // the rest is zero: any, and any port
    socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    const int no = 0;
    if (family == AF_INET6) {
      setsockopt(listening.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
    }
    if (bind(listening.fd(), reinterpret_cast<sockaddr*>(&address), size) != 0) continue;
    if (listen(listening.fd(), SOMAXCONN) != 0) continue;
    size = sizeof(address);
    if (getsockname(listening.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) continue;
    *port = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                     : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    return listening;
  }
  Fail(ErrorCode::kIo, "mpi: rank 0 cannot listen for the other ranks: {}", std::strerror(errno));
}

Socket AcceptWithin(const Socket& listening, milliseconds patience) {
  if (!listening.WaitForInput(patience)) return Socket();
  Socket taken(accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (taken.open()) SendAtOnce(taken.fd());
  return taken;
}

Socket ConnectTo(const std::string& address, int port, milliseconds patience) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return Socket();
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  Socket made(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.open()) return made;
  int result = connect(made.fd(), found->ai_addr, found->ai_addrlen);
  if (result != 0 && errno == EINPROGRESS && PollFor(made.fd(), POLLOUT, patience)) {
    socklen_t size = sizeof(result);
    getsockopt(made.fd(), SOL_SOCKET, SO_ERROR, &result, &size);
  }
  if (result != 0) return Socket();
  SendAtOnce(made.fd());
  return made;
}

std::string OwnAddresses() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return "127.0.0.1 ";
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  std::string wide, loopback;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0) continue;
    const int family = at->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    std::array<char, NI_MAXHOST> text{};
    const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (getnameinfo(at->ifa_addr, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) !=
        0) {
      continue;
    }
    const std::string address = text.data();
    if (address.find('%') != std::string::npos) continue;  // of one link only
    ((at->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : wide) += address + " ";
  }
  return wide + loopback;
}

}  // namespace longspan
