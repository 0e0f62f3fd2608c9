#include "world/lanes.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

namespace longspan {

// What the messages of a Lanes and its driving thread share.
class LaneTraffic {
 public:
  // In the order in which pieces begin.
  enum class Way { kReceive, kReceiveLater, kSend, kSendLater };
  static bool Sends(Way way) { return way == Way::kSend || way == Way::kSendLater; }
  static bool ComesLater(Way way) { return way == Way::kReceiveLater || way == Way::kSendLater; }

  // A message in pieces.
  struct Transfer {
    Way way;
    int peer, tag;
    char* data;  // of what is sent, it is only read
    std::size_t bytes;
    bool taken = false;                // done no earlier than its receiver has it, if it is small
    std::size_t begun = 0, ended = 0;  // pieces

    std::size_t pieces() const {
      return bytes == 0 ? 1 : (bytes + Lanes::kPieceBytes - 1) / Lanes::kPieceBytes;
    }
    bool done() const { return ended == pieces(); }
  };

  explicit LaneTraffic(Transport& wire) : wire_(wire) {}

  std::shared_ptr<Transfer> Begin(const Transfer& message) {
    const std::lock_guard lock(mutex_);
    auto transfer = std::make_shared<Transfer>(message);
    ChannelOf(message).waiting.push_back(transfer);
    try {
      Proceed();
    } catch (...) {
      Forget(transfer);
      throw;
    }
    return transfer;
  }

  bool Done(const Transfer& transfer) {
    const std::lock_guard lock(mutex_);
    if (transfer.done()) return true;
    if (error_) std::rethrow_exception(error_);
    Proceed();
    return transfer.done();
  }

  // Nothing of it begins any more.
  void Drop(const std::shared_ptr<Transfer>& transfer) {
    const std::lock_guard lock(mutex_);
    if (!transfer->done()) Forget(transfer);
  }

  // Afterwards the driving thread begins nothing if `on` is false.
  void Drive(bool on) {
    const std::lock_guard lock(mutex_);
    drives_ = on;
  }

  // Before the wire is gone: pieces that were left by a failure ask it no more.
  void End() {
    const std::lock_guard lock(mutex_);
    drives_ = false;
    channels_.clear();
  }

  // On the driving thread: what goes wrong here is thrown by the next call of Done.
  void Moved() noexcept {
    const std::lock_guard lock(mutex_);
    if (!drives_ || error_) return;
    try {
      Proceed();
    } catch (...) {
      error_ = std::current_exception();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Piece {
    std::shared_ptr<Transfer> of;
    std::unique_ptr<Message> message;
    Clock::time_point begin;
  };
  // Messages that begin one after another.
  struct Channel {
    std::deque<std::shared_ptr<Transfer>> waiting;  // those with pieces that did not begin
    std::deque<Piece> under_way;
    std::size_t most = 0;  // of them
  };
  // Way, the other rank, and the tag: 0 in the second lane, which is one channel for all.
  using Key = std::tuple<Way, int, int>;

  // Pieces that are asked for before they come. A sender has no more of them on their way.
  static constexpr std::size_t kMostAsked = 64;
  static_assert(kMostAsked >= Lanes::kMostLater && kMostAsked >= Lanes::kMostUrgent);

  static std::size_t MostAtFirst(Way way) {
    constexpr std::size_t kMostAtFirst = 4;
    if (!Sends(way)) return kMostAsked;
    return ComesLater(way) ? kMostAtFirst : Lanes::kMostUrgent;
  }

  Channel& ChannelOf(const Transfer& of) {
    Channel& channel = channels_[{of.way, of.peer, ComesLater(of.way) ? 0 : of.tag}];
    if (channel.most == 0) channel.most = MostAtFirst(of.way);
    return channel;
  }

  void Forget(const std::shared_ptr<Transfer>& transfer) {
    Channel& channel = ChannelOf(*transfer);
    std::erase(channel.waiting, transfer);
    std::erase_if(channel.under_way, [&](const Piece& piece) { return piece.of == transfer; });
  }

  // Does what can be done without waiting.
  void Proceed() {
    for (auto& [key, channel] : channels_) End(std::get<Way>(key), &channel);
    for (auto& [key, channel] : channels_) {
      const Way way = std::get<Way>(key);
      if (way == Way::kSendLater && Overtakes()) break;
      for (; !channel.waiting.empty() && channel.under_way.size() < channel.most;) {
        BeginPiece(&channel);
      }
    }
    // The second lane goes on with as many pieces as it had.
    std::erase_if(channels_, [](const auto& entry) {
      const Channel& channel = entry.second;
      return std::get<Way>(entry.first) != Way::kSendLater && channel.waiting.empty() &&
             channel.under_way.empty();
    });
  }

  // Pieces end in their order, so one question a channel is enough.
  void End(Way way, Channel* channel) {
    while (!channel->under_way.empty() && channel->under_way.front().message->Done()) {
      const Piece& piece = channel->under_way.front();
      ++piece.of->ended;
      if (way == Way::kSendLater) Fit(Clock::now() - piece.begin, channel);
      channel->under_way.pop_front();
    }
  }

  // An urgent message waits for the pieces that are on their way: they are to take no longer than
  // kLong. Fewer than take kShort might leave the network idle, because driving threads look every
  // two milliseconds at most, at both ends. At 200 Mbit/s that is 150 to 300 KB.
  static void Fit(Clock::duration took, Channel* channel) {
    constexpr std::chrono::milliseconds kShort{6}, kLong{12};
    if (took < kShort) channel->most = std::min(channel->most + 1, Lanes::kMostLater);
    if (took > kLong) channel->most = std::max(channel->most - 1, Lanes::kLeastLater);
  }

  // Whether an urgent message has pieces that did not begin, and its receiver takes them.
  bool Overtakes() const {
    return std::any_of(channels_.begin(), channels_.end(), [](const auto& entry) {
      const Channel& channel = entry.second;
      return std::get<Way>(entry.first) == Way::kSend && !channel.waiting.empty() &&
             channel.waiting.front()->ended > 0;
    });
  }

  void BeginPiece(Channel* channel) {
    const std::shared_ptr<Transfer> of = channel->waiting.front();
    const std::size_t at = of->begun * Lanes::kPieceBytes;
    char* const data = of->data + at;
    const std::size_t bytes = std::min(Lanes::kPieceBytes, of->bytes - at);
    std::unique_ptr<Message> message;
    if (!Sends(of->way)) {
      message = wire_.Receive(of->peer, of->tag, data, bytes);
    } else if (of->taken || of->pieces() > 1) {
      message = wire_.SendTaken(of->peer, of->tag, data, bytes);
    } else {
      message = wire_.Send(of->peer, of->tag, data, bytes);
    }
    channel->under_way.push_back({of, std::move(message), Clock::now()});
    if (++of->begun == of->pieces()) channel->waiting.pop_front();
  }

  Transport& wire_;
  std::mutex mutex_;  // of all that follows
  std::map<Key, Channel> channels_;
  bool drives_ = false;
  std::exception_ptr error_;  // of the driving thread
};

namespace {

using Way = LaneTraffic::Way;

class LaneMessage final : public Message {
 public:
  LaneMessage(std::shared_ptr<LaneTraffic> traffic, const LaneTraffic::Transfer& message)
      : traffic_(std::move(traffic)), transfer_(traffic_->Begin(message)) {}
  ~LaneMessage() override { traffic_->Drop(transfer_); }
  bool Done() override { return traffic_->Done(*transfer_); }

 private:
  const std::shared_ptr<LaneTraffic> traffic_;
  const std::shared_ptr<LaneTraffic::Transfer> transfer_;
};

std::unique_ptr<Message> Sent(const std::shared_ptr<LaneTraffic>& traffic, Way way, int to, int tag,
                              const void* data, std::size_t bytes, bool taken) {
  auto* const memory = static_cast<char*>(const_cast<void*>(data));
  return std::make_unique<LaneMessage>(traffic,
                                       LaneTraffic::Transfer{way, to, tag, memory, bytes, taken});
}

std::unique_ptr<Message> Received(const std::shared_ptr<LaneTraffic>& traffic, Way way, int from,
                                  int tag, void* data, std::size_t bytes) {
  return std::make_unique<LaneMessage>(
      traffic, LaneTraffic::Transfer{way, from, tag, static_cast<char*>(data), bytes});
}

}  // namespace

Lanes::Lanes(std::unique_ptr<Transport> wire)
    : traffic_(std::make_shared<LaneTraffic>(*wire)), wire_(std::move(wire)) {
  wire_->OnMoved([traffic = traffic_] { traffic->Moved(); });
}

Lanes::~Lanes() { traffic_->End(); }

std::unique_ptr<Message> Lanes::Send(int to, int tag, const void* data, std::size_t bytes) {
  return Sent(traffic_, Way::kSend, to, tag, data, bytes, false);
}

std::unique_ptr<Message> Lanes::SendTaken(int to, int tag, const void* data, std::size_t bytes) {
  return Sent(traffic_, Way::kSend, to, tag, data, bytes, true);
}

std::unique_ptr<Message> Lanes::Receive(int from, int tag, void* data, std::size_t bytes) {
  return Received(traffic_, Way::kReceive, from, tag, data, bytes);
}

std::unique_ptr<Message> Lanes::SendLater(int to, int tag, const void* data, std::size_t bytes) {
  return Sent(traffic_, Way::kSendLater, to, tag, data, bytes, true);
}

std::unique_ptr<Message> Lanes::ReceiveLater(int from, int tag, void* data, std::size_t bytes) {
  return Received(traffic_, Way::kReceiveLater, from, tag, data, bytes);
}

void Lanes::Drive(bool on) {
  traffic_->Drive(on);
  wire_->Drive(on);
}

}  // namespace longspan
