// Which message goes first: what another rank waits for at once, before what it needs later.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "world/transport.h"

namespace longspan {

class LaneTraffic;

// A transport over another one, with two lanes. A connection carries messages in the order in which
// they are sent, so that a border of a slab (urgent) would wait for all gradients and weights that
// were sent before it (later). Here messages travel in pieces, and their sender decides piece by
// piece what goes next:
//
// - An urgent message goes at once: up to kMostUrgent of its pieces, and a further one whenever its
//   receiver has taken one.
// - Of what is sent later few pieces are on their way to a rank: so many that they take some
//   milliseconds. The others wait here. None begins while an urgent message has pieces that did not
//   begin and its receiver takes them.
//
// So an urgent message of up to kMostUrgent pieces is behind those pieces alone that are on their
// way, and a longer one behind twice as many. The rule is the sender's own; ranks agree about
// nothing but the size of a piece. It blocks nobody: an urgent message whose receiver has not come
// yet holds nothing back, and one that is being taken ends, because all its pieces are wanted.
// Messages of one tag arrive in the order in which they were sent, in the same lane; those of the
// second lane between two ranks are sent and received in the same order, whatever their tags.
//
// Both ends of a message must be Lanes. Pieces begin in calls of Done, Send and Receive, and while
// messages are driven.
class Lanes final : public Transport {
 public:
  // With MPI's header a piece fits into what Open MPI sends by TCP without asking first (64 KiB).
  static constexpr std::size_t kPieceBytes = std::size_t{60} << 10;
  static constexpr std::size_t kMostUrgent = 16;  // 960 KiB: 38 ms of 200 Mbit/s
  // Pieces of the second lane on their way to a rank.
  static constexpr std::size_t kLeastLater = 2, kMostLater = 64;

  explicit Lanes(std::unique_ptr<Transport> wire);
  ~Lanes() override;

  int rank() const override { return wire_->rank(); }
  int size() const override { return wire_->size(); }
  std::string Describe() const override { return wire_->Describe(); }
  std::unique_ptr<Message> Send(int to, int tag, const void* data, std::size_t bytes) override;
  std::unique_ptr<Message> SendTaken(int to, int tag, const void* data, std::size_t bytes) override;
  std::unique_ptr<Message> Receive(int from, int tag, void* data, std::size_t bytes) override;
  // In the second lane, on both ends.
  std::unique_ptr<Message> SendLater(int to, int tag, const void* data, std::size_t bytes);
  std::unique_ptr<Message> ReceiveLater(int from, int tag, void* data, std::size_t bytes);

  void Tell(idx_t step) override { wire_->Tell(step); }
  void Abandon(const std::string& why, ErrorCode code) noexcept override {
    wire_->Abandon(why, code);
  }
  void OnFailure(std::function<void(const std::string& line)> tell) override {
    wire_->OnFailure(std::move(tell));
  }
  std::string Failure() const override { return wire_->Failure(); }
  ErrorCode FailureCode() const override { return wire_->FailureCode(); }
  bool failed() const override { return wire_->failed(); }
  void ComeToEnd() override { wire_->ComeToEnd(); }
  bool all_at_end() const override { return wire_->all_at_end(); }
  void Finish() override { wire_->Finish(); }
  void Drive(bool on) override;

 private:
  std::shared_ptr<LaneTraffic> traffic_;  // messages have it too
  std::unique_ptr<Transport> wire_;
};

}  // namespace longspan
