// Which message goes first: over a wire that the test moves on by hand, and between threads.
#include "world/lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/thread_world.h"
#include "world/row_group.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::Throws;

constexpr int kUrgentTag = 1, kLaterTag = 2;
constexpr std::size_t kPiece = Lanes::kPieceBytes;

// A wire on which nothing ends before the test says so.
class HandWire final : public Transport {
 public:
  struct Entry {
    int tag;
    std::size_t bytes;
    bool is_sent, taken;
    bool done = false;
  };
  // What was begun, in its order.
  using Log = std::vector<std::shared_ptr<Entry>>;

  explicit HandWire(Log* log) : log_(log) {}
  int rank() const override { return 0; }
  int size() const override { return 2; }
  std::string Describe() const override { return "by hand"; }
  std::unique_ptr<Message> Send(int, int tag, const void*, std::size_t bytes) override {
    return Add({tag, bytes, true, false});
  }
  std::unique_ptr<Message> SendTaken(int, int tag, const void*, std::size_t bytes) override {
    return Add({tag, bytes, true, true});
  }
  std::unique_ptr<Message> Receive(int, int tag, void*, std::size_t bytes) override {
    return Add({tag, bytes, false, false});
  }
  void Tell(idx_t) override {}
  void Abandon(const std::string&, ErrorCode) noexcept override {}
  void OnFailure(std::function<void(const std::string&)>) override {}
  std::string Failure() const override { return {}; }
  ErrorCode FailureCode() const override { return ErrorCode::kPeer; }
  bool failed() const override { return false; }
  void ComeToEnd() override {}
  bool all_at_end() const override { return true; }
  void Finish() override {}
  void OnMoved(std::function<void()> moved) override { moved_ = std::move(moved); }

  std::function<void()> moved_;
  bool refuses_ = false;
  bool ends_at_once_ = false;  // of all that begins

 private:
  struct Sent final : Message {
    explicit Sent(std::shared_ptr<Entry> of) : entry(std::move(of)) {}
    bool Done() override { return entry->done; }
    std::shared_ptr<Entry> entry;
  };
  std::unique_ptr<Message> Add(const Entry& entry) {
    Check(!refuses_, ErrorCode::kIo, "the wire refuses a message");
    log_->push_back(std::make_shared<Entry>(entry));
    log_->back()->done = ends_at_once_;
    return std::make_unique<Sent>(log_->back());
  }
  Log* log_;
};

class LanesByHand : public ::testing::Test {
 protected:
  LanesByHand() {
    auto wire = std::make_unique<HandWire>(&log_);
    wire_ = wire.get();
    lanes_ = std::make_unique<Lanes>(std::move(wire));
  }
  std::unique_ptr<Message> Urgent(std::size_t pieces) {
    return lanes_->Send(1, kUrgentTag, memory_.get(), pieces * kPiece);
  }
  std::unique_ptr<Message> Later(std::size_t pieces) {
    return lanes_->SendLater(1, kLaterTag, memory_.get(), pieces * kPiece);
  }
  std::size_t Begun(int tag) const {
    return static_cast<std::size_t>(std::count_if(
        log_.begin(), log_.end(), [&](const auto& entry) { return entry->tag == tag; }));
  }
  // The first `count` that are on their way are over.
  void End(int tag, std::size_t count = 1) {
    for (const auto& entry : log_) {
      if (count > 0 && entry->tag == tag && !entry->done) {
        entry->done = true;
        --count;
      }
    }
    EXPECT_EQ(count, 0u);
  }
  std::size_t UnderWay(int tag) const {
    return static_cast<std::size_t>(std::count_if(log_.begin(), log_.end(), [&](const auto& entry) {
      return entry->tag == tag && !entry->done;
    }));
  }

  // Nobody reads it.
  const std::unique_ptr<char[]> memory_{new char[2000 * kPiece]};
  HandWire::Log log_;
  HandWire* wire_;
  std::unique_ptr<Lanes> lanes_;
};

TEST_F(LanesByHand, AnUrgentMessageIsBehindThePiecesThatAreOnTheirWay) {
  const auto later = Later(1000);
  const std::size_t before = log_.size();
  EXPECT_GE(before, Lanes::kLeastLater);
  EXPECT_LE(before, Lanes::kMostLater);
  const auto urgent = Urgent(Lanes::kMostUrgent);
  EXPECT_EQ(log_.size(), before + Lanes::kMostUrgent);
  EXPECT_EQ(Begun(kUrgentTag), Lanes::kMostUrgent);
  for (const auto& entry : log_) {
    EXPECT_TRUE(entry->taken) << "else nobody knows how many are on their way";
    EXPECT_LE(entry->bytes, kPiece);
  }
}

TEST_F(LanesByHand, NothingLaterBeginsWhileAnUrgentMessageIsTaken) {
  constexpr std::size_t kPieces = 4 * Lanes::kMostUrgent;
  const auto later = Later(1000);
  const auto urgent = Urgent(kPieces);
  End(kUrgentTag);
  const std::size_t begun = Begun(kLaterTag);
  End(kLaterTag, UnderWay(kLaterTag));
  while (Begun(kUrgentTag) < kPieces) {
    EXPECT_FALSE(urgent->Done());
    EXPECT_FALSE(later->Done());
    if (Begun(kUrgentTag) == kPieces) break;
    EXPECT_EQ(Begun(kLaterTag), begun) << Begun(kUrgentTag);
    EXPECT_EQ(UnderWay(kUrgentTag), Lanes::kMostUrgent);
    End(kUrgentTag);
  }
  // Behind its last piece.
  EXPECT_GT(Begun(kLaterTag), begun);
  EXPECT_EQ(log_.back()->tag, kLaterTag);
  End(kUrgentTag, UnderWay(kUrgentTag));
  EXPECT_TRUE(urgent->Done());
}

// The receiver may wait for weights before it asks for a border.
TEST_F(LanesByHand, AnUrgentMessageThatNobodyTakesHoldsNothingBack) {
  const auto urgent = Urgent(1000);
  const auto later = Later(500);
  while (UnderWay(kLaterTag) > 0) {
    End(kLaterTag, UnderWay(kLaterTag));
    later->Done();
  }
  EXPECT_TRUE(later->Done());
  EXPECT_EQ(Begun(kLaterTag), 500u);
  EXPECT_FALSE(urgent->Done());
  EXPECT_EQ(Begun(kUrgentTag), Lanes::kMostUrgent);
}

// A second message of a tag has the receiver's second call: no piece of it goes before the first.
TEST_F(LanesByHand, MessagesOfOneTagBeginInTheirOrder) {
  const auto first = Urgent(Lanes::kMostUrgent + 1);
  const auto second = lanes_->Send(1, kUrgentTag, memory_.get(), 8);
  const auto other = lanes_->Send(1, 7, memory_.get(), 9);
  EXPECT_EQ(log_.back()->bytes, 9u);
  EXPECT_FALSE(log_.back()->taken) << "a small message is done when its memory is free";
  End(kUrgentTag);
  EXPECT_FALSE(second->Done());
  EXPECT_EQ(log_.back()->bytes, kPiece);
  End(kUrgentTag);
  EXPECT_FALSE(second->Done());
  EXPECT_EQ(log_.back()->bytes, 8u);
}

// Pieces that take long are few: how long an urgent message is behind them does not depend on the
// network.
TEST_F(LanesByHand, AsManyPiecesAreOnTheirWayAsTakeSomeMilliseconds) {
  const auto later = Later(2000);
  for (int i = 0; i < 6; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(13));
    End(kLaterTag, UnderWay(kLaterTag));
    later->Done();
  }
  EXPECT_EQ(UnderWay(kLaterTag), Lanes::kLeastLater);
  std::size_t most = 0;
  for (int i = 0; i < 300 && most < 2 * Lanes::kMostUrgent; ++i) {
    End(kLaterTag, UnderWay(kLaterTag));
    later->Done();
    most = std::max(most, UnderWay(kLaterTag));
    EXPECT_LE(most, Lanes::kMostLater);
  }
  EXPECT_GE(most, 2 * Lanes::kMostUrgent);
}

TEST_F(LanesByHand, NothingOfADestroyedMessageBegins) {
  auto first = Later(100);
  const auto second = lanes_->SendLater(1, 9, memory_.get(), 3 * kPiece);
  const std::size_t begun = Begun(kLaterTag);
  first.reset();
  EXPECT_FALSE(second->Done());
  EXPECT_EQ(Begun(kLaterTag), begun);
  EXPECT_EQ(Begun(9), 3u);
}

// Pieces begin although nobody asks, but not before Drive(true) and not after Drive(false).
TEST_F(LanesByHand, ADrivingThreadBeginsPieces) {
  const auto later = Later(1000);
  const auto begins = [&] {
    const std::size_t before = log_.size();
    End(kLaterTag);
    wire_->moved_();
    return log_.size() > before;
  };
  EXPECT_FALSE(begins());
  lanes_->Drive(true);
  EXPECT_TRUE(begins());
  lanes_->Drive(false);
  EXPECT_FALSE(begins());
}

// Both threads begin and end pieces of the same messages.
TEST_F(LanesByHand, ADrivingThreadRunsBesideTheOneThatComputes) {
  wire_->ends_at_once_ = true;
  std::atomic<bool> over = false;
  std::thread drives([&] {
    while (!over) wire_->moved_();
  });
  for (int i = 0; i < 100; ++i) {
    lanes_->Drive(true);
    const auto later = Later(20), urgent = Urgent(20);
    const auto received = lanes_->Receive(1, 3, memory_.get(), 80 * kPiece);
    while (!later->Done() || !urgent->Done() || !received->Done()) std::this_thread::yield();
    lanes_->Drive(false);
  }
  over = true;
  drives.join();
  EXPECT_EQ(Begun(kLaterTag), 100u * 20u);
  EXPECT_EQ(Begun(kUrgentTag), 100u * 20u);
  EXPECT_EQ(Begun(3), 100u * 80u);
}

TEST_F(LanesByHand, WhatGoesWrongOnTheDrivingThreadIsThrownWhereItIsWaitedFor) {
  const auto later = Later(1000);
  lanes_->Drive(true);
  wire_->refuses_ = true;
  End(kLaterTag);
  wire_->moved_();
  EXPECT_TRUE(Throws([&] { later->Done(); }, ErrorCode::kIo, "refuses"));
  EXPECT_TRUE(Throws([&] { Urgent(1); }, ErrorCode::kIo, "refuses"));
}

// ---- between ranks ------------------------------------------------------------------------------

char LetterAt(std::size_t message, std::size_t i) {
  return static_cast<char>(message * 41 + i * 7 + i / 250);
}

TEST(Lanes, MessagesOfAllLengthsArriveWholeAndInOrder) {
  const std::vector<std::size_t> sizes = {70 * kPiece, 1, kPiece, kPiece + 1, 3 * kPiece, 5000};
  OnRanks(2, [&](World& world) {
    const int other = 1 - world.rank();
    std::vector<std::unique_ptr<Message>> messages;
    std::vector<std::string> sent, got;
    sent.reserve(2 * sizes.size());
    got.reserve(2 * sizes.size());
    for (const ExchangeKind kind : {ExchangeKind::kHalos, ExchangeKind::kGradients}) {
      const int tag = kind == ExchangeKind::kHalos ? kUrgentTag : kLaterTag;
      for (const std::size_t size : sizes) {
        const std::size_t number = sent.size();
        sent.emplace_back(size, '\0');
        for (std::size_t i = 0; i < size; ++i) sent.back()[i] = LetterAt(number, i);
        got.emplace_back(size, '\0');
      }
      for (std::size_t i = got.size() - sizes.size(); i < got.size(); ++i) {
        messages.push_back(
            WorldAccess::Receive(world, kind, other, tag, got[i].data(), got[i].size()));
        messages.push_back(
            WorldAccess::Send(world, kind, other, tag, sent[i].data(), sent[i].size()));
      }
    }
    WorldAccess::WaitUntil(world, ExchangeKind::kRows, [&] {
      std::erase_if(messages, [](const auto& message) { return message->Done(); });
      return messages.empty();
    });
    EXPECT_TRUE(got == sent);
  });
}

// An exchange of shared rows in the middle of all weights: of those no more go between its first
// and its last piece than were on their way.
TEST(Lanes, HalosOvertakeWeights) {
  constexpr std::size_t kWeights = 700 * kPiece, kHalo = 100 * kPiece;
  std::array<std::vector<int>, 2> tags;  // by rank: of what was sent from the halo on
  std::array<bool, 2> counts{};
  OnRanks(
      2,
      [&](World& world) {
        const auto own = static_cast<std::size_t>(world.rank());
        std::vector<char> weights(kWeights, 'w'), got(kWeights);
        std::vector<char> halo(kHalo, 'h'), seen(kHalo);
        const int other = 1 - world.rank();
        const ExchangeKind kind = ExchangeKind::kWeights;
        const auto receive =
            WorldAccess::Receive(world, kind, other, kLaterTag, got.data(), kWeights);
        const auto send =
            WorldAccess::Send(world, kind, other, kLaterTag, weights.data(), kWeights);
        for (int i = 0; i < 20; ++i) send->Done();
        counts[own] = true;
        RowGroup group(world, 2);
        std::vector<RowGroup::Piece> sends(2), receives(2);
        sends[1 - own] = {halo.data(), kHalo};
        receives[1 - own] = {seen.data(), kHalo};
        group.Exchange(ExchangeKind::kHalos, sends, receives).Wait();
        EXPECT_FALSE(send->Done()) << "there was nothing to overtake";
        EXPECT_EQ(seen, std::vector<char>(kHalo, 'h'));
        WorldAccess::WaitUntil(world, kind, [&] { return receive->Done() && send->Done(); });
        EXPECT_TRUE(got == std::vector<char>(kWeights, 'w'));
      },
      [&](int rank, int tag, std::size_t) {
        const auto own = static_cast<std::size_t>(rank);
        if (counts[own]) tags[own].push_back(tag);
      });
  for (const std::vector<int>& sent : tags) {
    const int halo = RowTag(ExchangeKind::kHalos);
    EXPECT_EQ(std::count(sent.begin(), sent.end(), halo), 100);
    const auto last = std::find(sent.rbegin(), sent.rend(), halo).base();
    // Until the first of its pieces is taken.
    EXPECT_LE(std::count(sent.begin(), last, kLaterTag), static_cast<int>(Lanes::kMostLater));
  }
}

}  // namespace
}  // namespace longspan
