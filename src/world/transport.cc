#include "world/transport.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "base/errors.h"

namespace longspan {
namespace {

// Tags of calls that all ranks make together, above those of messages.
enum Together : int { kSizes = 30'001, kTexts = 30'002, kBytes = 30'003 };

using Clock = std::chrono::steady_clock;

void WaitFor(const Transport& transport, std::vector<std::unique_ptr<Message>>& messages) {
  WaitUntil(transport, [&] {
    std::erase_if(messages, [](const auto& message) { return message->Done(); });
    return messages.empty();
  });
}

// One rank's memory for several others.
void SendPieces(Transport& transport, char* data, std::size_t bytes, int to,
                std::vector<std::unique_ptr<Message>>* messages) {
  for (std::size_t at = 0; at < bytes; at += kMostMessageBytes) {
    messages->push_back(
        transport.Send(to, kBytes, data + at, std::min(kMostMessageBytes, bytes - at)));
  }
}

}  // namespace

void CheckPeers(const Transport& transport) {
  if (transport.failed()) throw Error(ErrorCode::kPeer, transport.Failure());
}

void WaitUntil(const Transport& transport, const std::function<bool()>& done) {
  // Small messages arrive within microseconds. What takes longer is another rank's computing: a
  // rank that spins then takes the power of a core that the others may need.
  constexpr std::chrono::microseconds kSpun{2000}, kSlept{50};
  const auto begin = Clock::now();
  for (bool spins = true; !done();) {
    CheckPeers(transport);
    spins = spins && Clock::now() - begin < kSpun;
    if (spins) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(kSlept);
    }
  }
  CheckPeers(transport);
}

std::vector<std::string> GatherTexts(Transport& transport, const std::string& text,
                                     std::uint64_t* sent) {
  const int size = transport.size();
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(size), text.size());
  std::vector<std::string> texts(sizes.size());
  std::vector<std::unique_ptr<Message>> messages;
  if (transport.rank() == 0) {
    for (int from = 1; from < size; ++from) {
      auto& bytes = sizes[static_cast<std::size_t>(from)];
      messages.push_back(transport.Receive(from, kSizes, &bytes, sizeof(bytes)));
    }
    WaitFor(transport, messages);
    for (int from = 1; from < size; ++from) {
      std::string& into = texts[static_cast<std::size_t>(from)];
      into.resize(sizes[static_cast<std::size_t>(from)]);
      if (into.empty()) continue;
      messages.push_back(transport.Receive(from, kTexts, into.data(), into.size()));
    }
    texts[0] = text;
  } else {
    messages.push_back(transport.Send(0, kSizes, &sizes[0], sizeof(sizes[0])));
    if (!text.empty()) messages.push_back(transport.Send(0, kTexts, text.data(), text.size()));
    if (sent != nullptr) *sent += sizeof(sizes[0]) + text.size();
  }
  WaitFor(transport, messages);
  BroadcastBytes(transport, sizes.data(), sizes.size() * sizeof(sizes[0]), 0, sent);
  std::string all;
  if (transport.rank() == 0) {
    for (const std::string& one : texts) all += one;
  }
  std::size_t bytes = 0;
  for (const std::uint64_t one : sizes) bytes += one;
  all.resize(bytes);
  BroadcastBytes(transport, all.data(), all.size(), 0, sent);
  std::size_t at = 0;
  for (std::size_t r = 0; r < texts.size(); at += sizes[r], ++r)
    texts[r] = all.substr(at, sizes[r]);
  return texts;
}

void BroadcastBytes(Transport& transport, void* data, std::size_t bytes, int from,
                    std::uint64_t* sent) {
  auto* memory = static_cast<char*>(data);
  std::vector<std::unique_ptr<Message>> messages;
  if (transport.rank() == from) {
    for (int to = 0; to < transport.size(); ++to) {
      if (to != from) SendPieces(transport, memory, bytes, to, &messages);
    }
    if (sent != nullptr) *sent += bytes * static_cast<std::uint64_t>(transport.size() - 1);
  } else {
    for (std::size_t at = 0; at < bytes; at += kMostMessageBytes) {
      messages.push_back(
          transport.Receive(from, kBytes, memory + at, std::min(kMostMessageBytes, bytes - at)));
    }
  }
  WaitFor(transport, messages);
}

}  // namespace longspan
