// How ranks reach each other. World (longspan/world.h) is written over it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "longspan/error.h"
#include "longspan/types.h"
#include "longspan/world.h"

namespace longspan {

// Bytes of one message at most.
inline constexpr std::size_t kMostMessageBytes = std::size_t{1} << 30;

// A message on its way. It may be destroyed before it is done only if a rank has failed.
class Message {
 public:
  virtual ~Message() = default;
  // Whether its memory is free again, or filled. Does not wait. Once true it stays so.
  virtual bool Done() = 0;
};

// One rank's end. All but Failure, FailureCode and OnFailure are called by one thread. Lanes
// (world/lanes.h) also sends, receives and asks messages in what OnMoved calls.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string Describe() const = 0;  // "Open MPI v4.1.4"

  // A message of at most kMostMessageBytes, whose memory stays as it is until it is done. Those of
  // two ranks with one tag (below 2^15) arrive in the order in which they were sent, and the
  // receiver knows how large they are.
  virtual std::unique_ptr<Message> Send(int to, int tag, const void* data, std::size_t bytes) = 0;
  // The same, done no earlier than its receiver has called Receive and got the first bytes.
  virtual std::unique_ptr<Message> SendTaken(int to, int tag, const void* data,
                                             std::size_t bytes) = 0;
  virtual std::unique_ptr<Message> Receive(int from, int tag, void* data, std::size_t bytes) = 0;

  // World's functions of these names.
  virtual void Tell(idx_t step) = 0;
  virtual void Abandon(const std::string& why, ErrorCode code) noexcept = 0;
  virtual void OnFailure(std::function<void(const std::string& line)> tell) = 0;
  virtual std::string Failure() const = 0;
  virtual ErrorCode FailureCode() const = 0;
  // Whether Failure() is a line; costs next to nothing.
  virtual bool failed() const = 0;
  // This rank makes no more calls together. Whoever waits for a message of it fails. Does not wait.
  virtual void ComeToEnd() = 0;
  // Whether all ranks have come to their end; costs next to nothing.
  virtual bool all_at_end() const = 0;
  virtual void Finish() = 0;  // after all ranks have come to their end
  // Whether messages move on while nobody asks for them. False returns when none moves any more.
  // True again says that something begins for which somebody may wait soon.
  virtual void Drive(bool /*on*/) {}
  // `moved` is called whenever Drive has moved messages on, on its thread, which holds nothing that
  // this transport's calls need. It may still be called when Drive(false) has returned. Before the
  // first Drive.
  virtual void OnMoved(std::function<void()> /*moved*/) {}
};

// A world's messages between two ranks, for the library itself.
struct WorldAccess {
  // As Transport's, with tags below 30,000, and those of RowTag. Not for a world of one process.
  // The bytes count as sent for this kind. Gradients and weights go in the second lane
  // (world/lanes.h): all else overtakes them.
  static std::unique_ptr<Message> Send(World& world, ExchangeKind kind, int to, int tag,
                                       const void* data, std::size_t bytes);
  static std::unique_ptr<Message> Receive(World& world, ExchangeKind kind, int from, int tag,
                                          void* data, std::size_t bytes);
  // Messages move on although this thread computes, from now on or no longer: without it they may
  // wait until Done is called. It costs a thread that wakes some hundred to some thousand times a
  // second, as long as one kind wants it.
  static void DriveMessages(World& world, ExchangeKind kind, bool on);
  // As WaitUntil below. What it takes counts as waited for this kind.
  static void WaitUntil(World& world, ExchangeKind kind, const std::function<bool()>& done);
};

// The tag of messages between ranks that share rows. One a kind is enough: two ranks send and
// receive in the same order.
inline int RowTag(ExchangeKind kind) { return 30'010 + static_cast<int>(kind); }

// Throws kPeer with Failure(), if there is one.
void CheckPeers(const Transport& transport);
// Calls done() until it is true: at once, then more and more seldom. Throws kPeer.
void WaitUntil(const Transport& transport, const std::function<bool()>& done);
// Every rank's text, by rank; together. Adds the bytes that this rank sends to `sent`, if it is not
// null.
std::vector<std::string> GatherTexts(Transport& transport, const std::string& text,
                                     std::uint64_t* sent = nullptr);
// Copies rank `from`'s memory to all others; together. `sent` as above.
void BroadcastBytes(Transport& transport, void* data, std::size_t bytes, int from,
                    std::uint64_t* sent = nullptr);

}  // namespace longspan
