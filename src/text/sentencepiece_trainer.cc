#include "text/sentencepiece_trainer.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/cancel.h"
#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "longspan/files.h"
#include "text/sentencepiece_json.h"
#include "text/text_pieces.h"
#include "text/tokenizer_limits.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

constexpr std::size_t kSentenceBytes = std::size_t{16} << 10;
constexpr std::array<std::string_view, 5> kNormalizations = {"identity", "nmt_nfkc", "nfkc",
                                                             "nmt_nfkc_cf", "nfkc_cf"};

// Pieces of the texts as the library asks for them.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  using OnEvent = std::function<void(const TokenizerTrainingEvent&)>;
  Sentences(const std::vector<std::string_view>& texts, const OnEvent& on_event)
      : on_event_(on_event) {
    for (const std::string_view text : texts) {
      CutAtLines(text, kSentenceBytes, &pieces_);
      event_.all_bytes += static_cast<idx_t>(text.size());
    }
    Fill();
  }
  bool done() const override { return open_.empty(); }
  void Next() override {
    open_.pop_back();
    Fill();
  }
  const std::string& value() const override { return open_.back(); }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  // Makes sure that there is a sentence, if any is left.
  void Fill() {
    while (open_.empty() && next_ < pieces_.size()) {
      CancelScope::Check();
      event_.bytes += static_cast<idx_t>(pieces_[next_].size());
      AddParts(ReplaceInvalid(pieces_[next_++]));
      if (on_event_) on_event_(event_);
    }
  }
  // The parts of a piece between characters that the library does not take.
  void AddParts(const std::string& piece) {
    constexpr std::string_view kReserved[] = {"\xE2\x96\x85", std::string_view("\0", 1)};
    std::string part;
    const auto put = [&] {
      if (!part.empty()) open_.push_back(part);
      part.clear();
    };
    for (std::size_t at = 0; at < piece.size();) {
      std::size_t skipped = 0;
      for (const std::string_view reserved : kReserved) {
        if (piece.compare(at, reserved.size(), reserved) == 0) skipped = reserved.size();
      }
      if (skipped > 0) {
        put();
        at += skipped;
      } else {
        part += piece[at++];
      }
    }
    put();
    std::reverse(open_.begin(), open_.end());
  }

  const OnEvent& on_event_;
  std::vector<std::string_view> pieces_;
  std::size_t next_ = 0;
  std::vector<std::string> open_;  // the next sentence is the last one
  TokenizerTrainingEvent event_;
};

// The numbers that stand in a message behind `words`, with anything between; empty: it is not about
// that.
std::vector<idx_t> NumbersBehind(std::string_view message, std::string_view words) {
  const std::size_t found = message.find(words);
  if (found == std::string_view::npos) return {};
  std::vector<idx_t> numbers;
  for (std::size_t at = found + words.size(); at < message.size();) {
    idx_t number = 0;
    const char* end = message.data() + message.size();
    const auto [stop, error] = std::from_chars(message.data() + at, end, number);
    const bool is_number = error == std::errc() && message[at] != '-';
    if (is_number) numbers.push_back(number);
    at = is_number ? static_cast<std::size_t>(stop - message.data()) : at + 1;
  }
  return numbers;
}

[[noreturn]] void FailTraining(const std::string& message, const TokenizerTraining& o) {
  if (const auto n = NumbersBehind(message, "required_chars"); n.size() >= 2) {
    Fail(ErrorCode::kUsage,
         "tokenizer: {} pieces are too few: the text's characters{} need {}; raise --vocab-size{} "
         "or lower --coverage",
         o.vocabulary,
         o.byte_fallback ? ", the 256 bytes and 3 special ones" : " and 3 special ones",
         std::max(n[0], n[1]), o.byte_fallback ? ", give --no-byte-fallback" : "");
  }
  if (const auto n = NumbersBehind(message, "Vocabulary size too high"); n.size() >= 2) {
    Fail(ErrorCode::kUsage,
         "tokenizer: the text is too small for {} pieces, it has {}; lower --vocab-size or give "
         "more "
         "text",
         o.vocabulary, n[1]);
  }
  Check(message.find("sentences_.empty()") == std::string::npos, ErrorCode::kUsage,
        "tokenizer: the text has no characters that can be learnt");
  Fail(ErrorCode::kUsage, "tokenizer: the SentencePiece library cannot train on this text: {}",
       io::Escape(message, 400));
}

void CheckTraining(const std::vector<std::string_view>& texts, const TokenizerTraining& o) {
  Check(o.vocabulary >= 4 && o.vocabulary <= kMostVocabularyEntries / 2, ErrorCode::kUsage,
        "vocab-size: {} is not from 4 to {}", o.vocabulary, kMostVocabularyEntries / 2);
  Check(o.coverage >= 0.98 && o.coverage <= 1.0, ErrorCode::kUsage,
        "coverage: {} is not from 0.98 to 1, which the SentencePiece library takes", o.coverage);
  Check(o.longest_piece >= 1 && o.longest_piece <= 200, ErrorCode::kUsage,
        "longest-piece: {} is not from 1 to 200", o.longest_piece);
  Check(std::find(kNormalizations.begin(), kNormalizations.end(), o.normalization) !=
            kNormalizations.end(),
        ErrorCode::kUsage, "normalization: '{}' is unknown; use {}", io::Escape(o.normalization),
        fmt::join(kNormalizations, ", "));
  const bool empty = std::all_of(texts.begin(), texts.end(), [](std::string_view t) {
    return t.find_first_not_of(" \t\r\n") == std::string_view::npos;
  });
  Check(!empty, ErrorCode::kFormat, "tokenizer: the text is empty");
}

}  // namespace

std::string TrainSentencePiece(const std::vector<std::string_view>& texts,
                               const TokenizerTraining& o,
                               const std::function<void(const TokenizerTrainingEvent&)>& on_event) {
  CheckTraining(texts, o);
  const bool identity = o.normalization == "identity";
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", o.algorithm == PieceAlgorithm::kBpe ? "bpe" : "unigram"},
      {"vocab_size", fmt::format("{}", o.vocabulary)},
      {"byte_fallback", o.byte_fallback ? "true" : "false"},
      {"normalization_rule_name", o.normalization},
      {"remove_extra_whitespaces", identity ? "false" : "true"},
      {"character_coverage", fmt::format("{}", o.coverage)},
      {"max_sentencepiece_length", fmt::format("{}", o.longest_piece)},
      // Sums over threads would depend on their number.
      {"num_threads", "1"},
      {"max_sentence_length", fmt::format("{}", 2 * kSentenceBytes)},
      {"minloglevel", "3"},  // the library prints nothing but what ends it
  };
  Sentences sentences(texts, on_event);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &sentences, &model);
  if (!status.ok()) FailTraining(status.ToString(), o);
  return model;
}

namespace {

// What the thread that made the call and the one that learns share.
struct Learning {
  std::mutex lock;
  std::condition_variable changed;
  TokenizerTrainingEvent event;  // the newest
  bool told = true;              // whether the caller has had it
  bool done = false;             // model or error is there
  std::string model;
  std::exception_ptr error;
  std::atomic<bool> dropped{false};  // nobody waits any more
};

// Hands events on until the other thread is done. Throws what on_event throws, and Cancelled.
void AwaitLearning(Learning& shared,
                   const std::function<void(const TokenizerTrainingEvent&)>& on_event) {
  for (bool done = false; !done;) {
    CancelScope::Check();
    std::unique_lock lock(shared.lock);
    shared.changed.wait_for(lock, std::chrono::milliseconds(50),
                            [&] { return shared.done || !shared.told; });
    done = shared.done;
    const bool news = !std::exchange(shared.told, true);
    const TokenizerTrainingEvent event = shared.event;
    lock.unlock();
    if (news && on_event) on_event(event);
  }
}

}  // namespace

std::string TrainSentencePiece(const std::vector<std::string_view>& texts,
                               const TokenizerTraining& o,
                               const std::function<void(const TokenizerTrainingEvent&)>& on_event,
                               std::shared_ptr<const void> owner) {
  if (!CancelScope::CanEnd()) return TrainSentencePiece(texts, o, on_event);
  CheckTraining(texts, o);
  const auto shared = std::make_shared<Learning>();
  const auto learn = [shared, texts, o, owner = std::move(owner)] {
    const CancelScope scope(&shared->dropped);  // ends it while it still reads
    std::string model;
    std::exception_ptr error;
    try {
      model = TrainSentencePiece(texts, o, [&](const TokenizerTrainingEvent& event) {
        const std::lock_guard lock(shared->lock);
        shared->event = event;
        shared->told = false;
        shared->changed.notify_all();
      });
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(shared->lock);
    shared->model = std::move(model);
    shared->error = std::move(error);
    shared->done = true;
    shared->changed.notify_all();
  };
  // It computes outside of ParallelFor, as a library's thread does that cannot be stopped.
  try {
    std::thread(learn).detach();
  } catch (const std::system_error&) {  // no thread is to be had
    return TrainSentencePiece(texts, o, on_event);
  }
  try {
    AwaitLearning(*shared, on_event);
  } catch (...) {
    shared->dropped = true;
    throw;
  }
  if (shared->error != nullptr) std::rethrow_exception(shared->error);
  return std::move(shared->model);
}

void WriteTokenizer(const std::string& model, const std::filesystem::path& directory) {
  const std::string source = io::Escape((directory / "spiece.model").native(), 4096);
  const SentencePieceFile file = ReadSentencePieceFile(model, source);
  io::EnsureWritableDirectory(directory);
  io::WriteFileAtomic(directory / "spiece.model", model);
  io::WriteFileAtomic(directory / "tokenizer.json", io::DumpJson(TokenizerJsonOf(file), 1));
  io::WriteFileAtomic(directory / "tokenizer_config.json", io::DumpJson(TokenizerConfigOf(file)));
}

}  // namespace longspan::text
